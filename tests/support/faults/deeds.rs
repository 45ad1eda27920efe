//! What each kind of fault does: a verdict about the request, or a deed of somebody else, which mends itself after a while.

use std::time::Duration;

use retile::exec::port::{ClusterError, NodeError};
use retile::exec::{TAINT_KEY, Taint};
use retile::plan::Place;
use retile::sim::api::DO_NOT_MOVE;
use retile::sim::engine::{Refusal, Verdict};
use retile::sim::node::{ByHand, Disk, Health};
use retile::sim::process::ProcessId;
use retile::sim::world::{Hand, max_unavailable, min_available};
use retile::sim::{Arrival, Kind as Owner};

use super::plan::{Kind, Side};
use super::scenarios::Scenario;

/// Value of the taint of somebody else's installation.
pub const OTHER: &str = "another-installation";

/// What becomes of a request; none if the kind is not about requests of this sort.
pub fn verdict(kind: Kind, side: Side, to_node: bool, writes: bool) -> Option<Verdict> {
    let api = |error| (!to_node).then_some(Verdict::Refuse(Refusal::Cluster(error)));
    let lost = |text: &str| {
        let error = Refusal::Cluster(ClusterError::Unknown(text.to_owned()));
        (!to_node).then_some(if writes { Verdict::Lose(error) } else { Verdict::Refuse(error) })
    };
    let unknown = |text: &str| api(ClusterError::Unknown(text.to_owned()));
    let node = |error| to_node.then_some(Verdict::Refuse(Refusal::Node(error)));
    match kind {
        Kind::Crash | Kind::KilledInside => {
            Some(if side == Side::Before { Verdict::CrashBefore } else { Verdict::CrashAfter })
        }
        Kind::Conflict => api(ClusterError::Conflict),
        Kind::Throttled => api(ClusterError::Throttled { retry_after: None }),
        Kind::ThrottledAfter => api(ClusterError::Throttled { retry_after: Some(Duration::from_secs(7)) }),
        Kind::Blocked => api(ClusterError::BlockedByBudget),
        Kind::Error500 => unknown("500 internal error"),
        Kind::Unavailable => unknown("503 service unavailable"),
        Kind::Gateway => unknown("504 gateway timeout"),
        Kind::Timeout => unknown("the connection timed out"),
        Kind::GatewayApplied => lost("504 gateway timeout"),
        Kind::TimeoutApplied => lost("the connection timed out"),
        Kind::Forbidden => api(ClusterError::Forbidden("no role allows it".to_owned())),
        Kind::NotFound => api(ClusterError::NotFound),
        Kind::Expired => api(ClusterError::Expired),
        Kind::InUse => node(NodeError::InUse),
        Kind::NoRoom => node(NodeError::InsufficientResources),
        Kind::NoInstance => node(NodeError::NotFound),
        Kind::NoPermission => node(NodeError::NoPermission),
        Kind::InvalidArgument => node(NodeError::InvalidArgument),
        Kind::GpuLost => node(NodeError::GpuLost),
        Kind::LibraryMismatch => node(NodeError::LibraryMismatch),
        Kind::Unknown => node(NodeError::Unknown),
        Kind::UnknownApplied => to_node.then_some(Verdict::Lose(Refusal::Node(NodeError::Unknown))),
        Kind::Stale1 => (!to_node).then_some(Verdict::Stale(1)),
        Kind::Stale5 => (!to_node).then_some(Verdict::Stale(5)),
        Kind::StaleAll => (!to_node).then_some(Verdict::Stale(60)),
        Kind::Delayed => Some(Verdict::Delay(20_000)),
        Kind::QueuedWrite => {
            let error = Refusal::Cluster(ClusterError::Unknown("the connection timed out".to_owned()));
            (!to_node && writes).then_some(Verdict::Late(20_000, error))
        }
        _ => None,
    }
}

/// What somebody does, and what mends it after so many milliseconds.
pub struct Deed {
    pub now: Vec<Hand>,
    pub later: Vec<(u64, Hand)>,
}

