//! Writes plan documents down from what they do, right or wrong: the lists of each GPU follow from what is destroyed and
//! created, the numbers from the verifier's own count, so that a case is wrong in nothing but what it sets out to be.

use std::collections::BTreeSet;

use retile::model::{Gpu, Occupancy, PlanningInput};
use retile::plan::{
    Eviction, FORMAT_VERSION, GpuChange, LEVEL_NAMES, Level, NodePlan, Optimality, Plan, PlannedInstance, ServedBy,
    ServedPod, Status, Step, Summary, Tier, UnservedPod, Violation, fill_in_steps, fingerprint, verify,
};

use retile::model::Reason;

/// Node, index, starts of what is destroyed, profile, start and size of what is created.
pub type Change<'a> = (&'a str, u32, &'a [u8], &'a [(&'a str, u8, u8)]);

/// What a plan does.
#[derive(Debug, Clone, Default)]
pub struct Deeds<'a> {
    /// Ordered by node and index.
    pub changes: &'a [Change<'a>],
    /// Node, index, starts of what is handed over; each GPU stands among the changes as well.
    pub hand_over: &'a [(&'a str, u32, &'a [u8])],
    /// Node, pod, new node; ordered by pod within a node.
    pub evict: &'a [(&'a str, &'a str, Option<&'a str>)],
    /// Pod and node, ordered by pod.
    pub served: &'a [(&'a str, &'a str)],
}

impl Deeds<'_> {
    /// Starts of what is handed over on a GPU.
    fn handed_over(&self, node: &str, index: u32) -> Vec<u8> {
        let here = self.hand_over.iter().filter(|handed| (handed.0, handed.1) == (node, index));
        here.flat_map(|handed| handed.2).copied().collect()
    }
}

/// Writes the document with right numbers.
pub fn write(input: &PlanningInput, deeds: &Deeds<'_>) -> Plan {
    let mut plan = Plan {
        format_version: FORMAT_VERSION,
        producer: "committed by hand".to_owned(),
        input_fingerprint: fingerprint(input),
        parent: None,
        disruption: input.policy().disruption.as_flag().to_owned(),
        weight: input.policy().weight,
        optimality: Optimality { status: Status::Optimal, levels: levels(input) },
        summary: Summary::default(),
        nodes: Vec::new(),
        served: deeds.served.iter().map(|&(name, node)| served(input, name, node)).collect(),
        unserved: unserved(input, deeds),
        notes: Vec::new(),
    };
    for change in deeds.changes {
        node(&mut plan, change.0).gpus.push(gpu_change(input, deeds, change));
    }
    for &(name, pod, placed_on) in deeds.evict {
        let uid = format!("uid-{}", pod.trim_start_matches("ml/"));
        let placed_on = placed_on.map(str::to_owned);
        node(&mut plan, name).evict.push(Eviction { pod: pod.to_owned(), uid, placed_on });
    }
    count(&mut plan, input);
    plan
}

/// The entry of a node, which is made if it is not there.
fn node<'a>(plan: &'a mut Plan, name: &str) -> &'a mut NodePlan {
    let position = plan.nodes.iter().position(|node| node.name == name).unwrap_or_else(|| {
        let empty = NodePlan { name: name.to_owned(), gpus: Vec::new(), evict: Vec::new(), steps: Vec::new() };
        plan.nodes.push(empty);
        plan.nodes.len() - 1
    });
    &mut plan.nodes[position]
}

/// Sets every number of the document to what the verifier counts, and every bound to the value.
pub fn count(plan: &mut Plan, input: &PlanningInput) {
    // What served pods land on is looked at once the numbers are right and there are steps.
    count_once(plan, input);
    let steps: Vec<Vec<Step>> = plan.nodes.iter().map(|node| node.steps.clone()).collect();
    if fill_in_steps(plan, input).is_ok() {
        count_once(plan, input);
        for (node, steps) in plan.nodes.iter_mut().zip(steps) {
            node.steps = steps;
        }
    }
}

fn count_once(plan: &mut Plan, input: &PlanningInput) {
    let Err(rejection) = verify(plan.clone(), input) else { return };
    for violation in rejection.violations {
        if let Violation::ServedBy { pod, expected, .. } = &violation {
            let served = plan.served.iter_mut().find(|served| served.pod == *pod).expect("a served pod");
            served.by = if *expected == "existing" { ServedBy::Existing } else { ServedBy::Change };
        }
        if let Violation::Summary { field, expected, .. } = violation {
            let summary = &mut plan.summary;
            match field {
                "pending_pods" => summary.pending_pods = expected,
                "served_pods" => summary.served_pods = expected,
                "served_slices" => summary.served_slices = expected,
                "evicted_pods" => summary.evicted_pods = expected,
                "nodes_changed" => summary.nodes_changed = expected,
                "gpus_changed" => summary.gpus_changed = expected,
                "instances_destroyed" => summary.instances_destroyed = expected,
                "instances_created" => summary.instances_created = expected,
                other => panic!("no case sets {other}"),
            }
        } else if let Violation::Value { level, expected, .. } = violation {
            let level = plan.optimality.levels.iter_mut().find(|other| other.name == level).expect("a level");
            (level.value, level.bound) = (expected, expected);
        } else if let Violation::TierValue { priority, expected, .. } = violation {
            let tiers = &mut plan.optimality.levels[0].tiers;
            let tier = tiers.iter_mut().find(|tier| tier.priority == priority).expect("a tier");
            (tier.value, tier.bound) = (expected, expected);
        }
    }
}

