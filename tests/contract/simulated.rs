//! The simulator as a cluster: its API server, with its scheduler, controllers and kubelets, and nothing of retile running in it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use retile::exec::Taint;
use retile::exec::marks::DEPLOY_PLUGIN;
use retile::exec::port::{ClusterReply, ClusterRequest};
use retile::model::{Catalogue, PodRef};
use retile::plan::Place;
use retile::sim::api::{self, Amount, BudgetRule, BudgetStatus, Deletion, Meta, NAMESPACE, Name, PodPhase, Toleration};
use retile::sim::node::ByHand;
use retile::sim::process::{ProcessId, Program};
use retile::sim::world::{BoardSpec, Fleet, Hand, NodeSpec, Programs, Settings, World};
use retile::sim::{Arrival, Kind, Record, Workload};

use crate::cluster::{Budget, Cluster, Plugin, Rule, State, Wish};

const BOARD: &str = "A100-40GB";
const MACHINE: &str = "machine";
const FINALIZER: &str = "example.org/held";

/// Nothing of retile: who asks is the case.
struct Nobody;

impl Programs for Nobody {
    fn program(&mut self, _: &ProcessId, _: u64) -> Option<Box<dyn Program>> {
        None
    }

    fn take_records(&mut self) -> Vec<Record> {
        Vec::new()
    }
}

/// A simulated cluster.
pub(crate) struct Simulated {
    world: World,
    names: Cell<u32>,
}

impl Simulated {
    /// One without any node.
    pub(crate) fn new() -> Self {
        Self { world: build(Fleet::default(), Settings::default()), names: Cell::new(0) }
    }

    fn meta(name: Name) -> Meta {
        Meta { name, ..Meta::default() }
    }
}

fn build(fleet: Fleet, settings: Settings) -> World {
    let settings = Settings { controllers: 0, ..settings };
    World::new(fleet, &Workload::default(), settings, Box::new(Nobody), 1).expect("a cluster")
}

fn place(profile: &str, start: u8) -> Place {
    let geometry = Catalogue::embedded().find_by_key(BOARD).expect("a board");
    let id = geometry.find(profile).expect("a profile of the board");
    let place = geometry.place(id, start).expect("a place of the profile");
    Place { start, size: place.size(), profile: profile.to_owned() }
}

impl Cluster for Simulated {
    fn unique(&self, prefix: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{prefix}-{}", self.names.get())
    }

    fn namespace(&self) -> String {
        NAMESPACE.to_owned()
    }

    async fn add_node(&mut self, name: &str) {
        let node = api::Node { meta: Self::meta(Name::cluster(name)), ..api::Node::default() };
        self.world.write(|api, now| api.create_node(now, node)).expect("a new name");
    }

    async fn remove_node(&mut self, name: &str) {
        self.world.write(|api, now| api.remove_node(now, name));
    }

    async fn add_foreign_taint(&mut self, node: &str, taint: &Taint) {
        self.world.lay_hand(&Hand::Taint(node.to_owned(), taint.clone()));
    }

    async fn label_node(&mut self, node: &str, key: &str, value: &str) {
        self.world.lay_hand(&Hand::Label(node.to_owned(), key.to_owned(), Some(value.to_owned())));
    }

    async fn add_pod(&mut self, wish: &Wish<'_>) -> PodRef {
        let everything = Toleration { exists: true, ..Toleration::default() };
        let pod = api::Pod {
            meta: Meta {
                labels: BTreeMap::from([(api::APP.to_owned(), wish.app.to_owned())]),
                finalizers: wish.held.then(|| FINALIZER.to_owned()).into_iter().collect(),
                ..Self::meta(Name::of(NAMESPACE, wish.name))
            },
            node: wish.node.map(str::to_owned),
            phase: match wish.state {
                State::Pending => PodPhase::Pending,
                State::Ready | State::Unready => PodPhase::Running,
                State::Succeeded => PodPhase::Succeeded,
                State::Failed => PodPhase::Failed,
            },
            ready: wish.state == State::Ready,
            requests: BTreeMap::from([("nvidia.com/mig-1g.5gb".to_owned(), 1)]),
            grace_seconds: wish.grace,
            tolerations: wish.tolerant.then_some(everything).into_iter().collect(),
            ..api::Pod::default()
        };
        self.world.write(|api, now| api.create_pod(now, pod)).expect("a new name").pod_ref()
    }

