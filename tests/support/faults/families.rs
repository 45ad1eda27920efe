//! The directed families: which faults strike where, in which scenarios.

use super::plan::{Fault, FaultPlan, Kind, Side};
use super::sites::{API, BACKWARD, NODE, READS, STEPS, Site};

/// One run of a family.
#[derive(Debug, Clone)]
pub struct Case {
    pub scenario: &'static str,
    pub plan: FaultPlan,
    /// Replicas of the controller.
    pub controllers: u32,
}

pub const NAMES: [&str; 13] = ["F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F10", "F11", "F12", "F15"];
const ALL: [&str; 13] = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13"];
const FOUR: [&str; 4] = ["s3", "s4", "s5", "s8"];
const TWO: [&str; 2] = ["s3", "s5"];

pub const F3: [Kind; 13] = [
    Kind::Conflict,
    Kind::ThrottledAfter,
    Kind::Throttled,
    Kind::Blocked,
    Kind::Error500,
    Kind::Unavailable,
    Kind::GatewayApplied,
    Kind::Gateway,
    Kind::TimeoutApplied,
    Kind::Timeout,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::Expired,
];
pub const F4: [Kind; 11] = [
    Kind::InUse,
    Kind::NoRoom,
    Kind::NoInstance,
    Kind::NoPermission,
    Kind::InvalidArgument,
    Kind::GpuLost,
    Kind::LibraryMismatch,
    Kind::UnknownApplied,
    Kind::Unknown,
    Kind::Hang,
    Kind::KilledInside,
];
pub const F5: [Kind; 3] = [Kind::Stale1, Kind::Stale5, Kind::StaleAll];
pub const F6: [Kind; 3] = [Kind::Deaf, Kind::Compacted, Kind::Delayed];
pub const F7: [Kind; 6] = [
    Kind::LeaseDeleted,
    Kind::LeaderPaused,
    Kind::QueuedWrite,
    Kind::LeaseThrottled,
    Kind::LeaderCrashed,
    Kind::StandbyCrashed,
];
pub const F8: [Kind; 11] = [
    Kind::MigManager,
    Kind::MigManagerPending,
    Kind::DriverUpgrade,
    Kind::Karpenter,
    Kind::Autoscaler,
    Kind::Cordoned,
    Kind::Uncordoned,
    Kind::Untainted,
    Kind::ManualMig,
    Kind::SecondInstall,
    Kind::Reverted,
];
pub const F9: [Kind; 10] = [
    Kind::PodBinds,
    Kind::DemandDeleted,
    Kind::PodFinishes,
    Kind::PodReplaced,
    Kind::PodDeleted,
    Kind::BudgetAdded,
    Kind::BudgetShrinks,
    Kind::SecondBudget,
    Kind::Annotated,
    Kind::PriorityArrives,
];
pub const F10: [Kind; 5] =
    [Kind::KubeletRestarts, Kind::CheckpointLost, Kind::PluginBroken, Kind::PluginRestarts, Kind::StatusStale];
pub const F11: [Kind; 7] = [
    Kind::Reboot,
    Kind::NotReady,
    Kind::NodeDeleted,
    Kind::NodeRecreated,
    Kind::AgentCrashes,
    Kind::DiskFull,
    Kind::DiskTorn,
];
pub const F12: [Kind; 2] = [Kind::AgentPaused, Kind::LeaderSuspended];

/// What makes an operation turn back: compute instances cannot be created.
fn turned_back() -> Vec<Fault> {
    vec![Fault { site: Site::A6, nth: 0, times: 60, side: Side::Before, kind: Kind::NoRoom }]
}

/// A fault at a step, with what it takes to reach that step.
pub fn at_step(site: Site, side: Side, kind: Kind) -> FaultPlan {
    let mut faults = if BACKWARD.contains(&site) { turned_back() } else { Vec::new() };
    faults.push(Fault::once(site, side, kind));
    FaultPlan(faults)
}

fn across(scenarios: &[&'static str], sites: &[Site], sides: &[Side], kinds: &[Kind], controllers: u32) -> Vec<Case> {
    let mut cases = Vec::new();
    for &scenario in scenarios {
        for &site in sites {
            for &kind in kinds {
                for &side in sides {
                    cases.push(Case { scenario, plan: at_step(site, side, kind), controllers });
                }
            }
        }
    }
    cases
}

fn twice() -> Vec<Case> {
    let mut cases = Vec::new();
    let sides = [Side::Before, Side::After];
    let points: Vec<(Site, Side)> = STEPS.iter().flat_map(|&site| sides.map(|side| (site, side))).collect();
    for scenario in ["s3", "s5", "s8"] {
        for &(site, side) in &points {
            for &(other, then) in &points {
                let mut plan = at_step(site, side, Kind::Crash);
                if BACKWARD.contains(&other) && !BACKWARD.contains(&site) {
                    plan.0.extend(turned_back());
                }
                let nth = u32::from(site == other);
                plan.0.push(Fault::once(other, then, Kind::Crash).at(nth));
                cases.push(Case { scenario, plan, controllers: 1 });
            }
        }
    }
    cases
}

/// All cases of a family.
pub fn cases(family: &str) -> Vec<Case> {
    let before = [Side::Before];
    let after = [Side::After];
    let both = [Side::Before, Side::After];
    match family {
        "F1" => across(&ALL, &STEPS, &both, &[Kind::Crash], 1),
        "F2" => twice(),
        "F3" => across(&FOUR, &API, &before, &F3, 1),
        "F4" => across(&FOUR, &NODE, &before, &F4, 1),
        "F5" => across(&FOUR, &READS, &before, &F5, 1),
        "F6" => across(&FOUR, &STEPS, &after, &F6, 1),
        "F7" => across(&TWO, &STEPS, &before, &F7, 2),
        "F8" => {
            let mut cases = across(&TWO, &STEPS, &after, &F8, 1);
            cases.extend(across(&TWO, &STEPS, &after, &[Kind::RecordDeleted], 1));
            cases
        }
        "F9" => across(&TWO, &STEPS, &after, &F9, 1),
        "F10" => across(&TWO, &STEPS, &after, &F10, 1),
        "F11" => across(&TWO, &STEPS, &after, &F11, 1),
        "F12" => across(&["s5"], &STEPS, &before, &F12, 2),
        "F15" => {
            let mut cases = across(&["s13"], &API, &before, &F3, 1);
            for kinds in [&F8[..], &[Kind::RecordDeleted], &F9, &F10, &F11] {
                cases.extend(across(&["s13"], &STEPS, &after, kinds, 1));
            }
            cases
        }
        _ => Vec::new(),
    }
}
