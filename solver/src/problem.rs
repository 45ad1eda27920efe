//! The description of a problem.
//!
//! Invariants, kept by the builder methods: arcs lead from lower to higher node numbers, node 0 is the source and the last
//! node the sink; every id refers to something that was added before.

use std::collections::BTreeMap;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) u32);

        impl $name {
            /// Position in the order of adding.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// A dimension: a level of the objective or a coupling row.
    Dim
);
id!(
    /// A sparse vector over dimensions; equal vectors have equal ids.
    EffectId
);
id!(
    /// Arcs that classes share.
    TemplateId
);
id!(
    /// Machines that are alike.
    ClassId
);
id!(
    /// Groups that are alike.
    GroupId
);
id!(
    /// An integer variable.
    VarId
);

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arc {
    /// Node that it leaves.
    pub from: u16,
    /// Node that it reaches, greater than `from`.
    pub to: u16,
    /// What it contributes.
    pub effect: EffectId,
}

/// What a row connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It belongs to one block, and holds what it touches together.
    Block,
    /// It links blocks.
    Link,
    /// It is over everything, such as a budget, and seldom binds.
    Shared,
}

/// Bounds on the sum of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) lower: Option<i64>,
    pub(crate) upper: Option<i64>,
}

/// Arcs that several classes have in common, ordered by `from`.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) nodes: u16,
    pub(crate) arcs: Vec<Arc>,
}

/// Machines that are alike: idle, or on a path through the template's arcs and their own.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) template: TemplateId,
    /// Own arcs ordered by `from`; numbered after the template's.
    pub(crate) own: Vec<Arc>,
    /// Contributed by every active machine, besides its path.
    pub(crate) active: EffectId,
    pub(crate) idle: EffectId,
}

/// Groups that are alike.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) count: u32,
    pub(crate) members: Vec<(ClassId, u32)>,
    /// Contributed once when a machine of the group is active.
    pub(crate) active: EffectId,
    /// Contributed when all are idle.
    pub(crate) idle: EffectId,
}

/// An integer from 0 to `upper`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Var {
    pub(crate) upper: i64,
    pub(crate) effect: EffectId,
}

/// A lexicographic problem; all levels are maximised.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(crate) levels: usize,
    pub(crate) rows: Vec<Row>,
    /// Per row, what it connects.
    pub(crate) reach: Vec<Reach>,
    pub(crate) effects: Vec<Box<[(Dim, i64)]>>,
    index: BTreeMap<Box<[(Dim, i64)]>, EffectId>,
    pub(crate) templates: Vec<Template>,
    pub(crate) classes: Vec<Class>,
    pub(crate) groups: Vec<Group>,
    pub(crate) vars: Vec<Var>,
}

