//! What a replay amounts to, computed from its history alone.
//!
//! Inputs: a [`History`] and the board of the fleet. Output: [`Figures`]; over several seeds, [`Spread`]s of each. Invariants: nothing but what
//! the history says is used; every share has its base beside it. Slices are counted twice, as memory slices (slots of the placement axis)
//! and as compute slices, since the one runs out without the other.
//!
//! Words: *allocated* is held by a pod. *Free* is not. While work waits, free slices are *stranded* when nothing that waits can stand on
//! them whatever idle instances gave way, because what is held is in the way; *miscut* when nothing that waits can use them as the GPUs are
//! cut now (so all that is stranded is miscut too). Free slices of a node under an operation are *lost to reconfiguration* instead: new pods
//! are kept off.

use std::collections::{BTreeMap, BTreeSet};

use super::fleet::compute_slices;
use crate::exec::Outcome;
use crate::model::{Geometry, Placement, ProfileId};
use crate::plan::PlannedInstance;
use crate::sim::{History, Record};

const HOUR: f64 = 3_600_000.0;

/// An amount in memory slices and in compute slices.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Slices {
    /// Memory slices.
    pub memory: f64,
    /// Compute slices.
    pub compute: f64,
}

impl Slices {
    fn of(geometry: &Geometry, id: ProfileId) -> Self {
        let profile = geometry.profile(id);
        Self { memory: f64::from(profile.size.unwrap_or(0)), compute: f64::from(profile.compute_slices) }
    }

    fn add(&mut self, other: Self, times: f64) {
        self.memory += other.memory * times;
        self.compute += other.compute * times;
    }

    fn less(self, other: Self) -> Self {
        Self { memory: self.memory - other.memory, compute: self.compute - other.compute }
    }
}

/// Times of waiting, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Waits {
    /// Work that is counted.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median: the least value that at least half do not exceed.
    pub p50: f64,
    /// The least value that at least 95 % do not exceed.
    pub p95: f64,
}

impl Waits {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let minutes = |time: u64| time as f64 / 60_000.0;
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0);
        let sum: f64 = times.iter().map(|&time| minutes(time)).sum();
        Self {
            count: times.len() as u64,
            mean: if times.is_empty() { 0.0 } else { sum / times.len() as f64 },
            p50: minutes(rank(50)),
            p95: minutes(rank(95)),
        }
    }
}

/// Everything that a table shows of one replay.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Figures {
    /// Hours that were replayed.
    pub hours: f64,
    /// Pods that arrived.
    pub arrived: u64,
    /// Pods that finished here, or still run at the end.
    pub served: u64,
    /// Pods that went elsewhere.
    pub burst: u64,
    /// Pods that wait at the end.
    pub waiting: u64,
    /// From arrival to the first start, of pods that started.
    pub first_wait: Waits,
    /// All waiting of all pods: also after evictions, and of those that went elsewhere until they did.
    pub total_wait: Waits,
    /// Slice-hours that were asked for: useful running time here, and what went elsewhere.
    pub requested: Slices,
    /// Slice-hours that went elsewhere.
    pub burst_hours: Slices,
    /// Part of the requested memory-slice-hours that went elsewhere.
    pub burst_share: f64,
    /// Slice-hours that the GPUs have.
    pub capacity: Slices,
    /// Slice-hours that pods held.
    pub allocated: Slices,
    /// Slice-hours stranded.
    pub stranded: Slices,
    /// Slice-hours miscut.
    pub miscut: Slices,
    /// Free slice-hours of nodes under operations.
    pub reconfiguring: Slices,
    /// Operations that ended as planned.
    pub operations: u64,
    /// Operations that ended otherwise.
    pub failed_operations: u64,
    /// Instances created.
    pub created: u64,
    /// Instances destroyed.
    pub destroyed: u64,
    /// Evictions.
    pub evictions: u64,
    /// Other stops: preempted, rejected by a node, lost with it.
    pub interruptions: u64,
    /// Evictions per 100 pods that arrived.
    pub moves_per_100: f64,
    /// Slice-hours of running time that evictions made be done again.
    pub evicted_work: Slices,
}

impl Figures {
    /// Sums up a history of a fleet of one board.
    pub fn of(history: &History, geometry: &Geometry) -> Self {
        let mut count = Count::new(geometry);
        for stamped in &history.records {
            count.pass_to(stamped.at);
            count.take(&stamped.record);
        }
        count.pass_to(history.end);
        count.figures()
    }

