//! One client process: initialisation, privilege, the script of faults, latency, the log of calls.
//!
//! Environment, read when the process first initialises NVML:
//! `FAKE_NVML_STATE` (file of the node; memory when unset), `FAKE_NVML_CONFIG` (JSON) or `FAKE_NVML_BOARDS` (short form)
//! for a node that does not exist yet, `FAKE_NVML_UNPRIVILEGED` (this process may only look), `FAKE_NVML_LOG` (file that gets
//! a line per call).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::config::Config;
use crate::fault::{Fault, Kill, strike};
use crate::handle::Handle;
use crate::node::Node;
use crate::store::{Store, StoreError};
use crate::{Code, Kill::After};

/// What the process has told NVML so far.
#[derive(Default)]
struct Process {
    /// How often NVML was initialised without being shut down.
    initialised: u32,
    /// MIG devices found by index, by board and index.
    found: BTreeMap<(usize, u32), Handle>,
}

fn process() -> MutexGuard<'static, Process> {
    static PROCESS: Mutex<Process> = Mutex::new(Process { initialised: 0, found: BTreeMap::new() });
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The node of this process; the reason is printed where there is none.
fn store() -> Result<&'static Store, Code> {
    static STORE: OnceLock<Result<Store, StoreError>> = OnceLock::new();
    let opened = STORE.get_or_init(|| {
        let opened = open();
        if let Err(error) = &opened {
            eprintln!("fake-nvml: {error}");
        }
        opened
    });
    opened.as_ref().map_err(|_| Code::DriverNotLoaded)
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn open() -> Result<Store, StoreError> {
    match variable("FAKE_NVML_STATE") {
        Some(path) => Store::open(path, config_from_environment),
        None => Store::in_memory(config_from_environment()?),
    }
}

/// The configuration that the environment asks for; one A100 40 GB when it asks for nothing.
///
/// # Errors
/// The file that `FAKE_NVML_CONFIG` names cannot be read or is not a configuration.
pub fn config_from_environment() -> Result<Config, StoreError> {
    if let Some(path) = variable("FAKE_NVML_CONFIG") {
        let text = std::fs::read_to_string(&path).map_err(|cause| StoreError::Io { path: path.clone(), cause })?;
        return serde_json::from_str(&text).map_err(|cause| StoreError::Form { path, cause });
    }
    let mut config = Config::default();
    if let Some(boards) = variable("FAKE_NVML_BOARDS") {
        config.boards = Config::parse_boards(&boards.to_string_lossy());
    }
    Ok(config)
}

fn log(call: &str) {
    static LOG: OnceLock<Option<File>> = OnceLock::new();
    let file = LOG.get_or_init(|| {
        let path = variable("FAKE_NVML_LOG")?;
        File::options().create(true).append(true).open(path).ok()
    });
    if let Some(mut file) = file.as_ref() {
        // A log that cannot be written is no reason to fail a client's call.
        let _ = file.write_all(format!("{} {call}\n", std::process::id()).as_bytes());
    }
}

/// Whether this process may see and change what needs privilege.
pub(crate) fn privileged() -> Result<(), Code> {
    if variable("FAKE_NVML_UNPRIVILEGED").is_some() { Err(Code::NoPermission) } else { Ok(()) }
}

/// `nvmlInit`.
pub(crate) fn initialise(call: &str) -> Result<(), Code> {
    log(call);
    let fault = store()?.change(|node| strike(&mut node.faults, call, None)).map_err(|_| Code::DriverNotLoaded)?;
    play(fault.as_ref(), || {
        let mut process = process();
        if process.initialised == 0 {
            process.found.clear();
        }
        process.initialised += 1;
        Ok(())
    })
}

/// `nvmlShutdown`.
pub(crate) fn shut_down() -> Result<(), Code> {
    log("nvmlShutdown");
    let mut process = process();
    process.initialised = process.initialised.checked_sub(1).ok_or(Code::Uninitialized)?;
    Ok(())
}

fn initialised() -> Result<&'static Store, Code> {
    if process().initialised == 0 { Err(Code::Uninitialized) } else { store() }
}

