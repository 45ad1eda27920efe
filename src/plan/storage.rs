//! Plans on disk and as text.
//!
//! Inputs and outputs: a [`Plan`] and its JSON. Invariants: a document of another format version or with a field that
//! this program does not know is refused, because what is not understood must not be carried out; a file is either
//! written whole or not touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::document::{FORMAT_VERSION, Plan};

/// What to do about a file that is no plan.
pub const UNEDITED: &str = "give a file that `retile plan --save` or `retile plan -o json` wrote, unedited";

/// Why a plan could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file cannot be read.
    #[error("cannot read the plan {path}: {source}; check the path and your access to it")]
    Read {
        /// File in question.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the plan {path}: {source}; nothing was written, check the folder and your access to it")]
    Write {
        /// File in question.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The document is something else.
    #[error(
        "{path} is {found} and no plan; give a file that `retile plan --save` or `retile plan -o json` wrote, unedited"
    )]
    Other {
        /// File in question.
        path: String,
        /// What it is, in words.
        found: String,
    },
    /// The document has another version.
    #[error(
        "{path}: format_version is {found}, this program reads {FORMAT_VERSION}; make the plan again with this program, \
         or read it with the one that made it"
    )]
    Version {
        /// File in question.
        path: String,
        /// Version found, in words.
        found: String,
    },
    /// The document is no JSON, or no plan.
    #[error("{path}, line {line}, column {column}: {detail}; {UNEDITED}")]
    Malformed {
        /// File in question.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        detail: String,
    },
}

/// The fields that are read before all others: the version, and what objects of Kubernetes say they are.
#[derive(Deserialize)]
struct Head {
    format_version: Option<serde_json::Value>,
    kind: Option<serde_json::Value>,
}

impl Head {
    /// What a document without a version is.
    fn without_version(&self) -> String {
        match self.kind.as_ref().and_then(serde_json::Value::as_str) {
            Some("List") => "a list of Kubernetes objects".to_owned(),
            Some(kind) => format!("a Kubernetes object ({kind})"),
            None => "a document without `format_version`".to_owned(),
        }
    }
}

/// Writes a plan as text: JSON with two spaces of indentation and a final newline. The same plan gives the same bytes.
///
/// # Errors
/// Never for a plan as this program makes them; the format's writer can refuse in principle.
pub fn to_json(plan: &Plan) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(plan)?;
    text.push('\n');
    Ok(text)
}

/// Reads a plan from text; `name` says in errors where the text comes from.
///
/// # Errors
/// No JSON, another format version, an unknown or missing field, a value of a wrong type.
pub fn from_json(text: &str, name: &str) -> Result<Plan, StorageError> {
    let malformed = |error: &serde_json::Error| {
        let all = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let detail = all.strip_suffix(&place).unwrap_or(&all).to_owned();
        StorageError::Malformed { path: name.to_owned(), line: error.line(), column: error.column(), detail }
    };
    let head: Head = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let Some(version) = &head.format_version else {
        return Err(StorageError::Other { path: name.to_owned(), found: head.without_version() });
    };
    if version.as_u64() != Some(u64::from(FORMAT_VERSION)) {
        return Err(StorageError::Version { path: name.to_owned(), found: version.to_string() });
    }
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// Reads a plan from a file.
///
/// # Errors
/// As [`from_json`], and when the file cannot be read.
pub fn load(path: &Path) -> Result<Plan, StorageError> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| StorageError::Read { path: name.clone(), source })?;
    from_json(&text, &name)
}

/// Writes a plan to a file, whole or not at all: into a new file beside it, which then takes its place.
///
/// # Errors
/// The folder does not exist or cannot be written to. An older file of that name is untouched then.
pub fn save(plan: &Plan, path: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::Write { path: path.display().to_string(), source };
    let text = to_json(plan).map_err(|error| failed(error.into()))?;
    write_whole(&text, path).map_err(failed)
}

/// Writes a file, whole or not at all: into a new file beside it, which then takes its place.
///
/// # Errors
/// The folder does not exist or cannot be written to. An older file of that name is untouched then.
pub fn write_whole(text: &str, path: &Path) -> io::Result<()> {
    let (mut file, beside) = create_beside(path)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    written.inspect_err(|_| {
        // The first error is the one to tell; a file left behind does no harm.
        let _ = fs::remove_file(&beside);
    })
}

