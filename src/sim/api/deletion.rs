//! Deletion: at once, with grace, or held up by finalizers.

use std::rc::Rc;

use super::ApiServer;
use super::objects::{Meta, Name, Pod};
use super::store::Object;

/// Options of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deletion {
    /// UID that the pod must have.
    pub uid: Option<String>,
    /// Version that the pod must have.
    pub version: Option<u64>,
    /// Grace in seconds instead of the pod's own.
    pub grace: Option<u64>,
    /// Whether only to ask.
    pub dry_run: bool,
}

/// Why a deletion is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteError {
    /// 404.
    NotFound,
    /// 409: another UID or version.
    Conflict,
}

impl Meta {
    /// Whether nothing holds an object that is being deleted.
    pub(super) fn gone(&self) -> bool {
        self.deletion.is_some() && self.deletion_grace == Some(0) && self.finalizers.is_empty()
    }
}

impl ApiServer {
    /// Deletes a pod. One that is bound and not finished is given its grace: its kubelet ends it, and deletes it again without grace.
    ///
    /// # Errors
    /// There is no such pod, or it is not the one that is meant.
    pub fn delete_pod(&mut self, now: u64, name: &Name, options: &Deletion) -> Result<(), DeleteError> {
        let Some(pod) = self.objects().pods.get(name).cloned() else { return Err(DeleteError::NotFound) };
        let other_uid = options.uid.as_ref().is_some_and(|uid| *uid != pod.meta.uid);
        if other_uid || options.version.is_some_and(|version| version != pod.meta.version) {
            return Err(DeleteError::Conflict);
        }
        if options.dry_run {
            return Ok(());
        }
        let grace = if pod.node.is_none() || pod.finished() { 0 } else { options.grace.unwrap_or(pod.grace_seconds) };
        let mut after = Pod::clone(&pod);
        match (pod.meta.deletion, pod.meta.deletion_grace) {
            // A second deletion can only shorten the grace.
            (Some(_), Some(left)) if grace >= left => {}
            (Some(_) | None, _) => {
                after.meta.deletion = Some(now.saturating_add(grace.saturating_mul(1000)));
                after.meta.deletion_grace = Some(grace);
            }
        }
        if after == *pod {
            return Ok(());
        }
        let after = (!after.meta.gone()).then(|| Object::Pod(Rc::new(after)));
        self.store.write(now, Some(Object::Pod(pod)), after);
        Ok(())
    }
}
