//! States planning as a problem of the solver: coupling rows, landing variables, and the contributions of every change.

use std::collections::{BTreeMap, BTreeSet};

use retile_solver::{Dim, EffectId, GroupId, Problem, VarId};

use crate::model::{CapacityKind, Gpu, GpuId, Instance, NodeId, PlanningInput, PodId, ResourceId};

use super::demand::{DemandClass, DemandTable};
use super::levels::Levels;
use super::machines::{self, GpuPart, NodePart};
use super::scope::Scope;

/// Where pods of a class land: one variable per atom, or nothing where eviction and landing are one effect.
#[derive(Debug, Default)]
pub(super) struct Landing {
    /// (atom, variable).
    pub(super) vars: Vec<(usize, VarId)>,
    /// The only atom of a class whose pods land there as soon as they are evicted.
    pub(super) folded: Option<usize>,
    /// Number of pods left without a place.
    pub(super) displaced: Option<VarId>,
}

/// A problem with everything needed to read its answer.
pub(super) struct Encoding {
    pub(super) problem: Problem,
    pub(super) table: DemandTable,
    /// Landing of each class of waiting pods.
    pub(super) pending: Vec<Landing>,
    /// Landing of each class of pods that may be moved.
    pub(super) moved: Vec<Landing>,
    /// What the problem leaves out because it cannot change, per level.
    pub(super) offsets: Vec<i64>,
    /// Nodes of each group of the problem.
    pub(super) groups: Vec<(GroupId, Vec<NodePart>)>,
    /// Variables of the pods that hold several instances.
    pub(super) several: BTreeMap<PodId, Several>,
    /// Variables that excuse an overcommitted atom where nobody lands.
    pub(super) closed: BTreeMap<(usize, CapacityKind), VarId>,
}

/// Variables of a pod that holds several instances.
#[derive(Debug)]
pub(super) struct Several {
    /// Whether it is evicted.
    pub(super) evict: VarId,
    /// Per instance, whether it becomes free without being destroyed.
    pub(super) freed: Vec<((GpuId, usize), VarId)>,
}

impl Encoding {
    /// Builds the problem.
    pub(super) fn new(scope: &Scope<'_>, refined: &BTreeSet<NodeId>) -> Self {
        let table = DemandTable::new(scope, refined);
        let levels = Levels::new(scope);
        let mut rows = Rows::new(scope, &table, levels);
        let pending = rows.pending(&table);
        let moved = rows.moved(&table);
        rows.evictions(&table, &moved);
        let groups = machines::groups(&mut rows, &table);
        let Rows { problem, offsets, several, closed, .. } = rows;
        Self { problem, table, pending, moved, offsets, groups, several, closed }
    }
}

/// How much of an ordinary resource a refined atom has.
#[derive(Debug, Clone, Copy)]
struct Limit {
    row: Dim,
    /// Unit in which the row counts.
    unit: i64,
    /// Row that counts the pods that land, where the node is overcommitted.
    closed: Option<Dim>,
}

/// The problem under construction, with its rows by meaning.
pub(super) struct Rows<'a, 'b> {
    pub(super) scope: &'a Scope<'b>,
    pub(super) problem: Problem,
    pub(super) levels: Levels,
    pub(super) offsets: Vec<i64>,
    supply: BTreeMap<(usize, ResourceId), Dim>,
    capacity: BTreeMap<(usize, CapacityKind), Limit>,
    budgets: Vec<Dim>,
    evictions: Option<Dim>,
    pub(super) nodes: Option<Dim>,
    pub(super) gpus: Option<Dim>,
    gain: Option<Dim>,
    /// Row that makes the evicted pods of a class equal those that land or are displaced.
    landed: Vec<Option<Dim>>,
    /// Effect of evicting each pod that holds one instance.
    evict: BTreeMap<PodId, Vec<(Dim, i64)>>,
    /// Pods that hold one instance and, if they are evicted, land in the atom that they leave.
    circling: BTreeSet<PodId>,
    /// Row of each instance of a pod that holds several: destroyed, handed over or freed, one of them and only if the pod is evicted.
    held: BTreeMap<(PodId, GpuId, usize), Dim>,
    several: BTreeMap<PodId, Several>,
    closed: BTreeMap<(usize, CapacityKind), VarId>,
}

