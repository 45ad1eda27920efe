//! Where a node is kept: a file that processes share, or this process's memory.
//!
//! Changes are made under an advisory lock on `<file>.lock`, written to a temporary file and renamed into place, so that
//! a process killed at any moment leaves the node as it was before or after its change, and the lock free. Readers need
//! no lock.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::boards::Board;
use crate::config::Config;
use crate::node::{Node, NodeError};

/// Why a node cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{path}: {cause}")]
    Io {
        /// File in question.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The text is not a node or a configuration.
    #[error("{path}: {cause}; remove the file to start with a fresh node")]
    Form {
        /// File in question.
        path: PathBuf,
        /// Where it is wrong.
        cause: serde_json::Error,
    },
    /// The configuration asks for what the fake cannot be.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// A place where a node is kept.
#[derive(Debug)]
pub enum Store {
    /// A file, shared by all processes that name it.
    File(PathBuf),
    /// This process only.
    Memory(Box<Mutex<Node>>),
}

impl Store {
    /// Opens the node in a file; makes it from `config` if the file does not exist.
    ///
    /// # Errors
    /// The file cannot be read or written, or does not hold a node; `config` is not possible.
    pub fn open(
        path: impl Into<PathBuf>,
        config: impl FnOnce() -> Result<Config, StoreError>,
    ) -> Result<Self, StoreError> {
        let path = path.into();
        let lock = lock(&path)?;
        if path.exists() {
            read(&path)?;
        } else {
            write(&path, &Node::new(config()?)?)?;
        }
        drop(lock);
        Ok(Self::File(path))
    }

    /// Keeps a node in memory.
    ///
    /// # Errors
    /// `config` is not possible.
    pub fn in_memory(config: Config) -> Result<Self, StoreError> {
        Ok(Self::Memory(Box::new(Mutex::new(Node::new(config)?))))
    }

    /// Creates a node in a file, or replaces the one that is there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create(path: impl Into<PathBuf>, config: Config) -> Result<Self, StoreError> {
        let path = path.into();
        let lock = lock(&path)?;
        write(&path, &Node::new(config)?)?;
        drop(lock);
        Ok(Self::File(path))
    }

    /// The node as it is now.
    ///
    /// # Errors
    /// The file cannot be read or does not hold a node.
    pub fn read(&self) -> Result<Node, StoreError> {
        match self {
            Self::File(path) => read(path),
            Self::Memory(node) => Ok(node.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()),
        }
    }

    /// Changes the node; other processes see the change at once and whole.
    ///
    /// # Errors
    /// As [`Self::read`]; the file cannot be written.
    pub fn change<T>(&self, change: impl FnOnce(&mut Node) -> T) -> Result<T, StoreError> {
        match self {
            Self::File(path) => {
                let lock = lock(path)?;
                let before = read(path)?;
                let mut node = before.clone();
                let result = change(&mut node);
                if node != before {
                    write(path, &node)?;
                }
                drop(lock);
                Ok(result)
            }
            Self::Memory(node) => Ok(change(&mut node.lock().unwrap_or_else(std::sync::PoisonError::into_inner))),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    move |cause| StoreError::Io { path: path.to_owned(), cause }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Waits for the lock; it is free again when the file is closed, by whatever ends the process.
fn lock(path: &Path) -> Result<File, StoreError> {
    let path = beside(path, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
    file.lock().map_err(failed(&path))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Node, StoreError> {
    let text = fs::read_to_string(path).map_err(failed(path))?;
    let node: Node = serde_json::from_str(&text).map_err(|cause| StoreError::Form { path: path.to_owned(), cause })?;
    if let Some(unknown) = node.boards.iter().find(|board| Board::find(&board.config.board).is_none()) {
        return Err(NodeError::UnknownBoard(unknown.config.board.clone()).into());
    }
    Ok(node)
}

fn write(path: &Path, node: &Node) -> Result<(), StoreError> {
    let text = serde_json::to_string(node).map_err(|cause| StoreError::Form { path: path.to_owned(), cause })?;
    let draft = beside(path, ".draft");
    let mut file = File::create(&draft).map_err(failed(&draft))?;
    file.write_all(text.as_bytes()).map_err(failed(&draft))?;
    drop(file);
    fs::rename(&draft, path).map_err(failed(path))
}
