use std::sync::Arc;

use super::*;
use crate::model::{Catalogue, Geometry, Placement, Policy, ProfileId};
use crate::plan::{GpuChange, PlannedInstance, ServedBy, steps};
use crate::sim::replay::figures::Figures;
use crate::sim::replay::fleet::parse_gpus;
use crate::sim::replay::generate::{Mix, Recipe};
use crate::sim::replay::instant;
use crate::sim::{Arrival, Kind};

fn fleet(gpus: &str, per_node: u32, layouts: &[&[(&str, u8)]]) -> FleetSpec {
    let (gpus, geometry) = parse_gpus(gpus).expect("a fleet");
    let layouts = layouts.iter().map(|all| layout(&geometry, all)).collect();
    FleetSpec::new(geometry, gpus, per_node).cut(layouts)
}

fn place(geometry: &Geometry, profile: &str, start: u8) -> Placement {
    geometry.place(geometry.find(profile).expect("a profile of the board"), start).expect("a legal start")
}

fn layout(geometry: &Geometry, all: &[(&str, u8)]) -> Layout {
    let all = all.iter().map(|&(profile, start)| place(geometry, profile, start)).collect();
    Layout::try_new(geometry, all).expect("a legal layout")
}

/// Work in order of arrival, one a second, each running for ever: what finds a place in the first layout runs.
fn work(profiles: &[&[(&str, u32)]]) -> Workload {
    let arrival = |(index, asked): (usize, &&[(&str, u32)])| Arrival {
        at: index as u64 * 1000,
        name: format!("w{index}"),
        instances: asked.iter().map(|&(profile, count)| (profile.to_owned(), count)).collect(),
        runs: 1 << 40,
        priority: 0,
        kind: Kind::Service,
        patience: None,
    };
    Workload { arrivals: profiles.iter().enumerate().map(arrival).collect() }
}

fn one(profile: &str) -> [(&str, u32); 1] {
    [(profile, 1)]
}

/// Work that asks for one instance each.
fn singles(profiles: &[&str]) -> Workload {
    let asked: Vec<[(&str, u32); 1]> = profiles.iter().map(|profile| one(profile)).collect();
    work(&asked.iter().map(|it| &it[..]).collect::<Vec<_>>())
}

/// Packs one instance after the other into the first GPU with room.
fn packer() -> Packer {
    Packer::new(|geometry: &Geometry, demand: &[(ProfileId, u64)]| {
        let mut wanted: Vec<ProfileId> =
            demand.iter().flat_map(|&(id, count)| std::iter::repeat_n(id, count as usize)).collect();
        wanted.sort_by_key(|&id| std::cmp::Reverse(geometry.profile(id).size));
        let mut gpus: Vec<Layout> = Vec::new();
        for id in wanted {
            let fits = |layout: &Layout| {
                geometry.placements().filter(|it| it.profile() == id).find_map(|it| {
                    Layout::try_new(geometry, layout.placements().iter().copied().chain([it]).collect()).ok()
                })
            };
            match gpus.iter_mut().find_map(|gpu| Some((fits(gpu)?, gpu))) {
                Some((layout, gpu)) => *gpu = layout,
                None => gpus.push(fits(&Layout::default())?),
            }
        }
        Some(gpus.into_iter().map(|layout| (1, layout)).collect())
    })
}

fn asked(rule: Rule, fleet: &FleetSpec, workload: &Workload) -> Proposal {
    let input = instant::observe(fleet, workload, &Policy::unlimited());
    let proposal = rule.proposer(100_000, &packer()).propose(&input).expect("a proposal");
    check(&input, &proposal);
    proposal
}

