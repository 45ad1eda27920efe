//! What retile is compared with: rules that others use, published or usual, each a [`Proposer`].
//!
//! Inputs: the same [`PlanningInput`] that the planner gets. Outputs: proposals that the same loop and the same
//! protocol carry out. Invariants: every layout proposed is legal, running pods move only where the rule is about moving, and the same input
//! gives the same proposal. The rules know nothing of policies beyond what the input says may not be touched.

mod greedy;
pub mod layouts;
mod mechanism;
mod nos;
mod repack;
mod sheet;

pub use greedy::{Fit, Greedy, Order, fragmentation};
pub use mechanism::{Blind, Mechanism};
pub use nos::Nos;
pub use repack::{Packer, Repack};

use super::fleet::FleetSpec;
use crate::controller::{Proposal, ProposeError, Proposer, Retile};
use crate::model::{Layout, PlanningInput};
use crate::sim::Workload;

/// Never changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Static;

impl Proposer for Static {
    fn propose(&mut self, _: &PlanningInput) -> Result<Proposal, ProposeError> {
        Ok(Proposal::default())
    }
}

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// retile's planner.
    Retile,
    /// retile without one of the mechanisms that keep layouts steady.
    Without(Mechanism),
    /// retile without any of them.
    Bare,
    /// Layouts cut once for the mix as it is known.
    Static,
    /// The best fixed layouts in hindsight.
    Hindsight,
    /// First fit.
    FirstFit,
    /// Best fit.
    BestFit,
    /// Least growth of fragmentation.
    Fragmentation,
    /// First fit, the largest pods first.
    Decreasing,
    /// The rules of nos.
    Nos,
    /// Everything packed anew whenever that serves more.
    Repack,
}

impl Rule {
    /// All rules, in the order of tables.
    pub const ALL: [Self; 9] = [
        Self::Static,
        Self::Hindsight,
        Self::FirstFit,
        Self::BestFit,
        Self::Decreasing,
        Self::Fragmentation,
        Self::Nos,
        Self::Retile,
        Self::Repack,
    ];

    /// retile, and retile without what keeps layouts steady: what each mechanism is worth.
    pub const ABLATION: [Self; 7] = [
        Self::Retile,
        Self::Without(Mechanism::Waiting),
        Self::Without(Mechanism::Rest),
        Self::Without(Mechanism::GainFactor),
        Self::Without(Mechanism::MoveCap),
        Self::Without(Mechanism::Forecast),
        Self::Bare,
    ];

    /// Mechanisms of retile that it does without; `None` when it is another rule than retile.
    pub fn without(self) -> Option<&'static [Mechanism]> {
        match self {
            Self::Retile => Some(&[]),
            Self::Without(mechanism) => Some(mechanism.alone()),
            Self::Bare => Some(&Mechanism::ALL),
            Self::Static
            | Self::Hindsight
            | Self::FirstFit
            | Self::BestFit
            | Self::Fragmentation
            | Self::Decreasing
            | Self::Nos
            | Self::Repack => None,
        }
    }

    /// Spelling on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retile => "retile",
            Self::Without(Mechanism::Waiting) => "retile-no-waiting",
            Self::Without(Mechanism::Rest) => "retile-no-rest",
            Self::Without(Mechanism::GainFactor) => "retile-no-gain-factor",
            Self::Without(Mechanism::MoveCap) => "retile-no-move-cap",
            Self::Without(Mechanism::Forecast) => "retile-no-forecast",
            Self::Bare => "retile-bare",
            Self::Static => "static",
            Self::Hindsight => "static-hindsight",
            Self::FirstFit => "first-fit",
            Self::BestFit => "best-fit",
            Self::Fragmentation => "fragmentation",
            Self::Decreasing => "first-fit-decreasing",
            Self::Nos => "nos-like",
            Self::Repack => "full-repack",
        }
    }

    /// What it is, in a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::Retile => "retile's planner and verifier",
            Self::Without(mechanism) => mechanism.absence(),
            Self::Bare => "retile without waiting, rest, gain factor, move cap and forecast",
            Self::Static => "cut once for the mean demand of each profile (max-min), never changed",
            Self::Hindsight => "the best fixed layouts that are found with the whole trace known",
            Self::FirstFit => "pods in order of arrival to the first place that is free; nobody moves",
            Self::BestFit => "pods in order of arrival to the fullest GPU that has room; nobody moves",
            Self::Fragmentation => "pods in order of arrival to the place that fragments least; nobody moves",
            Self::Decreasing => "the largest pods first, to the first place that is free; nobody moves",
            Self::Nos => "after nebuly-ai/nos: per GPU the listed geometry with the most lacking instances",
            Self::Repack => "packs everything anew whenever that serves more; a yardstick that moves without limit",
        }
    }

    /// The layouts that it starts with: those of [`Rule::Static`] for all but [`Rule::Hindsight`].
    pub fn layouts(self, fleet: &FleetSpec, workload: &Workload) -> Vec<Layout> {
        match self {
            Self::Hindsight => layouts::hindsight(fleet, workload),
            Self::Retile
            | Self::Without(_)
            | Self::Bare
            | Self::Static
            | Self::FirstFit
            | Self::BestFit
            | Self::Fragmentation
            | Self::Decreasing
            | Self::Nos
            | Self::Repack => layouts::balanced(fleet, workload),
        }
    }

    /// The proposer; `work_limit` is for retile, `packer` for [`Rule::Repack`].
    pub fn proposer(self, work_limit: u64, packer: &Packer) -> Box<dyn Proposer> {
        let greedy = |order, fit| Box::new(Greedy { order, fit });
        match self {
            Self::Without(Mechanism::Forecast) | Self::Bare => Box::new(Blind(Retile { work_limit })),
            Self::Retile | Self::Without(_) => Box::new(Retile { work_limit }),
            Self::Static | Self::Hindsight => Box::new(Static),
            Self::FirstFit => greedy(Order::Arrival, Fit::First),
            Self::BestFit => greedy(Order::Arrival, Fit::Best),
            Self::Fragmentation => greedy(Order::Arrival, Fit::Fragmentation),
            Self::Decreasing => greedy(Order::Decreasing, Fit::First),
            Self::Nos => Box::new(Nos),
            Self::Repack => Box::new(Repack { packer: packer.clone() }),
        }
    }
}

#[cfg(test)]
mod tests;
