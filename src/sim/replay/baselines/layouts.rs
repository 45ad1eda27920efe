//! Layouts that are cut once and stay: for the mix as it is known, and the best in hindsight.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::{Enumeration, Geometry, Layout, ProfileId};
use crate::sim::Workload;
use crate::sim::replay::fleet::FleetSpec;

/// Layouts for a known mix: the supply of every profile over its mean demand is as even as can be, the scarcest first (max-min).
///
/// The mean demand is that of the workload: instances times running time. A profile that is never asked for gets nothing.
pub fn balanced(fleet: &FleetSpec, workload: &Workload) -> Vec<Layout> {
    let demand = demand(fleet, workload);
    let profiles: Vec<ProfileId> = demand.keys().copied().collect();
    let weights: Vec<f64> = demand.values().map(|jobs| jobs.iter().map(Job::work).sum()).collect();
    let cost = |supply: &[u64]| -> Vec<f64> {
        let mut ratios: Vec<f64> =
            supply.iter().zip(&weights).map(|(&supply, weight)| -(supply as f64) / weight).collect();
        ratios.sort_by(|a, b| b.total_cmp(a));
        ratios
    };
    search(&fleet.geometry, &profiles, fleet.gpus, &cost)
}

/// The best fixed layouts in hindsight that exchanges of up to two GPUs find: least work sent elsewhere, then least waiting.
///
/// With fixed layouts the profiles do not compete, so each is a queue of its own, replayed exactly: the scheduler starts what fits in order
/// of priority and arrival, and what runs out of patience leaves. Work that needs several instances counts for each of its profiles; nodes
/// are not told apart.
pub fn hindsight(fleet: &FleetSpec, workload: &Workload) -> Vec<Layout> {
    let demand = demand(fleet, workload);
    let profiles: Vec<ProfileId> = demand.keys().copied().collect();
    let sizes: Vec<f64> = profiles.iter().map(|&id| f64::from(fleet.geometry.profile(id).size.unwrap_or(0))).collect();
    let jobs: Vec<&Vec<Job>> = demand.values().collect();
    let known: RefCell<BTreeMap<(usize, u64), Queue>> = RefCell::new(BTreeMap::new());
    let queue = |profile: usize, servers: u64| {
        *known.borrow_mut().entry((profile, servers)).or_insert_with(|| replay(jobs[profile], servers))
    };
    let cost = |supply: &[u64]| -> Vec<f64> {
        let queues: Vec<Queue> = supply.iter().enumerate().map(|(profile, &count)| queue(profile, count)).collect();
        let sum = |part: fn(&Queue) -> u64| queues.iter().zip(&sizes).map(|(it, size)| part(it) as f64 * size).sum();
        vec![sum(|queue| queue.burst), sum(|queue| queue.wait)]
    };
    search(&fleet.geometry, &profiles, fleet.gpus, &cost)
}

/// Work of one profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Job {
    at: u64,
    priority: i32,
    instances: u64,
    runs: u64,
    patience: Option<u64>,
}

impl Job {
    fn work(&self) -> f64 {
        self.instances as f64 * self.runs as f64
    }
}

/// The work of each profile of the board that is asked for, in order of arrival.
fn demand(fleet: &FleetSpec, workload: &Workload) -> BTreeMap<ProfileId, Vec<Job>> {
    let mut demand: BTreeMap<ProfileId, Vec<Job>> = BTreeMap::new();
    for arrival in &workload.arrivals {
        for (profile, &count) in &arrival.instances {
            let Some(id) = fleet.geometry.find(profile).filter(|&id| fleet.geometry.profile(id).placeable()) else {
                continue;
            };
            demand.entry(id).or_default().push(Job {
                at: arrival.at,
                priority: arrival.priority,
                instances: u64::from(count),
                runs: arrival.runs,
                patience: arrival.patience,
            });
        }
    }
    demand
}

/// What becomes of a queue: instance-milliseconds sent elsewhere, and waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queue {
    burst: u64,
    wait: u64,
}

