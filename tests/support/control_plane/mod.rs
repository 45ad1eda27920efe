//! A real Kubernetes control plane for tests: etcd, API server, controller manager and scheduler as child processes on loopback.
//!
//! Input: the programs that `tests/control-plane/build` makes, or those in `KUBEBUILDER_ASSETS`. Outputs: clients and kubeconfig files for an
//! administrator and for any `ServiceAccount`, what `kubectl` says, the API server's audit log. Invariants: everything listens on 127.0.0.1 on
//! ports of its own and lives in one temporary folder, so that any number run side by side; it ends with the test process, however that ends;
//! the folder with all logs stays when a test fails.
//!
//! A machine without the programs skips, and says so; with `RETILE_REQUIRE_CONTROL_PLANE=1` that is a failure.
//! Must not depend on anything of retile: it is what retile is tested on.
#![allow(dead_code, unused_imports, reason = "every test binary uses a part")]
#![allow(unreachable_pub, reason = "a module of several test binaries, not a crate of its own")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for real servers, in real time, and are configured by the environment"
)]

mod access;
mod audit;
mod daemon;
mod etcd;
pub mod hollow;
mod identity;
mod plugin;
mod programs;
mod servers;
mod wait;

pub use audit::Audited;
pub use daemon::Daemon;
pub use hollow::{HollowNode, Pace};
pub use plugin::FLEET;
pub use servers::{Manner, free_port};
pub use wait::{eventually, eventually_within};

use std::io::Write as _;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use daemon::Janitor;
use identity::Identity;
use programs::Programs;

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    programs: Programs,
    identity: Identity,
    ports: servers::Ports,
    manner: Manner,
    servers: Mutex<servers::Servers>,
    /// Dropped last: it removes the folder.
    janitor: Janitor,
}

/// A test's use of a control plane.
#[derive(Debug)]
pub struct Session<'plane>(&'plane ControlPlane);

impl Deref for Session<'_> {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        self.0
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.janitor.keep();
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.janitor.keep();
        }
    }
}

static SHARED: OnceCell<Option<ControlPlane>> = OnceCell::const_new();

impl ControlPlane {
    /// The control plane that the tests of this process share; none on a machine that has no programs for it. Tests keep out of each other's
    /// way by names: see [`Self::namespace`] and [`unique`].
    pub async fn shared() -> Option<Session<'static>> {
        SHARED.get_or_init(Self::start).await.as_ref().map(Session)
    }

    /// A control plane of the caller's own, for tests that stop its servers; none on a machine that has no programs for it.
    pub async fn start() -> Option<Self> {
        Self::start_as(Manner::default()).await
    }

    /// The same in a manner of the caller's.
    pub async fn start_as(manner: Manner) -> Option<Self> {
        let programs = match Programs::find() {
            Ok(programs) => programs,
            Err(missing) => {
                let required = std::env::var_os("RETILE_REQUIRE_CONTROL_PLANE").is_some_and(|value| value == "1");
                assert!(!required, "RETILE_REQUIRE_CONTROL_PLANE=1, and {missing}");
                // Not `eprintln!`: the test harness would keep it to itself.
                let _ = writeln!(std::io::stderr(), "skipped: needs a Kubernetes control plane: {missing}");
                return None;
            }
        };
        let folder = tempfile::Builder::new().prefix("retile-control-plane-").tempdir().expect("a temporary folder");
        let folder = folder.keep();
        let janitor = Janitor::hire(&folder);
        let identity = Identity::make(&folder);
        let ports = servers::Ports::free();
        let servers = servers::Servers::start(&programs, &identity, ports, manner, &janitor);
        let own = Self { programs, identity, ports, manner, servers: Mutex::new(servers), janitor };
        own.wait_until_ready().await;
        own.servers().start_clients(&own.programs, &own.identity, own.ports, manner, &own.janitor);
        own.wait_until_accounts_are_made().await;
        Some(own)
    }

    /// The folder with logs, certificates and data.
    pub fn folder(&self) -> &Path {
        self.janitor.folder()
    }

    /// Where the API server listens.
    pub fn url(&self) -> String {
        Identity::url(self.ports.api)
    }

    /// Starts a program that ends with this process at the latest; its output goes to `<name>.log` in the folder.
    pub fn daemon(&self, name: &str, command: std::process::Command) -> Daemon {
        Daemon::spawn(&self.janitor, name, command).shown()
    }

    /// The program `kubectl`.
    pub fn kubectl_program(&self) -> PathBuf {
        self.programs.path("kubectl")
    }

    /// Kills the API server as a power cut would.
    pub fn kill_api_server(&self) {
        self.servers().api.kill();
    }

    /// Starts the API server again, with the same data on the same port, and waits until it serves.
    pub async fn start_api_server(&self) {
        let api = servers::api_server(&self.programs, &self.identity, self.ports, self.manner, &self.janitor);
        self.servers().api = api;
        self.wait_until_ready().await;
    }

    fn servers(&self) -> std::sync::MutexGuard<'_, servers::Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nobody else in this process uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}
