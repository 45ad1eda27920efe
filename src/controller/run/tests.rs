//! The program against an API server without a network: real threads, real time in small portions, no deadline that a slow machine could miss.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::controller::LeaseTimes;
use crate::controller::testing::{Cluster, settings, writes};
use crate::controller::{Proposal, ProposeError};
use crate::exec::Timing;
use crate::exec::Version;
use crate::exec::port::{ClusterReply, ClusterRequest, Lease};
use crate::kube::live::Wake;
use crate::telemetry::Book;

/// An API server that answers from a [`Cluster`].
struct Fake {
    cluster: Mutex<Cluster>,
    log: Mutex<Vec<ClusterRequest>>,
    /// Kinds of requests that are never answered.
    hangs: Mutex<Vec<&'static str>>,
    wishes: Mutex<Wishes>,
    kept: Mutex<Option<Counted>>,
    changed: Notify,
}

impl Fake {
    fn new(cluster: Cluster) -> Arc<Self> {
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            log: Mutex::default(),
            hangs: Mutex::default(),
            wishes: Mutex::default(),
            kept: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().expect("no test panics with it")
    }

    fn writes(&self) -> Vec<&'static str> {
        let log = self.log.lock().expect("no test panics with it");
        log.iter().filter(|request| writes(request)).map(ClusterRequest::kind).collect()
    }

    /// Waits until something is so. Tests end by the runner's patience, not by a clock.
    async fn until(&self, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            self.cluster().report();
            self.changed.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn claimed(&self, node: &str) -> bool {
        self.cluster().records[node].spec.operation.is_some()
    }
}

impl ClusterPort for Fake {
    async fn answer(&self, request: &ClusterRequest) -> ClusterReply {
        let hangs = self.hangs.lock().expect("no test panics with it").contains(&request.kind());
        if hangs {
            std::future::pending::<()>().await;
        }
        self.log.lock().expect("no test panics with it").push(request.clone());
        self.cluster().answer(request)
    }

    async fn changed(&self) -> Wake {
        self.changed.notified().await;
        let nodes = self.cluster().nodes.keys().cloned().collect();
        Wake { planning: true, nodes }
    }

    fn wishes(&self) -> Wishes {
        self.wishes.lock().expect("no test panics with it").clone()
    }

    fn kept(&self) -> Option<Counted> {
        self.kept.lock().expect("no test panics with it").clone()
    }

    fn known(&self) -> Known {
        Known::default()
    }
}

fn waiting(mode: Mode) -> Cluster {
    let mut cluster = Cluster::new().node("a", &[&[]]).waiting("p", "3g.20gb");
    cluster.policy.mode = mode;
    cluster
}

fn options() -> Options {
    let timing = Timing { settle: Duration::from_millis(50), poll: Duration::from_millis(20), ..Timing::default() };
    // Long enough that no slow machine loses it by accident.
    let lease = LeaseTimes {
        duration: Duration::from_mins(15),
        renew_within: Duration::from_mins(10),
        retry: Duration::from_millis(50),
    };
    let soonest = Some(Duration::from_millis(20));
    Options {
        settings: crate::controller::Settings { soonest, timing, lease, ..settings("me") },
        work_limit: 1_000_000,
        prefix: "op-test".to_owned(),
        dry_run: false,
    }
}

struct Started {
    running: Running,
    book: Book,
    health: Health,
    vanished: oneshot::Receiver<()>,
}

fn begin<C: ClusterPort>(cluster: Arc<C>, options: Options) -> Started {
    let work_limit = options.work_limit;
    begin_with(cluster, options, move || Box::new(Retile { work_limit }))
}

fn begin_with<C: ClusterPort>(
    cluster: Arc<C>,
    options: Options,
    planner: impl FnOnce() -> Box<dyn Proposer> + Send + 'static,
) -> Started {
    let (metrics, book) = ControllerMetrics::new(&requests());
    let health = Health::new();
    let (gone, vanished) = oneshot::channel();
    let vanish = move || {
        let _ = gone.send(());
    };
    let running = start_with(cluster, options, metrics, health.clone(), planner, vanish).expect("a thread");
    Started { running, book, health, vanished }
}

/// A planner that says when it begins a plan, and ends it when it is told to.
struct Slow {
    begun: Sender<()>,
    go_on: std::sync::mpsc::Receiver<()>,
    planner: Retile,
}

impl Proposer for Slow {
    fn propose(&mut self, input: &crate::model::PlanningInput) -> Result<Proposal, ProposeError> {
        // Whoever does not listen any more lets it go on.
        let _ = self.begun.send(());
        let _ = self.go_on.recv();
        self.planner.propose(input)
    }
}

/// A controller whose plans take until the second channel says so; the first tells when one begins.
fn begin_slowly(fake: &Arc<Fake>, options: Options) -> (Started, std::sync::mpsc::Receiver<()>, Sender<()>) {
    let (begun, begins) = channel();
    let (let_on, go_on) = channel();
    let planner = Retile { work_limit: options.work_limit };
    let started = begin_with(Arc::clone(fake), options, move || Box::new(Slow { begun, go_on, planner }));
    (started, begins, let_on)
}

