//! GPUs as machines of the solver: what each could be cut into, as arcs along its slot axis.
//!
//! A node of the graph is a slot boundary (with what is used of the media engines, and whether the slots before it were
//! left empty, where that matters). Arcs are instances to create, runs of empty slots, and instances that stay because nobody may
//! destroy them; these are shared by all GPUs with the same table and the same instances at the same places. Keeping a further instance is
//! an arc of the GPU's own, which takes back the destruction that an active machine starts from; handing one over is another, which leaves the
//! evictions of the destruction as they are.

use std::collections::BTreeMap;
use std::sync::Arc as Shared;

use retile_solver::{Arc, ClassId, Dim, EffectId, GroupId, TemplateId};

use crate::model::{
    Geometry, Gpu, GpuId, Instance, MediaEngines, MediaUse, NodeId, Occupancy, Offer, Placement, PodId, ProfileId,
    ResourceId,
};

use super::demand::DemandTable;
use super::encode::Rows;
use super::scope::Scope;

/// What an arc of a class stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Slots that stay or become empty.
    Empty,
    /// An instance that nobody may destroy.
    Fixed,
    /// An instance to create.
    Create(Placement),
    /// An instance to keep, by its position on the GPU.
    Keep(usize),
    /// An instance to keep while all pods on it are evicted, by its position on the GPU.
    HandOver(usize),
    /// All GPUs of a `single` node cut into one profile.
    Uniform(ProfileId),
}

/// A GPU, or all GPUs of a `single` node, as a machine.
#[derive(Debug, Clone)]
pub(super) struct GpuPart {
    /// The GPU; the first one for a `single` node.
    pub(super) gpu: GpuId,
    /// Piece of each arc of the class: the template's, then its own.
    pub(super) pieces: Shared<[Piece]>,
    /// Pieces of the GPU's own arcs.
    pub(super) own: Vec<Piece>,
}

/// A node as a group: its machines, in the order of the group's members.
#[derive(Debug, Clone)]
pub(super) struct NodePart {
    /// Per member of the group, the machines that belong to it.
    pub(super) members: Vec<Vec<GpuPart>>,
}

/// Shared arcs and what they stand for.
#[derive(Clone)]
struct Template {
    id: TemplateId,
    pieces: Shared<[Piece]>,
    states: States,
}

/// Key of shared arcs: atom, table, offers, instances that are there with whether they are fixed, use of media engines.
type TemplateKey = (usize, *const Geometry, *const Option<Offer>, Vec<(Placement, bool)>, bool);

/// Builds classes and groups for all nodes that may change; adds the supply of all others to the rows.
pub(super) fn groups(rows: &mut Rows<'_, '_>, table: &DemandTable) -> Vec<(GroupId, Vec<NodePart>)> {
    let mut maker = Maker { templates: BTreeMap::new(), classes: BTreeMap::new() };
    let mut grouped = BTreeMap::<(Vec<(ClassId, u32)>, EffectId, EffectId), Vec<NodePart>>::new();
    for position in 0..rows.input().nodes().len() {
        let node = NodeId::new(position);
        let mut members = BTreeMap::<ClassId, Vec<GpuPart>>::new();
        let atom = table.atom_of[position];
        maker.node(rows, node, atom, &mut members);
        let of = &rows.input().nodes()[position];
        let vacant = rows.input().gpus()[of.gpus.clone()].iter().all(Scope::vacant) && !of.gpus.is_empty();
        let free = i64::from(vacant);
        if members.is_empty() {
            rows.offsets[rows.levels.free_nodes] += free;
            continue;
        }
        let mut active = vec![(rows.problem.level(rows.levels.nodes), -1)];
        active.extend(rows.nodes.map(|row| (row, 1)));
        let active = rows.effect(active);
        let idle = vec![(rows.problem.level(rows.levels.free_nodes), free)];
        let idle = rows.effect(idle);
        let key = members.iter().map(|(&class, parts)| (class, parts.len() as u32)).collect();
        let part = NodePart { members: members.into_values().collect() };
        grouped.entry((key, active, idle)).or_default().push(part);
    }
    grouped
        .into_iter()
        .map(|((members, active, idle), nodes)| (rows.problem.group(nodes.len() as u32, members, active, idle), nodes))
        .collect()
}

struct Maker {
    templates: BTreeMap<TemplateKey, Template>,
    classes: BTreeMap<(TemplateId, Vec<Arc>, EffectId, EffectId), ClassId>,
}

