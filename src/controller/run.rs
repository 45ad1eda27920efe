//! The controller as a program: drives the [`Controller`] against an API server.
//!
//! Inputs: answers and wakes of a [`ClusterPort`], the policy in force, approvals, and the order to stop. Outputs: requests, metrics, health,
//! log lines, and notices for whoever tells people. Invariants: the controller lives on a thread of its own, and each thing that it is told is
//! told once and in order; the lease is kept on another, so that planning costs nobody the lease; writes leave only while the lease is fresh at
//! that moment; when leadership is lost the caller's `vanish` runs at once, whatever is being planned, and nothing is sent any more.
//!
//! No decision is made here: what is asked is the controller's word, what is true is the API server's.

mod books;
mod clerk;
mod course;
mod desk;
mod driver;
mod exit;
mod figures;
mod keeper;
mod kept;
mod notes;
mod people;
mod policy;
mod port;
mod refusals;
mod reports;
#[cfg(test)]
mod tests;

pub use clerk::Clerk;
pub use driver::End;
pub use kept::Counted;
pub use policy::Wishes;
pub use port::{ClusterPort, DryRun, Known, requests};
pub use reports::Cycle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::books::Books;
use self::desk::Desk;
use self::driver::{Clock, Driver, Ended, Happening};
use self::exit::Exit;
use self::keeper::Keeper;
use self::notes::Notes;
use self::refusals::Refusals;
use super::{Controller, Proposer, Retile, Settings};
use crate::model::Mode;
use crate::plan::Plan;
use crate::telemetry::{ControllerMetrics, Health};

/// The API server in health.
const API: &str = "api-server";
/// The index of the cluster in health.
const INDEX: &str = "index";
/// Cycles that wait to be passed on; further ones are dropped and counted.
const CYCLES: usize = 256;
/// The planner's stack; its searches are deep rather than wide.
const STACK: usize = 32 << 20;

/// How the program was started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Settings of the loop; the mode comes from the policy.
    pub settings: Settings,
    /// Steps of work that one plan may take.
    pub work_limit: u64,
    /// What names of operations begin with; never used by another process.
    pub prefix: String,
    /// Whether only to observe, whatever the policy says.
    pub dry_run: bool,
}

/// A controller that runs.
pub struct Running {
    outbox: Sender<Happening>,
    ended: oneshot::Receiver<End>,
    cycles: Option<mpsc::Receiver<Cycle>>,
}

impl Running {
    /// Tells it to stop: nothing new is begun, requests that are on their way are waited for, and the lease is handed back.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static + use<> {
        let outbox = self.outbox.clone();
        // It may have ended by itself.
        move || drop(outbox.send(Happening::Stop))
    }

    /// Passes on that a person approves the plan of this name.
    pub fn approver(&self) -> impl Fn(String, Plan) + Send + Sync + 'static + use<> {
        let outbox = self.outbox.clone();
        move |name, plan| drop(outbox.send(Happening::Approved(name, Box::new(plan))))
    }

    /// The cycles, for whoever tells people; once.
    pub fn cycles(&mut self) -> Option<mpsc::Receiver<Cycle>> {
        self.cycles.take()
    }

    /// Waits until it has ended.
    pub async fn ended(self) -> End {
        // A thread that panicked does not lead any more either, and must not count as one that stopped well.
        self.ended.await.unwrap_or(End::LostLeadership)
    }
}

/// Starts the controller on a thread of its own; must be called within a runtime, on whose tasks requests are sent. `vanish` runs when
/// leadership is lost, and should end the process without any clean-up.
///
/// # Errors
/// The system gives no thread.
pub fn start<C: ClusterPort>(
    cluster: Arc<C>,
    options: Options,
    metrics: ControllerMetrics,
    health: Health,
    vanish: impl FnOnce() + Send + 'static,
) -> std::io::Result<Running> {
    let work_limit = options.work_limit;
    start_with(cluster, options, metrics, health, move || Box::new(Retile { work_limit }), vanish)
}

/// The same with another planner, which is made on the controller's thread.
fn start_with<C: ClusterPort>(
    cluster: Arc<C>,
    options: Options,
    metrics: ControllerMetrics,
    health: Health,
    planner: impl FnOnce() -> Box<dyn Proposer> + Send + 'static,
    vanish: impl FnOnce() + Send + 'static,
) -> std::io::Result<Running> {
    let runtime = Handle::current();
    let (outbox, inbox) = channel();
    let (cycles, told) = mpsc::channel(CYCLES);
    let (exit, end) = Exit::new(vanish);
    health.not_ready(API, "it has not answered yet");
    health.not_ready(INDEX, "it is not complete yet");
    let wakes = watch(Arc::clone(&cluster), outbox.clone());
    let wakes = runtime.spawn(wakes);
    let sender = outbox.clone();
    std::thread::Builder::new().name("controller".to_owned()).stack_size(STACK).spawn(move || {
        let Options { settings: base, work_limit: _, prefix, dry_run } = options;
        // Until a policy is read nothing is carried out.
        let settings = Settings { mode: Mode::Observe, ..base.clone() };
        let mut count = 0_u64;
        let ids = Box::new(move || {
            count += 1;
            format!("{prefix}-{count}")
        });
        let controller = Controller::new(settings.clone(), planner(), ids);
        let (leadership, clock) = (controller.leadership(), Clock::start());
        let (keeper, let_go) =
            Keeper::new(leadership.clone(), Arc::clone(&cluster), runtime.clone(), clock, sender.clone());
        let keeps = exit.clone();
        let keep = move || {
            // It ends the process by itself when the lease is lost, and when it is handed back: until then there is one.
            let thread = std::thread::Builder::new().name("lease".to_owned());
            thread.spawn(move || keeps.end(keeper.run())).map(|_| let_go)
        };
        let driver = Driver {
            desk: Desk::new(controller),
            leadership,
            cluster,
            runtime,
            clock,
            inbox,
            outbox: sender,
            notes: Notes::new(metrics, Books::default()),
            refusals: Refusals::default(),
            resumed: false,
            health,
            base,
            settings,
            wishes: Wishes::default(),
            dry_run,
            waiting: BTreeMap::new(),
            findings: BTreeSet::new(),
            cycles,
        };
        match driver.run(keep) {
            Ended::Now(how) => exit.end(how),
            // The lease's thread says how it ends.
            Ended::WithTheLease => {}
        }
        wakes.abort();
    })?;
    Ok(Running { outbox, ended: end, cycles: Some(told) })
}

/// Passes on what changes in the cluster.
async fn watch<C: ClusterPort>(cluster: Arc<C>, outbox: Sender<Happening>) {
    loop {
        let wake = cluster.changed().await;
        if outbox.send(Happening::Changed(wake)).is_err() {
            return;
        }
    }
}
