//! The end of the program: whichever thread comes to it first, once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::driver::End;

/// What runs when leadership is lost, and who hears how it ended.
type Last = (Box<dyn FnOnce() + Send>, oneshot::Sender<End>);

/// Ends the program; its clones end the same one.
#[derive(Clone)]
pub(super) struct Exit(Arc<Mutex<Option<Last>>>);

impl Exit {
    /// An end that has not come, and who hears of it.
    pub(super) fn new(vanish: impl FnOnce() + Send + 'static) -> (Self, oneshot::Receiver<End>) {
        let (ended, end) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some((Box::new(vanish), ended))))), end)
    }

    /// Ends it so, unless it has ended.
    pub(super) fn end(&self, how: End) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((vanish, ended)) = last else { return };
        if how == End::LostLeadership {
            vanish();
        }
        // Whoever started it may have stopped to care.
        let _ = ended.send(how);
    }
}
