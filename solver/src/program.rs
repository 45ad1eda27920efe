//! Integer programs for good_lp: the whole of a problem as flows along the arcs, and small ones made of explicit columns.
//!
//! A flow program has one flow per (group, member) and therefore the same linear relaxation as the program over all paths.
//! Where charges of groups do not matter, machines of one class are merged across groups. Values come back rounded
//! and are re-checked by the caller in integer arithmetic; the claim that a program was solved to its end is the back end's.

use crate::master::limits;
use crate::problem::{ClassId, Dim, EffectId, GroupId, Problem};
use crate::solution::{ActiveGroup, Solution};
use crate::termination::Termination;

/// An integer program: maximise `objective` over integers within bounds, subject to rows.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Upper bounds; the lower ones are 0.
    upper: Vec<i64>,
    objective: Vec<f64>,
    rows: Vec<Row>,
}

/// Terms (column, factor), lower and upper bound.
type Row = (Vec<(usize, f64)>, Option<i64>, Option<i64>);

/// What a back end says of a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Values, and whether they are proven to be the best.
    Values(Vec<i64>, bool),
    /// There are none.
    Infeasible,
    /// The limit was reached without values.
    Unknown,
}

impl Program {
    pub(crate) fn var(&mut self, upper: i64, objective: f64) -> usize {
        self.upper.push(upper);
        self.objective.push(objective);
        self.upper.len() - 1
    }

    pub(crate) fn row(&mut self, terms: Vec<(usize, f64)>, lower: Option<i64>, upper: Option<i64>) {
        self.rows.push((terms, lower, upper));
    }

    /// Number of variables.
    pub(crate) fn size(&self) -> usize {
        self.upper.len()
    }

    /// Solves the program, visiting at most `nodes` nodes of the search tree and no more than the work that is left; `start` is tried
    /// first.
    pub(crate) fn solve(&self, nodes: u64, start: Option<&[i64]>, termination: &mut dyn Termination) -> Answer {
        #[cfg(feature = "highs")]
        if self.size() > HIGHS_FROM {
            return self.solve_highs(nodes, termination);
        }
        let entries: u64 = self.rows.iter().map(|(terms, _, _)| terms.len() as u64).sum();
        // Building the program and its first basis.
        if termination.spend(WORK_PER_ENTRY * (entries + self.size() as u64)) {
            return Answer::Unknown;
        }
        let mut problem = microlp::Problem::new(microlp::OptimizationDirection::Maximize);
        let columns: Vec<microlp::Variable> = self
            .upper
            .iter()
            .zip(&self.objective)
            .map(|(&upper, &weight)| {
                problem.add_integer_var(weight, (0, i32::try_from(upper.max(0)).unwrap_or(i32::MAX)))
            })
            .collect();
        for (terms, lower, upper) in &self.rows {
            let sum = || terms.iter().map(|&(column, factor)| (columns[column], factor)).collect::<Vec<_>>();
            match (lower, upper) {
                (Some(lower), Some(upper)) if lower == upper => {
                    problem.add_constraint(sum(), microlp::ComparisonOp::Eq, *lower as f64);
                }
                (lower, upper) => {
                    if let Some(lower) = lower {
                        problem.add_constraint(sum(), microlp::ComparisonOp::Ge, *lower as f64);
                    }
                    if let Some(upper) = upper {
                        problem.add_constraint(sum(), microlp::ComparisonOp::Le, *upper as f64);
                    }
                }
            }
        }
        let mut options = microlp::SolveOptions::default();
        options.node_limit = Some(nodes.min(NODES_AT_ONCE));
        options.warm_start =
            start.map(|start| columns.iter().copied().zip(start.iter().map(|&value| value as f64)).collect());
        let per_pivot = WORK_PER_PIVOT + WORK_PER_PIVOT_AND_LINE * (self.rows.len() + self.size()) as u64;
        let mut pivots = 0;
        let mut left = nodes;
        let mut outcome = problem.solve_with(options);
        while let Ok(reached) = outcome {
            let stats = reached.stats();
            let stop = termination.spend((stats.lp_iterations - pivots) * per_pivot);
            pivots = stats.lp_iterations;
            left = left.saturating_sub(NODES_AT_ONCE);
            if reached.is_optimal() || left == 0 || stop {
                return match reached {
                    microlp::SolveOutcome::Solution(solution) => {
                        let values = solution.iter().map(|(_, value)| value.round() as i64).collect();
                        Answer::Values(values, solution.status() == microlp::SolutionStatus::Optimal)
                    }
                    microlp::SolveOutcome::Interrupted(_) => Answer::Unknown,
                };
            }
            outcome = reached.resume();
        }
        match outcome {
            Err(microlp::Error::Infeasible) => Answer::Infeasible,
            Ok(_) | Err(_) => Answer::Unknown,
        }
    }
}

