//! The four servers and their command lines.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::daemon::{Daemon, Janitor};
use super::identity::{self, Identity};
use super::programs::Programs;

/// How the servers work.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Whether the API server answers watches from memory, as it does by default. Without that they last as far back as etcd remembers, which
    /// [`ControlPlane::compact`](super::ControlPlane::compact) shortens.
    pub watch_cache: bool,
    /// How long a node may say nothing until it counts as not ready, in seconds.
    pub node_patience: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self { watch_cache: true, node_patience: 50 }
    }
}

/// Where the servers listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) peers: u16,
    pub(super) api: u16,
}

impl Ports {
    /// Three free ports below those that the system gives to clients: a server that is started again must find its port free.
    pub(super) fn free() -> Self {
        Self { etcd: free_port(), peers: free_port(), api: free_port() }
    }
}

const LOWEST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that nobody in this process is given a second time.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start together begin at different places.
    let first = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(next < COUNT, "no free port");
        let port = LOWEST + (first + next) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The servers that run.
#[derive(Debug)]
pub(super) struct Servers {
    // Clients go before what they talk to.
    clients: Vec<Daemon>,
    pub(super) api: Daemon,
    etcd: Daemon,
}

impl Servers {
    /// Starts the API server and what it stores in.
    pub(super) fn start(
        programs: &Programs,
        identity: &Identity,
        ports: Ports,
        manner: Manner,
        janitor: &Janitor,
    ) -> Self {
        let etcd = etcd(programs, identity, ports, janitor);
        let api = api_server(programs, identity, ports, manner, janitor);
        Self { clients: Vec::new(), api, etcd }
    }

    /// Starts the others. The controller manager gives up when the API server does not serve within ten seconds.
    pub(super) fn start_clients(
        &mut self,
        programs: &Programs,
        identity: &Identity,
        ports: Ports,
        manner: Manner,
        janitor: &Janitor,
    ) {
        self.clients.push(scheduler(programs, identity, ports, janitor));
        self.clients.push(manager(programs, identity, ports, manner, janitor));
    }

    /// Fails if one has ended.
    pub(super) fn all_run(&mut self) {
        for server in [&mut self.etcd, &mut self.api].into_iter().chain(&mut self.clients) {
            server.must_run();
        }
    }
}

fn etcd(programs: &Programs, identity: &Identity, ports: Ports, janitor: &Janitor) -> Daemon {
    let mut command = Command::new(programs.path("etcd"));
    let (clients, peers) = (format!("http://127.0.0.1:{}", ports.etcd), format!("http://127.0.0.1:{}", ports.peers));
    command
        .args(["--name=test", "--unsafe-no-fsync", "--log-level=warn"])
        .arg(format!("--data-dir={}", identity.path("etcd").display()))
        .arg(format!("--listen-client-urls={clients}"))
        .arg(format!("--advertise-client-urls={clients}"))
        .arg(format!("--listen-peer-urls={peers}"))
        .arg(format!("--initial-advertise-peer-urls={peers}"))
        .arg(format!("--initial-cluster=test={peers}"));
    Daemon::spawn(janitor, "etcd", command)
}

/// Who asked for what, without bodies; one line at the end of each request.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
 "rules": [{"level": "Metadata"}]}"#;

pub(super) fn api_server(
    programs: &Programs,
    identity: &Identity,
    ports: Ports,
    manner: Manner,
    janitor: &Janitor,
) -> Daemon {
    std::fs::write(identity.path("audit-policy.yaml"), AUDIT).expect("the folder can be written");
    let mut command = Command::new(programs.path("kube-apiserver"));
    let mut file = |flag: &str, name: &str| {
        command.arg(format!("--{flag}={}", identity.path(name).display()));
    };
    file("tls-cert-file", "server.crt");
    file("tls-private-key-file", "server.key");
    file("token-auth-file", "tokens.csv");
    file("service-account-key-file", "accounts.pub");
    file("service-account-signing-key-file", "accounts.key");
    file("audit-policy-file", "audit-policy.yaml");
    file("audit-log-path", "audit.jsonl");
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd))
        .arg(format!("--secure-port={}", ports.api))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .args(["--service-cluster-ip-range=10.0.0.0/24", "--service-account-issuer=https://kubernetes.default.svc"])
        .args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"])
        .arg(format!("--watch-cache={}", manner.watch_cache))
        .args(["--allow-privileged=true", "--profiling=false", "--audit-log-mode=blocking", "--audit-log-maxsize=0"]);
    Daemon::spawn(janitor, "kube-apiserver", command)
}

/// Controllers that tests rely on. The rest would only make requests.
const CONTROLLERS: &str = "--controllers=daemonset-controller,deployment-controller,replicaset-controller,statefulset-controller,\
job-controller,disruption-controller,serviceaccount-controller,serviceaccount-token-controller,namespace-controller,\
garbage-collector-controller,pod-garbage-collector-controller,node-lifecycle-controller,taint-eviction-controller,\
root-ca-certificate-publisher-controller,validatingadmissionpolicy-status-controller";

fn manager(programs: &Programs, identity: &Identity, ports: Ports, manner: Manner, janitor: &Janitor) -> Daemon {
    let kubeconfig = identity.kubeconfig("controller-manager", ports.api, identity::MANAGER);
    let mut command = Command::new(programs.path("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--service-account-private-key-file={}", identity.path("accounts.key").display()))
        .arg(format!("--root-ca-file={}", identity.path("authority.crt").display()))
        .args([
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ])
        // Each controller with its own rights, as in a cluster: the manager's own do not suffice for most.
        .arg("--use-service-account-credentials=true")
        .arg(format!("--node-monitor-grace-period={}s", manner.node_patience))
        .arg(CONTROLLERS);
    Daemon::spawn(janitor, "kube-controller-manager", command)
}

fn scheduler(programs: &Programs, identity: &Identity, ports: Ports, janitor: &Janitor) -> Daemon {
    let kubeconfig = identity.kubeconfig("scheduler", ports.api, identity::SCHEDULER);
    let mut command = Command::new(programs.path("kube-scheduler"));
    command.arg(format!("--kubeconfig={}", kubeconfig.display())).args([
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]);
    Daemon::spawn(janitor, "kube-scheduler", command)
}
