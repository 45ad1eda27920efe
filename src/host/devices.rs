//! Device nodes and the node's device list (CDI), made anew by NVIDIA's own tools after instances have changed.
//!
//! Three steps, each of which can be switched off where something else on the host does it: `nvidia-smi -L` makes the capability nodes of
//! the instances (`/dev/nvidia-caps`), `nvidia-ctk system create-device-nodes --control-devices` the control nodes, `nvidia-ctk cdi
//! generate` the management specification of CDI. Input: which to run. Output: done, or which step failed and what it said. Invariants:
//! programs are started by absolute path with a bare environment, without a shell, each for a limited time; all steps are run even when
//! one fails; running them again changes nothing.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Time for one step; `nvidia-smi` on a machine with many GPUs and no persistence takes tens of seconds.
const LIMIT: Duration = Duration::from_mins(1);
/// What of a failed program's own words is passed on.
const WORDS: usize = 300;
/// Changes the root folder for a program.
const CHROOT: &str = "/usr/sbin/chroot";
/// Where programs look for others.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether a step is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Switch {
    /// If its program is there, and, for CDI, the specification too.
    Auto,
    /// In any case; a missing program is an error at the start.
    On,
    /// Never.
    Off,
}

/// What makes device nodes.
#[derive(Debug, Clone)]
pub struct DeviceSettings {
    /// The root folder in which programs run and in which their paths are meant; `/` for this process's own.
    pub root: PathBuf,
    /// `nvidia-smi`.
    pub smi: PathBuf,
    /// `nvidia-ctk`.
    pub ctk: PathBuf,
    /// The CDI specification.
    pub cdi_spec: PathBuf,
    /// More arguments for `nvidia-ctk cdi generate`.
    pub cdi_arguments: Vec<String>,
    /// Capability nodes of the instances.
    pub capabilities: Switch,
    /// Control nodes.
    pub control: Switch,
    /// The CDI specification.
    pub cdi: Switch,
}

impl Default for DeviceSettings {
    fn default() -> Self {
        Self {
            root: "/".into(),
            smi: "/usr/bin/nvidia-smi".into(),
            ctk: "/usr/bin/nvidia-ctk".into(),
            cdi_spec: "/var/run/cdi/management.nvidia.com-gpu.yaml".into(),
            cdi_arguments: Vec::new(),
            capabilities: Switch::Auto,
            control: Switch::Auto,
            cdi: Switch::Auto,
        }
    }
}

/// Why device nodes are not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DevicesError {
    /// A step is wanted and cannot be run.
    #[error("{step} is switched on, and {} is no absolute path of a file; name the program's path, or switch the step off", .program.display())]
    Missing {
        /// The step.
        step: &'static str,
        /// The program as this process sees it.
        program: PathBuf,
    },
    /// Steps have failed.
    #[error("device nodes: {0}")]
    Failed(String),
}

/// Whether a step is run, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The step.
    pub step: &'static str,
    /// Program and arguments; empty where it is left out.
    pub command: Vec<String>,
    /// Why it is left out.
    pub left_out: Option<String>,
}

/// The steps of a host.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    plans: Vec<Plan>,
    limit: Duration,
}

impl Steps {
    /// Decides once which steps are run.
    pub(super) fn plan(settings: DeviceSettings) -> Result<Self, DevicesError> {
        let DeviceSettings { root, smi, ctk, cdi_spec, cdi_arguments, capabilities, control, cdi } = settings;
        let spec = cdi_spec.display().to_string();
        let fixed = ["cdi", "generate", "--mode=management", "--vendor=management.nvidia.com", "--class=gpu"];
        let mut generate: Vec<String> = fixed.map(str::to_owned).into();
        generate.extend(cdi_arguments);
        generate.push(format!("--output={spec}"));
        let nodes = ["system", "create-device-nodes", "--control-devices"].map(str::to_owned);
        let unused = (!inside(&root, &cdi_spec).exists()).then(|| format!("nobody uses it: {spec} is not there"));
        let plans = [
            one("capability nodes", capabilities, &root, &smi, vec!["-L".to_owned()], None)?,
            one("control nodes", control, &root, &ctk, nodes.into(), None)?,
            one("CDI specification", cdi, &root, &ctk, generate, unused)?,
        ];
        Ok(Self { plans: plans.into(), limit: LIMIT })
    }

    /// All steps, run or not.
    pub(super) fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// Runs the steps one after the other.
    pub(super) async fn run(&self) -> Result<(), DevicesError> {
        let mut failed = Vec::new();
        for plan in &self.plans {
            let Some((program, arguments)) = plan.command.split_first() else { continue };
            if let Err(why) = bounded(program, arguments, self.limit).await {
                failed.push(format!("{} ({}): {why}", plan.step, plan.command.join(" ")));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(DevicesError::Failed(failed.join("; "))) }
    }
}

/// A path below another root folder, as this process sees it.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn one(
    step: &'static str,
    switch: Switch,
    root: &Path,
    program: &Path,
    arguments: Vec<String>,
    unused: Option<String>,
) -> Result<Plan, DevicesError> {
    let seen = inside(root, program);
    // A link in another root folder may lead to where only a program inside can follow.
    let there = program.is_absolute() && seen.symlink_metadata().is_ok_and(|about| !about.is_dir());
    let left_out = match switch {
        Switch::Off => Some("switched off".to_owned()),
        Switch::On if !there => return Err(DevicesError::Missing { step, program: seen }),
        Switch::On => None,
        Switch::Auto if !there => Some(format!("{} is not there", seen.display())),
        Switch::Auto => unused,
    };
    let mut command = Vec::new();
    if left_out.is_none() {
        if root != Path::new("/") {
            command.extend([CHROOT.to_owned(), root.display().to_string()]);
        }
        command.push(program.display().to_string());
        command.extend(arguments);
    }
    Ok(Plan { step, command, left_out })
}

/// Runs a program to its end, or ends it.
async fn bounded(program: &str, arguments: &[String], limit: Duration) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCH).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("cannot be started: {error}"))?;
    let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
    let Output { status, stdout: _, stderr } = ended
        .map_err(|_| format!("not finished after {} s", limit.as_secs_f32()))?
        .map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let words: String = String::from_utf8_lossy(&stderr).trim().chars().take(WORDS).collect();
    Err(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") })
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
