//! Defects that show between two writers at the API server.

use std::collections::BTreeMap;

use retile::controller::{Asked, Controller, Retile, Settings, Ticket};
use retile::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, EvictionBody};
use retile::exec::{Event, Moment, Next, NodeView, OperationId, TAINT_KEY, Timing, Version};
use retile::model::Policy;
use retile::sim::api::{ApiServer, Meta, Name, Node, Objects, Observer, Pod, PodPhase, View};
use retile::sim::invariants::{Checker, Limits, SeenNodeWrite};

use crate::desk::taint;
use crate::{Broken, Checked, keeps, kills};

/// An API server to which one asks directly.
struct Server {
    api: ApiServer,
    observer: Observer,
    cache: Objects,
}

impl Server {
    fn new() -> Self {
        let observer = Observer { policy: None, boards: BTreeMap::new() };
        Self { api: ApiServer::new(100), observer, cache: Objects::default() }
    }

    fn ask(&mut self, now: u64, request: &ClusterRequest) -> ClusterReply {
        let view = View { observer: &self.observer, cache: &self.cache };
        self.api.answer(now, request, &view)
    }

    fn node(&mut self) -> NodeView {
        match self.ask(0, &ClusterRequest::GetNode { node: "n".to_owned() }) {
            Ok(ClusterAnswer::Node(node)) => *node,
            other => panic!("{other:?}"),
        }
    }
}

fn op(name: &str) -> OperationId {
    OperationId(name.to_owned())
}

/// What the checker says of a write of a node.
fn judged(operation: &OperationId, before: &NodeView, after: &NodeView) -> Checked {
    let mut checker = Checker::new(Limits::new(Policy::unlimited(), &Timing::default()));
    checker.on_node_write(1, &SeenNodeWrite { operation, before, after, record: None, machine: None });
    match checker.violations().first() {
        Some(violation) if violation.invariant.to_string() == "S11" => {
            Err(Broken { rule: "S11".to_owned(), how: violation.to_string() })
        }
        Some(other) => panic!("{other}"),
        None => Ok(()),
    }
}

#[test]
fn defect_02_the_api_server_does_not_read_the_precondition() {
    kills(2, "S6", || {
        let mut server = Server::new();
        let pod = |name: &str| Pod {
            meta: Meta { name: Name::of("default", name), ..Meta::default() },
            node: Some("n".to_owned()),
            phase: PodPhase::Running,
            ready: true,
            ..Pod::default()
        };
        let planned = server.api.create_pod(1, pod("web-0")).expect("the name is free").pod_ref();
        server.api.modify_pod(2, &Name::from(&planned), |pod| pod.phase = PodPhase::Failed);
        let gone = ClusterRequest::DeletePluginPod { pod: planned.clone() };
        server.ask(3, &gone).expect("it can be deleted");
        server.api.modify_pod(4, &Name::from(&planned), |pod| pod.meta.deletion_grace = Some(0));
        if server.api.objects().pods.contains_key(&Name::from(&planned)) {
            let now = retile::sim::api::Deletion { grace: Some(0), ..retile::sim::api::Deletion::default() };
            server.api.delete_pod(5, &Name::from(&planned), &now).expect("it can be deleted");
        }
        let successor = server.api.create_pod(6, pod("web-0")).expect("its name is free again").pod_ref();
        assert_ne!(successor.uid, planned.uid);
        let body = EvictionBody::of(&planned);
        let reply = server.ask(7, &ClusterRequest::Evict { pod: planned, body, dry_run: false });
        match reply {
            Err(ClusterError::Conflict) => Ok(()),
            other => keeps("S6", false, || format!("the planned victim's successor is evicted: {other:?}")),
        }
    });
}

#[test]
fn defect_04_a_node_is_uncordoned() {
    kills(4, "S11", || {
        let mut server = Server::new();
        let meta = Meta { name: Name::cluster("n"), ..Meta::default() };
        let taints = vec![taint(TAINT_KEY, "op")];
        server.api.create_node(1, Node { meta, ready: true, unschedulable: true, taints, ..Node::default() });
        let before = server.node();
        let request =
            ClusterRequest::RemoveTaint { node: "n".to_owned(), version: before.version, operation: op("op") };
        server.ask(2, &request).expect("the taint is ours");
        let after = server.node();
        assert_eq!(after.our_taint(), None);
        judged(&op("op"), &before, &after)
    });
}