fn levels(input: &PlanningInput) -> Vec<Level> {
    let priorities: BTreeSet<i32> = input.pending().iter().map(|pod| pod.priority).collect();
    let tiers = priorities.into_iter().rev().map(|priority| Tier { priority, value: 0, bound: 0 }).collect();
    let mut levels: Vec<Level> = LEVEL_NAMES
        .iter()
        .map(|name| Level { name: (*name).to_owned(), value: 0, bound: 0, tiers: Vec::new() })
        .collect();
    levels[0].tiers = tiers;
    levels
}

pub fn served(input: &PlanningInput, name: &str, node: &str) -> ServedPod {
    let uid = input.pending().iter().find(|pod| pod.pod.to_string() == name).map(|pod| pod.pod.uid.clone());
    ServedPod { pod: name.to_owned(), uid: uid.unwrap_or_default(), node: node.to_owned(), by: ServedBy::Existing }
}

pub fn left_out(name: &str) -> UnservedPod {
    UnservedPod {
        pod: name.to_owned(),
        reason: if name == "ml/gang" { Reason::NotModelled } else { Reason::WaitingForCapacity },
        detail: "no GPU has room for it".to_owned(),
        action: "add GPUs".to_owned(),
    }
}

fn unserved(input: &PlanningInput, deeds: &Deeds<'_>) -> Vec<UnservedPod> {
    let pending = input.pending().iter().map(|pod| pod.pod.to_string());
    let unplannable = input.unplannable().iter().map(|pod| pod.pod.to_string());
    let mut names: Vec<String> = pending.chain(unplannable).collect();
    names.retain(|name| deeds.served.iter().all(|(served, _)| served != name));
    names.sort();
    names.iter().map(|name| left_out(name)).collect()
}

fn gpu<'a>(input: &'a PlanningInput, node: &str, index: u32) -> &'a Gpu {
    let node = input.nodes().iter().find(|other| other.name == node).expect("a node of the world");
    input.gpus()[node.gpus.clone()].iter().find(|gpu| gpu.index == index).expect("a GPU of the node")
}

fn gpu_change(input: &PlanningInput, deeds: &Deeds<'_>, &(node, index, destroy, create): &Change<'_>) -> GpuChange {
    let gpu = gpu(input, node, index);
    let gone = evicted(input, deeds);
    let holders = |occupancy: &Occupancy| -> Vec<String> {
        match occupancy {
            Occupancy::Busy(pods) => pods.iter().map(|pod| input.running()[pod.index()].pod.to_string()).collect(),
            Occupancy::Free | Occupancy::Unknown => Vec::new(),
        }
    };
    let before: Vec<PlannedInstance> = gpu
        .instances
        .iter()
        .map(|instance| PlannedInstance {
            start: instance.placement.start(),
            size: instance.placement.size(),
            profile: gpu.geometry.profile(instance.placement.profile()).name.clone(),
            pods: holders(&instance.occupancy),
            occupancy_unknown: false,
        })
        .collect();
    let (destroy, mut after): (Vec<PlannedInstance>, Vec<PlannedInstance>) =
        before.iter().cloned().partition(|instance| destroy.contains(&instance.start));
    for instance in &mut after {
        instance.pods.retain(|pod| !gone.contains(pod));
    }
    let mut create: Vec<PlannedInstance> = create
        .iter()
        .map(|&(profile, start, size)| PlannedInstance {
            start,
            size,
            profile: profile.to_owned(),
            pods: Vec::new(),
            occupancy_unknown: false,
        })
        .collect();
    create.sort();
    after.extend(create.iter().cloned());
    after.sort();
    let handed = deeds.handed_over(node, index);
    let hand_over = before.iter().filter(|instance| handed.contains(&instance.start)).cloned().collect();
    GpuChange { index, uuid: gpu.uuid.clone(), model: gpu.product.clone(), before, after, destroy, create, hand_over }
}

/// Pods that hold something that is destroyed or handed over.
fn evicted(input: &PlanningInput, deeds: &Deeds<'_>) -> BTreeSet<String> {
    let mut evicted = BTreeSet::new();
    for &(node, index, destroy, _) in deeds.changes {
        let handed = deeds.handed_over(node, index);
        let leaves = |start: u8| destroy.contains(&start) || handed.contains(&start);
        for instance in gpu(input, node, index).instances.iter().filter(|i| leaves(i.placement.start())) {
            if let Occupancy::Busy(pods) = &instance.occupancy {
                evicted.extend(pods.iter().map(|pod| input.running()[pod.index()].pod.to_string()));
            }
        }
    }
    evicted
}