impl Problem {
    /// Starts a problem with a number of levels, in order of precedence.
    pub fn new(levels: usize) -> Self {
        let mut problem = Self {
            levels,
            rows: Vec::new(),
            reach: Vec::new(),
            effects: Vec::new(),
            index: BTreeMap::new(),
            templates: Vec::new(),
            classes: Vec::new(),
            groups: Vec::new(),
            vars: Vec::new(),
        };
        problem.effect([]);
        problem
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// Number of dimensions: levels and rows.
    pub fn dims(&self) -> usize {
        self.levels + self.rows.len()
    }

    /// Number of classes of machines.
    pub fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Number of classes of groups.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Number of variables.
    pub fn var_count(&self) -> usize {
        self.vars.len()
    }

    /// Classes of a group's members, in the order of adding.
    pub fn members(&self, group: GroupId) -> Vec<ClassId> {
        self.groups[group.index()].members.iter().map(|&(class, _)| class).collect()
    }

    /// The last node of a class's graph.
    pub fn sink(&self, class: ClassId) -> u16 {
        self.templates[self.classes[class.index()].template.index()].nodes - 1
    }

    /// The dimension of a level.
    ///
    /// # Panics
    /// When there is no such level.
    pub fn level(&self, level: usize) -> Dim {
        assert!(level < self.levels, "the problem has {} levels", self.levels);
        Dim(level as u32)
    }

    /// Adds a coupling row: the sum over everything must lie within the bounds.
    pub fn row(&mut self, lower: Option<i64>, upper: Option<i64>) -> Dim {
        self.row_of(Reach::Block, lower, upper)
    }

    /// Adds a row that links what otherwise shares nothing: it may be priced, and each block that is left solved for itself.
    pub fn link_row(&mut self, lower: Option<i64>, upper: Option<i64>) -> Dim {
        self.row_of(Reach::Link, lower, upper)
    }

    /// Adds a row over everything, such as a budget, that seldom binds: parts of the problem that nothing else connects are solved without it
    /// first.
    pub fn shared_row(&mut self, lower: Option<i64>, upper: Option<i64>) -> Dim {
        self.row_of(Reach::Shared, lower, upper)
    }

    pub(crate) fn row_of(&mut self, reach: Reach, lower: Option<i64>, upper: Option<i64>) -> Dim {
        self.rows.push(Row { lower, upper });
        self.reach.push(reach);
        Dim((self.levels + self.rows.len() - 1) as u32)
    }

    /// Adds a constant to what a row already sums up, by moving its bounds.
    ///
    /// # Panics
    /// When the dimension is a level.
    pub fn add_constant(&mut self, row: Dim, amount: i64) {
        let row = &mut self.rows[row.index() - self.levels];
        row.lower = row.lower.map(|bound| bound - amount);
        row.upper = row.upper.map(|bound| bound - amount);
    }

    /// Interns a sparse vector; amounts of one dimension add up.
    pub fn effect(&mut self, terms: impl IntoIterator<Item = (Dim, i64)>) -> EffectId {
        let key: Box<[(Dim, i64)]> = sum_up(terms.into_iter().collect()).into();
        if let Some(&id) = self.index.get(&key) {
            return id;
        }
        let id = EffectId(self.effects.len() as u32);
        self.effects.push(key.clone());
        self.index.insert(key, id);
        id
    }

    /// The terms of an effect, ordered by dimension.
    pub fn terms(&self, effect: EffectId) -> &[(Dim, i64)] {
        &self.effects[effect.index()]
    }

    /// The effect that contributes nothing.
    pub fn nothing(&self) -> EffectId {
        EffectId(0)
    }

    /// Adds arcs for classes to share.
    ///
    /// # Panics
    /// When an arc does not lead forward within `nodes`.
    pub fn template(&mut self, nodes: u16, mut arcs: Vec<Arc>) -> TemplateId {
        arcs.sort_unstable();
        assert!(arcs.iter().all(|arc| arc.from < arc.to && arc.to < nodes), "arcs lead forward within the nodes");
        self.templates.push(Template { nodes, arcs });
        TemplateId(self.templates.len() as u32 - 1)
    }

    /// Adds a class of machines.
    ///
    /// # Panics
    /// When an own arc does not lead forward within the template's nodes.
    pub fn class(&mut self, template: TemplateId, mut own: Vec<Arc>, active: EffectId, idle: EffectId) -> ClassId {
        let nodes = self.templates[template.index()].nodes;
        own.sort_unstable();
        assert!(own.iter().all(|arc| arc.from < arc.to && arc.to < nodes), "arcs lead forward within the nodes");
        self.classes.push(Class { template, own, active, idle });
        ClassId(self.classes.len() as u32 - 1)
    }

    /// Adds `count` groups that are alike, each with the given number of machines of each class.
    pub fn group(&mut self, count: u32, members: Vec<(ClassId, u32)>, active: EffectId, idle: EffectId) -> GroupId {
        self.groups.push(Group { count, members, active, idle });
        GroupId(self.groups.len() as u32 - 1)
    }

    /// Adds an integer variable from 0 to `upper`.
    pub fn var(&mut self, upper: i64, effect: EffectId) -> VarId {
        self.vars.push(Var { upper: upper.max(0), effect });
        VarId(self.vars.len() as u32 - 1)
    }

    /// The arc of a class by its number: the template's first, then its own.
    pub fn arc(&self, class: ClassId, number: u16) -> Arc {
        let class = &self.classes[class.index()];
        let template = &self.templates[class.template.index()].arcs;
        template.get(usize::from(number)).copied().unwrap_or_else(|| class.own[usize::from(number) - template.len()])
    }

    /// The same machines, groups and variables, with weighted sums of dimensions for levels: one row of weights, by dimension, for each. Rows
    /// without bounds are left out.
    pub(crate) fn with_levels(&self, weights: &[Vec<i64>]) -> Self {
        let mut new = Self::new(weights.len());
        let rows: Vec<Option<Dim>> = (0..self.dims())
            .map(|dim| {
                let bounds = self.bounds(dim);
                (bounds.lower.is_some() || bounds.upper.is_some()).then(|| new.row(bounds.lower, bounds.upper))
            })
            .collect();
        // Effects keep their numbers; that some may be equal now does no harm.
        new.effects = self
            .effects
            .iter()
            .map(|terms| {
                let levels = weights.iter().enumerate().map(|(level, weights)| {
                    let sum = terms.iter().map(|&(dim, amount)| weights[dim.index()] * amount).sum();
                    (Dim(level as u32), sum)
                });
                let rows = terms.iter().filter_map(|&(dim, amount)| Some((rows[dim.index()]?, amount)));
                levels.chain(rows).filter(|&(_, amount)| amount != 0).collect()
            })
            .collect();
        new.templates.clone_from(&self.templates);
        new.classes.clone_from(&self.classes);
        new.groups.clone_from(&self.groups);
        new.vars.clone_from(&self.vars);
        new
    }

    /// The bounds of a dimension; levels have none.
    pub(crate) fn bounds(&self, dim: usize) -> Row {
        if dim < self.levels { Row { lower: None, upper: None } } else { self.rows[dim - self.levels] }
    }

    /// All arcs of a class with their numbers, in no order that matters.
    pub(crate) fn arcs(&self, class: &Class) -> impl Iterator<Item = (u16, Arc)> + '_ {
        let template = &self.templates[class.template.index()].arcs;
        let own: Vec<Arc> = class.own.clone();
        template.iter().copied().chain(own).enumerate().map(|(number, arc)| (number as u16, arc))
    }