/// Every layout is legal, the steps lead from what is to what will be, nothing held is destroyed unless its pod is evicted.
fn check(input: &PlanningInput, proposal: &Proposal) {
    for node in &proposal.nodes {
        let index = input.nodes().binary_search_by(|it| it.name.cmp(&node.name)).expect("a node of the input");
        let mut all_steps = Vec::new();
        for change in &node.gpus {
            let gpu = input.gpus()[input.nodes()[index].gpus.clone()].iter().find(|it| it.index == change.index);
            let gpu = gpu.expect("a GPU of the node");
            assert!(gpu.frozen.is_none());
            let spots = |all: &[PlannedInstance]| -> Vec<(u8, String)> {
                all.iter().map(|it| (it.start, it.profile.clone())).collect()
            };
            let GpuChange { before, after, destroy, create, .. } = change;
            let there: Vec<(u8, String)> = gpu
                .instances
                .iter()
                .map(|it| (it.placement.start(), gpu.geometry.profile(it.placement.profile()).name.clone()))
                .collect();
            assert_eq!(spots(before), there);
            let legal = spots(after).iter().map(|(start, name)| place(&gpu.geometry, name, *start)).collect();
            Layout::try_new(&gpu.geometry, legal).expect("a legal layout");
            let mut expected: Vec<(u8, String)> =
                there.into_iter().filter(|it| !spots(destroy).contains(it)).chain(spots(create)).collect();
            expected.sort();
            assert_eq!(spots(after), expected);
            for gone in destroy {
                assert!(!gone.occupancy_unknown);
                let evicted = |pod: &String| node.evict.iter().any(|it| it.pod == *pod);
                assert!(gone.pods.iter().all(evicted), "{gone:?} is held");
            }
            all_steps.extend(steps(change, &gpu.geometry).expect("an order"));
        }
        assert_eq!(node.steps, all_steps);
    }
    let mut served: Vec<&str> = proposal.served.iter().map(|it| it.pod.as_str()).collect();
    assert!(served.iter().all(|pod| input.pending().iter().any(|it| it.pod.to_string() == *pod)));
    served.dedup();
    assert_eq!(served.len(), proposal.served.len());
}

/// What is created, as `node/gpu profile@start`.
fn created(proposal: &Proposal) -> Vec<String> {
    let of = |node: &str, change: &GpuChange| -> Vec<String> {
        let name =
            |it: &PlannedInstance| format!("{}/{} {}@{}", &node[node.len() - 1..], change.index, it.profile, it.start);
        change.create.iter().map(name).collect()
    };
    proposal.nodes.iter().flat_map(|node| node.gpus.iter().flat_map(|it| of(&node.name, it))).collect()
}

fn served(proposal: &Proposal) -> Vec<&str> {
    proposal.served.iter().map(|it| it.pod.as_str().trim_start_matches("replay/")).collect()
}

#[test]
fn static_rules_never_change_anything() {
    let fleet = fleet("1xA100-80GB", 1, &[&[("7g.80gb", 0)]]);
    for rule in [Rule::Static, Rule::Hindsight] {
        assert_eq!(asked(rule, &fleet, &singles(&["1g.10gb"])), Proposal::default());
    }
}

#[test]
fn first_fit_takes_the_first_gpu_and_best_fit_the_fullest() {
    // The first GPU is empty, on the second a 4g runs.
    let fleet = fleet("2xA100-80GB", 2, &[&[], &[("4g.40gb", 0)]]);
    let workload = singles(&["4g.40gb", "1g.10gb"]);
    assert_eq!(created(&asked(Rule::FirstFit, &fleet, &workload)), ["0/0 1g.10gb@0"]);
    assert_eq!(created(&asked(Rule::BestFit, &fleet, &workload)), ["0/1 1g.10gb@4"]);
}

#[test]
fn the_fragmentation_rule_keeps_room_for_large_instances() {
    let fleet = fleet("1xA100-80GB", 1, &[&[]]);
    let proposal = asked(Rule::Fragmentation, &fleet, &singles(&["1g.10gb"]));
    // At 6 it is in the way of nothing but a 1g there, a double 1g at 6, the 3g at 4 and the 7g.
    assert_eq!(created(&proposal), ["0/0 1g.10gb@6"]);
}