fn renewals(fake: &Fake) -> u64 {
    fake.cluster().lease.as_ref().map_or(0, |(_, lease)| lease.renewals)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lease_is_renewed_while_a_plan_takes_its_time() {
    let fake = Fake::new(waiting(Mode::Act));
    let (Started { running, mut vanished, .. }, begins, go_on) = begin_slowly(&fake, options());
    tokio::task::spawn_blocking(move || begins.recv()).await.expect("no panic").expect("a plan is begun");
    let before = renewals(&fake);
    fake.until(|fake| renewals(fake) > before + 5).await;
    assert!(!fake.claimed("a"), "the plan is not made yet");
    drop(go_on);
    fake.until(|fake| fake.claimed("a")).await;
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
    assert_eq!(fake.cluster().lease.as_ref().map(|(_, lease)| lease.holder.as_str()), Some(""), "it is handed back");
    assert!(vanished.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_replaced_while_it_plans_vanishes_before_the_plan_is_made() {
    let fake = Fake::new(waiting(Mode::Act));
    let (Started { running, vanished, .. }, begins, go_on) = begin_slowly(&fake, options());
    tokio::task::spawn_blocking(move || begins.recv()).await.expect("no panic").expect("a plan is begun");
    fake.cluster().lease = Some((Version(99), Lease { holder: "other".into(), renewals: 7, transitions: 2 }));
    assert_eq!(running.ended().await, End::LostLeadership);
    vanished.await.expect("it vanished first");
    assert!(fake.writes().iter().all(|kind| *kind == "write_lease"), "{:?}", fake.writes());
    drop(go_on);
}

fn shows(book: &Book, line: &str) -> bool {
    book.encode().expect("it can be written").lines().any(|found| found == line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_leads_plans_claims_and_hands_the_lease_back() {
    let fake = Fake::new(waiting(Mode::Act));
    let Started { running, book, health, mut vanished } = begin(Arc::clone(&fake), options());
    fake.until(|fake| fake.claimed("a") && !fake.cluster().nodes["a"].taints.is_empty()).await;
    fake.until(|_| shows(&book, "retile_operations_running 1.0") && health.is_ready().is_ok()).await;
    // Told with the look after the claim was written.
    fake.until(|_| shows(&book, "retile_operations_started_total{cause=\"planned\"} 1")).await;
    let operation = fake.cluster().records["a"].spec.operation.clone().expect("claimed");
    assert_eq!((operation.id.0.as_str(), operation.epoch), ("op-test-1", 1));
    for line in [
        "retile_leader 1.0",
        "retile_mode{mode=\"Act\"} 1.0",
        "retile_planned{what=\"gpus\"} 1.0",
        "retile_gpus{model=\"NVIDIA A100-SXM4-40GB\"} 1.0",
        "retile_largest_placeable_profile{model=\"NVIDIA A100-SXM4-40GB\",profile=\"7g.40gb\"} 8.0",
        "retile_invariant_violations_total{id=\"savings_refused\"} 0",
    ] {
        assert!(shows(&book, line), "{line}\n{}", book.encode().expect("it can be written"));
    }
    // What lasts counts, so this needs a second look.
    fake.until(|_| shows(&book, "retile_gpus_needed{model=\"NVIDIA A100-SXM4-40GB\"} 1.0")).await;
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
    let lease = fake.cluster().lease.clone().expect("it was taken").1;
    assert_eq!((lease.holder.as_str(), lease.transitions), ("", 1), "the next leader need not wait");
    assert!(fake.claimed("a"), "what is under way goes on with whoever leads next");
    assert!(vanished.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_decides_what_is_carried_out_as_soon_as_it_is_read() {
    let fake = Fake::new(waiting(Mode::Observe));
    let Started { running, book, .. } = begin(Arc::clone(&fake), options());
    fake.until(|_| shows(&book, "retile_planned{what=\"gpus\"} 1.0")).await;
    assert!(fake.writes().iter().all(|kind| *kind == "write_lease"), "{:?}", fake.writes());
    fake.wishes.lock().expect("no test panics with it").paused = true;
    fake.cluster().policy.mode = Mode::Act;
    let before = fake.log.lock().expect("no test panics with it").len();
    fake.until(|fake| {
        let log = fake.log.lock().expect("no test panics with it");
        log[before..].iter().filter(|request| request.kind() == "observe").count() > 3
    })
    .await;
    assert!(!fake.claimed("a"), "it is paused");
    fake.wishes.lock().expect("no test panics with it").paused = false;
    fake.until(|fake| fake.claimed("a")).await;
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_replaced_vanishes() {
    let fake = Fake::new(waiting(Mode::Act));
    let Started { running, vanished, .. } = begin(Arc::clone(&fake), options());
    fake.until(|fake| fake.claimed("a")).await;
    fake.cluster().lease = Some((Version(99), Lease { holder: "other".into(), renewals: 7, transitions: 2 }));
    assert_eq!(running.ended().await, End::LostLeadership);
    vanished.await.expect("it vanished first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_renew_vanishes_when_its_time_is_over() {
    let fake = Fake::new(waiting(Mode::Observe));
    let mut options = options();
    options.settings.lease.renew_within = Duration::from_secs(5);
    let Started { running, book, mut vanished, .. } = begin(Arc::clone(&fake), options);
    fake.until(|_| shows(&book, "retile_planned{what=\"gpus\"} 1.0")).await;
    fake.hangs.lock().expect("no test panics with it").extend(["write_lease", "get_lease", "observe"]);
    assert_eq!(running.ended().await, End::LostLeadership, "nothing else happens that could wake it");
    vanished.try_recv().expect("it vanished first");
}

/// The most GPUs that were needed at once are not needed any more when the second process comes to lead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savings_go_on_with_the_next_leader_and_are_counted_once() {
    let model = "NVIDIA A100-SXM4-40GB".to_owned();
    let peaks = [("7g.40gb".to_owned(), 3)].into();
    let kept = crate::savings::Kept {
        model: model.clone(),
        elapsed_ms: 3_600_000,
        gpus: 1,
        peaks,
        most_needed: 3,
        most_whole: 9,
        most_owned: 1,
        deferred_ms: [0, 0, 7_200_000],
        ..crate::savings::Kept::default()
    };
    let before = Counted { since: Some("2026-11-28T12:00:00Z".to_owned()), models: vec![kept] };
    let fake = Fake::new(waiting(Mode::Observe));
    *fake.kept.lock().expect("no test panics with it") = Some(before);
    let Started { mut running, book, .. } = begin(Arc::clone(&fake), options());
    let mut cycles = running.cycles().expect("the first to ask");
    let gauge = |counterfactual: &str, count: &str| {
        format!("retile_deferred_gpus{{model=\"{model}\",counterfactual=\"{counterfactual}\"}} {count}")
    };
    fake.until(|_| shows(&book, &format!("retile_gpus_needed{{model=\"{model}\"}} 3.0"))).await;
    let text = book.encode().expect("it can be written");
    assert!(shows(&book, &gauge("whole_gpu", "6.0")), "{text}");
    let counter = format!("retile_deferred_gpu_seconds_total{{model=\"{model}\",counterfactual=\"whole_gpu\"}} ");
    let counted = text.lines().find_map(|line| line.strip_prefix(&counter)).expect("it is counted");
    assert!(counted.parse::<f64>().expect("a number") < 7200.0, "what others have counted is theirs: {counted}");
    let savings = cycles.recv().await.expect("it runs").savings;
    assert_eq!(savings.since.as_deref(), Some("2026-11-28T12:00:00Z"));
    assert!(savings.models[0].deferred_ms[2] >= 7_200_000 && savings.models[0].elapsed_ms >= 3_600_000, "{savings:?}");
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_plans_and_writes_nothing_at_all() {
    let fake = Fake::new(waiting(Mode::Act));
    let cluster = Arc::new(DryRun::new(Arc::clone(&fake)));
    let Started { running, book, .. } = begin(cluster, Options { dry_run: true, ..options() });
    fake.until(|_| shows(&book, "retile_planned{what=\"gpus\"} 1.0") && shows(&book, "retile_leader 1.0")).await;
    fake.until(|_| shows(&book, "retile_mode{mode=\"Observe\"} 1.0")).await;
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
    assert!(fake.writes().is_empty(), "{:?}", fake.writes());
    assert_eq!(fake.cluster().lease, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_approves_is_carried_out() {
    let fake = Fake::new(waiting(Mode::Recommend));
    let Started { mut running, .. } = begin(Arc::clone(&fake), options());
    let mut cycles = running.cycles().expect("the first to ask");
    let plan = loop {
        fake.changed.notify_one();
        let cycle = cycles.recv().await.expect("it runs");
        if let Some(plan) = cycle.plan.filter(|plan| !plan.nodes.is_empty()) {
            break plan;
        }
    };
    assert!(fake.writes().iter().all(|kind| *kind == "write_lease"), "{:?}", fake.writes());
    (running.approver())("plan-1".to_owned(), Plan::clone(&plan));
    fake.until(|fake| fake.claimed("a")).await;
    let approval = loop {
        let cycle = cycles.recv().await.expect("it runs");
        if let Some(approval) = cycle.report.approval {
            break approval;
        }
    };
    assert_eq!((approval.name.as_str(), approval.operations.len()), ("plan-1", 1));
    (running.stopper())();
    assert_eq!(running.ended().await, End::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_does_not_answer_makes_it_unready_and_not_dead() {
    let fake = Fake::new(waiting(Mode::Observe));
    fake.hangs.lock().expect("no test panics with it").push("get_lease");
    let Started { running, health, .. } = begin(Arc::clone(&fake), options());
    fake.until(|_| health.is_ready().is_err_and(|why| why.contains("api-server: it has not answered yet"))).await;
    assert_eq!(health.alive(), Ok(()));
    drop(running);
}
