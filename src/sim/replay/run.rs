//! Replays many cases: every rule on every workload, side by side.
//!
//! Inputs: a [`Setup`] and an engine, the function that lives through one [`Scene`]. Output: an [`Outcome`] in the order of the setup, however
//! many threads were at work. Invariant: the same setup and engine give the same outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::baselines::{Packer, Rule};
use super::figures::Figures;
use super::fleet::FleetSpec;
use crate::controller::Proposer;
use crate::model::{Layout, Mode, Policy};
use crate::savings::needed_at_equal_wait;
use crate::sim::{History, Workload};

/// One workload to replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// What it is: a seed, or a mapping of a trace.
    pub label: String,
    /// The work.
    pub workload: Workload,
    /// Seed of everything in the simulation that is left to chance.
    pub seed: u64,
}

/// What to replay.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The GPUs; their layouts come from each rule.
    pub fleet: FleetSpec,
    /// Who is compared, in the order of tables.
    pub rules: Vec<Rule>,
    /// The workloads.
    pub cases: Vec<Case>,
    /// Time between two plans, in milliseconds.
    pub period: u64,
    /// How soon after a plan the next one may come when new demand has settled, in milliseconds; `None` to keep to the period.
    pub soonest: Option<u64>,
    /// Wishes that retile works under; every other rule does what it wants, as often as it wants.
    pub policy: Policy,
    /// Steps of work that retile's planner may take for a plan.
    pub work_limit: u64,
    /// How the full repack packs empty GPUs.
    pub packer: Packer,
    /// Replays at a time, at least one.
    pub threads: usize,
}

/// One replay, as an engine gets it.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The GPUs with their first layouts.
    pub fleet: &'a FleetSpec,
    /// The work.
    pub workload: &'a Workload,
    /// Who proposes changes, made anew where the loop starts again.
    pub rule: RuleMaker,
    /// Time between two plans, in milliseconds.
    pub period: u64,
    /// How soon after a plan the next one may come when new demand has settled, in milliseconds; `None` to keep to the period.
    pub soonest: Option<u64>,
    /// Wishes that the loop works under.
    pub policy: &'a Policy,
    /// Seed.
    pub seed: u64,
}

/// Makes a rule's proposer, as often as needed.
#[derive(Debug, Clone)]
pub struct RuleMaker {
    rule: Rule,
    work_limit: u64,
    packer: Packer,
}

impl RuleMaker {
    /// Which rule it is.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// A new proposer.
    pub fn proposer(&self) -> Box<dyn Proposer> {
        self.rule.proposer(self.work_limit, &self.packer)
    }
}

/// Lives through a scene.
pub type Engine<'e> = dyn Fn(&Scene<'_>) -> Result<History, String> + Sync + 'e;

/// One replay that was lived through.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Who proposed.
    pub rule: Rule,
    /// Position of the case in [`Setup::cases`].
    pub case: usize,
    /// What happened.
    pub history: History,
    /// What it amounts to.
    pub figures: Figures,
}

/// All replays, case by case within rule by rule.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// The replays.
    pub replays: Vec<Replayed>,
}

impl Outcome {
    /// Replays of a rule, in the order of the cases.
    pub fn of(&self, rule: Rule) -> impl Iterator<Item = &Replayed> {
        self.replays.iter().filter(move |it| it.rule == rule)
    }
}

/// Why a replay failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the replay of {case} by {rule} stopped: {reason}", rule = .rule.name())]
pub struct ReplayError {
    /// Who proposed.
    pub rule: Rule,
    /// Label of the case.
    pub case: String,
    /// What happened.
    pub reason: String,
}

/// The instant cluster as an engine.
///
/// # Errors
/// Those of [`super::instant::run`].
pub fn instant(scene: &Scene<'_>) -> Result<History, String> {
    // Nothing has to settle where nothing takes time.
    let Scene { fleet, workload, rule, period, soonest: _, policy, seed: _ } = scene;
    let mut proposer = rule.proposer();
    super::instant::run(fleet, workload, proposer.as_mut(), *period, policy).map_err(|error| error.to_string())
}

