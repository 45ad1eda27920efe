//! Reads the changes of GPUs: what is really destroyed, created and handed over, and who is evicted by that.
//!
//! Inputs: the document and the world. Output: [`Changes`], in terms of the input; everything after this stage works on
//! it and not on the document. Raises what the lists of one GPU contradict: the input, each other, the board's table of
//! profiles.

use std::collections::{BTreeMap, BTreeSet};

use super::violation::Violation;
use super::world::{Spot, World, gpu_place, join, show};
use crate::model::{Gpu, NodeId, Occupancy, PodId};
use crate::plan::document::{GpuChange, Plan, PlannedInstance};

/// What a plan does to one GPU.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Positions of the destroyed instances in [`Gpu::instances`].
    pub(super) destroyed: BTreeSet<usize>,
    /// What is created.
    pub(super) created: Vec<Spot>,
    /// Positions of the instances that are kept while the pods on them go.
    pub(super) handed_over: BTreeSet<usize>,
}

/// What a plan does to the cluster.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Touched GPUs by their position in the input.
    pub(super) gpus: BTreeMap<usize, Touched>,
    /// Touched nodes.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Pods that hold an instance that is destroyed or handed over, with the first such instance as (GPU, position).
    pub(super) evicted: BTreeMap<PodId, (usize, usize)>,
    /// Whether every name could be resolved; if not, the values of the levels cannot be computed.
    pub(super) complete: bool,
}

impl Changes {
    /// Positions of the instances of a GPU that stay.
    pub(super) fn kept<'a>(&'a self, position: usize, gpu: &'a Gpu) -> impl Iterator<Item = usize> + 'a {
        let touched = self.gpus.get(&position);
        (0..gpu.instances.len()).filter(move |slot| touched.is_none_or(|touched| !touched.destroyed.contains(slot)))
    }

    /// What is created on a GPU.
    pub(super) fn created(&self, position: usize) -> &[Spot] {
        self.gpus.get(&position).map_or(&[], |touched| &touched.created)
    }

    /// Everything that stands on a GPU afterwards, ordered by start.
    pub(super) fn after(&self, position: usize, gpu: &Gpu) -> Vec<Spot> {
        let kept = self.kept(position, gpu).map(|slot| Spot::of(&gpu.instances[slot]));
        let mut after: Vec<Spot> = kept.chain(self.created(position).iter().copied()).collect();
        after.sort_unstable();
        after
    }

    /// Pods that hold an instance of the input and are not evicted.
    pub(super) fn staying<'a>(&'a self, occupancy: &'a Occupancy) -> impl Iterator<Item = PodId> + 'a {
        let pods: &[PodId] = match occupancy {
            Occupancy::Busy(pods) => pods,
            Occupancy::Free | Occupancy::Unknown => &[],
        };
        pods.iter().copied().filter(|pod| !self.evicted.contains_key(pod))
    }
}

/// Resolves the changes and checks the lists of each GPU.
pub(super) fn resolve(plan: &Plan, world: &World<'_>, found: &mut Vec<Violation>) -> Changes {
    let mut changes = Changes { complete: true, ..Changes::default() };
    let mut listed = Vec::new();
    let mut last = None;
    for node_plan in &plan.nodes {
        let name = &node_plan.name;
        if last >= Some(name) {
            found.push(Violation::Order { list: "nodes".to_owned(), item: name.clone() });
        }
        last = Some(name);
        let Some(node) = world.node(name) else {
            found.push(Violation::UnknownNode { place: "nodes".to_owned(), node: name.clone() });
            changes.complete = false;
            continue;
        };
        if node_plan.gpus.is_empty() {
            found.push(Violation::NoChange { place: format!("nodes[{name}]") });
        }
        let mut last = None;
        for change in &node_plan.gpus {
            if last >= Some(change.index) {
                let item = format!("GPU {}", change.index);
                found.push(Violation::Order { list: format!("nodes[{name}].gpus"), item });
            }
            last = Some(change.index);
            let Some(position) = world.gpu(node, change.index) else {
                found.push(Violation::UnknownGpu { node: name.clone(), gpu: change.index });
                changes.complete = false;
                continue;
            };
            let reader = Reader { world, gpu: &world.input.gpus()[position], change };
            if let Some(touched) = reader.read(&mut changes.complete, found) {
                changes.gpus.insert(position, touched);
                changes.nodes.insert(node);
            }
            listed.push((position, change));
        }
    }
    for (&position, touched) in &changes.gpus {
        let gpu = &world.input.gpus()[position];
        for &slot in touched.destroyed.union(&touched.handed_over) {
            if let Occupancy::Busy(pods) = &gpu.instances[slot].occupancy {
                for &pod in pods {
                    changes.evicted.entry(pod).or_insert((position, slot));
                }
            }
        }
    }
    for (position, change) in listed {
        let reader = Reader { world, gpu: &world.input.gpus()[position], change };
        reader.check_after(position, &changes, found);
    }
    changes
}