    async fn end_pod(&mut self, pod: &PodRef) {
        let options = Deletion { grace: Some(0), uid: Some(pod.uid.clone()), ..Deletion::default() };
        self.world.write(|api, now| api.delete_pod(now, &Name::from(pod), &options)).expect("it is there");
    }

    async fn release_pod(&mut self, pod: &PodRef) {
        self.world.write(|api, now| api.modify_pod(now, &Name::from(pod), |pod| pod.meta.finalizers = BTreeSet::new()));
    }

    async fn add_budget(&mut self, budget: &Budget<'_>) {
        let budget = api::Budget {
            meta: Self::meta(Name::of(NAMESPACE, budget.name)),
            selector: budget.app.map(|app| (api::APP.to_owned(), app.to_owned())).into_iter().collect(),
            rule: match budget.rule {
                Rule::MinAvailable(count) => BudgetRule::MinAvailable(Amount::Count(count)),
                Rule::MinAvailablePercent(share) => BudgetRule::MinAvailable(Amount::Percent(share)),
                Rule::MaxUnavailable(count) => BudgetRule::MaxUnavailable(Amount::Count(count)),
                Rule::MaxUnavailablePercent(share) => BudgetRule::MaxUnavailable(Amount::Percent(share)),
            },
            always_allow_unhealthy: budget.lenient,
            status: BudgetStatus::default(),
        };
        self.world.write(|api, now| api.create_budget(now, budget)).expect("a new name");
    }

    async fn remove_lease(&mut self) {
        self.world.lay_hand(&Hand::DeleteLease);
    }

    async fn forget_the_past(&mut self) {
        self.world.lay_hand(&Hand::Compact);
    }

    async fn add_machine(&mut self, layout: &[(&str, u8)], plugin: Plugin) -> String {
        assert!(self.world.api().objects().nodes.is_empty(), "the machine comes first");
        let geometry = Catalogue::embedded().find_by_key(BOARD).expect("a board").clone();
        let layout = layout.iter().map(|&(profile, start)| place(profile, start)).collect();
        let mut node = NodeSpec::new(MACHINE, vec![BoardSpec { geometry, layout }]);
        if plugin == Plugin::Labelled {
            node.labels.insert(DEPLOY_PLUGIN.to_owned(), "true".to_owned());
        }
        let settings = Settings { plugin_tolerates: plugin != Plugin::Intolerant, ..Settings::default() };
        self.world = build(Fleet { nodes: vec![node] }, settings);
        MACHINE.to_owned()
    }

    async fn partition(&mut self, machine: &str, profile: &str, start: u8) {
        let gpu = format!("GPU-{machine}-00");
        let create = ByHand::Create { gpu, place: place(profile, start), compute: true };
        self.world.lay_hand(&Hand::Mig(machine.to_owned(), create));
    }

    async fn add_work(&mut self, app: &str, pods: u32, profile: &str) {
        for number in 1..=pods {
            let arrival = Arrival {
                at: self.world.now(),
                name: format!("{app}-{number}"),
                instances: BTreeMap::from([(profile.to_owned(), 1)]),
                runs: u64::from(u32::MAX),
                priority: 0,
                kind: Kind::Service,
                patience: None,
            };
            self.world.lay_hand(&Hand::Arrive(arrival));
        }
    }

    async fn ask(&mut self, request: &ClusterRequest) -> ClusterReply {
        // What a request changes is passed on before anybody else has a turn.
        let reply = self.world.ask(request);
        self.world.write(|_, _| ());
        reply
    }

    async fn ask_together(&mut self, requests: &[ClusterRequest]) -> Vec<ClusterReply> {
        let mut replies = Vec::new();
        for request in requests {
            replies.push(self.ask(request).await);
        }
        replies
    }

    async fn pass(&mut self, time: Duration) -> Duration {
        let millis = u64::try_from(time.as_millis()).expect("a moment of a test");
        self.world.run_until(self.world.now() + millis);
        time
    }
}
