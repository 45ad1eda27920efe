//! The books of one GPU model: what is needed, what would have been needed otherwise, for how long.
//!
//! Input: what is asked at each moment. Invariants: a state counts only for the time that it lasted, so that what comes and goes in the
//! same moment leaves no trace, and observing an unchanged state any number of times changes nothing; time is only ever added.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::need::{Demand, Need};
use super::{COUNTERFACTUALS, Counterfactual, Instances, ModelState, SavingsError, deferred};
use crate::model::Geometry;

/// GPUs needed, by retile and under each counterfactual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Needs {
    /// With layouts that follow the demand.
    pub(super) dynamic: u64,
    /// Without, in the order of [`Counterfactual::ALL`].
    pub(super) otherwise: [u64; COUNTERFACTUALS],
}

impl Needs {
    /// Purchases put off under each counterfactual, by the owner of so many GPUs.
    pub(super) fn deferred(&self, owned: u64) -> [u64; COUNTERFACTUALS] {
        self.otherwise.map(|needed| deferred(needed, self.dynamic, owned))
    }
}

/// Work that went elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct BurstTime {
    /// Pods.
    pub(super) pods: u64,
    /// Time of whole GPUs, in milliseconds.
    pub(super) gpu_ms: u128,
}

/// How long each value lasted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Histogram(BTreeMap<u64, u128>);

impl Histogram {
    fn add(&mut self, value: u64, ms: u64) {
        *self.0.entry(value).or_default() += u128::from(ms);
    }

    /// The least value that is not exceeded for `permille` of the time `total`; time without any entry counts as 0.
    fn at(&self, permille: u16, total: u128) -> u64 {
        let noted: u128 = self.0.values().sum();
        let mut covered = total.saturating_sub(noted);
        let enough = |covered: u128| covered * 1000 >= total * u128::from(permille);
        if enough(covered) {
            return 0;
        }
        for (&value, &ms) in &self.0 {
            covered += ms;
            if enough(covered) {
                return value;
            }
        }
        self.0.keys().next_back().copied().unwrap_or(0)
    }
}

/// The GPUs that are there, with the layout that each had in the first state with it that lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) layouts: BTreeMap<String, Instances>,
    /// Their instances together.
    pub(super) offered: Demand,
}

/// The state that lasts now.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) base: Arc<Base>,
    demand: Demand,
    dynamic: u64,
    whole: u64,
    waiting: u64,
}

/// The books.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) need: Need,
    pub(super) now: Now,
    /// The GPUs of the last state that lasted.
    seen: Arc<Base>,
    /// Most instances asked for at once, by profile.
    pub(super) peaks: Demand,
    pub(super) most_dynamic: u64,
    pub(super) most_whole: u64,
    /// Largest fleet seen.
    pub(super) owned: u64,
    /// Total time, in milliseconds.
    pub(super) elapsed: u128,
    pub(super) deferred_ms: [u128; COUNTERFACTUALS],
    dynamic_times: Histogram,
    whole_times: Histogram,
    profile_times: Vec<Histogram>,
    burst: BurstTime,
    /// Time that pods have waited, in milliseconds.
    waited: u128,
    /// The needs of the peaks on the layouts that were there first; `None` when one of them has changed.
    pub(super) known: Option<Needs>,
    /// GPUs and the instances of their first layouts as another process kept them, until a state is seen.
    pub(super) first: Option<(u64, Demand)>,
    /// What first layouts have, beyond those that are known by GPU; empty where that is nothing.
    beyond: Vec<i64>,
}