impl<'a, 'b> Rows<'a, 'b> {
    fn new(scope: &'a Scope<'b>, table: &DemandTable, levels: Levels) -> Self {
        let input = scope.input;
        let mut problem = Problem::new(levels.count);
        let policy = input.policy();
        let limit = |problem: &mut Problem, most: Option<u64>| {
            most.map(|most| problem.shared_row(None, Some(i64::try_from(most).unwrap_or(i64::MAX))))
        };
        // In the order of their names: the order in which they were read must leave no trace.
        let mut order: Vec<usize> = (0..input.budgets().len()).collect();
        order.sort_by_key(|&budget| (&input.budgets()[budget].name, input.budgets()[budget].allowed));
        let mut budgets = vec![problem.level(0); order.len()];
        for budget in order {
            budgets[budget] = problem.shared_row(None, Some(i64::from(input.budgets()[budget].allowed)));
        }
        let evictions = limit(&mut problem, policy.budgets.evictions.map(u64::from));
        let nodes = limit(&mut problem, policy.budgets.nodes.map(|limit| limit.of(input.nodes().len())));
        let gpus = limit(&mut problem, policy.budgets.gpus.map(|limit| limit.of(input.gpus().len())));
        let gain = scope.baseline.map(|baseline| problem.shared_row(Some(baseline.saturating_mul(1000)), None));
        let mut rows = Self {
            scope,
            offsets: vec![0; levels.count],
            levels,
            supply: BTreeMap::new(),
            capacity: BTreeMap::new(),
            budgets,
            evictions,
            nodes,
            gpus,
            gain,
            landed: Vec::new(),
            evict: BTreeMap::new(),
            circling: BTreeSet::new(),
            held: BTreeMap::new(),
            several: BTreeMap::new(),
            closed: BTreeMap::new(),
            problem,
        };
        rows.add_supply(table);
        rows.add_capacity(table);
        rows
    }