/// Makes a new file in the folder of `path`, so that renaming it stays within one file system.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let mut attempt = 0_u32;
    loop {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{attempt}.tmp"));
        let beside = path.with_file_name(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(file) => return Ok((file, beside)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{
  "format_version": 1, "producer": "test", "input_fingerprint": "", "disruption": "balanced",
  "optimality": {"status": "optimal", "levels": []},
  "summary": {"pending_pods": 0, "served_pods": 0, "evicted_pods": 0, "nodes_changed": 0, "gpus_changed": 0,
              "instances_destroyed": 0, "instances_created": 0, "placements_assumed": false},
  "nodes": [{"name": "gpu-a", "gpus": [], "evict": []}], "served": [], "unserved": []
}"#;

    fn said(text: &str) -> String {
        from_json(text, "plan.json").expect_err("refused").to_string()
    }

    /// A folder of this test alone, empty.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("retile-storage-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        folder
    }

    #[test]
    fn a_document_without_the_additions_still_reads() {
        let plan = from_json(MINIMAL, "plan.json").expect("a plan");
        assert!(plan.nodes[0].steps.is_empty() && plan.notes.is_empty() && plan.parent.is_none());
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let folder = folder("round-trip");
        let path = folder.join("plan.json");
        let plan = from_json(MINIMAL, "plan.json").expect("a plan");
        fs::write(&path, "an older plan").expect("written");
        save(&plan, &path).expect("saved");
        assert_eq!(load(&path).expect("loaded"), plan);
        let names: Vec<_> =
            fs::read_dir(&folder).expect("listed").map(|file| file.expect("a file").file_name()).collect();
        assert_eq!(names, ["plan.json"], "nothing is left beside it");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_failed_save_leaves_the_older_file_and_nothing_else() {
        let folder = folder("failure");
        let plan = from_json(MINIMAL, "plan.json").expect("a plan");
        // A folder cannot be replaced by a file, so the last step of saving fails.
        let taken = folder.join("taken");
        fs::create_dir_all(taken.join("inside")).expect("made");
        let error = save(&plan, &taken).expect_err("refused").to_string();
        assert!(error.contains("taken") && error.contains("nothing was written"), "{error}");
        assert!(taken.join("inside").is_dir());
        assert_eq!(fs::read_dir(&folder).expect("listed").count(), 1);
        let missing = save(&plan, &folder.join("missing/plan.json")).expect_err("refused").to_string();
        assert!(missing.contains("missing/plan.json") && missing.contains("check the folder"), "{missing}");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn another_version_is_named_before_anything_else_is_read() {
        let newer = MINIMAL.replace("\"format_version\": 1", "\"format_version\": 7, \"novelty\": []");
        assert!(said(&newer).contains("plan.json: format_version is 7, this program reads 1"), "{}", said(&newer));
        assert!(said("{}").starts_with("plan.json is a document without `format_version` and no plan; give"));
        assert!(said(r#"{"kind": "List", "items": []}"#).contains("a list of Kubernetes objects"));
        assert!(said(r#"{"kind": "MigPlan"}"#).contains("a Kubernetes object (MigPlan)"));
        let text = MINIMAL.replace("\"format_version\": 1", "\"format_version\": \"1\"");
        assert!(said(&text).contains("format_version is \"1\""));
    }

    #[test]
    fn unknown_and_malformed_fields_are_refused_with_their_place() {
        let unknown = said(&MINIMAL.replace("\"evict\": []", "\"evict\": [], \"drain\": true"));
        assert!(unknown.starts_with("plan.json, line 6, column"), "{unknown}");
        assert!(unknown.contains("unknown field `drain`") && unknown.contains("give a file"), "{unknown}");
        let negative = said(&MINIMAL.replace("\"pending_pods\": 0", "\"pending_pods\": -1"));
        assert!(negative.starts_with("plan.json, line 4, column"), "{negative}");
        let cut = said(&MINIMAL[..MINIMAL.len() / 2]);
        assert!(cut.contains("EOF"), "{cut}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nowhere/plan.json")).expect_err("refused").to_string();
        assert!(error.contains("/nowhere/plan.json") && error.contains("check the path"), "{error}");
    }
}
