//! retile as it is deployed: the real controller, with a proposer of choice, and the real agents.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::controller::{self, Controller, Proposal, ProposeError, Proposer};
use crate::exec::Timing;
use crate::model::PlanningInput;
use crate::sim::history::Record;
use crate::sim::process::{Agent, Leader, ProcessId, Program};

use super::processes::Programs;

/// Makes a proposer for each start of a controller.
pub type Proposers = Box<dyn FnMut() -> Box<dyn Proposer>>;

/// Controllers and agents.
pub struct Deployed {
    settings: controller::Settings,
    /// Waiting times of the agents.
    timing: Timing,
    proposers: Proposers,
    planned: Rc<RefCell<Vec<Record>>>,
    operations: Rc<Cell<u64>>,
}

impl Deployed {
    /// Controllers with these settings, each start under an identity of its own, and agents with these waiting times.
    pub fn new(settings: controller::Settings, timing: Timing, proposers: Proposers) -> Self {
        Self { settings, timing, proposers, planned: Rc::default(), operations: Rc::default() }
    }
}

impl Programs for Deployed {
    fn program(&mut self, process: &ProcessId, life: u64) -> Option<Box<dyn Program>> {
        match process {
            ProcessId::Agent(node) => Some(Box::new(Agent::new(node, self.timing))),
            ProcessId::Controller(_) => {
                let settings = controller::Settings { identity: format!("{process}-{life}"), ..self.settings.clone() };
                let proposer = Box::new(Noting { inner: (self.proposers)(), planned: Rc::clone(&self.planned) });
                let operations = Rc::clone(&self.operations);
                let ids = Box::new(move || {
                    operations.set(operations.get() + 1);
                    format!("op-{}", operations.get())
                });
                Some(Box::new(Leader::new(Controller::new(settings, proposer, ids))))
            }
        }
    }

    fn take_records(&mut self) -> Vec<Record> {
        self.planned.take()
    }
}

/// A proposer whose plans are noted.
struct Noting {
    inner: Box<dyn Proposer>,
    planned: Rc<RefCell<Vec<Record>>>,
}

impl Proposer for Noting {
    fn propose(&mut self, input: &PlanningInput) -> Result<Proposal, ProposeError> {
        let proposal = self.inner.propose(input)?;
        let served = proposal.served.len() as u64;
        let unserved = (input.pending().len() as u64).saturating_sub(served);
        self.planned.borrow_mut().push(Record::Planned { served, unserved });
        Ok(proposal)
    }
}
