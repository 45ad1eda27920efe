//! The driver as the rest of retile sees it: requests that end, one after the other, on a thread of their own.
//!
//! Input: the path of the library and how long a call may take. Outputs: answers, or [`DriverError::Hung`] when a call does not return; from
//! then on every request is answered so and no call is made, because a thread stuck in the kernel cannot be stopped, and a second one would
//! only join it.
//!
//! A session (initialisation of the library) is kept between requests that only read, and ended by every change and every error, so that
//! no handle of ours is open when something is destroyed later, and nothing stale is believed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::exec::IdleProof;
use crate::exec::port::{BoardState, NodeError};
use crate::plan::Place;

use super::board::{self, Board, Inventory};
use super::change;
use super::error::DriverError;
use super::session::{Gate, Session};
use super::table::Table;

/// How long a call may take before it counts as hung. Resolving a handle under load has been seen to take 10 s.
pub const WATCHDOG: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce(&mut Keeper) + Send>;

/// What the driver's thread keeps.
pub(super) struct Keeper {
    path: PathBuf,
    gate: Arc<Gate>,
    session: Option<Session>,
    /// Complete board tables, by UUID: they do not change while the driver is loaded.
    tables: BTreeMap<String, Arc<Table>>,
}

impl Keeper {
    /// The session, begun if there is none, and the tables known so far.
    pub(super) fn open(&mut self) -> Result<(&Session, &mut BTreeMap<String, Arc<Table>>), DriverError> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.path, &self.gate)?);
        }
        Ok((self.session.as_ref().expect("just begun"), &mut self.tables))
    }
}

/// The NVIDIA driver of this machine. All requests block the calling thread for at most about twice the watchdog's time after the last
/// sign of life.
#[derive(Debug)]
pub struct Driver {
    path: PathBuf,
    gate: Arc<Gate>,
    limit: Duration,
    jobs: Mutex<Sender<Job>>,
}

impl Driver {
    /// Starts the thread that calls the driver and initialises the library at `path`, which must be absolute, so that no search path of the
    /// environment decides what is loaded. A call that takes longer than `limit` counts as hung.
    ///
    /// # Errors
    /// The library cannot be loaded or initialised, or does not answer.
    pub fn start(path: &Path, limit: Duration) -> Result<Self, DriverError> {
        if !path.is_absolute() {
            let detail = "the path must be absolute, so that no search path decides what is loaded".to_owned();
            return Err(DriverError::Library { path: path.to_owned(), detail });
        }
        let gate = Arc::new(Gate::default());
        let (jobs, inbox) = channel::<Job>();
        let mut keeper =
            Keeper { path: path.to_owned(), gate: Arc::clone(&gate), session: None, tables: BTreeMap::new() };
        thread::Builder::new()
            .name("nvml".into())
            .spawn(move || {
                while let Ok(job) = inbox.recv() {
                    job(&mut keeper);
                }
            })
            .map_err(|error| DriverError::Stopped(error.to_string()))?;
        let driver = Self { path: path.to_owned(), gate, limit, jobs: Mutex::new(jobs) };
        driver.read(|keeper| keeper.open().map(|_| ()))?;
        Ok(driver)
    }

    /// The library's file.
    pub fn library(&self) -> &Path {
        &self.path
    }

    /// The call that hung, if one did; the driver is not called any more then.
    pub fn hung(&self) -> Option<&'static str> {
        self.gate.hung()
    }

    /// Everything that the driver shows: what of it cannot be read is said beside the rest.
    ///
    /// # Errors
    /// The library fails as a whole, or does not answer.
    pub fn inventory(&self) -> Result<Inventory, DriverError> {
        self.read(|keeper| {
            let (session, tables) = keeper.open()?;
            board::inventory(session, tables)
        })
    }

    /// All GPUs with their instances and processes, ordered by UUID.
    ///
    /// # Errors
    /// Anything of it cannot be read, or two devices have one UUID.
    pub fn boards(&self) -> Result<Vec<Board>, DriverError> {
        self.read(|keeper| {
            let (session, tables) = keeper.open()?;
            board::all(session, tables)
        })
    }

    /// All GPUs as the protocol sees them, ordered by UUID.
    ///
    /// # Errors
    /// As [`Self::boards`].
    pub fn states(&self) -> Result<Vec<BoardState>, NodeError> {
        let boards = self.boards().map_err(|error| NodeError::from(&error))?;
        Ok(boards.iter().map(Board::state).collect())
    }

    /// Destroys the compute instance that the proof names, if it is still the one at its place.
    ///
    /// # Errors
    /// It is not there any more, another one is, or the driver refuses.
    pub fn destroy_compute_instance(&self, proof: IdleProof) -> Result<(), DriverError> {
        self.change(move |session, tables| change::destroy_compute_instance(session, tables, &proof))
    }

    /// Destroys the GPU instance that the proof names, if it still has no compute instance.
    ///
    /// # Errors
    /// It is not there any more, has a compute instance, or the driver refuses.
    pub fn destroy_gpu_instance(&self, proof: IdleProof) -> Result<(), DriverError> {
        self.change(move |session, tables| change::destroy_gpu_instance(session, tables, &proof))
    }

    /// Creates a GPU instance at an exact place of the GPU with this UUID.
    ///
    /// # Errors
    /// The GPU is not there or not in MIG mode, cannot hold the place, or the driver refuses.
    pub fn create_gpu_instance(&self, gpu: &str, place: &Place) -> Result<(), DriverError> {
        let (gpu, place) = (gpu.to_owned(), place.clone());
        self.change(move |session, tables| change::create_gpu_instance(session, tables, &gpu, &place))
    }

    /// Creates the compute instance that fills the GPU instance at a place; returns the new MIG device's UUID.
    ///
    /// # Errors
    /// There is no such GPU instance, it has a compute instance already, or the driver refuses.
    pub fn create_compute_instance(&self, gpu: &str, place: &Place) -> Result<String, DriverError> {
        let (gpu, place) = (gpu.to_owned(), place.clone());
        self.change(move |session, tables| change::create_compute_instance(session, tables, &gpu, &place))
    }

    /// A request that only reads: the session stays unless it fails.
    fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.run(move |keeper| {
            let answer = job(keeper);
            if answer.is_err() {
                keeper.session = None;
            }
            answer
        })
    }

    /// A request that changes the board: it starts from a fresh session, so that no older handle of ours is open, and leaves none.
    fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Session, &mut BTreeMap<String, Arc<Table>>) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.run(move |keeper| {
            keeper.session = None;
            let answer = keeper.open().and_then(|(session, tables)| job(session, tables));
            keeper.session = None;
            answer
        })
    }

    fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Keeper) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        // One request at a time: the lock is held until the answer is there.
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = self.gate.hung() {
            return Err(DriverError::Hung { call });
        }
        let seen = self.gate.begun();
        let (answer, inbox) = channel();
        let job: Job = Box::new(move |keeper| {
            // Nobody waits for an answer that comes after the watchdog's verdict.
            let _ = answer.send(job(keeper));
        });
        jobs.send(job).map_err(|_| DriverError::Stopped("it takes no more requests".into()))?;
        self.wait(&inbox, seen)
    }

    /// Waits for an answer as long as calls keep coming back.
    fn wait<T>(&self, inbox: &Receiver<Result<T, DriverError>>, mut seen: u64) -> Result<T, DriverError> {
        loop {
            match inbox.recv_timeout(self.limit) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(DriverError::Stopped("it gave up in the middle of a request".into()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(call) = self.gate.close(seen) {
                        return Err(DriverError::Hung { call });
                    }
                    seen = self.gate.begun();
                }
            }
        }
    }
}