/// Nodes of the search tree between two looks at the work that is left.
const NODES_AT_ONCE: u64 = 10;

/// Work that an entry of a program's matrix stands for when the program is built.
const WORK_PER_ENTRY: u64 = 120;

/// Work that a pivot stands for, and what each row and each column adds to it.
const WORK_PER_PIVOT: u64 = 1_000;
const WORK_PER_PIVOT_AND_LINE: u64 = 12;

/// Programs larger than this go to HiGHS where it is built in.
#[cfg(feature = "highs")]
const HIGHS_FROM: usize = 400;

#[cfg(feature = "highs")]
impl Program {
    fn constraints(&self, columns: &[good_lp::Variable]) -> impl Iterator<Item = good_lp::Constraint> {
        self.rows.iter().flat_map(|(terms, lower, upper)| {
            let sum = || {
                let mut sum = good_lp::Expression::with_capacity(terms.len());
                for &(column, factor) in terms {
                    sum.add_mul(factor, columns[column]);
                }
                sum
            };
            match (lower, upper) {
                (Some(lower), Some(upper)) if lower == upper => vec![sum().eq(*lower as f64)],
                (lower, upper) => lower
                    .map(|lower| sum().geq(lower as f64))
                    .into_iter()
                    .chain(upper.map(|upper| sum().leq(upper as f64)))
                    .collect::<Vec<_>>(),
            }
        })
    }

    /// The same program on `HiGHS`, by way of good_lp.
    fn solve_highs(&self, nodes: u64, termination: &mut dyn Termination) -> Answer {
        use good_lp::{ProblemVariables, Solution as _, SolverModel as _, solvers::highs::highs, variable};
        if termination.spend(self.size() as u64 * WORK_PER_ENTRY * nodes.min(1_000)) {
            return Answer::Unknown;
        }
        let mut variables = ProblemVariables::new();
        let columns: Vec<good_lp::Variable> = self
            .upper
            .iter()
            .map(|&upper| variables.add(variable().integer().min(0).max(upper.min(i64::from(i32::MAX)) as f64)))
            .collect();
        let mut objective = good_lp::Expression::with_capacity(columns.len());
        for (&column, &weight) in columns.iter().zip(&self.objective) {
            if weight != 0.0 {
                objective.add_mul(weight, column);
            }
        }
        let mut model = variables.maximise(objective).using(highs);
        for constraint in self.constraints(&columns) {
            model.add_constraint(constraint);
        }
        model.set_verbose(false);
        let model = model.set_option("mip_max_nodes", i32::try_from(nodes).unwrap_or(i32::MAX));
        let model = model.set_option("threads", 1).set_option("mip_rel_gap", 0.0).set_option("mip_abs_gap", 0.0);
        match model.solve() {
            Ok(solution) => {
                let values = columns.iter().map(|&column| solution.value(column).round() as i64).collect();
                Answer::Values(values, matches!(solution.status(), good_lp::solvers::SolutionStatus::Optimal))
            }
            Err(good_lp::ResolutionError::Infeasible) => Answer::Infeasible,
            Err(_) => Answer::Unknown,
        }
    }
}

/// Machines of one class that a flow stands for.
struct Flow {
    class: ClassId,
    /// Where the machines are: (group, position among its members, machines in all copies).
    places: Vec<(GroupId, usize, i64)>,
    machines: i64,
    /// First column of the arcs.
    arcs: usize,
}

/// A problem as a flow program, with what is needed to read its answer.
pub(crate) struct FlowProgram {
    program: Program,
    flows: Vec<Flow>,
    vars: usize,
}

