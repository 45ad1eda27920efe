//! Carries a plan out on a [`Spec`]: the cluster as it is when every pod of the plan has landed.

use retile::model::{ControllerKind, Movability, Reason};
use retile::plan::{GpuChange, Plan};

use super::spec::{GpuSpec, Held, InstanceSpec, RunningSpec, Spec, pod_ref};

/// Whether the pods that land may be moved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// Waiting pods become ordinary, movable pods.
    Movable,
    /// Everything that lands stays for ever.
    Fixed,
}

/// The planned state.
///
/// # Panics
/// When the plan does not fit the spec, e.g. a pod finds no free replica where the plan puts it.
pub fn apply(spec: &Spec, plan: &Plan, landed: Landed) -> Spec {
    let mut after = spec.clone();
    let mut arrivals: Vec<(usize, RunningSpec)> = Vec::new();
    for node_plan in &plan.nodes {
        let node = node_named(spec, &node_plan.name);
        for eviction in &node_plan.evict {
            let position = spec.running_named(&eviction.pod).expect("a plan evicts pods of its input");
            let pod = &spec.running[position];
            release(&mut after, position);
            for &budget in &pod.budgets {
                after.budgets[budget].1 -= 1;
            }
            add(&mut after, node, pod, 1);
            if let Some(target) = &eviction.placed_on {
                let mut pod = pod.clone();
                fix(&mut pod, landed);
                arrivals.push((node_named(spec, target), pod));
            }
        }
        for change in &node_plan.gpus {
            let gpu = after.nodes[node].gpus.iter_mut().find(|gpu| gpu.index == change.index);
            recut(gpu.expect("a plan changes GPUs of its input"), change);
        }
    }
    for served in &plan.served {
        let position = after.pending.iter().position(|pod| pod_ref(&pod.name).to_string() == served.pod);
        let pod = after.pending.remove(position.expect("a plan serves pods of its input, each once"));
        let mut running = RunningSpec {
            name: pod.name,
            node: 0,
            priority: pod.priority,
            controller: ControllerKind::Replacing,
            movability: Movability::From(retile::model::DisruptionLevel::Balanced),
            cost: 1,
            requests: pod.requests,
            demand: pod.demand,
            eligible: pod.eligible,
            budgets: Vec::new(),
        };
        fix(&mut running, landed);
        arrivals.push((node_named(spec, &served.node), running));
    }
    for (node, pod) in arrivals {
        land(&mut after, node, pod);
    }
    drop_gone(&mut after);
    after
}

fn fix(pod: &mut RunningSpec, landed: Landed) {
    match landed {
        Landed::Movable => {}
        Landed::Fixed => pod.movability = Movability::Never(Reason::CoolingDown, "it has just landed".to_owned()),
    }
}

fn node_named(spec: &Spec, name: &str) -> usize {
    spec.nodes.iter().position(|node| node.name == name).expect("a plan names nodes of its input")
}

fn add(spec: &mut Spec, node: usize, pod: &RunningSpec, sign: i64) {
    let free = &mut spec.nodes[node].free;
    free.cpu += sign * pod.requests.cpu;
    free.memory += sign * pod.requests.memory;
    free.pods += sign * pod.requests.pods;
}

/// Takes a pod off everything that it holds.
fn release(spec: &mut Spec, position: usize) {
    for instance in spec.nodes.iter_mut().flat_map(|node| &mut node.gpus).flat_map(|gpu| &mut gpu.instances) {
        if let Held::By(pods) = &mut instance.held {
            pods.retain(|&pod| pod != position);
            if pods.is_empty() {
                instance.held = Held::Free;
            }
        }
    }
}

/// Destroys and creates instances.
fn recut(gpu: &mut GpuSpec, change: &GpuChange) {
    for gone in &change.destroy {
        let before = gpu.instances.len();
        gpu.instances.retain(|i| (i.start, &i.profile) != (gone.start, &gone.profile) || i.held != Held::Free);
        assert_eq!(gpu.instances.len(), before - 1, "the plan destroys {gone:?}, which is not there or not free");
    }
    for kept in &change.hand_over {
        let free = |i: &InstanceSpec| (i.start, &i.profile, &i.held) == (kept.start, &kept.profile, &Held::Free);
        assert!(gpu.instances.iter().any(free), "the plan hands over {kept:?}, which is not there or still held");
    }
    for new in &change.create {
        gpu.instances.push(InstanceSpec { profile: new.profile.clone(), start: new.start, held: Held::Free });
    }
    gpu.instances.sort_by_key(|instance| instance.start);
    let is: Vec<(u8, &str)> = gpu.instances.iter().map(|i| (i.start, i.profile.as_str())).collect();
    let should: Vec<(u8, &str)> = change.after.iter().map(|i| (i.start, i.profile.as_str())).collect();
    assert_eq!(is, should, "`before` without `destroy` and with `create` is `after`");
}

/// Puts a pod on the first free replicas of a node.
fn land(spec: &mut Spec, node: usize, mut pod: RunningSpec) {
    let position = spec.running.len();
    add(spec, node, &pod, -1);
    let offers = spec.nodes[node].offers.clone();
    for (resource, count) in &pod.demand {
        for _ in 0..*count {
            let mut instances = spec.nodes[node].gpus.iter_mut().flat_map(|gpu| &mut gpu.instances);
            let instance = instances.find(|instance| {
                let offer = offers.get(&instance.profile).filter(|(name, _)| name == resource);
                match (&instance.held, offer) {
                    (Held::Free, Some(_)) => true,
                    (Held::By(pods), Some((_, replicas))) => {
                        pods.len() < *replicas as usize && !pods.contains(&position)
                    }
                    (Held::Unknown, Some(_)) | (_, None) => false,
                }
            });
            let held = &mut instance.unwrap_or_else(|| panic!("no {resource} for {} on node {node}", pod.name)).held;
            match held {
                Held::By(pods) => pods.push(position),
                Held::Free | Held::Unknown => *held = Held::By(vec![position]),
            }
        }
    }
    pod.node = node;
    spec.running.push(pod);
}

/// Drops the pods that hold nothing any more and renumbers the others.
fn drop_gone(spec: &mut Spec) {
    let instances = || spec.nodes.iter().flat_map(|node| &node.gpus).flat_map(|gpu| &gpu.instances);
    let holds = |position: usize| instances().any(|i| matches!(&i.held, Held::By(pods) if pods.contains(&position)));
    let kept: Vec<usize> = (0..spec.running.len()).filter(|&position| holds(position)).collect();
    for instance in spec.nodes.iter_mut().flat_map(|node| &mut node.gpus).flat_map(|gpu| &mut gpu.instances) {
        if let Held::By(pods) = &mut instance.held {
            for pod in pods {
                *pod = kept.iter().position(|kept| kept == pod).expect("every holder is kept");
            }
        }
    }
    spec.running = kept.iter().map(|&position| spec.running[position].clone()).collect();
}