impl Account {
    /// Empty books.
    pub(super) fn new(model: &str, geometry: Arc<Geometry>) -> Self {
        let need = Need::new(model, geometry);
        let nothing = need.nothing();
        let base = Arc::new(Base { layouts: BTreeMap::new(), offered: nothing.clone() });
        Self {
            now: Now { base: Arc::clone(&base), demand: nothing.clone(), dynamic: 0, whole: 0, waiting: 0 },
            seen: base,
            profile_times: vec![Histogram::default(); nothing.len()],
            peaks: nothing,
            most_dynamic: 0,
            most_whole: 0,
            owned: 0,
            elapsed: 0,
            deferred_ms: [0; COUNTERFACTUALS],
            dynamic_times: Histogram::default(),
            whole_times: Histogram::default(),
            burst: BurstTime::default(),
            waited: 0,
            known: Some(Needs::default()),
            first: None,
            beyond: Vec::new(),
            need,
        }
    }

    /// Checks whether instances can be counted.
    pub(super) fn check(&mut self, instances: &Instances) -> Result<(), SavingsError> {
        let mut demand = self.need.nothing();
        self.need.add(&mut demand, instances, 1)?;
        self.need.gpus(&demand).map(|_| ())
    }

    /// Checks a state and counts it; the books stay as they are. `later`: whether the state before it lasted at all.
    pub(super) fn prepare(&mut self, state: &ModelState, later: bool) -> Result<Now, SavingsError> {
        let mut demand = self.need.nothing();
        let mut whole = 0_u64;
        for (instances, pods) in state.pods() {
            self.need.add(&mut demand, instances, pods)?;
            let mut one = self.need.nothing();
            self.need.add(&mut one, instances, 1)?;
            let gpus = self.need.gpus(&one)?.checked_mul(pods).and_then(|gpus| whole.checked_add(gpus));
            whole = gpus.ok_or_else(|| self.need.too_many())?;
        }
        let base = self.base(&state.gpus, later)?;
        let base = self.resumed(base);
        let dynamic = self.need.gpus(&demand)?;
        let waiting = state.pending.values().fold(0, |sum: u64, &pods| sum.saturating_add(pods));
        Ok(Now { base, demand, dynamic, whole, waiting })
    }

    /// Some GPUs in the layouts in which they were first seen.
    fn base(&self, gpus: &BTreeMap<String, Instances>, later: bool) -> Result<Arc<Base>, SavingsError> {
        let seen = if later { &self.now.base } else { &self.seen };
        if seen.layouts.len() == gpus.len() && seen.layouts.keys().eq(gpus.keys()) {
            return Ok(Arc::clone(seen));
        }
        let first = |(name, cut): (&String, &Instances)| (name.clone(), seen.layouts.get(name).unwrap_or(cut).clone());
        let layouts: BTreeMap<String, Instances> = gpus.iter().map(first).collect();
        let mut offered = self.need.nothing();
        for instances in layouts.values() {
            self.need.add(&mut offered, instances, 1)?;
        }
        Ok(Arc::new(Base { layouts, offered: with(offered, &self.beyond) }))
    }

    /// The first state that is seen after the books were taken over: its GPUs have the first layouts that were kept.
    fn resumed(&mut self, base: Arc<Base>) -> Arc<Base> {
        let beyond = self.beyond(base.layouts.len() as u64, &base.offered);
        self.first = None;
        match beyond {
            Some(beyond) => {
                let offered = with(base.offered.clone(), &beyond);
                self.beyond = beyond;
                Arc::new(Base { layouts: base.layouts.clone(), offered })
            }
            None => base,
        }
    }