    pub(super) fn input(&self) -> &'b PlanningInput {
        self.scope.input
    }

    fn classes(table: &DemandTable) -> impl Iterator<Item = &DemandClass> {
        table.pending.iter().map(|(class, _)| class).chain(&table.moved)
    }

    fn add_supply(&mut self, table: &DemandTable) {
        for class in Self::classes(table) {
            for &atom in &class.atoms {
                for (resource, _) in class.demand.iter() {
                    if !self.supply.contains_key(&(atom, resource)) {
                        let row = self.problem.row(Some(0), None);
                        self.supply.insert((atom, resource), row);
                    }
                }
            }
        }
    }

    /// Rows for the ordinary resources of refined atoms, in the coarsest unit that divides all amounts.
    fn add_capacity(&mut self, table: &DemandTable) {
        let mut asked = BTreeMap::<(usize, CapacityKind), i64>::new();
        for class in Self::classes(table) {
            for &atom in class.atoms.iter().filter(|&&atom| table.atoms[atom].refined) {
                for (kind, amount) in class.requests.iter().filter(|(_, amount)| *amount > 0) {
                    let unit = asked.entry((atom, kind.clone())).or_default();
                    *unit = gcd(*unit, amount);
                }
            }
        }
        for ((atom, kind), unit) in asked {
            let node = table.atoms[atom].nodes[0];
            let leaving = self
                .input()
                .running()
                .iter()
                .enumerate()
                .filter(|(pod, of)| of.node == node && self.scope.movable[*pod]);
            let unit = leaving.fold(unit, |unit, (_, pod)| gcd(unit, pod.requests.get(&kind))).max(1);
            let free = self.input().nodes()[node.index()].free.get(&kind).div_euclid(unit);
            let row = self.problem.row(None, Some(free));
            let closed = (free < 0).then(|| {
                let (lands, var) = self.closable(row, free);
                self.closed.insert((atom, kind.clone()), var);
                lands
            });
            self.capacity.insert((atom, kind), Limit { row, unit, closed });
        }
    }

    /// A node that is overcommitted takes nobody who asks for the resource, unless pods that leave make up for it: either
    /// nobody lands and the deficit is excused, or the row holds as it is. Returns a row that counts who lands.
    fn closable(&mut self, row: Dim, free: i64) -> (Dim, VarId) {
        let anybody = (self.input().pending().len() + self.input().running().len()) as i64;
        let lands = self.problem.row(None, Some(anybody));
        let effect = self.problem.effect([(row, free), (lands, anybody)]);
        (lands, self.problem.var(1, effect))
    }

    /// What one landing pod contributes in an atom.
    fn landing_terms(&self, class: &DemandClass, atom: usize) -> Vec<(Dim, i64)> {
        let flexibility = self.problem.level(self.levels.flexibility);
        let mut terms = Vec::new();
        for (resource, count) in class.demand.iter() {
            terms.push((self.supply[&(atom, resource)], -i64::from(count)));
            terms.push((flexibility, -self.scope.spare_value(resource) * i64::from(count)));
        }
        for (kind, amount) in class.requests.iter() {
            if let Some(&Limit { row, unit, closed }) = self.capacity.get(&(atom, kind.clone())) {
                terms.push((row, amount / unit));
                terms.extend(closed.filter(|_| amount > 0).map(|lands| (lands, 1)));
            }
        }
        terms
    }

    /// Landing variables of the waiting pods.
    fn pending(&mut self, table: &DemandTable) -> Vec<Landing> {
        let mut landings = Vec::with_capacity(table.pending.len());
        for (class, pods) in &table.pending {
            let count = pods.len() as i64;
            let served = self.levels.tier(class.priority).map(|tier| self.problem.level(tier.served));
            let total = (class.atoms.len() > 1).then(|| self.problem.link_row(None, Some(count)));
            let mut landing = Landing::default();
            for &atom in &class.atoms {
                let mut terms = self.landing_terms(class, atom);
                terms.extend(served.map(|level| (level, class.weight)));
                terms.extend(total.map(|row| (row, 1)));
                terms.extend(self.gain.map(|row| (row, class.weight.saturating_mul(1000))));
                let effect = self.problem.effect(terms);
                landing.vars.push((atom, self.problem.var(count, effect)));
            }
            landings.push(landing);
        }
        landings
    }

    /// Landing variables of the pods that may be moved, and rows that tie them to evictions.
    fn moved(&mut self, table: &DemandTable) -> Vec<Landing> {
        let mut sizes = vec![0i64; table.moved.len()];
        let mut displaceable = vec![false; table.moved.len()];
        for (&pod, &class) in &table.moved_of {
            sizes[class] += 1;
            displaceable[class] = self.scope.displaceable[pod.index()];
        }
        let mut landings = Vec::with_capacity(table.moved.len());
        for (position, class) in table.moved.iter().enumerate() {
            let mut landing = Landing::default();
            if let ([atom], false) = (class.atoms.as_slice(), displaceable[position]) {
                landing.folded = Some(*atom);
                self.landed.push(None);
                landings.push(landing);
                continue;
            }
            let tie = self.tie(class.atoms.len());
            for &atom in &class.atoms {
                let mut terms = self.landing_terms(class, atom);
                terms.push((tie, 1));
                let effect = self.problem.effect(terms);
                landing.vars.push((atom, self.problem.var(sizes[position], effect)));
            }
            let level = self.levels.tier(class.priority).and_then(|tier| tier.displaced);
            if let Some(level) = level.filter(|_| displaceable[position]) {
                let weight = self.scope.weight(&class.demand);
                let effect = self.problem.effect([(self.problem.level(level), -weight), (tie, 1)]);
                landing.displaced = Some(self.problem.var(sizes[position], effect));
            }
            self.landed.push(Some(tie));
            landings.push(landing);
        }
        landings
    }

    /// A row that makes those who leave equal those who land or are displaced.
    fn tie(&mut self, atoms: usize) -> Dim {
        if atoms > 1 { self.problem.link_row(Some(0), Some(0)) } else { self.problem.row(Some(0), Some(0)) }
    }

    /// Effects of evictions; pods that hold several instances get a variable each.
    fn evictions(&mut self, table: &DemandTable, moved: &[Landing]) {
        for (&pod, &class) in &table.moved_of {
            let of = &self.input().running()[pod.index()];
            let mut terms = vec![(self.problem.level(self.levels.disruption), -i64::from(of.cost))];
            terms.extend(of.budgets.iter().map(|budget| (self.budgets[budget.index()], 1)));
            terms.extend(self.evictions.map(|row| (row, 1)));
            let factor = i64::from(self.input().policy().gain_factor.thousandths());
            terms.extend(self.gain.map(|row| (row, -factor * i64::from(of.cost))));
            match (self.landed[class], moved[class].folded) {
                (Some(tie), _) => terms.push((tie, -1)),
                (None, Some(atom)) => terms.extend(self.landing_terms(&table.moved[class], atom)),
                (None, None) => {}
            }
            let home = table.atom_of[of.node.index()];
            for (kind, amount) in of.requests.iter() {
                if let Some(&Limit { row, unit, .. }) = self.capacity.get(&(home, kind.clone())) {
                    terms.push((row, -(amount / unit)));
                }
            }
            if Scope::holds_several(of) {
                self.evict_several(pod, home, terms);
            } else {
                self.evict.insert(pod, terms);
                self.circling.extend((moved[class].folded == Some(home)).then_some(pod));
            }
        }
    }

    /// A pod that holds several instances: each may be destroyed, handed over or freed only if it is evicted, and it is evicted
    /// only if one of them is destroyed or handed over.
    fn evict_several(&mut self, pod: PodId, home: usize, mut terms: Vec<(Dim, i64)>) {
        let input = self.input();
        let some = self.problem.row(Some(0), None);
        terms.push((some, -1));
        let mut variables = Vec::new();
        for &(gpu, slot) in &input.running()[pod.index()].instances {
            let row = self.problem.row(None, Some(0));
            terms.push((row, -1));
            self.held.insert((pod, gpu, slot), row);
            self.held.insert((pod, gpu, usize::MAX), some);
            let of = &input.gpus()[gpu.index()];
            let instance = &of.instances[slot];
            let Some(offer) = of.offer(instance.placement.profile()) else { continue };
            let mut freed =
                vec![(row, 1), (self.problem.level(self.levels.flexibility), self.scope.spare_value(offer.resource))];
            freed.extend(self.supply.get(&(home, offer.resource)).map(|&supply| (supply, 1)));
            let effect = self.problem.effect(freed);
            variables.push(((gpu, slot), self.problem.var(1, effect)));
        }
        let effect = self.problem.effect(terms);
        let evict = self.problem.var(1, effect);
        self.several.insert(pod, Several { evict, freed: variables });
    }

    /// What `units` of a resource contribute when they become available in an atom.
    pub(super) fn supply_terms(&self, atom: usize, resource: ResourceId, units: i64, terms: &mut Vec<(Dim, i64)>) {
        terms.push((self.problem.level(self.levels.flexibility), self.scope.spare_value(resource) * units));
        terms.extend(self.supply.get(&(atom, resource)).map(|&row| (row, units)));
    }

    /// Adds supply that no plan changes.
    pub(super) fn constant_supply(&mut self, atom: usize, resource: ResourceId, units: i64) {
        self.offsets[self.levels.flexibility] += self.scope.spare_value(resource) * units;
        if let Some(&row) = self.supply.get(&(atom, resource)) {
            self.problem.add_constant(row, units);
        }
    }

    /// Whether somebody who may use an atom asks for a resource.
    pub(super) fn wanted_in(&self, atom: usize, resource: ResourceId) -> bool {
        self.supply.contains_key(&(atom, resource))
    }

    /// Whether anybody could gain by an instance that is handed over. Where all pods on it come back to the same atom, and nowhere
    /// else, they take as much as they leave; otherwise somebody must want the instance, what the pods ask for besides, or another
    /// instance that they leave.
    pub(super) fn worth_handing_over(&self, gpu: &Gpu, instance: &Instance, pods: &[PodId], atom: usize) -> bool {
        let offer = gpu.offer(instance.placement.profile());
        let wanted = offer.is_some_and(|offer| self.wanted_in(atom, offer.resource));
        let frees = |pod: &PodId| {
            let of = &self.input().running()[pod.index()];
            Scope::holds_several(of)
                || of.requests.iter().any(|(kind, _)| self.capacity.contains_key(&(atom, kind.clone())))
        };
        !pods.iter().all(|pod| self.circling.contains(pod)) && (wanted || pods.iter().any(frees))
    }

    /// What destroying or handing over an instance contributes by way of the pods on it.
    pub(super) fn destroy_terms(&self, part: &GpuPart, slot: usize, pods: &[PodId], terms: &mut Vec<(Dim, i64)>) {
        for &pod in pods {
            if let Some(evict) = self.evict.get(&pod) {
                terms.extend_from_slice(evict);
            } else {
                terms.extend(self.held.get(&(pod, part.gpu, slot)).map(|&row| (row, 1)));
                terms.extend(self.held.get(&(pod, part.gpu, usize::MAX)).map(|&row| (row, 1)));
            }
        }
    }

    /// Interns an effect.
    pub(super) fn effect(&mut self, terms: Vec<(Dim, i64)>) -> EffectId {
        self.problem.effect(terms)
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(i64::MAX)
}
