//! Work that no node of a fleet can hold, however its GPUs are cut: a replay of it would show nothing but its waiting.
//!
//! Inputs: a [`FleetSpec`], a [`Workload`], a [`Packer`]. Outputs: the work that some node can hold, and [`Unheld`], what was left out and why.
//! Invariants: what is left out needs more empty GPUs of the board than the largest node has, as the packer says; where the packer has no
//! answer, nothing is left out. Order and times of the rest do not change.

use std::collections::BTreeMap;

use super::baselines::Packer;
use super::fleet::FleetSpec;
use crate::model::ProfileId;
use crate::sim::{Arrival, Workload};

const HOUR: f64 = 3_600_000.0;

/// What was left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Unheld {
    /// By what is asked for.
    pub requests: Vec<Request>,
    /// Memory-slice-hours of all work, with and without what was left out.
    pub requested: f64,
}

/// Pods that ask for the same instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Instances, by profile.
    pub instances: BTreeMap<String, u32>,
    /// Pods that ask for them.
    pub pods: u64,
    /// Memory-slice-hours that they ask for.
    pub memory_slice_hours: f64,
    /// Fewest GPUs of one node that hold the instances of one pod.
    pub gpus: u64,
}

impl Unheld {
    /// Pods that were left out.
    pub fn pods(&self) -> u64 {
        self.requests.iter().map(|request| request.pods).sum()
    }

    /// Memory-slice-hours that were left out.
    pub fn memory_slice_hours(&self) -> f64 {
        self.requests.iter().map(|request| request.memory_slice_hours).sum()
    }

    /// Part of all requested memory-slice-hours that was left out, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.requested > 0.0 { self.memory_slice_hours() / self.requested } else { 0.0 }
    }
}

/// Takes out of a workload what no node of a fleet can hold.
pub fn sift(fleet: &FleetSpec, workload: Workload, packer: &Packer) -> (Workload, Unheld) {
    let largest = u64::from(fleet.per_node.min(fleet.gpus));
    // A trace asks for few different things.
    let mut needs: BTreeMap<BTreeMap<String, u32>, Option<u64>> = BTreeMap::new();
    let mut requests: BTreeMap<BTreeMap<String, u32>, Request> = BTreeMap::new();
    let mut unheld = Unheld::default();
    let mut arrivals = Vec::new();
    for arrival in workload.arrivals {
        let hours = memory_slice_hours(fleet, &arrival);
        unheld.requested += hours;
        let instances = &arrival.instances;
        if !needs.contains_key(instances) {
            needs.insert(instances.clone(), packer.fewest(&fleet.geometry, &demand(fleet, instances)));
        }
        match needs[instances].filter(|&gpus| gpus > largest) {
            Some(gpus) => {
                let new = Request { instances: instances.clone(), pods: 0, memory_slice_hours: 0.0, gpus };
                let request = requests.entry(instances.clone()).or_insert(new);
                request.pods += 1;
                request.memory_slice_hours += hours;
            }
            None => arrivals.push(arrival),
        }
    }
    unheld.requests = requests.into_values().collect();
    (Workload { arrivals }, unheld)
}

fn demand(fleet: &FleetSpec, instances: &BTreeMap<String, u32>) -> BTreeMap<ProfileId, u64> {
    let mut demand = BTreeMap::new();
    for (name, &count) in instances {
        if let Some(id) = fleet.geometry.find(name) {
            *demand.entry(id).or_default() += u64::from(count);
        }
    }
    demand
}

fn memory_slice_hours(fleet: &FleetSpec, arrival: &Arrival) -> f64 {
    let slices =
        |(&id, &count): (&ProfileId, &u64)| f64::from(fleet.geometry.profile(id).size.unwrap_or(0)) * count as f64;
    demand(fleet, &arrival.instances).iter().map(slices).sum::<f64>() * arrival.runs as f64 / HOUR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::fit;
    use crate::sim::Kind;
    use crate::sim::replay::fleet::parse_gpus;

    fn exact() -> Packer {
        Packer::new(|geometry, demand| fit::fit(geometry, demand).ok().map(|it| it.layouts))
    }

    fn fleet(gpus: &str, per_node: u32) -> FleetSpec {
        let (gpus, geometry) = parse_gpus(gpus).expect("a fleet");
        FleetSpec::new(geometry, gpus, per_node)
    }

    fn work(name: &str, profile: &str, count: u32) -> Arrival {
        Arrival {
            at: 0,
            name: name.into(),
            instances: [(profile.to_owned(), count)].into(),
            runs: 1_800_000,
            priority: 0,
            kind: Kind::Job,
            patience: None,
        }
    }

    #[test]
    fn what_needs_more_gpus_than_the_largest_node_has_is_left_out_and_told_by_request() {
        let arrivals =
            vec![work("a", "7g.80gb", 3), work("b", "1g.10gb", 7), work("c", "7g.80gb", 3), work("d", "4g.40gb", 2)];
        let workload = Workload { arrivals };
        let (rest, unheld) = sift(&fleet("5xA100-80GB", 2), workload.clone(), &exact());
        let left: Vec<&str> = rest.arrivals.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(left, ["b", "d"]);
        let [request] = unheld.requests.as_slice() else { panic!("{unheld:?}") };
        assert_eq!((request.pods, request.gpus, request.instances["7g.80gb"]), (2, 3, 3));
        // Two pods, three boards of eight slices each, half an hour; beside them seven and eight slices.
        assert!((unheld.memory_slice_hours() - 24.0).abs() < 1e-9, "{unheld:?}");
        assert!((unheld.share() - 24.0 / (24.0 + 3.5 + 4.0)).abs() < 1e-9, "{unheld:?}");
        // Only one 4g.40gb stands on a board, whatever the sums of slices say.
        let (_, alone) = sift(&fleet("5xA100-80GB", 1), workload.clone(), &exact());
        assert_eq!(alone.requests.iter().map(|it| it.gpus).collect::<Vec<_>>(), [2, 3]);
        // Nodes of four hold all of it; a fleet of two has none.
        assert_eq!(sift(&fleet("5xA100-80GB", 4), workload.clone(), &exact()).1.pods(), 0);
        assert_eq!(sift(&fleet("2xA100-80GB", 4), workload, &exact()).1.pods(), 2);
    }

    #[test]
    fn without_an_answer_of_the_packer_nothing_is_left_out() {
        let workload = Workload { arrivals: vec![work("a", "7g.80gb", 300)] };
        let (rest, unheld) = sift(&fleet("1xA100-80GB", 1), workload.clone(), &Packer::new(|_, _| None));
        assert_eq!((rest, unheld.pods(), unheld.share()), (workload, 0, 0.0));
    }
}