/// Replays a queue with a number of instances.
fn replay(jobs: &[Job], servers: u64) -> Queue {
    let mut result = Queue { burst: 0, wait: 0 };
    let mut free = servers;
    let mut ends: BinaryHeap<std::cmp::Reverse<(u64, u64)>> = BinaryHeap::new();
    // By priority and arrival; the scheduler takes whatever fits in this order.
    let mut waiting: BTreeMap<(std::cmp::Reverse<i32>, u64, usize), Job> = BTreeMap::new();
    let mut next = 0;
    while next < jobs.len() || !waiting.is_empty() {
        let arrival = jobs.get(next).map(|job| job.at);
        let end = ends.peek().map(|std::cmp::Reverse((at, _))| *at);
        let Some(now) = [arrival, end].into_iter().flatten().min() else {
            // Nothing will come free any more: what waits is too large, or there are no instances at all.
            for job in waiting.values() {
                let waits = job.patience.unwrap_or(0);
                result.burst = result.burst.saturating_add(job.instances.saturating_mul(job.runs));
                result.wait = result.wait.saturating_add(job.instances.saturating_mul(waits));
            }
            break;
        };
        while let Some(&std::cmp::Reverse((at, instances))) = ends.peek() {
            if at > now {
                break;
            }
            free += instances;
            ends.pop();
        }
        while let Some(job) = jobs.get(next).filter(|job| job.at <= now) {
            waiting.insert((std::cmp::Reverse(job.priority), job.at, next), *job);
            next += 1;
        }
        waiting.retain(|_, job| {
            let patience = job.patience.unwrap_or(u64::MAX);
            let waited = now - job.at;
            if waited > patience {
                result.burst = result.burst.saturating_add(job.instances.saturating_mul(job.runs));
                result.wait = result.wait.saturating_add(job.instances.saturating_mul(patience));
                return false;
            }
            if job.instances > free {
                return true;
            }
            free -= job.instances;
            ends.push(std::cmp::Reverse((now + job.runs, job.instances)));
            result.wait = result.wait.saturating_add(job.instances.saturating_mul(waited));
            false
        });
    }
    result
}

/// Layouts for a number of GPUs that keep a cost low, found by adding GPUs one by one and then exchanging up to two at a time while that
/// lowers the cost. The cost is compared number by number; it depends on the supply of each profile alone.
fn search(geometry: &Geometry, profiles: &[ProfileId], gpus: u32, cost: &dyn Fn(&[u64]) -> Vec<f64>) -> Vec<Layout> {
    let all = Enumeration::new(geometry, profiles);
    let patterns: Vec<(Vec<u64>, Layout)> = all
        .pareto()
        .into_iter()
        .map(|(multiset, layout)| (profiles.iter().map(|&id| u64::from(multiset.count(id))).collect(), layout.clone()))
        .collect();
    let mut supply = vec![0_u64; profiles.len()];
    let mut counts = vec![0_u32; patterns.len()];
    let moved = |supply: &[u64], out: &[usize], into: &[usize]| -> Vec<u64> {
        let mut supply = supply.to_vec();
        for (profile, count) in supply.iter_mut().enumerate() {
            *count += into.iter().map(|&it| patterns[it].0[profile]).sum::<u64>();
            *count -= out.iter().map(|&it| patterns[it].0[profile]).sum::<u64>();
        }
        supply
    };
    for _ in 0..gpus {
        let best = (0..patterns.len())
            .min_by(|&a, &b| lower(&cost(&moved(&supply, &[], &[a])), &cost(&moved(&supply, &[], &[b]))));
        let Some(best) = best else { return Vec::new() };
        supply = moved(&supply, &[], &[best]);
        counts[best] += 1;
    }
    let pairs = |from: Vec<usize>| -> Vec<Vec<usize>> {
        let two = from.iter().enumerate().flat_map(|(at, &a)| from[at..].iter().map(move |&b| vec![a, b]));
        from.iter().map(|&one| vec![one]).chain(two).collect()
    };
    let mut present = cost(&supply);
    loop {
        let used: Vec<usize> = (0..patterns.len()).filter(|&it| counts[it] > 0).collect();
        let mut better = None;
        for out in pairs(used).into_iter().filter(|out| out.len() < 2 || out[0] != out[1] || counts[out[0]] > 1) {
            for into in pairs((0..patterns.len()).collect()).into_iter().filter(|into| into.len() == out.len()) {
                let price = cost(&moved(&supply, &out, &into));
                if lower(&price, &present) == Ordering::Less {
                    present = price;
                    better = Some((out.clone(), into));
                }
            }
        }
        let Some((out, into)) = better else { break };
        supply = moved(&supply, &out, &into);
        for it in out {
            counts[it] -= 1;
        }
        for it in into {
            counts[it] += 1;
        }
    }
    let layouts = patterns.iter().zip(&counts);
    layouts.flat_map(|((_, layout), &count)| std::iter::repeat_n(layout.clone(), count as usize)).collect()
}