impl Maker {
    fn node(
        &mut self,
        rows: &mut Rows<'_, '_>,
        node: NodeId,
        atom: usize,
        members: &mut BTreeMap<ClassId, Vec<GpuPart>>,
    ) {
        let of = &rows.input().nodes()[node.index()];
        if rows.scope.recuttable(node)
            && let Some((class, part)) = self.single(rows, node, atom)
        {
            members.entry(class).or_default().push(part);
            return;
        }
        for gpu in of.gpus.clone() {
            let id = GpuId::new(gpu);
            let of = &rows.input().gpus()[gpu];
            if rows.scope.mutable(of) {
                let (class, part) = self.gpu(rows, id, of, atom);
                members.entry(class).or_default().push(part);
            } else {
                Self::constant(rows, of, atom);
            }
        }
    }

    /// A GPU that no plan changes: its free replicas are there in any case.
    fn constant(rows: &mut Rows<'_, '_>, gpu: &Gpu, atom: usize) {
        for instance in &gpu.instances {
            if let Some(offer) = gpu.offer(instance.placement.profile()) {
                let units = i64::from(gpu.free_replicas(instance));
                rows.constant_supply(atom, offer.resource, units);
            }
        }
        rows.offsets[rows.levels.free_gpus] += i64::from(Scope::vacant(gpu));
    }

    fn class(
        &mut self,
        rows: &mut Rows<'_, '_>,
        template: TemplateId,
        own: Vec<Arc>,
        active: EffectId,
        idle: EffectId,
    ) -> ClassId {
        *self
            .classes
            .entry((template, own.clone(), active, idle))
            .or_insert_with(|| rows.problem.class(template, own, active, idle))
    }

    /// A GPU whose instances may be changed one by one.
    fn gpu(&mut self, rows: &mut Rows<'_, '_>, id: GpuId, gpu: &Gpu, atom: usize) -> (ClassId, GpuPart) {
        let fixed: Vec<bool> = gpu.instances.iter().map(|instance| is_fixed(rows.scope, instance)).collect();
        let template = self.template(rows, gpu, &fixed, atom);
        let mut part = GpuPart { gpu: id, pieces: Shared::clone(&template.pieces), own: Vec::new() };
        for (instance, _) in gpu.instances.iter().zip(&fixed).filter(|(_, fixed)| **fixed) {
            if let Some(offer) = gpu.offer(instance.placement.profile()) {
                rows.constant_supply(atom, offer.resource, i64::from(gpu.free_replicas(instance)));
            }
        }
        let mut idle = runs_between(rows, gpu, gpu.instances.iter().map(|instance| instance.placement));
        idle.push((rows.problem.level(rows.levels.free_gpus), i64::from(Scope::vacant(gpu))));
        let mut active = vec![(rows.problem.level(rows.levels.gpus), -1)];
        active.extend(rows.gpus.map(|row| (row, 1)));
        let mut own: Vec<(Arc, Piece)> = Vec::new();
        for (slot, instance) in gpu.instances.iter().enumerate().filter(|(slot, _)| !fixed[*slot]) {
            let keep = keep_terms(rows, gpu, instance, atom);
            let mut destroy = vec![(rows.problem.level(rows.levels.changes), -1)];
            if let Occupancy::Busy(pods) = &instance.occupancy {
                rows.destroy_terms(&part, slot, pods, &mut destroy);
            }
            idle.extend_from_slice(&keep);
            active.extend_from_slice(&destroy);
            let mut terms = keep;
            terms.extend(destroy.into_iter().map(|(dim, amount)| (dim, -amount)));
            let mut ways = vec![(rows.effect(terms), Piece::Keep(slot))];
            if let Occupancy::Busy(pods) = &instance.occupancy
                && rows.worth_handing_over(gpu, instance, pods, atom)
            {
                let terms = hand_over_terms(rows, gpu, instance, atom);
                ways.push((rows.effect(terms), Piece::HandOver(slot)));
            }
            let media = gpu.geometry.profile(instance.placement.profile()).media;
            for (from, to) in
                template.states.steps(instance.placement.start(), instance.placement.end(), Step::Instance(media))
            {
                own.extend(ways.iter().map(|&(effect, piece)| (Arc { from, to, effect }, piece)));
            }
        }
        own.sort_by_key(|(arc, _)| *arc);
        part.own = own.iter().map(|(_, piece)| *piece).collect();
        let (active, idle) = (rows.effect(active), rows.effect(idle));
        let arcs = own.into_iter().map(|(arc, _)| arc).collect();
        (self.class(rows, template.id, arcs, active, idle), part)
    }