#[test]
fn defect_23_taints_are_written_without_a_lock() {
    kills(23, "S11", || {
        let mut server = Server::new();
        let meta = Meta { name: Name::cluster("n"), ..Meta::default() };
        server.api.create_node(1, Node { meta, ready: true, ..Node::default() });
        let read = server.node();
        server.api.modify_node(2, "n", |node| node.taints.push(taint("karpenter.sh/disrupted", "")));
        let before = server.node();
        let request = ClusterRequest::AddTaint { node: "n".to_owned(), version: read.version, operation: op("op") };
        match server.ask(3, &request) {
            Err(ClusterError::Conflict) => Ok(()),
            _ => judged(&op("op"), &before, &server.node()),
        }
    });
}

/// A controller with a clock of its own, of which only the lease matters here.
struct Replica {
    controller: Controller,
    clock: u64,
    asks: Option<ClusterRequest>,
}

impl Replica {
    fn new(name: &str, clock: u64) -> Self {
        let ids = Box::new(|| unreachable!("it never plans"));
        let controller = Controller::new(Settings::of(name), Box::new(Retile { work_limit: 1 }), ids);
        Self { controller, clock, asks: None }
    }

    fn note(&mut self, asked: Vec<Asked>) {
        self.asks = asked.into_iter().find_map(|(ticket, next)| match (ticket, next) {
            (Ticket::Lease, Next::Ask(request)) => Some(request),
            _ => None,
        });
    }

    fn wake(&mut self, now: u64) {
        let asked = self.controller.step(&Ticket::Lease, Event::Wake, Moment(self.clock + now));
        self.note(asked);
    }

    /// Has its request answered; whether there was one.
    fn hear(&mut self, server: &mut Server, now: u64) -> bool {
        let Some(request) = self.asks.take() else { return false };
        let reply = server.ask(now, &request);
        let asked = self.controller.step(&Ticket::Lease, Event::Reply(reply), Moment(self.clock + now));
        self.note(asked);
        true
    }

    fn leads(&self, now: u64) -> bool {
        self.controller.may_write(Moment(self.clock + now))
    }
}

fn one_leads(replicas: &[Replica], now: u64) -> Checked {
    let leaders = replicas.iter().filter(|replica| replica.leads(now)).count();
    keeps("S14", leaders <= 1, || format!("{leaders} controllers lead at {now} ms"))
}

#[test]
fn defect_24_the_lease_is_taken_without_comparing() {
    kills(24, "S14", || {
        let mut server = Server::new();
        let mut replicas = [Replica::new("a", 0), Replica::new("b", 0)];
        for replica in &mut replicas {
            replica.wake(0);
        }
        // Both look, both see that it is free, both write.
        for now in 1..4 {
            for replica in &mut replicas {
                replica.hear(&mut server, now);
            }
        }
        assert!(replicas.iter().any(|replica| replica.leads(4)), "somebody leads");
        one_leads(&replicas, 4)
    });
}

#[test]
fn defect_25_the_lease_expires_by_the_clock_of_another() {
    kills(25, "S14", || {
        let mut server = Server::new();
        // The second one's clock is an hour ahead.
        let mut replicas = [Replica::new("a", 0), Replica::new("b", 3_600_000)];
        for now in 0..8_u64 {
            for replica in replicas.iter_mut().take(if now < 2 { 1 } else { 2 }) {
                replica.wake(now * 1_000);
                while replica.hear(&mut server, now * 1_000) {}
            }
            one_leads(&replicas, now * 1_000)?;
        }
        assert!(replicas[0].leads(7_000), "the first one leads");
        Ok(())
    });
}

#[test]
fn a_version_that_was_never_written_is_a_conflict() {
    let mut server = Server::new();
    let meta = Meta { name: Name::cluster("n"), ..Meta::default() };
    server.api.create_node(1, Node { meta, ready: true, ..Node::default() });
    let request = ClusterRequest::AddTaint { node: "n".to_owned(), version: Version(77), operation: op("op") };
    assert!(matches!(server.ask(2, &request), Err(ClusterError::Conflict)));
}
