//! A cluster that can be set up and asked: what the cases of the contract need, and no more.
//!
//! Whoever implements it sets things up by ways of its own, as people, kubelets and controllers do; what is asked goes through the port of the
//! protocol, as in production. Invariant: a case sees the cluster only through its answers.

use std::time::Duration;

use retile::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, EvictionBody, Lease, Observation};
use retile::exec::{
    GpuReport, InstanceReport, MigNode, MigNodeSpec, MigNodeStatus, NodeView, OperationId, PROTOCOL, PodView,
    ReportedOccupancy, Taint, Version,
};
use retile::model::PodRef;
use retile::plan::Place;

/// How far a pod is, as its kubelet would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It has not started.
    Pending,
    /// It runs and is Ready.
    Ready,
    /// It runs and is not Ready.
    Unready,
    /// Its containers have ended well.
    Succeeded,
    /// Its containers have ended badly.
    Failed,
}

/// A pod that nobody makes again and no kubelet knows of. It asks for one `nvidia.com/mig-1g.5gb`.
#[derive(Debug, Clone)]
pub(crate) struct Wish<'a> {
    /// Name.
    pub(crate) name: &'a str,
    /// Value of its label `app`.
    pub(crate) app: &'a str,
    /// Node that it is bound to from the start; none leaves it to the scheduler.
    pub(crate) node: Option<&'a str>,
    /// How far it is.
    pub(crate) state: State,
    /// Grace period in seconds.
    pub(crate) grace: u64,
    /// Whether a finalizer holds it.
    pub(crate) held: bool,
    /// Whether it tolerates every taint.
    pub(crate) tolerant: bool,
}

impl<'a> Wish<'a> {
    /// A pod on a node, with the application's name of its own and a grace of half a minute.
    pub(crate) fn on(node: &'a str, name: &'a str, state: State) -> Self {
        Self { name, app: name, node: Some(node), state, grace: 30, held: false, tolerant: false }
    }

    /// The same as one of an application.
    pub(crate) fn of(self, app: &'a str) -> Self {
        Self { app, ..self }
    }
}

/// What a budget demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// So many pods stay.
    MinAvailable(u32),
    /// So many per cent of the pods stay.
    MinAvailablePercent(u32),
    /// So many pods may be away.
    MaxUnavailable(u32),
    /// So many per cent of the pods may be away.
    MaxUnavailablePercent(u32),
}

/// A `PodDisruptionBudget` over an application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget<'a> {
    /// Name.
    pub(crate) name: &'a str,
    /// Application that it covers; none covers all pods of the namespace.
    pub(crate) app: Option<&'a str>,
    /// What it demands.
    pub(crate) rule: Rule,
    /// Whether pods that are not Ready may always be evicted.
    pub(crate) lenient: bool,
}

impl<'a> Budget<'a> {
    /// A budget over an application.
    pub(crate) fn over(app: &'a str, name: &'a str, rule: Rule) -> Self {
        Self { name, app: Some(app), rule, lenient: false }
    }
}

/// How the device plugin of a machine is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// Also under our taint.
    Tolerant,
    /// Not under our taint.
    Intolerant,
    /// Also under our taint, and by the GPU Operator's deploy label, which the machine has.
    Labelled,
}

/// A cluster that can be set up and asked.
pub(crate) trait Cluster {
    /// A name that nobody else uses, for cases that share a cluster.
    fn unique(&self, prefix: &str) -> String;

    /// The namespace of this case.
    fn namespace(&self) -> String;

    /// Makes a node object that no machine stands behind.
    async fn add_node(&mut self, name: &str);

    /// Deletes a node object.
    async fn remove_node(&mut self, name: &str);

    /// Adds a taint to whatever a node has, as somebody who does not care for versions.
    async fn add_foreign_taint(&mut self, node: &str, taint: &Taint);

    /// Labels a node, as somebody who does not care for versions.
    async fn label_node(&mut self, node: &str, key: &str, value: &str);