    /// Shared arcs for GPUs with the same table and the same instances, whoever holds those that may go.
    fn template(&mut self, rows: &mut Rows<'_, '_>, gpu: &Gpu, fixed: &[bool], atom: usize) -> Template {
        let present: Vec<(Placement, bool)> =
            gpu.instances.iter().map(|instance| instance.placement).zip(fixed.iter().copied()).collect();
        let staying: Vec<Placement> =
            present.iter().filter(|(_, fixed)| *fixed).map(|(placement, _)| *placement).collect();
        let creatable: Vec<(Placement, Offer)> = gpu
            .geometry
            .placements()
            .filter(|placement| staying.iter().all(|other| !other.overlaps(*placement)))
            // What is there already is kept, never made again in its place.
            .filter(|placement| present.iter().all(|(other, _)| other != placement))
            .filter_map(|placement| Some((placement, gpu.offer(placement.profile())?)))
            .filter(|(_, offer)| rows.wanted_in(atom, offer.resource))
            .collect();
        let special = |profile: ProfileId| {
            matches!(gpu.geometry.profile(profile).media, MediaEngines::Extended | MediaEngines::All)
        };
        let media = gpu.instances.iter().any(|instance| special(instance.placement.profile()))
            || creatable.iter().any(|(placement, _)| special(placement.profile()));
        let key = (atom, Shared::as_ptr(&gpu.geometry), gpu.offers.as_ptr(), present, media);
        if let Some(template) = self.templates.get(&key) {
            return template.clone();
        }
        let states = States { axis: gpu.geometry.axis(), media };
        let mut arcs: Vec<(Arc, Piece)> = Vec::new();
        let nothing = rows.problem.nothing();
        for placement in &staying {
            let engines = gpu.geometry.profile(placement.profile()).media;
            for (from, to) in states.steps(placement.start(), placement.end(), Step::Instance(engines)) {
                arcs.push((Arc { from, to, effect: nothing }, Piece::Fixed));
            }
        }
        for (placement, offer) in creatable {
            let mut terms = vec![(rows.problem.level(rows.levels.changes), -1)];
            rows.supply_terms(atom, offer.resource, i64::from(offer.replicas), &mut terms);
            let effect = rows.effect(terms);
            let engines = gpu.geometry.profile(placement.profile()).media;
            for (from, to) in states.steps(placement.start(), placement.end(), Step::Instance(engines)) {
                arcs.push((Arc { from, to, effect }, Piece::Create(placement)));
            }
        }
        for start in 0..states.axis {
            for end in start + 1..=states.axis {
                if staying.iter().any(|placement| placement.start() < end && start < placement.end()) {
                    break;
                }
                let effect = run_effect(rows, gpu, start, end);
                for (from, to) in states.steps(start, end, Step::Empty) {
                    arcs.push((Arc { from, to, effect }, Piece::Empty));
                }
            }
        }
        arcs.extend(states.passages().map(|(from, to)| (Arc { from, to, effect: nothing }, Piece::Empty)));
        arcs.sort_by_key(|(arc, _)| *arc);
        let pieces = arcs.iter().map(|(_, piece)| *piece).collect();
        let arcs = arcs.into_iter().map(|(arc, _)| arc).collect();
        let template = Template { id: rows.problem.template(states.nodes(), arcs), pieces, states };
        self.templates.insert(key, template.clone());
        template
    }

