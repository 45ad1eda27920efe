//! Who proposes changes: retile's planner, or, in the simulator, the rules that it is compared with.

use crate::model::PlanningInput;
use crate::plan::{self, NodePlan, Plan, ServedPod};
use crate::planner::{self, WorkLimit};

/// Changes to carry out, node by node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proposal {
    /// Nodes with changes, ordered by name; steps are filled in.
    pub nodes: Vec<NodePlan>,
    /// Waiting pods that find a place.
    pub served: Vec<ServedPod>,
    /// The whole plan, where there is one.
    pub plan: Option<Plan>,
}

/// Why there is no proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The planner found none.
    #[error("{0}")]
    Planning(#[from] planner::PlanError),
    /// The plan does not hold: a defect, and nothing is done.
    #[error("the plan was refused by its verifier: {0}")]
    Refused(#[from] plan::Rejection),
}

/// Turns what is observed into changes.
pub trait Proposer {
    /// Proposes changes; none is a valid proposal.
    ///
    /// # Errors
    /// No plan was found, or it was refused. Nothing is carried out then.
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError>;
}

/// retile's own planner, each plan verified before it is proposed.
#[derive(Debug, Clone)]
pub struct Retile {
    /// Steps of work that a plan may take.
    pub work_limit: u64,
}

impl Proposer for Retile {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let planned = planner::plan(input, &mut WorkLimit::new(self.work_limit))?;
        let verified = plan::verify(planned.into_plan(), input)?;
        let plan = verified.into_inner();
        Ok(Proposal { nodes: plan.nodes.clone(), served: plan.served.clone(), plan: Some(plan) })
    }
}
