//! What keeps retile's layouts steady, each of which can be left out, so that a replay shows what it is worth.
//!
//! Destroying no idle instance before its slots are needed is no mechanism of its own here: it follows from the planner's objective, and the
//! full repack shows what becomes of layouts without it.

use std::collections::BTreeMap;

use crate::controller::{Proposal, ProposeError, Proposer, Retile};
use crate::model::{GainFactor, PlanningInput, Policy};

/// One mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// A pod must have waited before it counts, longer where demand like it keeps vanishing.
    Waiting,
    /// A GPU rests after a change.
    Rest,
    /// Moves must add more than they cost.
    GainFactor,
    /// A controller's pods are moved only so often.
    MoveCap,
    /// The mix of recent demand says which room is worth keeping.
    Forecast,
}

impl Mechanism {
    /// All mechanisms.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Rest, Self::GainFactor, Self::MoveCap, Self::Forecast];

    /// This mechanism as a list.
    pub(super) fn alone(self) -> &'static [Self] {
        match self {
            Self::Waiting => &[Self::Waiting],
            Self::Rest => &[Self::Rest],
            Self::GainFactor => &[Self::GainFactor],
            Self::MoveCap => &[Self::MoveCap],
            Self::Forecast => &[Self::Forecast],
        }
    }

    /// What retile is without it, in a line.
    pub(super) fn absence(self) -> &'static str {
        match self {
            Self::Waiting => "retile, for which demand counts as soon as it is there",
            Self::Rest => "retile, under which GPUs do not rest after a change",
            Self::GainFactor => "retile, for which any gain is worth any moves",
            Self::MoveCap => "retile, which moves the pods of a controller as often as it likes",
            Self::Forecast => "retile, for which all room that is left is worth nothing",
        }
    }

    /// Takes it out of a policy. The forecast is no part of one; [`Blind`] does without it.
    pub fn leave_out(self, policy: &mut Policy) {
        let stability = &mut policy.stability;
        match self {
            Self::Waiting => stability.min_pending_age_seconds = 0,
            Self::Rest => stability.gpu_cool_down_seconds = 0,
            Self::GainFactor => policy.gain_factor = GainFactor::default(),
            Self::MoveCap => stability.pod_move_cap = None,
            Self::Forecast => {}
        }
    }
}

/// retile's planner, kept from the forecast mix.
#[derive(Debug, Clone)]
pub struct Blind(pub Retile);

impl Proposer for Blind {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let mut input = input.clone();
        input.replace_forecast(&BTreeMap::new());
        self.0.propose(&input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stability;

    #[test]
    fn each_mechanism_is_left_out_alone() {
        let installed = Policy::installed();
        let without = |mechanism: Mechanism| {
            let mut policy = Policy::installed();
            mechanism.leave_out(&mut policy);
            policy
        };
        let stability = |stability: Stability| Policy { stability, ..Policy::installed() };
        let usual = installed.stability;
        assert_eq!(without(Mechanism::Waiting), stability(Stability { min_pending_age_seconds: 0, ..usual }));
        assert_eq!(without(Mechanism::Rest), stability(Stability { gpu_cool_down_seconds: 0, ..usual }));
        assert_eq!(without(Mechanism::MoveCap), stability(Stability { pod_move_cap: None, ..usual }));
        assert_eq!(
            without(Mechanism::GainFactor),
            Policy { gain_factor: GainFactor::default(), ..Policy::installed() }
        );
        assert_eq!(without(Mechanism::Forecast), installed, "it is no part of a policy");
        let mut bare = Policy::installed();
        for mechanism in Mechanism::ALL {
            mechanism.leave_out(&mut bare);
        }
        assert_eq!((bare.stability, bare.gain_factor), (Stability::default(), GainFactor::default()));
        assert_eq!(bare.budgets, installed.budgets);
    }
}