    /// What an active machine of a class on a path contributes.
    pub(crate) fn path_vector(&self, class: ClassId, arcs: &[u16]) -> Vec<(Dim, i64)> {
        let mut terms = self.terms(self.classes[class.index()].active).to_vec();
        for &number in arcs {
            terms.extend_from_slice(self.terms(self.arc(class, number).effect));
        }
        sum_up(terms)
    }

    /// Adds what `copies` of a group contribute; in active ones each class takes the path given for it, or idles.
    pub(crate) fn add_group<'v>(
        &self,
        group: usize,
        copies: i64,
        active: bool,
        vector_of: impl Fn(ClassId) -> Option<&'v [(Dim, i64)]>,
        totals: &mut [i64],
    ) {
        let group = &self.groups[group];
        let mut add = |terms: &[(Dim, i64)], times: i64| {
            for &(dim, amount) in terms {
                totals[dim.index()] += amount * times;
            }
        };
        add(self.terms(if active { group.active } else { group.idle }), copies);
        for &(class, count) in &group.members {
            let machines = copies * i64::from(count);
            let idle = || self.terms(self.classes[class.index()].idle);
            let vector = if active { vector_of(class) } else { None };
            add(vector.unwrap_or_else(idle), machines);
        }
    }
}

/// Adds up terms of the same dimension and drops what vanishes.
pub(crate) fn sum_up(mut terms: Vec<(Dim, i64)>) -> Vec<(Dim, i64)> {
    terms.sort_unstable();
    terms.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
    terms.retain(|&(_, amount)| amount != 0);
    terms
}