    /// All GPUs of a vacant `single` node as one machine: each way to cut them is one arc.
    fn single(&mut self, rows: &mut Rows<'_, '_>, node: NodeId, atom: usize) -> Option<(ClassId, GpuPart)> {
        let input = rows.input();
        let range = input.nodes()[node.index()].gpus.clone();
        let gpus = &input.gpus()[range.clone()];
        let first = gpus.first()?;
        let mut idle = vec![(rows.problem.level(rows.levels.free_gpus), gpus.len() as i64)];
        for gpu in gpus {
            for instance in &gpu.instances {
                idle.extend(keep_terms(rows, gpu, instance, atom));
            }
        }
        let mut own: Vec<(Arc, Piece)> = Vec::new();
        for profile in first.geometry.profile_ids() {
            let wanted = first.offer(profile).is_some_and(|offer| rows.wanted_in(atom, offer.resource));
            let Some(cuts) = wanted.then(|| uniform_cuts(gpus, profile)).flatten() else { continue };
            let mut terms = Vec::new();
            let (mut changes, mut touched) = (0, 0);
            for (gpu, cut) in gpus.iter().zip(&cuts) {
                let (destroyed, created) = difference(gpu, cut);
                changes += (destroyed.len() + created.len()) as i64;
                touched += i64::from(!destroyed.is_empty() || !created.is_empty());
                for placement in cut {
                    if let Some(offer) = gpu.offer(placement.profile()) {
                        rows.supply_terms(atom, offer.resource, i64::from(offer.replicas), &mut terms);
                    }
                }
            }
            if changes == 0 {
                continue;
            }
            terms.push((rows.problem.level(rows.levels.changes), -changes));
            terms.push((rows.problem.level(rows.levels.gpus), -touched));
            terms.push((rows.problem.level(rows.levels.free_gpus), gpus.len() as i64 - touched));
            terms.extend(rows.gpus.map(|row| (row, touched)));
            let effect = rows.effect(terms);
            own.push((Arc { from: 0, to: 1, effect }, Piece::Uniform(profile)));
        }
        if own.is_empty() {
            return None;
        }
        own.sort_by_key(|(arc, _)| *arc);
        let key = (usize::MAX, std::ptr::null(), std::ptr::null(), Vec::new(), false);
        let states = States { axis: 1, media: false };
        let template = if let Some(template) = self.templates.get(&key) {
            template.clone()
        } else {
            let id = rows.problem.template(2, Vec::new());
            let template = Template { id, pieces: Shared::from([]), states };
            self.templates.insert(key, template.clone());
            template
        };
        let gpu = GpuId::new(range.start);
        let part = GpuPart { gpu, pieces: template.pieces, own: own.iter().map(|(_, piece)| *piece).collect() };
        let (idle, nothing) = (rows.effect(idle), rows.problem.nothing());
        let arcs = own.into_iter().map(|(arc, _)| arc).collect();
        Some((self.class(rows, template.id, arcs, nothing, idle), part))
    }
}

/// Whether nobody may destroy an instance.
fn is_fixed(scope: &Scope<'_>, instance: &Instance) -> bool {
    match &instance.occupancy {
        Occupancy::Free => false,
        Occupancy::Busy(pods) => pods.is_empty() || !pods.iter().all(|pod: &PodId| scope.movable[pod.index()]),
        Occupancy::Unknown => true,
    }
}

/// What an instance contributes as long as it is kept.
fn keep_terms(rows: &Rows<'_, '_>, gpu: &Gpu, instance: &Instance, atom: usize) -> Vec<(Dim, i64)> {
    let mut terms = Vec::new();
    if let Some(offer) = gpu.offer(instance.placement.profile()) {
        rows.supply_terms(atom, offer.resource, i64::from(gpu.free_replicas(instance)), &mut terms);
    }
    terms
}

/// What handing an instance over contributes beside the evictions, which are those of its destruction: it is there after all, with all its
/// replicas.
fn hand_over_terms(rows: &Rows<'_, '_>, gpu: &Gpu, instance: &Instance, atom: usize) -> Vec<(Dim, i64)> {
    let mut terms = vec![(rows.problem.level(rows.levels.changes), 1)];
    if let Some(offer) = gpu.offer(instance.placement.profile()) {
        rows.supply_terms(atom, offer.resource, i64::from(offer.replicas), &mut terms);
    }
    terms
}

/// Every GPU's cut into one profile, as many instances as fit; `None` when some board does not know the profile.
pub(super) fn uniform_cuts(gpus: &[Gpu], profile: ProfileId) -> Option<Vec<Vec<Placement>>> {
    gpus.iter()
        .map(|gpu| {
            let same = gpus[0].geometry.profile(profile).name.as_str();
            let own = gpu.geometry.find(same)?;
            let of = gpu.geometry.profile(own);
            let mut cut: Vec<Placement> = Vec::new();
            let mut starts = of.starts.clone();
            starts.sort_unstable();
            for start in starts {
                let placement = gpu.geometry.place(own, start).ok()?;
                if cut.last().is_none_or(|last| last.end() <= start) && cut.len() < usize::from(of.max_count) {
                    cut.push(placement);
                }
            }
            (!cut.is_empty()).then_some(cut)
        })
        .collect()
}

/// Instances of a GPU that a cut destroys, by position, and placements that it creates.
pub(super) fn difference(gpu: &Gpu, cut: &[Placement]) -> (Vec<usize>, Vec<Placement>) {
    let destroyed = (0..gpu.instances.len()).filter(|&slot| !cut.contains(&gpu.instances[slot].placement)).collect();
    let created = cut
        .iter()
        .copied()
        .filter(|placement| gpu.instances.iter().all(|instance| instance.placement != *placement))
        .collect();
    (destroyed, created)
}