    /// The value of each figure that is compared, by name, in the order of reports.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("arrived", self.arrived as f64),
            ("served", self.served as f64),
            ("burst_pods", self.burst as f64),
            ("burst_share", self.burst_share),
            ("burst_memory_slice_hours", self.burst_hours.memory),
            ("burst_compute_slice_hours", self.burst_hours.compute),
            ("waiting_at_end", self.waiting as f64),
            ("first_wait_mean_minutes", self.first_wait.mean),
            ("first_wait_p50_minutes", self.first_wait.p50),
            ("first_wait_p95_minutes", self.first_wait.p95),
            ("total_wait_mean_minutes", self.total_wait.mean),
            ("total_wait_p50_minutes", self.total_wait.p50),
            ("total_wait_p95_minutes", self.total_wait.p95),
            ("requested_memory_slice_hours", self.requested.memory),
            ("requested_compute_slice_hours", self.requested.compute),
            ("capacity_memory_slice_hours", self.capacity.memory),
            ("capacity_compute_slice_hours", self.capacity.compute),
            ("allocated_memory_slice_hours", self.allocated.memory),
            ("allocated_compute_slice_hours", self.allocated.compute),
            ("stranded_memory_slice_hours", self.stranded.memory),
            ("stranded_compute_slice_hours", self.stranded.compute),
            ("miscut_memory_slice_hours", self.miscut.memory),
            ("miscut_compute_slice_hours", self.miscut.compute),
            ("reconfiguring_memory_slice_hours", self.reconfiguring.memory),
            ("reconfiguring_compute_slice_hours", self.reconfiguring.compute),
            ("operations", self.operations as f64),
            ("failed_operations", self.failed_operations as f64),
            ("instances_created", self.created as f64),
            ("instances_destroyed", self.destroyed as f64),
            ("evictions", self.evictions as f64),
            ("interruptions", self.interruptions as f64),
            ("moves_per_100_pods", self.moves_per_100),
            ("evicted_memory_slice_hours", self.evicted_work.memory),
            ("evicted_compute_slice_hours", self.evicted_work.compute),
        ]
    }
}

/// A figure over several seeds.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
    /// Standard deviation of the sample; 0 for a single value.
    pub deviation: f64,
}

impl Spread {
    /// Sums up values; all zero when there are none.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            mean,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            deviation: if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { 0.0 },
        }
    }
}

/// Spreads of every figure by name, in the order of [`Figures::named`].
pub fn spreads(runs: &[Figures]) -> Vec<(&'static str, Spread)> {
    let named: Vec<Vec<(&'static str, f64)>> = runs.iter().map(Figures::named).collect();
    let Some(first) = named.first() else { return Vec::new() };
    let column = |index: usize| named.iter().map(|run| run[index].1).collect::<Vec<f64>>();
    first.iter().enumerate().map(|(index, (name, _))| (*name, Spread::of(&column(index)))).collect()
}

/// Where a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting(u64),
    Running(u64),
    Finished,
    Elsewhere,
}

#[derive(Debug)]
struct Work {
    profiles: Vec<(ProfileId, u32)>,
    slices: Slices,
    arrived: u64,
    first_start: Option<u64>,
    waited: u64,
    ran: u64,
    lost: u64,
    state: State,
}

/// One GPU as it is now, with what its state means for what waits.
#[derive(Debug, Default)]
struct Gpu {
    instances: Vec<PlannedInstance>,
    held: Vec<Placement>,
    idle: Vec<Placement>,
}

/// The running count.
struct Count<'g> {
    geometry: &'g Geometry,
    whole: Slices,
    now: u64,
    works: BTreeMap<String, Work>,
    gpus: BTreeMap<(String, u32), Gpu>,
    /// Nodes under operations.
    busy: BTreeSet<String>,
    /// Waiting instances by profile.
    waiting: BTreeMap<ProfileId, u64>,
    /// Useless free slices of all GPUs as things are: stranded and miscut, allocated, reconfiguring; `None` after a change.
    rates: Option<Rates>,
    result: Figures,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    allocated: Slices,
    stranded: Slices,
    miscut: Slices,
    reconfiguring: Slices,
}

impl<'g> Count<'g> {
    fn new(geometry: &'g Geometry) -> Self {
        let whole = Slices { memory: f64::from(geometry.axis()), compute: f64::from(compute_slices(geometry)) };
        Self {
            geometry,
            whole,
            now: 0,
            works: BTreeMap::new(),
            gpus: BTreeMap::new(),
            busy: BTreeSet::new(),
            waiting: BTreeMap::new(),
            rates: None,
            result: Figures::default(),
        }
    }