#[test]
fn fragmentation_is_what_cannot_stand_though_its_slots_are_free() {
    let a100 = Catalogue::embedded().find_by_key("a100-80gb").expect("a board of the catalogue");
    assert_eq!(fragmentation(a100, &[]), 0);
    // With a 1g at 6 seven slots are free. In the way of: 1g and 1g+me at 6 (1 each), 1g.20gb at 6 (2), 3g at 4 (4).
    assert_eq!(fragmentation(a100, &[place(a100, "1g.10gb", 6)]), 1 + 1 + 2 + 4);
    // With a 3g at 0 four are free: 1g and 1g+me at 0..3 (8), 1g.20gb at 0, 2 (4), 2g at 0, 2 (4), 3g at 0 (4), 4g at 0 (4).
    assert_eq!(fragmentation(a100, &[place(a100, "3g.40gb", 0)]), 8 + 4 + 4 + 4 + 4);
}

#[test]
fn decreasing_takes_the_largest_first() {
    let fleet = fleet("1xA100-80GB", 1, &[&[]]);
    let workload = singles(&["1g.10gb", "7g.80gb"]);
    assert_eq!(served(&asked(Rule::Decreasing, &fleet, &workload)), ["w1"]);
    assert_eq!(served(&asked(Rule::FirstFit, &fleet, &workload)), ["w0"]);
}

#[test]
fn idle_instances_give_way_only_where_they_must() {
    let fleet = fleet("1xA100-80GB", 1, &[&[("1g.10gb", 0), ("1g.10gb", 4), ("1g.10gb", 6)]]);
    let proposal = asked(Rule::FirstFit, &fleet, &singles(&["2g.20gb"]));
    assert_eq!(created(&proposal), ["0/0 2g.20gb@0"]);
    let change = &proposal.nodes[0].gpus[0];
    assert_eq!(change.destroy.iter().map(|it| it.start).collect::<Vec<_>>(), [0]);
    assert_eq!(proposal.served[0].by, ServedBy::Change);
}

#[test]
fn what_runs_stays_where_it_is() {
    let fleet = fleet("1xA100-80GB", 1, &[&[("1g.10gb", 0), ("1g.10gb", 4)]]);
    // Both 1g run; only a migration could make room for the 4g and the 3g.
    let workload = singles(&["1g.10gb", "1g.10gb", "4g.40gb"]);
    for rule in [Rule::FirstFit, Rule::BestFit, Rule::Decreasing, Rule::Fragmentation, Rule::Nos] {
        let proposal = asked(rule, &fleet, &workload);
        assert!(proposal.nodes.is_empty() && proposal.served.is_empty(), "{rule:?}: {proposal:?}");
    }
    let proposal = asked(Rule::Repack, &fleet, &workload);
    assert_eq!(served(&proposal), ["w2"]);
    assert_eq!(proposal.nodes[0].evict.len(), 1, "one of the two moves to the right half");
    assert!(proposal.nodes[0].evict[0].placed_on.is_some());
}

#[test]
fn all_instances_of_a_pod_are_on_one_node_or_nowhere() {
    let fleet = fleet("4xA100-80GB", 2, &[&[("7g.80gb", 0)], &[], &[], &[]]);
    let workload = work(&[&one("7g.80gb"), &[("7g.80gb", 2)], &[("7g.80gb", 3)]]);
    for rule in [Rule::FirstFit, Rule::BestFit, Rule::Fragmentation, Rule::Repack] {
        let proposal = asked(rule, &fleet, &workload);
        assert_eq!(created(&proposal), ["1/0 7g.80gb@0", "1/1 7g.80gb@0"], "{rule:?}");
        assert_eq!(served(&proposal), ["w1"], "{rule:?}");
    }
}