    /// Makes a pod.
    async fn add_pod(&mut self, wish: &Wish<'_>) -> PodRef;

    /// Ends a pod at once, as its kubelet does when its containers have ended.
    async fn end_pod(&mut self, pod: &PodRef);

    /// Takes away whatever finalizers hold a pod.
    async fn release_pod(&mut self, pod: &PodRef);

    /// Makes a budget; its controller sees to it in its own time.
    async fn add_budget(&mut self, budget: &Budget<'_>);

    /// Deletes the leader's lease.
    async fn remove_lease(&mut self);

    /// Has the API server forget what has been: every watch that goes on from before is told 410.
    async fn forget_the_past(&mut self);

    /// A node with a machine: one A100-40GB with these instances (profile and start), a kubelet, and the device plugin. At most one in a case, and
    /// before anything else.
    async fn add_machine(&mut self, layout: &[(&str, u8)], plugin: Plugin) -> String;

    /// Creates an instance on the machine's board by hand.
    async fn partition(&mut self, machine: &str, profile: &str, start: u8);

    /// So many pods of an application that are made again when they go, each with this instance, on the machine.
    async fn add_work(&mut self, app: &str, pods: u32, profile: &str);

    /// Asks.
    async fn ask(&mut self, request: &ClusterRequest) -> ClusterReply;

    /// Asks all at the same time.
    async fn ask_together(&mut self, requests: &[ClusterRequest]) -> Vec<ClusterReply>;

    /// Lets some time go by; how much.
    async fn pass(&mut self, time: Duration) -> Duration;
}

/// More than anything takes in a cluster, virtual or on a busy machine.
const LIMIT: Duration = Duration::from_mins(4);
const STEP: Duration = Duration::from_millis(50);

/// Looks again and again until there is something to see.
pub(crate) async fn eventually<C: Cluster, T>(
    cluster: &mut C,
    what: &str,
    mut look: impl AsyncFnMut(&mut C) -> Option<T>,
) -> T {
    let mut passed = Duration::ZERO;
    loop {
        if let Some(seen) = look(cluster).await {
            return seen;
        }
        assert!(passed < LIMIT, "not within {} s: {what}", LIMIT.as_secs());
        passed += cluster.pass(STEP).await;
    }
}

/// What only says whether it was done.
pub(crate) fn accepted(reply: ClusterReply) -> Result<(), ClusterError> {
    let answer = reply?;
    assert!(matches!(answer, ClusterAnswer::Accepted), "not an acceptance: {answer:?}");
    Ok(())
}

/// The refusal of a request that is to be refused.
pub(crate) fn refused(reply: ClusterReply) -> ClusterError {
    reply.expect_err("it is refused")
}

/// A node.
pub(crate) fn node_of(reply: ClusterReply) -> NodeView {
    match reply {
        Ok(ClusterAnswer::Node(node)) => *node,
        other => panic!("no node: {other:?}"),
    }
}

/// A record.
pub(crate) fn record_of(reply: ClusterReply) -> MigNode {
    match reply {
        Ok(ClusterAnswer::MigNode(record)) => *record,
        other => panic!("no record: {other:?}"),
    }
}

/// A lease with its version.
pub(crate) fn lease_of(reply: ClusterReply) -> (Version, Lease) {
    match reply {
        Ok(ClusterAnswer::Lease(version, lease)) => (version, lease),
        other => panic!("no lease: {other:?}"),
    }
}

/// Evicts a pod, pinned to its UID.
pub(crate) async fn evict(cluster: &mut impl Cluster, pod: &PodRef, dry_run: bool) -> Result<(), ClusterError> {
    let request = ClusterRequest::Evict { pod: pod.clone(), body: EvictionBody::of(pod), dry_run };
    accepted(cluster.ask(&request).await)
}

/// Deletes a pod of the device plugin.
pub(crate) async fn delete_plugin(cluster: &mut impl Cluster, pod: &PodRef) -> Result<(), ClusterError> {
    accepted(cluster.ask(&ClusterRequest::DeletePluginPod { pod: pod.clone() }).await)
}

/// The pods of a node.
pub(crate) async fn pods_on(cluster: &mut impl Cluster, node: &str) -> Vec<PodView> {
    match cluster.ask(&ClusterRequest::ListPods { node: node.to_owned() }).await {
        Ok(ClusterAnswer::Pods(pods)) => pods,
        other => panic!("no pods: {other:?}"),
    }
}

/// A pod of a node, by its UID.
pub(crate) async fn pod_on(cluster: &mut impl Cluster, node: &str, pod: &PodRef) -> Option<PodView> {
    pods_on(cluster, node).await.into_iter().find(|view| view.pod == *pod)
}

/// A request for a node.
pub(crate) fn get_node(node: &str) -> ClusterRequest {
    ClusterRequest::GetNode { node: node.to_owned() }
}

/// A request for a record.
pub(crate) fn get_record(node: &str) -> ClusterRequest {
    ClusterRequest::GetMigNode { node: node.to_owned() }
}

/// A request to put our taint on a node.
pub(crate) fn taint(node: &str, version: Version, operation: &str) -> ClusterRequest {
    ClusterRequest::AddTaint { node: node.to_owned(), version, operation: OperationId(operation.to_owned()) }
}

/// A request to take our taint off a node.
pub(crate) fn untaint(node: &str, version: Version, operation: &str) -> ClusterRequest {
    ClusterRequest::RemoveTaint { node: node.to_owned(), version, operation: OperationId(operation.to_owned()) }
}

/// A request to pause the GPU Operator's clients on a node.
pub(crate) fn pause(node: &str, version: Version, operation: &str) -> ClusterRequest {
    let operation = OperationId(operation.to_owned());
    ClusterRequest::PauseClients { node: node.to_owned(), version, operation, dry_run: false }
}

/// A request that only asks whether they might be paused.
pub(crate) fn rehearse_pause(node: &str, version: Version, operation: &str) -> ClusterRequest {
    let operation = OperationId(operation.to_owned());
    ClusterRequest::PauseClients { node: node.to_owned(), version, operation, dry_run: true }
}

/// A request to let them go on.
pub(crate) fn resume(node: &str, version: Version) -> ClusterRequest {
    ClusterRequest::ResumeClients { node: node.to_owned(), version, operation: OperationId("op".to_owned()) }
}

/// A request to write a status.
pub(crate) fn write_status(node: &str, version: Version, status: &MigNodeStatus) -> ClusterRequest {
    ClusterRequest::WriteStatus { node: node.to_owned(), version, status: Box::new(status.clone()) }
}

/// A request to write a spec.
pub(crate) fn write_spec(node: &str, version: Version, spec: &MigNodeSpec) -> ClusterRequest {
    ClusterRequest::WriteSpec { node: node.to_owned(), version, spec: Box::new(spec.clone()) }
}

/// Asks for a change of a node as it is, and again when somebody else was faster: the cluster's own controllers write to nodes too.
pub(crate) async fn change_node<C: Cluster>(
    cluster: &mut C,
    node: &str,
    request: impl Fn(Version) -> ClusterRequest,
) -> NodeView {
    eventually(cluster, "nobody else is faster", async |cluster| {
        let version = node_of(cluster.ask(&get_node(node)).await).version;
        match cluster.ask(&request(version)).await {
            Err(ClusterError::Conflict) => None,
            reply => Some(node_of(reply)),
        }
    })
    .await
}

/// What an agent reports of a node without GPUs.
pub(crate) fn status(heartbeat: u64) -> MigNodeStatus {
    MigNodeStatus {
        node_uid: "uid".to_owned(),
        boot_id: "boot".to_owned(),
        protocol: PROTOCOL,
        heartbeat,
        ..MigNodeStatus::default()
    }
}

/// A place of the smallest instance.
pub(crate) fn place(start: u8) -> Place {
    Place { start, size: 1, profile: "1g.5gb".to_owned() }
}

/// A free instance in a report.
pub(crate) fn free(start: u8) -> InstanceReport {
    let uuid = Some(format!("MIG-{start}"));
    InstanceReport { place: place(start), uuid, occupancy: ReportedOccupancy::Free, pods: Vec::new() }
}

/// A GPU in a report.
pub(crate) fn gpu(index: u32, instances: Vec<InstanceReport>) -> GpuReport {
    GpuReport { index, uuid: format!("GPU-{index:02}"), model: "NVIDIA A100-SXM4-40GB".to_owned(), instances }
}

/// Makes a node whose agent reports a board with free instances at the first places; its record.
pub(crate) async fn add_gpu_node(cluster: &mut impl Cluster, node: &str, instances: u8) -> MigNode {
    cluster.add_node(node).await;
    report(cluster, node, instances).await
}

/// Reports a board with free instances at the first places of a node that has no record.
pub(crate) async fn report(cluster: &mut impl Cluster, node: &str, instances: u8) -> MigNode {
    let node_uid = node_of(cluster.ask(&get_node(node)).await).uid;
    let gpus = vec![gpu(0, (0..instances).map(free).collect())];
    let status = MigNodeStatus { node_uid, gpus, ..status(1) };
    record_of(cluster.ask(&write_status(node, Version::default(), &status)).await)
}

/// Everything that planning reads, from the cache or not.
pub(crate) async fn observe(cluster: &mut impl Cluster, fresh: bool) -> Observation {
    match cluster.ask(&ClusterRequest::Observe { fresh }).await {
        Ok(ClusterAnswer::Observed(observation)) => *observation,
        other => panic!("no observation: {other:?}"),
    }
}