impl FlowProgram {
    /// States a problem for one level; earlier levels must reach the values in `fixed`.
    pub(crate) fn new(problem: &Problem, level: usize, fixed: &[i64]) -> Self {
        let mut builder = Builder::new(problem, level);
        let charged = builder.groups_matter();
        let mut flows: Vec<Flow> = Vec::new();
        let mut merged = std::collections::BTreeMap::<ClassId, usize>::new();
        for (position, group) in problem.groups.iter().enumerate() {
            let copies = i64::from(group.count);
            let id = GroupId(position as u32);
            for (member, &(class, count)) in group.members.iter().enumerate() {
                let machines = copies * i64::from(count);
                let flow = if charged { flows.len() } else { *merged.entry(class).or_insert(flows.len()) };
                if flow == flows.len() {
                    flows.push(Flow { class, places: Vec::new(), machines: 0, arcs: 0 });
                }
                flows[flow].machines += machines;
                flows[flow].places.push((id, member, machines));
            }
        }
        let active: Vec<usize> = if charged {
            problem
                .groups
                .iter()
                .map(|group| builder.switch(i64::from(group.count), group.active, group.idle))
                .collect()
        } else {
            for group in &problem.groups {
                builder.constant(group.idle, i64::from(group.count));
            }
            Vec::new()
        };
        for flow in &mut flows {
            let limit = charged.then(|| {
                let (group, member, _) = flow.places[0];
                (active[group.index()], i64::from(problem.groups[group.index()].members[member].1))
            });
            flow.arcs = builder.flow(flow.class, flow.machines, limit);
        }
        let vars = builder.vars();
        Self { program: builder.finish(fixed), flows, vars }
    }

    /// Number of variables.
    pub(crate) fn size(&self) -> usize {
        self.program.size()
    }

    /// Solves the program; the flag says whether the answer is proven to be the best.
    pub(crate) fn solve(
        &self,
        problem: &Problem,
        nodes: u64,
        termination: &mut dyn Termination,
    ) -> Option<(Solution, bool)> {
        match self.program.solve(nodes, None, termination) {
            Answer::Values(values, proven) => Some((self.read(problem, values), proven)),
            Answer::Infeasible | Answer::Unknown => None,
        }
    }

    fn read(&self, problem: &Problem, mut values: Vec<i64>) -> Solution {
        let mut used = vec![Vec::new(); problem.groups.len()];
        for flow in &self.flows {
            let mut paths = decompose(problem, flow, &mut values);
            for &(group, member, machines) in &flow.places {
                let mut room = machines as u32;
                while room > 0
                    && let Some((path, count)) = paths.pop()
                {
                    let take = count.min(room);
                    room -= take;
                    used[group.index()].push((member, path.clone(), take));
                    if count > take {
                        paths.push((path, count - take));
                    }
                }
            }
        }
        let vars = values[self.vars..self.vars + problem.vars.len()].to_vec();
        let mut active = Vec::new();
        for (position, paths) in used.into_iter().enumerate() {
            spread(problem, GroupId(position as u32), paths, &mut active);
        }
        Solution { active, vars }
    }
}

/// Takes a flow apart into paths.
fn decompose(problem: &Problem, flow: &Flow, values: &mut [i64]) -> Vec<(Vec<u16>, u32)> {
    let class = &problem.classes[flow.class.index()];
    let arcs: Vec<_> = problem.arcs(class).collect();
    let sink = problem.templates[class.template.index()].nodes - 1;
    let mut paths = Vec::new();
    loop {
        let (mut node, mut path, mut least) = (0, Vec::new(), i64::MAX);
        while node != sink {
            let Some(&(number, arc)) =
                arcs.iter().find(|(number, arc)| arc.from == node && values[flow.arcs + usize::from(*number)] > 0)
            else {
                return paths;
            };
            least = least.min(values[flow.arcs + usize::from(number)]);
            path.push(number);
            node = arc.to;
        }
        if path.is_empty() {
            return paths;
        }
        for &number in &path {
            values[flow.arcs + usize::from(number)] -= least;
        }
        paths.push((path, least as u32));
    }
}