/// Lets a call see the node.
pub(crate) fn query<T>(
    call: &str,
    board: Option<usize>,
    look: impl FnOnce(&Node) -> Result<T, Code>,
) -> Result<T, Code> {
    log(call);
    let store = initialised()?;
    let mut node = store.read().map_err(|_| Code::Unknown)?;
    if !node.faults.iter().any(|fault| fault.call == call) {
        return look(&node);
    }
    let struck = store.change(|node| (strike(&mut node.faults, call, board), node.clone()));
    let (fault, now) = struck.map_err(|_| Code::Unknown)?;
    node = now;
    play(fault.as_ref(), || look(&node))
}

/// Which time a changing call takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Nothing to speak of.
    Quick,
    /// Creates a GPU instance of a profile id.
    Create(u32),
    /// Destroys the GPU instance with a serial.
    Destroy(u64),
}

/// Lets a call change the node.
pub(crate) fn change<T>(
    call: &str,
    board: usize,
    work: Work,
    change: impl FnOnce(&mut Node) -> Result<T, Code>,
) -> Result<T, Code> {
    log(call);
    let store = initialised()?;
    let struck = store.change(|node| (strike(&mut node.faults, call, Some(board)), pause(node, board, work)));
    let (fault, pause) = struck.map_err(|_| Code::Unknown)?;
    play(fault.as_ref(), || {
        // Half before and half after, so that a process killed in the middle leaves either state.
        std::thread::sleep(pause / 2);
        let done = store.change(|node| {
            let mut tried = node.clone();
            // The one change that a refusal makes is to count it.
            let result = change(&mut tried);
            if result.is_ok() || result.as_ref().err() == Some(&Code::InUse) {
                *node = tried;
            }
            result
        });
        std::thread::sleep(pause / 2);
        done.map_err(|_| Code::Unknown)?
    })
}

/// Plays a fault around a call's work.
fn play<T>(fault: Option<&Fault>, work: impl FnOnce() -> Result<T, Code>) -> Result<T, Code> {
    let Some(fault) = fault else { return work() };
    std::thread::sleep(Duration::from_millis(fault.delay_ms));
    if fault.kill == Some(Kill::Before) {
        die();
    }
    let skipped = !fault.applied && fault.kill != Some(After);
    if fault.hang && skipped {
        hang();
    }
    match fault.answer {
        Some(code) if skipped => return Err(code),
        _ => {}
    }
    let result = work();
    if fault.kill == Some(After) {
        die();
    }
    if fault.hang {
        hang();
    }
    fault.answer.map_or(result, Err)
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

fn die() -> ! {
    // SAFETY: `getpid` has no preconditions.
    let own = unsafe { libc::getpid() };
    // SAFETY: sends a signal to this process; nothing of it runs afterwards.
    unsafe { libc::kill(own, libc::SIGKILL) };
    hang()
}

/// Seconds of everything else; not measured.
const QUICK: f64 = 0.01;

/// How long a change takes, as far as that was measured.
fn pause(node: &Node, board: usize, work: Work) -> Duration {
    let Some(state) = node.boards.get(board).filter(|_| node.config.latency > 0.0) else { return Duration::ZERO };
    let table = state.table();
    let seconds = match work {
        Work::Quick => QUICK,
        Work::Create(profile) => table.seconds(profile)[0],
        Work::Destroy(serial) => {
            let gone = state.instances.iter().find(|instance| instance.serial == serial);
            gone.map_or(QUICK, |instance| table.seconds(instance.profile)[1])
        }
    };
    Duration::from_secs_f64(seconds * node.config.latency)
}

/// The handle that this process was given for a MIG device before, if the node keeps such handles.
pub(crate) fn found_before(node: &Node, place: usize, index: u32) -> Option<Handle> {
    process().found.get(&(place, index)).copied().filter(|_| node.config.stale_mig_handles)
}

/// Remembers the handle of a MIG device.
pub(crate) fn remember(place: usize, index: u32, handle: Handle) {
    process().found.insert((place, index), handle);
}

/// The newest events, without a line in the log for each look.
pub(crate) fn peek<T>(look: impl FnOnce(&Node) -> T) -> Result<T, Code> {
    Ok(look(&initialised()?.read().map_err(|_| Code::Unknown)?))
}