/// Profile of a board that stands for a resource of the forecast mix: the first in the table that offers it.
fn forecast_profiles(scope: &Scope<'_>, gpu: &Gpu) -> Vec<(ResourceId, ProfileId)> {
    scope
        .input
        .forecast()
        .keys()
        .filter_map(|&resource| {
            let mut profiles = gpu.geometry.profile_ids();
            let profile = profiles.find(|&id| gpu.offer(id).is_some_and(|offer| offer.resource == resource))?;
            Some((resource, profile))
        })
        .collect()
}

/// Most instances of a size that fit into a run side by side at the given starts.
fn fitting(starts: &[u8], size: u8, from: u8, to: u8) -> usize {
    let mut sorted = starts.to_vec();
    sorted.sort_unstable();
    let (mut next, mut count) = (from, 0);
    for start in sorted {
        if size > 0 && start >= next && start + size <= to {
            next = start + size;
            count += 1;
        }
    }
    count
}

/// What a run of empty slots is worth to the forecast mix.
pub(super) fn run_value(scope: &Scope<'_>, gpu: &Gpu, from: u8, to: u8) -> i64 {
    forecast_profiles(scope, gpu)
        .into_iter()
        .map(|(resource, profile)| {
            let of = gpu.geometry.profile(profile);
            let size = of.size.unwrap_or(0);
            let count = fitting(&of.starts, size, from, to).min(usize::from(of.max_count));
            scope.forecast(resource) * i64::from(size) * count as i64
        })
        .sum()
}

fn run_effect(rows: &mut Rows<'_, '_>, gpu: &Gpu, from: u8, to: u8) -> EffectId {
    let value = run_value(rows.scope, gpu, from, to);
    let level = rows.problem.level(rows.levels.flexibility);
    rows.effect(vec![(level, value)])
}

/// Worth of the runs that a layout leaves empty.
fn runs_between(rows: &Rows<'_, '_>, gpu: &Gpu, placements: impl Iterator<Item = Placement>) -> Vec<(Dim, i64)> {
    let level = rows.problem.level(rows.levels.flexibility);
    let mut terms = Vec::new();
    let mut from = 0;
    for placement in placements {
        if from < placement.start() {
            terms.push((level, run_value(rows.scope, gpu, from, placement.start())));
        }
        from = placement.end();
    }
    if from < gpu.geometry.axis() {
        terms.push((level, run_value(rows.scope, gpu, from, gpu.geometry.axis())));
    }
    terms
}

/// One step along the axis.
#[derive(Clone, Copy)]
enum Step {
    Empty,
    Instance(MediaEngines),
}

/// Numbers of the graph's nodes: a slot boundary, times what must be remembered there.
///
/// Every boundary has two nodes: at the first a run of empty slots may begin, from the second an instance must follow. Runs lead
/// from a first to a second node, instances from a second to a first, and a passage from first to second leaves no slot
/// empty. So a run is never cut in two: what a run is worth holds for whole runs only, and every layout is one path.
#[derive(Clone, Copy)]
struct States {
    axis: u8,
    /// Whether the use of media engines is remembered.
    media: bool,
}

const MEDIA: [MediaUse; 4] = [MediaUse::Untouched, MediaUse::Shared, MediaUse::Extended, MediaUse::All];

impl States {
    fn kept(self) -> usize {
        if self.media { MEDIA.len() } else { 1 }
    }

    fn nodes(self) -> u16 {
        u16::from(self.axis) * 2 * self.kept() as u16 + 1
    }

    fn number(self, slot: u8, media: usize, second: bool) -> u16 {
        if slot == self.axis {
            return self.nodes() - 1;
        }
        let kept = self.kept();
        (usize::from(slot) * 2 * kept + usize::from(second) * kept + media) as u16
    }

    /// Arcs from the first to the second node of every boundary.
    fn passages(self) -> impl Iterator<Item = (u16, u16)> {
        (0..self.axis).flat_map(move |slot| {
            (0..self.kept()).map(move |media| (self.number(slot, media, false), self.number(slot, media, true)))
        })
    }

    /// Arcs that a step makes, one for every remembered state that allows it.
    fn steps(self, from: u8, to: u8, step: Step) -> Vec<(u16, u16)> {
        (0..self.kept())
            .filter_map(|media| match step {
                Step::Empty => Some((self.number(from, media, false), self.number(to, media, true))),
                Step::Instance(_) if !self.media => Some((self.number(from, 0, true), self.number(to, 0, false))),
                Step::Instance(engines) => {
                    let next = MEDIA[media].with(engines)?;
                    let next = MEDIA.iter().position(|state| *state == next)?;
                    Some((self.number(from, media, true), self.number(to, next, false)))
                }
            })
            .collect()
    }
}