/// Replays everything; `done` hears of each replay that is over, on the calling thread.
///
/// # Errors
/// The first failure, in the order of the setup.
pub fn run(setup: &Setup, engine: &Engine<'_>, done: &mut dyn FnMut()) -> Result<Outcome, ReplayError> {
    let jobs: Vec<(Rule, usize)> =
        setup.rules.iter().flat_map(|&rule| (0..setup.cases.len()).map(move |case| (rule, case))).collect();
    let mut results: Vec<Option<Result<Replayed, ReplayError>>> = jobs.iter().map(|_| None).collect();
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..setup.threads.clamp(1, jobs.len().max(1)) {
            let (sender, jobs, next) = (sender.clone(), &jobs, &next);
            scope.spawn(move || {
                while let Some(&(rule, case)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let index = jobs.iter().position(|job| *job == (rule, case));
                    let result = replay(setup, rule, case, engine);
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (index, result) in receiver {
            if let Some(slot) = index.and_then(|index| results.get_mut(index)) {
                *slot = Some(result);
            }
            done();
        }
    });
    let replays: Result<Vec<Replayed>, ReplayError> = results.into_iter().flatten().collect();
    Ok(Outcome { replays: replays? })
}

fn replay(setup: &Setup, rule: Rule, case: usize, engine: &Engine<'_>) -> Result<Replayed, ReplayError> {
    let of = &setup.cases[case];
    let fleet = setup.fleet.cut(rule.layouts(&setup.fleet, &of.workload));
    live(setup, rule, case, &fleet, engine)
}

fn live(
    setup: &Setup,
    rule: Rule,
    case: usize,
    fleet: &FleetSpec,
    engine: &Engine<'_>,
) -> Result<Replayed, ReplayError> {
    let of = &setup.cases[case];
    let policy = match rule.without() {
        Some(mechanisms) => {
            let mut policy = setup.policy.clone();
            for mechanism in mechanisms {
                mechanism.leave_out(&mut policy);
            }
            policy
        }
        None => Policy { mode: Mode::Act, ..Policy::unlimited() },
    };
    let scene = Scene {
        fleet,
        workload: &of.workload,
        rule: RuleMaker { rule, work_limit: setup.work_limit, packer: setup.packer.clone() },
        period: setup.period,
        soonest: setup.soonest,
        policy: &policy,
        seed: of.seed,
    };
    let history = engine(&scene).map_err(|reason| ReplayError { rule, case: of.label.clone(), reason })?;
    let figures = Figures::of(&history, &fleet.geometry);
    Ok(Replayed { rule, case, history, figures })
}

/// The fewest GPUs with which a rule is as good as required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needed {
    /// Number of GPUs; `None` when not even [`Target::most_gpus`] are enough.
    pub gpus: Option<u32>,
    /// Replays that were needed to find it.
    pub replays: u32,
}

/// What is required of a rule, on the mean over all cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Mean waiting time of all pods, in minutes.
    pub wait: f64,
    /// Part of the requested memory-slice-hours that may go elsewhere.
    pub burst_share: f64,
    /// Pods that may still wait at the end.
    pub waiting: f64,
    /// Most GPUs to try.
    pub most_gpus: u32,
}

impl Target {
    /// As good as a rule was, with as many as four times its GPUs to try.
    pub fn like(outcome: &Outcome, rule: Rule, gpus: u32) -> Self {
        let mean = |value: fn(&Figures) -> f64| {
            let all: Vec<f64> = outcome.of(rule).map(|it| value(&it.figures)).collect();
            super::figures::Spread::of(&all).mean
        };
        Self {
            wait: mean(|figures| figures.total_wait.mean),
            burst_share: mean(|figures| figures.burst_share),
            waiting: mean(|figures| figures.waiting as f64),
            most_gpus: gpus.saturating_mul(4).max(1),
        }
    }
}

/// Finds by bisection how few GPUs suffice for a rule, see [`needed_at_equal_wait`]: with that number and one more the target is met, with one
/// fewer it is not.
///
/// # Errors
/// A replay fails.
pub fn needed(setup: &Setup, rule: Rule, target: &Target, engine: &Engine<'_>) -> Result<Needed, ReplayError> {
    let mut replays = 0;
    let worse = |gpus: u64| -> Result<bool, ReplayError> {
        let gpus = u32::try_from(gpus).unwrap_or(u32::MAX);
        let fleet = FleetSpec { gpus, layouts: Vec::<Layout>::new(), ..setup.fleet.clone() };
        let with = Setup { fleet, rules: vec![rule], ..setup.clone() };
        let outcome = run(&with, engine, &mut || {})?;
        replays += outcome.replays.len() as u32;
        let now = Target::like(&outcome, rule, gpus);
        let slack = 1e-9;
        let more = [
            (now.wait, target.wait),
            (now.burst_share, target.burst_share),
            // What waits for ever has waited for no time yet where a replay ends at once.
            (now.waiting, target.waiting),
        ];
        Ok(more.into_iter().any(|(now, target)| now > target + slack))
    };
    let found = needed_at_equal_wait(1..=u64::from(target.most_gpus), &false, worse)?;
    Ok(Needed { gpus: found.gpus.and_then(|gpus| u32::try_from(gpus).ok()), replays })
}

#[cfg(test)]
mod tests;
