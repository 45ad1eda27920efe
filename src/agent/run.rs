//! The driver of the agent's machine: takes its requests to whom they concern, and answers, rests and wakes back to it.
//!
//! Inputs: an API server ([`Cluster`]), a node ([`Node`]), a signal to stop. Output: why it ended. Invariants:
//!
//! * One request is out at a time, and none is given up before its answer: what was begun is known to have ended.
//! * After the signal nothing that changes the node is begun any more; a report that is due is still written.
//! * Moments are those of one monotonic clock, from the start of this process.
//!
//! Must not decide: whatever is worth a decision is the machine's, which the simulator drives in the same way.

mod notes;

use std::future::Future;
use std::pin::pin;

use tokio::time::Instant;

use crate::exec::port::{AgentReply, AgentRequest, ClusterReply, ClusterRequest, NodeAnswer, NodeReply, NodeRequest};
use crate::exec::{AgentEnd, AgentMachine, Event, Moment, Next, Timing};
use crate::host::Host;
use crate::kube::live::AgentCluster;
use crate::nvml::Board;

pub use notes::Notes;

/// The API server as the agent needs it.
pub trait Cluster {
    /// Answers a request.
    fn answer(&self, request: &ClusterRequest) -> impl Future<Output = ClusterReply> + Send;

    /// Waits until the spec of the record, the node or its pods have changed since the last call; what this agent writes itself does not
    /// count.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

impl Cluster for AgentCluster {
    async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        Self::answer(self, request).await
    }

    async fn changed(&self) {
        Self::changed(self).await;
    }
}

/// The node as the agent needs it.
pub trait Node {
    /// Does what is asked.
    fn answer(&self, request: NodeRequest) -> impl Future<Output = NodeReply> + Send;

    /// What the driver showed when it was last asked, for figures.
    fn boards(&self) -> Vec<Board>;
}

impl Node for Host {
    async fn answer(&self, request: NodeRequest) -> NodeReply {
        Self::answer(self, request).await
    }

    fn boards(&self) -> Vec<Board> {
        Self::boards(self)
    }
}

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The process must be created anew, for this reason.
    Restart(String),
}

/// What the driver drives with.
#[derive(Debug)]
pub struct Driven<'a, C, N> {
    /// The API server.
    pub cluster: &'a C,
    /// The node.
    pub node: &'a N,
    /// Where it is noted what happens.
    pub notes: &'a mut Notes,
}

/// Drives the agent of the node with this name until `stop`, or until the process must be created anew.
pub async fn run<C: Cluster, N: Node>(
    name: &str,
    timing: Timing,
    driven: Driven<'_, C, N>,
    stop: impl Future<Output = ()>,
) -> Ended {
    let Driven { cluster, node, notes } = driven;
    let start = Instant::now();
    let now = || Moment(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut machine = AgentMachine::new(name, timing);
    let mut stop = pin!(stop);
    let mut stopping = false;
    let mut event = Event::Wake;
    loop {
        event = match machine.step(event, now()) {
            Next::End(AgentEnd::Restart(why)) => return Ended::Restart(why),
            Next::Rest(_) if stopping => return Ended::Stopped,
            Next::Rest(rest) => {
                notes.rests(machine.waiting_on());
                tokio::select! {
                    biased;
                    () = &mut stop => return Ended::Stopped,
                    () = cluster.changed() => {}
                    () = tokio::time::sleep(rest) => {}
                }
                notes.wakes();
                Event::Wake
            }
            Next::Ask(request) if stopping && changes_the_node(&request) => return Ended::Stopped,
            Next::Ask(request) => {
                let mut answer = pin!(ask(cluster, node, notes, request));
                let reply = tokio::select! {
                    reply = &mut answer => reply,
                    () = &mut stop, if !stopping => {
                        stopping = true;
                        answer.await
                    }
                };
                Event::Reply(reply)
            }
        };
    }
}

async fn ask<C: Cluster, N: Node>(cluster: &C, node: &N, notes: &mut Notes, request: AgentRequest) -> AgentReply {
    let asked = notes.asks(&request);
    let reply = match request {
        AgentRequest::Cluster(request) => AgentReply::Cluster(cluster.answer(&request).await),
        AgentRequest::Node(request) => AgentReply::Node(node.answer(request).await),
    };
    notes.hears(&asked, &reply);
    if matches!(reply, AgentReply::Node(Ok(NodeAnswer::Boards(_)))) {
        notes.shows(&node.boards());
    }
    reply
}

/// Whether a request begins something that a stopped agent leaves to the next one.
fn changes_the_node(request: &AgentRequest) -> bool {
    match request {
        AgentRequest::Cluster(_) => false,
        AgentRequest::Node(request) => match request {
            NodeRequest::ReadStore
            | NodeRequest::ClearIntent { .. }
            | NodeRequest::Enumerate
            | NodeRequest::Occupants
            | NodeRequest::Allocatable => false,
            NodeRequest::WriteIntent(_)
            | NodeRequest::RefreshDevices
            | NodeRequest::DestroyComputeInstance(_)
            | NodeRequest::DestroyGpuInstance(_)
            | NodeRequest::CreateGpuInstance { .. }
            | NodeRequest::CreateComputeInstance { .. } => true,
        },
    }
}
