//! The agent's files on the node's disk, and the kernel's boot id.
//!
//! Invariant: what is read is what was written and synced, or nothing that can be read.

use std::collections::BTreeMap;

use crate::exec::port::{Intent, NodeError, Store};
use crate::plan::Place;

/// What the disk does to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disk {
    /// It is there afterwards.
    #[default]
    Good,
    /// It is full: the sync fails, and the old content stays.
    Full,
    /// It fails in the middle: the sync fails, and half of the new content is there.
    Torn,
}

/// The files of one node.
#[derive(Debug, Clone, Default)]
pub struct NodeStore {
    boot_id: String,
    intent: Option<Vec<u8>>,
    applied: Option<BTreeMap<String, Vec<Place>>>,
    /// What the disk does to the next writes.
    pub disk: Disk,
}

impl NodeStore {
    /// No files yet.
    pub fn new(boot_id: impl Into<String>) -> Self {
        Self { boot_id: boot_id.into(), ..Self::default() }
    }

    /// The kernel's boot id.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Another boot: the files stay.
    pub fn reboot(&mut self, boot_id: impl Into<String>) {
        self.boot_id = boot_id.into();
    }

    /// Reads everything. An intent that cannot be read counts as none and is reported; one that another node wrote is shown as it is.
    pub fn read(&self) -> Store {
        let parsed = self.intent.as_deref().map(serde_json::from_slice::<Intent>);
        let intent_unreadable = matches!(parsed, Some(Err(_)));
        Store {
            boot_id: self.boot_id.clone(),
            intent: parsed.and_then(Result::ok),
            intent_unreadable,
            applied: self.applied.clone(),
        }
    }

    /// Writes the intent and makes sure that it is on disk.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn write_intent(&mut self, intent: &Intent) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(intent).map_err(|error| NodeError::Local(error.to_string()))?;
        match self.disk {
            Disk::Good => self.intent = Some(bytes),
            Disk::Full => return Err(NodeError::Local("the intent file: no space left on device".into())),
            Disk::Torn => {
                self.intent = Some(bytes[..bytes.len() / 2].to_vec());
                return Err(NodeError::Local("the intent file: input/output error".into()));
            }
        }
        Ok(())
    }

    /// Removes the intent, and records what was applied.
    ///
    /// # Errors
    /// The disk does not take it; both files are as they were.
    pub fn clear_intent(&mut self, applied: Option<&BTreeMap<String, Vec<Place>>>) -> Result<(), NodeError> {
        if self.disk != Disk::Good {
            return Err(NodeError::Local("the layout file: no space left on device".into()));
        }
        if let Some(applied) = applied {
            self.applied = Some(applied.clone());
        }
        self.intent = None;
        Ok(())
    }

    /// Somebody cuts the intent file short.
    pub fn truncate_intent(&mut self) {
        if let Some(bytes) = &mut self.intent {
            bytes.truncate(bytes.len() / 2);
        }
    }

    /// The disk of another node, or of another time.
    pub fn plant(&mut self, bytes: Vec<u8>) {
        self.intent = Some(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::OperationId;

    fn intent() -> Intent {
        Intent {
            id: OperationId("op-1".into()),
            epoch: 3,
            node_uid: "node-1".into(),
            boot_id: "boot-1".into(),
            gpus: Vec::new(),
            neighbours: vec!["MIG-a-1".into()],
        }
    }

    #[test]
    fn what_was_written_is_read_after_a_reboot() {
        let mut store = NodeStore::new("boot-1");
        store.write_intent(&intent()).unwrap();
        store.reboot("boot-2");
        let read = store.read();
        assert_eq!(read.intent, Some(intent()));
        assert_eq!(read.boot_id, "boot-2");
        assert!(!read.intent_unreadable);
    }

    #[test]
    fn clearing_records_the_layout_or_leaves_it() {
        let mut store = NodeStore::new("boot-1");
        store.write_intent(&intent()).unwrap();
        let applied = BTreeMap::from([("GPU-a".to_owned(), Vec::new())]);
        store.clear_intent(Some(&applied)).unwrap();
        assert_eq!((store.read().intent, store.read().applied), (None, Some(applied.clone())));
        store.clear_intent(None).unwrap();
        assert_eq!(store.read().applied, Some(applied));
    }

    #[test]
    fn a_full_disk_keeps_the_old_and_a_torn_write_is_unreadable() {
        let mut store = NodeStore::new("boot-1");
        store.disk = Disk::Full;
        assert!(matches!(store.write_intent(&intent()), Err(NodeError::Local(_))));
        assert_eq!(store.read(), Store { boot_id: "boot-1".into(), ..Store::default() });
        assert!(store.clear_intent(None).is_err());
        store.disk = Disk::Torn;
        assert!(store.write_intent(&intent()).is_err());
        assert_eq!((store.read().intent, store.read().intent_unreadable), (None, true));
    }

    #[test]
    fn a_truncated_file_is_unreadable_and_a_foreign_one_is_shown() {
        let mut store = NodeStore::new("boot-1");
        store.truncate_intent();
        assert!(!store.read().intent_unreadable);
        store.write_intent(&intent()).unwrap();
        store.truncate_intent();
        assert_eq!((store.read().intent, store.read().intent_unreadable), (None, true));
        let foreign = Intent { node_uid: "node-2".into(), ..intent() };
        store.plant(serde_json::to_vec(&foreign).unwrap());
        assert_eq!(store.read().intent, Some(foreign));
    }
}
