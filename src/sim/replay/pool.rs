//! What a pool of slices without geometry would do: how near a replay can come to serving everything, whoever plans.
//!
//! Inputs: a [`FleetSpec`] and a [`Workload`]. Output: [`Pooled`], the part of the requested memory-slice-hours that goes elsewhere and the
//! mean wait. The pool has the compute and the memory slices of all GPUs together. Work takes any of them, anywhere, at the very moment it
//! arrives or others end; there are no places, no nodes, no layouts, no loop and no moves. What is left is what every rule has to live with:
//! work that runs where it has begun, arrivals and running times that nobody knows beforehand, and an order in which what waits is served.
//!
//! [`bound`](super::bound) is proven and for planners that know the future; this is replayed and for those that do not. Orders are tried from
//! "whatever fits" to "strictly by age" and the best is told, per workload. Invariants: the same inputs give the same outcome; figures come
//! from the same count as those of the rules.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::figures::Figures;
use super::fleet::FleetSpec;
use crate::sim::{Arrival, BurstReason, History, Record, Stamped, Workload};

/// From which part of its patience on, in quarters, work that does not fit holds back what is younger; with four it has left by then.
const HOLDS: [u64; 4] = [0, 2, 3, 4];

/// What the pool does with a workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pooled {
    /// Part of the requested memory-slice-hours that goes elsewhere, 0 to 1.
    pub elsewhere: f64,
    /// Mean waiting time of all pods, in minutes.
    pub wait: f64,
}

/// Replays a workload in the pool of a fleet's slices, in the order that sends least elsewhere.
pub fn pooled(fleet: &FleetSpec, workload: &Workload) -> Pooled {
    let in_order = |hold: &u64| {
        let figures = Figures::of(&Pool::new(fleet, workload, *hold).run(), &fleet.geometry);
        Pooled { elsewhere: figures.burst_share, wait: figures.total_wait.mean }
    };
    let all = HOLDS.iter().map(in_order);
    let best = all.min_by(|a, b| a.elsewhere.total_cmp(&b.elsewhere).then(a.wait.total_cmp(&b.wait)));
    best.unwrap_or(Pooled { elsewhere: 0.0, wait: 0.0 })
}

/// Slices, compute and memory.
type Slices = (u64, u64);

/// What happens, in the order in which it counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    End,
    Arrival,
    /// The patience of a piece of work is over.
    Leaves,
}

struct Pool<'w> {
    workload: &'w Workload,
    takes: Vec<Slices>,
    whole: Slices,
    free: Slices,
    hold: u64,
    /// What waits, in the order of service: priority, arrival.
    queue: BTreeSet<(Reverse<i32>, u64, usize)>,
    events: BTreeSet<(u64, Event, usize)>,
    history: History,
}

impl<'w> Pool<'w> {
    fn new(fleet: &FleetSpec, workload: &'w Workload, hold: u64) -> Self {
        let takes = |arrival: &Arrival| {
            let known = arrival.instances.iter().filter_map(|(name, &count)| Some((fleet.geometry.find(name)?, count)));
            known.fold((0, 0), |(compute, memory), (id, count)| {
                let profile = fleet.geometry.profile(id);
                let of = |slices: u8| u64::from(slices) * u64::from(count);
                (compute + of(profile.compute_slices), memory + of(profile.size.unwrap_or(0)))
            })
        };
        let gpus = u64::from(fleet.gpus);
        let whole = (gpus * u64::from(fleet.compute_slices()), gpus * u64::from(fleet.memory_slices()));
        let arrivals = workload.arrivals.iter().enumerate().map(|(work, it)| (it.at, Event::Arrival, work));
        Self {
            workload,
            takes: workload.arrivals.iter().map(takes).collect(),
            whole,
            free: whole,
            hold,
            queue: BTreeSet::new(),
            events: arrivals.collect(),
            history: History::default(),
        }
    }

    fn run(mut self) -> History {
        while let Some((now, event, work)) = self.events.pop_first() {
            let arrival = &self.workload.arrivals[work];
            let waits = (Reverse(arrival.priority), arrival.at, work);
            match event {
                Event::End => {
                    self.free.0 += self.takes[work].0;
                    self.free.1 += self.takes[work].1;
                    self.note(now, Record::Finished { work: arrival.name.clone() });
                }
                Event::Arrival => {
                    self.note(
                        now,
                        Record::Arrived { work: arrival.name.clone(), instances: arrival.instances.clone() },
                    );
                    self.queue.insert(waits);
                    if let Some(patience) = arrival.patience {
                        self.events.insert((now.saturating_add(patience), Event::Leaves, work));
                    }
                }
                Event::Leaves => {
                    // What can begin at the very last moment does.
                    self.serve(now);
                    if self.queue.remove(&waits) {
                        let (work, rest) = (arrival.name.clone(), arrival.runs);
                        self.note(now, Record::Burst { work, reason: BurstReason::OutOfPatience, rest });
                    }
                }
            }
            // Whatever else happens at this moment comes first.
            if self.events.first().is_none_or(|&(next, _, _)| next > now) {
                self.serve(now);
            }
            self.history.end = now;
        }
        self.history
    }

