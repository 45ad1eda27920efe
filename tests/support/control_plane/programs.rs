//! Where the programs of the control plane are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with all programs.
#[derive(Debug)]
pub(super) struct Programs(PathBuf);

const NAMES: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

impl Programs {
    /// Finds them in `KUBEBUILDER_ASSETS`, or where `tests/control-plane/build` has put them.
    ///
    /// # Errors
    /// They are not there; says what to do.
    pub(super) fn find() -> Result<Self, String> {
        if let Some(folder) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            return Self::within(PathBuf::from(folder), "choose another KUBEBUILDER_ASSETS, or none");
        }
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build");
        let found =
            Command::new(&build).arg("--find").output().map_err(|error| format!("{}: {error}", build.display()))?;
        let folder = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if !found.status.success() || folder.is_empty() {
            return Err("it is not built; run tests/control-plane/build, or set KUBEBUILDER_ASSETS".into());
        }
        Self::within(PathBuf::from(folder), "remove that folder and run tests/control-plane/build")
    }

    fn within(folder: PathBuf, remedy: &str) -> Result<Self, String> {
        match NAMES.iter().find(|name| !folder.join(name).is_file()) {
            Some(name) => Err(format!("{} has no {name}; {remedy}", folder.display())),
            None => Ok(Self(folder)),
        }
    }

    /// The path of one.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
