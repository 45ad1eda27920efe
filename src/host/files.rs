//! The agent's files: what it is about to do, and the layout that it last applied.
//!
//! Inputs: the state folder and the kernel's boot id. Output: [`Store`]. Invariants: a file is written beside its place, synced, renamed
//! into it, and the folder is synced, so that after a crash there is the old content or the new, never a part of one; an intent that
//! cannot be read is moved aside for people, never deleted, and reported; only the agent's own user can read or write any of it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::exec::port::{Intent, NodeError, Store};
use crate::plan::Place;

/// What the agent is about to do.
const INTENT: &str = "intent.json";
/// An intent that could not be read.
const UNREADABLE: &str = "intent.unreadable.json";
/// The layout that was last applied.
const APPLIED: &str = "applied.json";
/// Content on its way into its place.
const DRAFT: &str = "draft";
/// Largest file that makes sense: an intent names at most some hundred instances.
const LARGEST: u64 = 4 << 20;

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; give the agent a folder of its own on a local disk that outlives it, with --state-dir", .path.display())]
pub struct FilesError {
    /// The folder or file.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// The layout that was last applied, as it is on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Applied {
    gpus: BTreeMap<String, Vec<Place>>,
}

/// The agent's files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    boot_id: PathBuf,
}

/// What a file holds.
enum Content<T> {
    Nothing,
    Read(T),
    Unreadable(String),
}

impl Files {
    /// Opens a state folder; makes it if it is not there, for its owner alone.
    pub(super) fn open(folder: &Path, boot_id: &Path) -> Result<Self, FilesError> {
        let failed = |source| FilesError { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // A folder that was there before may let others in, who could plant an intent.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), boot_id: boot_id.to_owned() })
    }

    /// Reads everything.
    pub(super) fn read(&self) -> Result<Store, NodeError> {
        let boot_id = fs::read_to_string(&self.boot_id).map_err(|error| local(&self.boot_id, &error))?;
        let boot_id = boot_id.trim().to_owned();
        if boot_id.is_empty() {
            return Err(NodeError::Local(format!("{}: the kernel tells no boot id", self.boot_id.display())));
        }
        let mut intent_unreadable = false;
        let intent = match content::<Intent>(&self.folder.join(INTENT))? {
            Content::Nothing => None,
            Content::Read(intent) => Some(intent),
            Content::Unreadable(why) => {
                intent_unreadable = true;
                self.set_aside(&why);
                None
            }
        };
        let applied = match content::<Applied>(&self.folder.join(APPLIED))? {
            Content::Nothing => None,
            Content::Read(applied) => Some(applied.gpus),
            Content::Unreadable(why) => {
                // It only serves to restore instances after a reboot: without it none are.
                tracing::warn!(why, "the layout that was last applied cannot be read and counts as not known");
                None
            }
        };
        // One that was set aside earlier still is for people to look at.
        let intent_unreadable = intent_unreadable || intent.is_none() && self.folder.join(UNREADABLE).exists();
        Ok(Store { boot_id, intent, intent_unreadable, applied })
    }

    /// Writes the intent; it is on disk when this returns without error.
    pub(super) fn write_intent(&self, intent: &Intent) -> Result<(), NodeError> {
        self.write(INTENT, intent)
    }

    /// Records what was applied, then removes the intent: a crash in between leaves an intent that is reached already.
    pub(super) fn clear_intent(&self, applied: Option<&BTreeMap<String, Vec<Place>>>) -> Result<(), NodeError> {
        if let Some(gpus) = applied {
            self.write(APPLIED, &Applied { gpus: gpus.clone() })?;
        }
        let path = self.folder.join(INTENT);
        match fs::remove_file(&path) {
            Ok(()) => self.sync_folder(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(local(&path, &error)),
        }
    }

    fn set_aside(&self, why: &str) {
        let (from, to) = (self.folder.join(INTENT), self.folder.join(UNREADABLE));
        let moved = fs::rename(&from, &to).and_then(|()| File::open(&self.folder)?.sync_all());
        match moved {
            Ok(()) => tracing::error!(kept = %to.display(), why, "the intent on disk cannot be read"),
            Err(error) => tracing::error!(file = %from.display(), why, %error, "the intent on disk cannot be read"),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(value).map_err(|error| NodeError::Local(format!("{name}: {error}")))?;
        let (draft, place) = (self.folder.join(DRAFT), self.folder.join(name));
        let written =
            File::options().create(true).truncate(true).write(true).mode(0o600).open(&draft).and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            });
        written.map_err(|error| local(&draft, &error))?;
        fs::rename(&draft, &place).map_err(|error| local(&place, &error))?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> Result<(), NodeError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| local(&self.folder, &error))
    }
}

/// A file's content. That a file is there and cannot be read at all is an error: nobody knows what was under way.
fn content<T: DeserializeOwned>(path: &Path) -> Result<Content<T>, NodeError> {
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Nothing),
        Err(error) => return Err(local(path, &error)),
        Ok(about) if about.len() > LARGEST => return Ok(Content::Unreadable(format!("{} bytes long", about.len()))),
        Ok(_) => fs::read(path).map_err(|error| local(path, &error))?,
    };
    Ok(match serde_json::from_slice(&bytes) {
        Ok(value) => Content::Read(value),
        Err(error) => Content::Unreadable(error.to_string()),
    })
}

fn local(path: &Path, error: &io::Error) -> NodeError {
    NodeError::Local(format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