#[allow(clippy::unnecessary_wraps, reason = "an arm of `deed_of`, most of which are deeds")]
fn deed(now: Vec<Hand>) -> Option<Deed> {
    Some(Deed { now, later: Vec::new() })
}

#[allow(clippy::unnecessary_wraps, reason = "an arm of `deed_of`, most of which are deeds")]
fn mended(now: Hand, after: u64, later: Hand) -> Option<Deed> {
    Some(Deed { now: vec![now], later: vec![(after, later)] })
}

fn taint(key: &str, value: &str) -> Taint {
    Taint { key: key.to_owned(), value: value.to_owned(), effect: "NoSchedule".to_owned() }
}

/// What somebody does at a node; none if the kind is about requests.
pub fn deed_of(kind: Kind, node: &str, leader: &ProcessId, scenario: &Scenario, number: usize) -> Option<Deed> {
    let name = node.to_owned();
    let label = |key: &str, value: &str| {
        let key = key.to_owned();
        mended(
            Hand::Label(node.to_owned(), key.clone(), Some(value.to_owned())),
            100_000,
            Hand::Label(node.to_owned(), key, None),
        )
    };
    let foreign = |key: &str| {
        mended(Hand::Taint(node.to_owned(), taint(key, "")), 100_000, Hand::Untaint(node.to_owned(), key.to_owned()))
    };
    let subject = scenario.subject.to_owned();
    let application = subject.rsplit_once('-').map_or(subject.as_str(), |(head, _)| head).to_owned();
    let agent = ProcessId::Agent(name.clone());
    match kind {
        Kind::Hang => Some(Deed {
            now: vec![Hand::Health(name.clone(), 0, Health::Hung)],
            later: vec![(120_000, Hand::Health(name.clone(), 0, Health::Well)), (120_000, Hand::Reboot(name, 30_000))],
        }),
        // People cure a lost GPU, as one that hangs, with a reboot.
        Kind::GpuLost => Some(Deed { now: Vec::new(), later: vec![(120_000, Hand::Reboot(name, 30_000))] }),
        Kind::Deaf => deed(vec![Hand::Deafen(60_000)]),
        Kind::Compacted => deed(vec![Hand::Compact]),
        Kind::LeaseDeleted => deed(vec![Hand::DeleteLease]),
        Kind::LeaderPaused => deed(vec![Hand::Pause(leader.clone(), 30_000)]),
        Kind::LeaderSuspended => deed(vec![Hand::Pause(leader.clone(), 600_000)]),
        Kind::LeaderCrashed => deed(vec![Hand::Crash(leader.clone())]),
        Kind::StandbyCrashed => {
            let standby = ProcessId::Controller(u32::from(*leader == ProcessId::Controller(0)));
            deed(vec![Hand::Crash(standby)])
        }
        Kind::AgentPaused => deed(vec![Hand::Pause(agent, 30_000)]),
        Kind::AgentCrashes => deed(vec![Hand::Crash(agent)]),
        Kind::MigManager => label("nvidia.com/mig.config", "all-balanced"),
        Kind::MigManagerPending => label("nvidia.com/mig.config.state", "pending"),
        // The driver manager comes to a node that has the state already, and goes before that does.
        Kind::DriverUpgrade => {
            let state = |value: Option<&str>| {
                Hand::Label(node.to_owned(), "nvidia.com/gpu-driver-upgrade-state".to_owned(), value.map(str::to_owned))
            };
            Some(Deed {
                now: vec![state(Some("upgrade-required")), Hand::DriverManager(name.clone(), true)],
                later: vec![(400_000, Hand::DriverManager(name, false)), (400_000, state(None))],
            })
        }
        Kind::Karpenter => foreign("karpenter.sh/disrupted"),
        Kind::Autoscaler => foreign("ToBeDeletedByClusterAutoscaler"),
        Kind::Cordoned => mended(Hand::Cordon(name.clone(), true), 100_000, Hand::Cordon(name, false)),
        Kind::Uncordoned => deed(vec![Hand::Cordon(name, false)]),
        Kind::Untainted => deed(vec![Hand::Untaint(name, TAINT_KEY.to_owned())]),
        Kind::SecondInstall => deed(vec![Hand::Taint(name, taint(TAINT_KEY, OTHER))]),
        Kind::ManualMig => {
            let place = Place { start: 6, size: 1, profile: "1g.10gb".to_owned() };
            deed(vec![Hand::Mig(name.clone(), ByHand::Create { gpu: format!("GPU-{node}-00"), place, compute: true })])
        }
        Kind::Reverted => deed(vec![Hand::DropOperation(name)]),
        Kind::RecordDeleted => deed(vec![Hand::DeleteRecord(name)]),
        Kind::PodBinds => deed(vec![Hand::Pin(stray(number, 0), name)]),
        Kind::PriorityArrives => deed(vec![Hand::Arrive(stray(number, 1000))]),
        Kind::DemandDeleted => deed(vec![Hand::DeletePods(scenario.demand.to_owned(), true)]),
        Kind::PodFinishes => deed(vec![Hand::Finish(subject)]),
        Kind::PodReplaced => deed(vec![Hand::DeletePods(subject, true)]),
        Kind::PodDeleted => deed(vec![Hand::DeletePods(subject, false)]),
        Kind::BudgetAdded => mended(
            Hand::SetBudget("late".to_owned(), application, min_available(1)),
            100_000,
            Hand::RemoveBudget("late".to_owned()),
        ),
        Kind::BudgetShrinks => mended(
            Hand::SetBudget("base".to_owned(), application.clone(), max_unavailable(0)),
            100_000,
            Hand::SetBudget("base".to_owned(), application, max_unavailable(1)),
        ),
        Kind::SecondBudget => Some(Deed {
            now: vec![
                Hand::SetBudget("late".to_owned(), application.clone(), max_unavailable(1)),
                Hand::SetBudget("later".to_owned(), application, max_unavailable(1)),
            ],
            later: vec![
                (100_000, Hand::RemoveBudget("late".to_owned())),
                (100_000, Hand::RemoveBudget("later".to_owned())),
            ],
        }),
        Kind::Annotated => deed(vec![Hand::Annotate(subject, DO_NOT_MOVE.to_owned(), "yse".to_owned())]),
        Kind::KubeletRestarts => deed(vec![Hand::RestartKubelet(name, false)]),
        Kind::CheckpointLost => deed(vec![Hand::RestartKubelet(name, true)]),
        Kind::PluginBroken => Some(Deed {
            now: vec![Hand::BreakPlugin(name.clone(), true), Hand::RestartPlugin(name.clone())],
            later: vec![(100_000, Hand::BreakPlugin(name, false))],
        }),
        Kind::PluginRestarts => deed(vec![Hand::RestartPlugin(name)]),
        Kind::StatusStale => mended(Hand::Mute(name.clone(), true), 30_000, Hand::Mute(name, false)),
        Kind::NotReady => mended(Hand::Mute(name.clone(), true), 100_000, Hand::Mute(name, false)),
        Kind::Reboot => deed(vec![Hand::Reboot(name, 30_000)]),
        Kind::NodeDeleted => Some(Deed {
            now: vec![Hand::DeleteNode(name.clone())],
            later: vec![(60_000, Hand::RegisterNode(name)), (60_100, Hand::Crash(agent))],
        }),
        Kind::NodeRecreated => Some(Deed {
            now: vec![Hand::DeleteNode(name.clone()), Hand::RegisterNode(name)],
            later: vec![(100, Hand::Crash(agent))],
        }),
        Kind::DiskFull => mended(Hand::Disk(name.clone(), Disk::Full), 60_000, Hand::Disk(name, Disk::Good)),
        Kind::DiskTorn => mended(Hand::Disk(name.clone(), Disk::Torn), 60_000, Hand::Disk(name, Disk::Good)),
        _ => None,
    }
}

/// Work that nobody has planned for.
fn stray(number: usize, priority: i32) -> Arrival {
    Arrival {
        at: 0,
        name: format!("stray{number}p{priority}-0"),
        instances: [("1g.10gb".to_owned(), 1)].into(),
        runs: 240_000,
        priority,
        kind: Owner::Service,
        patience: None,
    }
}
