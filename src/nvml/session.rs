//! One initialisation of the driver's library, and the gate that every call of it passes.
//!
//! Input: the path of the library. Output: [`Session::ask`], through which all calls go, so that the watchdog knows which one runs, and
//! makes none after one that hung. Invariant: between the watchdog's verdict and the end of the process no call begins.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::error::DriverError;
use super::raw;

/// Shared between the thread that calls the driver and the one that waits for it.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Calls begun so far.
    begun: u64,
    /// The one that runs.
    running: Option<&'static str>,
    /// The call that hung.
    hung: Option<&'static str>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // A state is written in one assignment each: a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, call: &'static str) -> Result<(), DriverError> {
        let mut state = self.state();
        if let Some(call) = state.hung {
            return Err(DriverError::Hung { call });
        }
        state.begun += 1;
        state.running = Some(call);
        Ok(())
    }

    fn leave(&self) {
        self.state().running = None;
    }

    /// Makes a call.
    pub(super) fn pass<T>(
        &self,
        call: &'static str,
        make: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<T, DriverError> {
        self.enter(call)?;
        let answer = make();
        self.leave();
        answer.map_err(|source| DriverError::Call { call, source })
    }

    /// Calls begun so far: as long as the number grows, the driver answers.
    pub(super) fn begun(&self) -> u64 {
        self.state().begun
    }

    /// The call that hung, if one did.
    pub(super) fn hung(&self) -> Option<&'static str> {
        self.state().hung
    }

    /// Closes the gate for good, unless a call has begun since there were `seen`. Returns the call that hung.
    pub(super) fn close(&self, seen: u64) -> Option<&'static str> {
        let mut state = self.state();
        if state.begun == seen && state.hung.is_none() {
            state.hung = Some(state.running.unwrap_or("the driver's thread"));
        }
        state.hung
    }
}

/// An initialised library. Its end is the end of every handle that the library keeps for us.
#[derive(Debug)]
pub(super) struct Session {
    /// Taken only by the destructor.
    nvml: Option<Nvml>,
    gate: Arc<Gate>,
}

impl Session {
    /// Loads and initialises the library.
    pub(super) fn open(path: &Path, gate: &Arc<Gate>) -> Result<Self, DriverError> {
        let opened = gate.pass("nvmlInit_v2", || Nvml::builder().lib_path(path.as_os_str()).init());
        let nvml = match opened {
            Ok(nvml) => nvml,
            Err(DriverError::Call { source: NvmlError::LibloadingError(error), .. }) => {
                return Err(unusable(path, &error.to_string()));
            }
            Err(DriverError::Call { source: NvmlError::FailedToLoadSymbol(error), .. }) => {
                return Err(unusable(path, &error));
            }
            Err(error) => return Err(error),
        };
        if let Err(error) = raw::can_shut_down(&nvml) {
            // Its destructor would panic for want of the function.
            std::mem::forget(nvml);
            return Err(unusable(path, &error.to_string()));
        }
        Ok(Self { nvml: Some(nvml), gate: Arc::clone(gate) })
    }

    /// The library.
    pub(super) fn nvml(&self) -> &Nvml {
        self.nvml.as_ref().expect("only the destructor takes it")
    }

    /// Makes a call.
    pub(super) fn ask<T>(
        &self,
        call: &'static str,
        make: impl FnOnce() -> Result<T, NvmlError>,
    ) -> Result<T, DriverError> {
        self.gate.pass(call, make)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut nvml = self.nvml.take();
        // A failed shutdown leaves handles that no request will use again; there is nobody to tell.
        let _ = self.gate.pass("nvmlShutdown", || nvml.take().map_or(Ok(()), Nvml::shutdown));
        // Behind a closed gate not even this call is made: the library stays as it is until the process ends.
        std::mem::forget(nvml);
    }
}

fn unusable(path: &Path, detail: &str) -> DriverError {
    DriverError::Library { path: path.to_owned(), detail: detail.to_owned() }
}
