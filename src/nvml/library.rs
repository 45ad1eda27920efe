//! Where the driver's library lies.
//!
//! Input: the root folder of the driver's installation. Output: the first of the usual places that has it, as an absolute path; the
//! environment's search path is never consulted, because what it names would be loaded into a privileged process.

use std::path::{Path, PathBuf};

use super::error::DriverError;

/// File name of the library.
const NAME: &str = "libnvidia-ml.so.1";

/// Folders below the driver's root, in the order in which NVIDIA's own tools look.
const FOLDERS: [&str; 9] = [
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "lib",
    "usr/lib/wsl/lib",
];

/// Finds the library below a driver's root folder, `/` for one installed on the machine itself.
///
/// # Errors
/// It is in none of the usual places, all of which are named.
pub fn find_library(root: &Path) -> Result<PathBuf, DriverError> {
    let candidates: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder).join(NAME)).collect();
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    let absolute = found.map(|path| std::path::absolute(&path).unwrap_or(path));
    absolute.ok_or(DriverError::NoLibrary { looked_for: candidates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_first_usual_place_and_names_all_of_them_otherwise() {
        let root = std::env::temp_dir().join(format!("retile-library-{}", std::process::id()));
        let folder = root.join("usr/lib/aarch64-linux-gnu");
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let missing = find_library(&root).expect_err("nothing there yet");
        std::fs::write(folder.join(NAME), b"").expect("a folder for temporary files");
        let found = find_library(&root);
        std::fs::remove_dir_all(&root).expect("made above");
        assert_eq!(found.expect("it is there"), folder.join(NAME));
        let DriverError::NoLibrary { looked_for } = missing else { panic!("{missing}") };
        assert_eq!(looked_for.len(), FOLDERS.len());
    }
}