    /// Lets time pass with everything as it is.
    fn pass_to(&mut self, at: u64) {
        let hours = at.saturating_sub(self.now) as f64 / HOUR;
        if hours > 0.0 {
            let rates = self.rates.unwrap_or_else(|| self.rates_now());
            self.rates = Some(rates);
            let Rates { allocated, stranded, miscut, reconfiguring } = rates;
            self.result.capacity.add(self.whole, hours * self.gpus.len() as f64);
            self.result.allocated.add(allocated, hours);
            self.result.stranded.add(stranded, hours);
            self.result.miscut.add(miscut, hours);
            self.result.reconfiguring.add(reconfiguring, hours);
        }
        self.now = self.now.max(at);
    }

    fn rates_now(&self) -> Rates {
        let mut rates = Rates::default();
        let waiting: Vec<ProfileId> = self.waiting.iter().filter(|(_, count)| **count > 0).map(|(&id, _)| id).collect();
        for ((node, _), gpu) in &self.gpus {
            let mut held = Slices::default();
            gpu.held.iter().for_each(|it| held.add(Slices::of(self.geometry, it.profile()), 1.0));
            rates.allocated.add(held, 1.0);
            let free = self.whole.less(held);
            if self.busy.contains(node) {
                rates.reconfiguring.add(free, 1.0);
            } else if !waiting.is_empty() {
                rates.stranded.add(free.less(usable(self.geometry, &gpu.held, &waiting)), 1.0);
                let mut fitting = Slices::default();
                let idle = gpu.idle.iter().filter(|it| waiting.contains(&it.profile()));
                idle.for_each(|it| fitting.add(Slices::of(self.geometry, it.profile()), 1.0));
                rates.miscut.add(free.less(fitting), 1.0);
            }
        }
        rates
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Arrived { work, instances } => self.arrived(work, instances),
            Record::Started { work, node: _ } => self.started(work),
            Record::Evicted { work, lost } => {
                self.result.evictions += 1;
                let slices = self.stopped(work, *lost);
                self.result.evicted_work.add(slices, *lost as f64 / HOUR);
            }
            Record::Interrupted { work, lost } => {
                self.result.interruptions += 1;
                self.stopped(work, *lost);
            }
            Record::Finished { work } => {
                let Some(it) = self.works.get_mut(work) else { return };
                if let State::Running(since) = it.state {
                    it.ran += self.now - since;
                }
                it.state = State::Finished;
                self.result.served += 1;
            }
            Record::Burst { work, reason: _, rest } => self.burst(work, *rest),
            Record::Gpu { node, index, model: _, instances } => self.gpu(node, *index, instances),
            Record::Claimed { node, operation: _, victims: _ } => {
                self.busy.insert(node.clone());
                self.rates = None;
            }
            Record::Ended { node, operation: _, outcome } => {
                self.busy.remove(node);
                self.rates = None;
                match outcome {
                    Outcome::Done => self.result.operations += 1,
                    Outcome::RolledBack | Outcome::Aborted | Outcome::NodeGone | Outcome::Degraded => {
                        self.result.failed_operations += 1;
                    }
                }
            }
            Record::Planned { served: _, unserved: _ } => {}
        }
    }

    fn arrived(&mut self, work: &str, instances: &BTreeMap<String, u32>) {
        let known = instances.iter().filter_map(|(name, &count)| Some((self.geometry.find(name)?, count)));
        let profiles: Vec<(ProfileId, u32)> = known.collect();
        let mut slices = Slices::default();
        for &(id, count) in &profiles {
            slices.add(Slices::of(self.geometry, id), f64::from(count));
        }
        self.result.arrived += 1;
        let state = State::Waiting(self.now);
        let one = Work { profiles, slices, arrived: self.now, first_start: None, waited: 0, ran: 0, lost: 0, state };
        self.works.insert(work.to_owned(), one);
        self.queue(work, true);
    }

    /// Lets work wait again, and says how many slices it has.
    fn stopped(&mut self, work: &str, lost: u64) -> Slices {
        let Some(it) = self.works.get_mut(work) else { return Slices::default() };
        it.lost += lost;
        let slices = it.slices;
        if let State::Running(since) = it.state {
            it.ran += self.now - since;
            it.state = State::Waiting(self.now);
            self.queue(work, true);
        }
        slices
    }

    fn started(&mut self, work: &str) {
        let Some(it) = self.works.get_mut(work) else { return };
        let State::Waiting(since) = it.state else { return };
        it.waited += self.now - since;
        it.first_start.get_or_insert(self.now);
        it.state = State::Running(self.now);
        self.queue(work, false);
    }

    fn burst(&mut self, work: &str, rest: u64) {
        let Some(it) = self.works.get_mut(work) else { return };
        let before = it.state;
        match before {
            State::Waiting(since) => it.waited += self.now - since,
            State::Running(since) => it.ran += self.now - since,
            State::Finished | State::Elsewhere => return,
        }
        it.state = State::Elsewhere;
        self.result.burst += 1;
        self.result.burst_hours.add(it.slices, rest as f64 / HOUR);
        if matches!(before, State::Waiting(_)) {
            self.queue(work, false);
        }
    }

    /// Counts the instances of a piece of work among what waits, or no longer.
    fn queue(&mut self, work: &str, waits: bool) {
        let Some(it) = self.works.get(work) else { return };
        for &(id, count) in &it.profiles {
            let entry = self.waiting.entry(id).or_default();
            let was = *entry > 0;
            *entry = if waits { *entry + u64::from(count) } else { entry.saturating_sub(u64::from(count)) };
            if was != (*entry > 0) {
                self.rates = None;
            }
        }
    }

    fn gpu(&mut self, node: &str, index: u32, instances: &[PlannedInstance]) {
        let place = |it: &PlannedInstance| self.geometry.place(self.geometry.find(&it.profile)?, it.start).ok();
        let (held, idle): (Vec<&PlannedInstance>, Vec<&PlannedInstance>) =
            instances.iter().partition(|it| !it.pods.is_empty() || it.occupancy_unknown);
        let held = held.into_iter().filter_map(place).collect();
        let idle = idle.into_iter().filter_map(place).collect();
        let new = Gpu { instances: instances.to_vec(), held, idle };
        if let Some(old) = self.gpus.insert((node.to_owned(), index), new) {
            let spots = |all: &[PlannedInstance]| -> BTreeSet<(u8, u8, String)> {
                all.iter().map(|it| (it.start, it.size, it.profile.clone())).collect()
            };
            let (old, new) = (spots(&old.instances), spots(instances));
            self.result.created += new.difference(&old).count() as u64;
            self.result.destroyed += old.difference(&new).count() as u64;
        }
        self.rates = None;
    }

    fn figures(mut self) -> Figures {
        let mut first = Vec::new();
        let mut total = Vec::new();
        for work in self.works.values() {
            let Work { profiles: _, slices, arrived, first_start, waited, ran, lost, state } = work;
            let (mut waited, mut ran) = (*waited, *ran);
            match state {
                State::Waiting(since) => {
                    waited += self.now - since;
                    self.result.waiting += 1;
                }
                State::Running(since) => {
                    ran += self.now - since;
                    self.result.served += 1;
                }
                State::Finished | State::Elsewhere => {}
            }
            first.extend(first_start.map(|start| start - arrived));
            total.push(waited);
            self.result.requested.add(*slices, ran.saturating_sub(*lost) as f64 / HOUR);
        }
        let mut result = self.result;
        result.hours = self.now as f64 / HOUR;
        result.first_wait = Waits::of(first);
        result.total_wait = Waits::of(total);
        result.requested.add(result.burst_hours, 1.0);
        result.burst_share = part(result.burst_hours.memory, result.requested.memory);
        result.moves_per_100 = part(result.evictions as f64 * 100.0, result.arrived as f64);
        result
    }
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 { of / whole } else { 0.0 }
}

/// The most slices that any number of instances of some profiles can take up beside what is held: memory and compute each for itself.
fn usable(geometry: &Geometry, held: &[Placement], profiles: &[ProfileId]) -> Slices {
    // Best of the slots up to each position; instances are intervals, so one pass from left to right is enough. Limits on numbers and media
    // engines are left aside, which can only call too little stranded.
    let places: Vec<Placement> = geometry
        .placements()
        .filter(|it| profiles.contains(&it.profile()) && held.iter().all(|other| !other.overlaps(*it)))
        .collect();
    let mut best = vec![Slices::default(); usize::from(geometry.axis()) + 1];
    for end in 1..best.len() {
        best[end] = best[end - 1];
        for place in places.iter().filter(|place| usize::from(place.end()) == end) {
            let mut with = best[usize::from(place.start())];
            with.add(Slices::of(geometry, place.profile()), 1.0);
            best[end].memory = best[end].memory.max(with.memory);
            best[end].compute = best[end].compute.max(with.compute);
        }
    }
    best.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