    /// The state that lasts now has lasted so much longer.
    pub(super) fn pass(&mut self, ms: u64) -> Result<(), SavingsError> {
        if ms == 0 {
            return Ok(());
        }
        self.seen = Arc::clone(&self.now.base);
        for (peak, &now) in self.peaks.iter_mut().zip(&self.now.demand) {
            if now > *peak {
                (*peak, self.known) = (now, None);
            }
        }
        if self.now.dynamic > self.most_dynamic || self.now.whole > self.most_whole {
            self.known = None;
        }
        self.most_dynamic = self.most_dynamic.max(self.now.dynamic);
        self.most_whole = self.most_whole.max(self.now.whole);
        self.owned = self.owned.max(self.now.base.layouts.len() as u64);
        let needs = if let Some(needs) = self.known {
            needs
        } else {
            let peaks = self.peaks.clone();
            self.needs_of(&peaks, self.most_dynamic, self.most_whole)?
        };
        self.known = Some(needs);
        self.elapsed += u128::from(ms);
        self.waited += u128::from(self.now.waiting) * u128::from(ms);
        for (sum, gpus) in self.deferred_ms.iter_mut().zip(needs.deferred(self.owned)) {
            *sum += u128::from(gpus) * u128::from(ms);
        }
        self.dynamic_times.add(self.now.dynamic, ms);
        self.whole_times.add(self.now.whole, ms);
        for (times, &count) in self.profile_times.iter_mut().zip(&self.now.demand) {
            if count > 0 {
                times.add(count, ms);
            }
        }
        Ok(())
    }

    /// A prepared state begins.
    pub(super) fn begin(&mut self, now: Now) {
        if now.base != self.now.base {
            self.known = None;
        }
        self.now = now;
    }

    /// Work that still needed some time went elsewhere.
    pub(super) fn burst(&mut self, instances: &Instances, rest_ms: u64) -> Result<(), SavingsError> {
        let gpu_ms = self.need.share(instances, rest_ms)?;
        self.burst.pods += 1;
        self.burst.gpu_ms += gpu_ms;
        Ok(())
    }

    /// What some peaks need, however they came about.
    fn needs_of(&mut self, peaks: &Demand, dynamic: u64, whole: u64) -> Result<Needs, SavingsError> {
        let short: Demand =
            peaks.iter().zip(&self.now.base.offered).map(|(peak, have)| peak.saturating_sub(*have)).collect();
        let current = (self.now.base.layouts.len() as u64).saturating_add(self.need.gpus(&short)?);
        let best = self.need.gpus(peaks)?;
        let of = |counterfactual| match counterfactual {
            Counterfactual::CurrentLayout => current,
            Counterfactual::BestStatic => best,
            Counterfactual::WholeGpu => whole,
        };
        Ok(Needs { dynamic, otherwise: Counterfactual::ALL.map(of) })
    }

    /// What the highest demand so far needs.
    pub(super) fn needs(&self) -> Result<Needs, SavingsError> {
        match self.known {
            Some(needs) => Ok(needs),
            None => self.clone().needs_of(&self.peaks, self.most_dynamic, self.most_whole),
        }
    }

    /// What is needed when peaks may be left out that last no longer than the rest of `permille` of the time: for every profile alone where
    /// layouts are fixed, which asks less of them than of layouts that follow the demand.
    pub(super) fn needs_at(&self, permille: u16) -> Result<Needs, SavingsError> {
        let at = |times: &Histogram| times.at(permille, self.elapsed);
        let peaks: Demand = self.profile_times.iter().map(at).collect();
        self.clone().needs_of(&peaks, at(&self.dynamic_times), at(&self.whole_times))
    }

    /// GPUs there now.
    pub(super) fn fleet(&self) -> u64 {
        self.now.base.layouts.len() as u64
    }

    /// Largest fleet so far.
    pub(super) fn owned(&self) -> u64 {
        self.owned
    }

    /// Milliseconds of GPUs not bought, per counterfactual.
    pub(super) fn deferred_ms(&self) -> [u128; COUNTERFACTUALS] {
        self.deferred_ms
    }

    /// Time that pods have waited, in milliseconds.
    pub(super) fn waited_ms(&self) -> u128 {
        self.waited
    }

    /// Work that went elsewhere.
    pub(super) fn burst_time(&self) -> BurstTime {
        self.burst
    }
}

/// A demand and so much more, or less, of each profile.
fn with(mut demand: Demand, beyond: &[i64]) -> Demand {
    for (count, &more) in demand.iter_mut().zip(beyond) {
        *count = count.saturating_add_signed(more);
    }
    demand
}