    fn held_from(&self, patience: u64) -> u64 {
        (u128::from(patience) * u128::from(self.hold) / 4) as u64
    }

    /// Starts what fits, in order; younger work passes older only while that does not hold it back.
    fn serve(&mut self, now: u64) {
        for key in self.queue.clone() {
            let (_, at, work) = key;
            let (takes, arrival) = (self.takes[work], &self.workload.arrivals[work]);
            if takes.0 <= self.free.0 && takes.1 <= self.free.1 {
                self.free = (self.free.0 - takes.0, self.free.1 - takes.1);
                self.queue.remove(&key);
                self.events.insert((now.saturating_add(arrival.runs), Event::End, work));
                self.note(now, Record::Started { work: arrival.name.clone(), node: String::new() });
                continue;
            }
            let ever = takes.0 <= self.whole.0 && takes.1 <= self.whole.1;
            let holds = arrival.patience.is_some_and(|patience| now - at >= self.held_from(patience));
            if ever && holds {
                break;
            }
        }
    }

    fn note(&mut self, at: u64, record: Record) {
        self.history.records.push(Stamped { at, record });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Kind;
    use crate::sim::replay::bound::least_elsewhere;
    use crate::sim::replay::fleet::parse_gpus;
    use crate::sim::replay::generate::{Mix, Recipe};

    const HOUR: u64 = 3_600_000;

    fn fleet(text: &str) -> FleetSpec {
        let (gpus, geometry) = parse_gpus(text).expect("a fleet");
        FleetSpec::new(geometry, gpus, 4)
    }

    fn work(name: &str, at: u64, profile: &str, hours: u64) -> Arrival {
        Arrival {
            at,
            name: name.into(),
            instances: [(profile.to_owned(), 1)].into(),
            runs: hours * HOUR,
            priority: 0,
            kind: Kind::Service,
            patience: Some(2 * HOUR),
        }
    }

    #[test]
    fn slices_are_taken_wherever_they_are_and_given_back() {
        // Two of 4g.40gb have no places on one board, but eight compute slices are too many for the pool as well.
        let two = Workload { arrivals: vec![work("a", 0, "4g.40gb", 1), work("b", 0, "4g.40gb", 1)] };
        let Pooled { elsewhere, wait } = pooled(&fleet("1xA100-80GB"), &two);
        assert!(elsewhere.abs() < 1e-9 && (wait - 30.0).abs() < 1e-9, "{elsewhere} {wait}");
        let both = pooled(&fleet("2xA100-80GB"), &two);
        assert!(both.wait.abs() < 1e-9, "{both:?}");
    }

    #[test]
    fn what_fits_at_the_last_moment_of_its_patience_is_served() {
        let at_once = Arrival { patience: Some(0), ..work("a", 0, "7g.80gb", 2) };
        let then = work("b", 0, "7g.80gb", 1);
        let Pooled { elsewhere, wait } = pooled(&fleet("1xA100-80GB"), &Workload { arrivals: vec![at_once, then] });
        assert!(elsewhere.abs() < 1e-9 && (wait - 60.0).abs() < 1e-9, "{elsewhere} {wait}");
    }

    #[test]
    fn large_work_does_not_starve_in_the_best_order() {
        // 1g.10gb come and go so that there is never room for a whole GPU at once, unless they are held back for it.
        let mut arrivals = vec![work("s0", 0, "1g.10gb", 1), work("whole", 1, "7g.80gb", 4)];
        arrivals.extend((1..12).map(|index| work(&format!("s{index}"), index * HOUR / 2, "1g.10gb", 1)));
        let workload = Workload { arrivals };
        assert!(pooled(&fleet("1xA100-80GB"), &workload).elsewhere < 0.5);
        let never = Figures::of(&Pool::new(&fleet("1xA100-80GB"), &workload, 4).run(), &fleet("1xA100-80GB").geometry);
        assert!(never.burst_share > 0.5, "the whole GPU goes elsewhere where nobody is held back: {never:?}");
    }

    #[test]
    fn what_is_larger_than_the_pool_goes_and_holds_nobody_back() {
        let mut large = work("large", 0, "7g.80gb", 1);
        large.instances = [("7g.80gb".to_owned(), 2)].into();
        let workload = Workload { arrivals: vec![large, work("small", 1, "1g.10gb", 1)] };
        let Pooled { elsewhere, wait } = pooled(&fleet("1xA100-80GB"), &workload);
        assert!((elsewhere - 16.0 / 17.0).abs() < 1e-9 && (wait - 60.0).abs() < 1e-9, "{elsewhere} {wait}");
    }

    #[test]
    fn the_proven_bound_is_below_it() {
        let fleet = fleet("2xA100-80GB");
        for mix in Mix::ALL {
            let workload = Recipe::new(mix, 1.6, 12 * HOUR).generate(&fleet, 3);
            let (bound, pool) = (least_elsewhere(&fleet, &workload), pooled(&fleet, &workload).elsewhere);
            assert!(bound > 0.0 && bound <= pool + 1e-9 && pool < 1.0, "{mix:?}: {bound} {pool}");
        }
    }
}