/// Distributes the active machines of all copies of a group over as few copies as hold them.
pub(crate) fn spread(
    problem: &Problem,
    group: GroupId,
    mut paths: Vec<(usize, Vec<u16>, u32)>,
    active: &mut Vec<ActiveGroup>,
) {
    let members = &problem.groups[group.index()].members;
    while !paths.is_empty() {
        let mut room: Vec<u32> = members.iter().map(|&(_, count)| count).collect();
        let mut here = Vec::new();
        paths.retain_mut(|(member, path, count)| {
            let take = (*count).min(room[*member]);
            if take > 0 {
                room[*member] -= take;
                *count -= take;
                here.push((*member, path.clone(), take));
            }
            *count > 0
        });
        active.push(ActiveGroup { group, paths: here });
    }
}

/// Collects columns and what they contribute to each dimension.
struct Builder<'a> {
    problem: &'a Problem,
    level: usize,
    program: Program,
    sums: Vec<Vec<(usize, f64)>>,
    constants: Vec<i64>,
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem, level: usize) -> Self {
        let dims = problem.dims();
        Self { problem, level, program: Program::default(), sums: vec![Vec::new(); dims], constants: vec![0; dims] }
    }

    /// Whether a charge of a group contributes to a dimension that this level looks at.
    fn groups_matter(&self) -> bool {
        self.problem.groups.iter().any(|group| {
            [group.active, group.idle].iter().any(|&effect| {
                self.problem
                    .terms(effect)
                    .iter()
                    .any(|&(dim, _)| dim.index() <= self.level || dim.index() >= self.problem.levels)
            })
        })
    }

    fn column(&mut self, upper: i64, terms: &[(Dim, i64)]) -> usize {
        let objective = terms.iter().find(|(dim, _)| dim.index() == self.level).map_or(0, |&(_, amount)| amount);
        let column = self.program.var(upper, objective as f64);
        for &(dim, amount) in terms {
            self.sums[dim.index()].push((column, amount as f64));
        }
        column
    }

    fn constant(&mut self, effect: EffectId, times: i64) {
        for &(dim, amount) in self.problem.terms(effect) {
            self.constants[dim.index()] += amount * times;
        }
    }

    /// A count of active units out of `count`, the others being idle.
    fn switch(&mut self, count: i64, active: EffectId, idle: EffectId) -> usize {
        self.constant(idle, count);
        let mut terms = self.problem.terms(active).to_vec();
        for &(dim, amount) in self.problem.terms(idle) {
            match terms.iter_mut().find(|(other, _)| *other == dim) {
                Some((_, sum)) => *sum -= amount,
                None => terms.push((dim, -amount)),
            }
        }
        self.column(count, &terms)
    }

    /// A flow of up to `machines` through a class; with a limit, at most `per` for each unit of another column.
    fn flow(&mut self, class: ClassId, machines: i64, limit: Option<(usize, i64)>) -> usize {
        let problem = self.problem;
        let class = &problem.classes[class.index()];
        let total = self.switch(machines, class.active, class.idle);
        if let Some((column, per)) = limit {
            self.program.row(vec![(total, 1.0), (column, -(per as f64))], None, Some(0));
        }
        let nodes = usize::from(problem.templates[class.template.index()].nodes);
        let mut balance: Vec<Vec<(usize, f64)>> = vec![Vec::new(); nodes];
        let first = self.program.size();
        for (_, arc) in problem.arcs(class) {
            let column = self.column(machines, problem.terms(arc.effect));
            balance[usize::from(arc.from)].push((column, 1.0));
            balance[usize::from(arc.to)].push((column, -1.0));
        }
        balance[0].push((total, -1.0));
        balance[nodes - 1].push((total, 1.0));
        // The sink's balance follows from the others.
        for terms in balance.into_iter().take(nodes - 1) {
            self.program.row(terms, Some(0), Some(0));
        }
        first
    }

    fn vars(&mut self) -> usize {
        let first = self.program.size();
        for var in &self.problem.vars {
            self.column(var.upper, self.problem.terms(var.effect));
        }
        first
    }

    fn finish(mut self, fixed: &[i64]) -> Program {
        for dim in 0..self.problem.dims() {
            let terms = std::mem::take(&mut self.sums[dim]);
            let constant = self.constants[dim];
            let (lower, upper) = limits(self.problem, dim, fixed);
            if lower.is_some() || upper.is_some() {
                self.program.row(terms, lower.map(|bound| bound - constant), upper.map(|bound| bound - constant));
            }
        }
        self.program
    }
}