fn lower(a: &[f64], b: &[f64]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::replay::fleet::parse_gpus;
    use crate::sim::{Arrival, Kind};

    fn fleet(text: &str) -> FleetSpec {
        let (gpus, geometry) = parse_gpus(text).expect("a fleet");
        FleetSpec::new(geometry, gpus, 8)
    }

    fn work(items: &[(u64, &str, u64)]) -> Workload {
        let arrival = |(index, &(at, profile, runs)): (usize, &(u64, &str, u64))| Arrival {
            at,
            name: format!("w{index}"),
            instances: BTreeMap::from([(profile.to_owned(), 1)]),
            runs,
            priority: 0,
            kind: Kind::Job,
            patience: Some(10),
        };
        Workload { arrivals: items.iter().enumerate().map(arrival).collect() }
    }

    fn names(fleet: &FleetSpec, layouts: &[Layout]) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = layouts
            .iter()
            .map(|layout| {
                let placements = layout.placements().iter();
                let mut names: Vec<String> =
                    placements.map(|it| fleet.geometry.profile(it.profile()).name.clone()).collect();
                names.sort();
                names
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_queue_starts_what_fits_and_loses_what_has_no_patience_left() {
        let job = |at, runs| Job { at, priority: 0, instances: 1, runs, patience: Some(10) };
        // One instance: the second waits 5, the third would wait 12 and leaves after 10.
        let jobs = [job(0, 6), job(1, 8), job(2, 100)];
        assert_eq!(replay(&jobs, 1), Queue { burst: 100, wait: 5 + 10 });
        assert_eq!(replay(&jobs, 2), Queue { burst: 0, wait: 4 });
        assert_eq!(replay(&jobs, 3), Queue { burst: 0, wait: 0 });
        assert_eq!(replay(&jobs, 0), Queue { burst: 114, wait: 30 });
        let urgent = Job { priority: 5, ..job(3, 1) };
        assert_eq!(replay(&[job(0, 4), job(1, 4), urgent], 1), Queue { burst: 0, wait: 1 + 4 });
    }

    #[test]
    fn the_mean_demand_decides_the_balanced_layouts() {
        let fleet = fleet("2xA100-80GB");
        // As much of 3g as of 1g: three and four are more even than two and eight.
        let even = balanced(&fleet, &work(&[(0, "3g.40gb", 7), (0, "1g.10gb", 7)]));
        let both = vec!["1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "3g.40gb"];
        assert_eq!(names(&fleet, &even), [both, vec!["3g.40gb"; 2]]);
        let whole = balanced(&fleet, &work(&[(0, "7g.80gb", 7)]));
        assert_eq!(names(&fleet, &whole), [["7g.80gb"], ["7g.80gb"]]);
        assert!(balanced(&fleet, &Workload::default()).iter().all(|layout| layout.placements().is_empty()));
    }

    #[test]
    fn hindsight_cuts_for_what_came() {
        let fleet = fleet("2xA100-80GB");
        let mut items = vec![(0, "7g.80gb", 1000); 1];
        items.extend([(0, "2g.20gb", 1000); 3]);
        let best = hindsight(&fleet, &work(&items));
        assert_eq!(names(&fleet, &best), [vec!["2g.20gb"; 3], vec!["7g.80gb"]]);
        for layout in &best {
            assert_eq!(Layout::try_new(&fleet.geometry, layout.placements().to_vec()).as_ref(), Ok(layout));
        }
    }
}