/// An instance as a list of the document describes it: profile by its canonical name, pods sorted.
type Described = (u8, u8, String, Vec<String>);

struct Reader<'a> {
    world: &'a World<'a>,
    gpu: &'a Gpu,
    change: &'a GpuChange,
}

impl Reader<'_> {
    /// What is destroyed, created and handed over; `None` when that is nothing.
    fn read(&self, complete: &mut bool, found: &mut Vec<Violation>) -> Option<Touched> {
        let (node, index) = gpu_place(self.world, self.gpu);
        self.check_identity(found);
        self.check_before(found);
        for (list, instances) in [
            ("before", &self.change.before),
            ("after", &self.change.after),
            ("destroy", &self.change.destroy),
            ("create", &self.change.create),
            ("hand_over", &self.change.hand_over),
        ] {
            let place = |i: &PlannedInstance| (i.start, i.size, i.profile.clone());
            let wrong = |pair: &&[PlannedInstance]| pair[0].start > pair[1].start || place(&pair[0]) == place(&pair[1]);
            if let Some([_, item]) = instances.windows(2).find(wrong) {
                let list = format!("nodes[{node}].gpus[{index}].{list}");
                found.push(Violation::Order { list, item: show(item) });
            }
        }
        let mut touched = Touched::default();
        for instance in &self.change.destroy {
            let Some(slot) = self.slot(instance) else {
                let instance = show(instance);
                found.push(Violation::DestroysAbsent { node: node.clone(), gpu: index, instance });
                *complete = false;
                continue;
            };
            let expected = self.holders(slot);
            self.check_holders("destroy", instance, &expected, found);
            touched.destroyed.insert(slot);
        }
        for instance in &self.change.create {
            self.check_holders("create", instance, &[], found);
            let Some(spot) = self.spot(instance) else {
                found.push(Violation::UnknownProfile {
                    node: node.clone(),
                    gpu: index,
                    board: self.gpu.geometry.board().key.clone(),
                    profile: instance.profile.clone(),
                });
                *complete = false;
                continue;
            };
            if touched.destroyed.iter().any(|&slot| Spot::of(&self.gpu.instances[slot]) == spot) {
                found.push(Violation::Recreates { node: node.clone(), gpu: index, instance: show(instance) });
            }
            touched.created.push(spot);
        }
        self.read_handed_over(&mut touched, complete, found);
        if self.change.destroy.is_empty() && self.change.create.is_empty() && self.change.hand_over.is_empty() {
            found.push(Violation::NoChange { place: format!("nodes[{node}].gpus[{index}]") });
            return None;
        }
        Some(touched)
    }

    /// What is handed over: it is there, stays there, and somebody makes way on it.
    fn read_handed_over(&self, touched: &mut Touched, complete: &mut bool, found: &mut Vec<Violation>) {
        let (node, index) = gpu_place(self.world, self.gpu);
        for instance in &self.change.hand_over {
            let shown = show(instance);
            let Some(slot) = self.slot(instance) else {
                found.push(Violation::HandsOverAbsent { node: node.clone(), gpu: index, instance: shown });
                *complete = false;
                continue;
            };
            let expected = self.holders(slot);
            self.check_holders("hand_over", instance, &expected, found);
            if touched.destroyed.contains(&slot) {
                found.push(Violation::HandsOverDestroyed { node: node.clone(), gpu: index, instance: shown });
                continue;
            }
            match &self.gpu.instances[slot].occupancy {
                Occupancy::Busy(pods) if !pods.is_empty() => {}
                Occupancy::Busy(_) | Occupancy::Free | Occupancy::Unknown => {
                    found.push(Violation::HandsOverUnheld { node: node.clone(), gpu: index, instance: shown });
                }
            }
            touched.handed_over.insert(slot);
        }
    }

    fn check_identity(&self, found: &mut Vec<Violation>) {
        let (node, gpu) = gpu_place(self.world, self.gpu);
        for (field, said, expected) in
            [("uuid", &self.change.uuid, &self.gpu.uuid), ("model", &self.change.model, &self.gpu.product)]
        {
            if said != expected {
                let (found_, expected) = (said.clone(), expected.clone());
                found.push(Violation::Identity { node: node.clone(), gpu, field, found: found_, expected });
            }
        }
    }

    fn check_before(&self, found: &mut Vec<Violation>) {
        let mut said: Vec<Described> = self.change.before.iter().map(|instance| self.describe(instance)).collect();
        let mut expected: Vec<Described> =
            (0..self.gpu.instances.len()).map(|slot| self.known(slot, self.holders(slot))).collect();
        said.sort_unstable();
        expected.sort_unstable();
        if said != expected {
            let (node, gpu) = gpu_place(self.world, self.gpu);
            let (said, expected) = (with_pods(&said), with_pods(&expected));
            found.push(Violation::Before { node, gpu, found: said, expected });
        }
    }

    /// Compares `after` with what follows from the input, `destroy` and `create`; first the places, then the pods.
    fn check_after(&self, position: usize, changes: &Changes, found: &mut Vec<Violation>) {
        let kept = changes.kept(position, self.gpu).map(|slot| {
            let staying = self.world.names(changes.staying(&self.gpu.instances[slot].occupancy));
            self.known(slot, staying)
        });
        let created = self.change.create.iter().map(|instance| {
            let (start, size, profile, _) = self.describe(instance);
            (start, size, profile, Vec::new())
        });
        let mut expected: Vec<Described> = kept.chain(created).collect();
        let mut said: Vec<Described> = self.change.after.iter().map(|instance| self.describe(instance)).collect();
        said.sort_unstable();
        expected.sort_unstable();
        let (node, gpu) = gpu_place(self.world, self.gpu);
        let place = |(start, size, profile, _): &Described| format!("{profile}@{start}:{size}");
        if said.iter().map(place).ne(expected.iter().map(place)) {
            let (said, expected) = (join(said.iter().map(place)), join(expected.iter().map(place)));
            found.push(Violation::After { node, gpu, found: said, expected });
            return;
        }
        for (said, expected) in said.iter().zip(&expected).filter(|(said, expected)| said.3 != expected.3) {
            found.push(Violation::Staying {
                node: node.clone(),
                gpu,
                instance: place(said),
                found: said.3.join(", "),
                expected: expected.3.join(", "),
            });
        }
    }

    fn check_holders(
        &self,
        list: &'static str,
        instance: &PlannedInstance,
        expected: &[String],
        found: &mut Vec<Violation>,
    ) {
        let mut said = instance.pods.clone();
        said.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        if said != expected {
            let (node, gpu) = gpu_place(self.world, self.gpu);
            let (said, expected) = (said.join(", "), expected.join(", "));
            found.push(Violation::Holders { node, gpu, list, instance: show(instance), found: said, expected });
        }
    }

    /// The place with the profile looked up; `None` when the board has no such profile.
    fn spot(&self, instance: &PlannedInstance) -> Option<Spot> {
        let profile = self.gpu.geometry.find(&instance.profile)?;
        Some(Spot { start: instance.start, size: instance.size, profile })
    }

    /// Position on the GPU of an instance that is there.
    fn slot(&self, instance: &PlannedInstance) -> Option<usize> {
        let spot = self.spot(instance)?;
        self.gpu.instances.iter().position(|there| Spot::of(there) == spot)
    }

    fn holders(&self, slot: usize) -> Vec<String> {
        match &self.gpu.instances[slot].occupancy {
            Occupancy::Busy(pods) => self.world.names(pods.iter().copied()),
            Occupancy::Free | Occupancy::Unknown => Vec::new(),
        }
    }

    fn known(&self, slot: usize, mut pods: Vec<String>) -> Described {
        let spot = Spot::of(&self.gpu.instances[slot]);
        pods.sort_unstable();
        (spot.start, spot.size, self.gpu.geometry.profile(spot.profile).name.clone(), pods)
    }

    fn describe(&self, instance: &PlannedInstance) -> Described {
        let profile = self
            .spot(instance)
            .map_or_else(|| instance.profile.clone(), |spot| self.gpu.geometry.profile(spot.profile).name.clone());
        let mut pods = instance.pods.clone();
        pods.sort_unstable();
        (instance.start, instance.size, profile, pods)
    }
}

fn with_pods(instances: &[Described]) -> String {
    join(instances.iter().map(|(start, size, profile, pods)| {
        let holders = if pods.is_empty() { String::new() } else { format!(" ({})", pods.join(", ")) };
        format!("{profile}@{start}:{size}{holders}")
    }))
}