#[test]
fn nos_takes_the_listed_geometry_with_the_most_instances() {
    let fleet = fleet("1xA100-80GB", 1, &[&[]]);
    // Four 1g and a 4g wait: 4g+3x1g provides four instances, 3g+4x1g is not on the list, 2g+5x1g also provides four but comes later.
    let workload = singles(&["1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "4g.40gb"]);
    let proposal = asked(Rule::Nos, &fleet, &workload);
    assert_eq!(created(&proposal).len(), 4);
    assert_eq!(served(&proposal), ["w0", "w1", "w2", "w4"]);
    // 4g+3g is the layout that the list lacks: one of the two pods waits on.
    let proposal = asked(Rule::Nos, &fleet, &singles(&["4g.40gb", "3g.40gb"]));
    assert_eq!(proposal.served.len(), 1);
    assert_eq!(asked(Rule::FirstFit, &fleet, &singles(&["4g.40gb", "3g.40gb"])).served.len(), 2);
}

#[test]
fn nos_counts_instances_and_finds_no_place_for_some() {
    // Both 2g run, at 0 and at 4. By number 3g + 2x2g is possible, but no 3g can stand beside them.
    let fleet = fleet("1xA100-80GB", 1, &[&[("2g.20gb", 0), ("2g.20gb", 4)]]);
    let proposal = asked(Rule::Nos, &fleet, &singles(&["2g.20gb", "2g.20gb", "3g.40gb"]));
    assert!(proposal.served.is_empty());
    assert!(created(&proposal).iter().all(|it| !it.contains("3g")));
}

#[test]
fn nos_smallest_first_and_blind_to_larger_demand() {
    let fleet = fleet("1xA100-80GB", 1, &[&[]]);
    let workload = singles(&["7g.80gb", "1g.10gb", "1g.10gb"]);
    assert_eq!(served(&asked(Rule::Nos, &fleet, &workload)), ["w1", "w2"]);
}

#[test]
fn a_full_repack_moves_nobody_for_nothing() {
    let fleet = fleet("1xA100-80GB", 1, &[&[("1g.10gb", 0), ("1g.10gb", 4)]]);
    let proposal = asked(Rule::Repack, &fleet, &singles(&["1g.10gb", "1g.10gb", "2g.20gb"]));
    assert_eq!(served(&proposal), ["w2"]);
    assert!(proposal.nodes.iter().all(|node| node.evict.is_empty()));
    let hopeless = asked(Rule::Repack, &fleet, &singles(&["1g.10gb", "1g.10gb", "7g.80gb"]));
    assert_eq!(hopeless, Proposal::default());
}

#[test]
fn bare_pods_are_not_repacked() {
    let fleet = fleet("1xA100-80GB", 1, &[&[("1g.10gb", 0), ("1g.10gb", 4)]]);
    let mut workload = singles(&["1g.10gb", "1g.10gb", "4g.40gb"]);
    workload.arrivals[0].kind = Kind::Bare;
    assert!(asked(Rule::Repack, &fleet, &workload).served.is_empty());
}

/// A proposer whose proposals are all checked.
struct Checked(Box<dyn Proposer>);

impl Proposer for Checked {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let proposal = self.0.propose(input)?;
        check(input, &proposal);
        assert_eq!(self.0.propose(input)?, proposal, "the same input gives the same proposal");
        Ok(proposal)
    }
}

#[test]
fn every_rule_proposes_legal_layouts_all_day_on_every_kind_of_board() {
    for gpus in ["4xA100-80GB", "3xA30-24GB", "2xRTX-PRO-6000-96GB"] {
        let (count, geometry) = parse_gpus(gpus).expect("a fleet");
        let fleet = FleetSpec::new(Arc::clone(&geometry), count, 2);
        for mix in Mix::ALL {
            let workload = Recipe::new(mix, 1.0, 8 * 3_600_000).generate(&fleet, 3);
            for rule in Rule::ALL {
                let fleet = fleet.cut(rule.layouts(&fleet, &workload));
                let mut proposer = Checked(rule.proposer(100_000, &packer()));
                let history = instant::run(&fleet, &workload, &mut proposer, 300_000, &Policy::unlimited());
                let history = history.unwrap_or_else(|error| panic!("{gpus} {mix:?} {rule:?}: {error}"));
                let figures = Figures::of(&history, &geometry);
                assert_eq!(figures.served + figures.burst, workload.arrivals.len() as u64, "{gpus} {mix:?} {rule:?}");
            }
        }
    }
}
