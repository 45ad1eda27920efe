//! Child processes that end with the test process, and the folder that goes with them.
//!
//! A test process may be killed at any moment, and statics are never dropped. So a small shell waits for the end of a pipe that only this
//! process holds; then it kills what is left by the pids noted in the folder, and removes the folder unless it was told to keep it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Kills what is left and removes the folder, once this process or this value is gone.
#[derive(Debug)]
pub(super) struct Janitor {
    folder: PathBuf,
    shell: Child,
}

/// `$1` is the folder. Every daemon leads a process group of its own. Not `kill --`: dash does not know it.
const CLEAN: &str = r#"
cat >/dev/null
for noted in "$1"/pids/*; do
  [ -e "$noted" ] && kill -9 "-${noted##*/}" 2>/dev/null
done
[ -e "$1/keep" ] && exit 0
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
"#;

impl Janitor {
    /// Watches over a folder.
    pub(super) fn hire(folder: &Path) -> Self {
        fs::create_dir(folder.join("pids")).expect("a new folder");
        let shell = Command::new("sh")
            .args(["-c", CLEAN, "janitor"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { folder: folder.to_owned(), shell }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves the folder for people, and tells them.
    pub(super) fn keep(&self) {
        if !self.folder.join("keep").exists() && File::create(self.folder.join("keep")).is_ok() {
            eprintln!("the logs of the control plane are in {}", self.folder.display());
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A child process with a log; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    noted: PathBuf,
    log: PathBuf,
    /// Whether the end of its log is shown when a test fails.
    shown: bool,
}

impl Daemon {
    /// Starts it. Output of an earlier one of the same name stays in the log.
    pub(super) fn spawn(janitor: &Janitor, name: &str, mut command: Command) -> Self {
        let log = janitor.folder().join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let err = out.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let noted = janitor.folder().join("pids").join(child.id().to_string());
        File::create(&noted).expect("a note of the pid");
        Self { name: name.to_owned(), child, noted, log, shown: false }
    }

    /// The same; when a test that has it fails, the end of its log is shown.
    pub(super) fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last lines of what it has written.
    fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let from = log.lines().count().saturating_sub(lines);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child of this process")
    }

    /// Fails with the end of its log if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} has ended with {status}:\n{}", self.name, self.tail(15));
        }
    }

    /// Asks it to end, with SIGTERM.
    pub fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        assert!(kill.is_ok_and(|status| status.success()), "{} cannot be signalled", self.name);
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.noted);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.shown && std::thread::panicking() {
            let state = self.ended().map_or_else(|| "runs".to_owned(), |status| format!("has ended with {status}"));
            eprintln!("{} {state}; its last lines:\n{}", self.name, self.tail(30));
        }
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::eventually;

    #[tokio::test]
    async fn what_the_process_leaves_behind_is_killed_and_its_folder_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        let janitor = Janitor::hire(&folder);
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let mut daemon = Daemon::spawn(&janitor, "sleeper", command);
        assert_eq!(daemon.ended(), None);
        // All that the janitor sees of a process that ends is the end of its pipe.
        drop(janitor);
        let status = eventually("it is killed", async || daemon.ended()).await;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
        assert!(!folder.exists());
    }
}
