//! The cluster's collectors: what belongs to a node goes when its node is gone.
//!
//! The garbage collector removes a record whose owner, a node by its UID, is not there; the collector of pods ends those that are bound to a node
//! that has been gone for a while. A node that is made again under the name of an old one owns nothing of what the old one owned, but pods that
//! are bound to its name are its own.

use crate::sim::api::{Deletion, Name};

use super::World;
use super::happening::Happening;
use super::settings::Span;

/// From the end of a node until its pods are ended, in milliseconds: forty seconds of quarantine, and up to twenty until the next round.
const QUARANTINE: Span = Span::between(40_000, 60_000);

impl World {
    /// A node is gone.
    pub(super) fn collect_from(&mut self, node: &str) {
        self.record_soon(node);
        if self.api.objects().bound_to(node).next().is_some() {
            let delay = self.draw(QUARANTINE);
            self.queue.after(delay, Happening::CollectPods(node.to_owned()));
        }
    }

    /// A record was made.
    pub(super) fn record_made(&mut self, node: &str) {
        if self.orphaned(node) {
            self.record_soon(node);
        }
    }

    fn record_soon(&mut self, node: &str) {
        if self.api.objects().records.contains_key(node) {
            let delay = self.draw(self.settings.controllers_delay);
            self.queue.after(delay, Happening::CollectRecord(node.to_owned()));
        }
    }

    /// Whether a record belongs to a node that is not there.
    fn orphaned(&self, node: &str) -> bool {
        let objects = self.api.objects();
        let uid = objects.nodes.get(node).map(|node| &node.meta.uid);
        objects.records.get(node).is_some_and(|record| Some(&record.owner) != uid)
    }

    pub(super) fn collect_record(&mut self, node: &str) {
        if self.orphaned(node) {
            self.api.remove_record(self.queue.now(), node);
        }
    }

    pub(super) fn collect_pods(&mut self, node: &str) {
        if self.api.objects().nodes.contains_key(node) {
            return;
        }
        let left: Vec<Name> = self.api.objects().bound_to(node).map(|pod| pod.meta.name.clone()).collect();
        for name in left {
            let options = Deletion { grace: Some(0), ..Deletion::default() };
            // Gone already is as good.
            let _ = self.api.delete_pod(self.queue.now(), &name, &options);
        }
    }
}
