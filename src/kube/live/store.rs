//! The objects of one kind as a watch has last told them, and whether that can be relied upon.
//!
//! Inputs: events of a watch, in order. Output: the objects, and for each event what has changed. Invariant: a list that is taken anew replaces
//! everything at once; until the first one is whole the store is not complete, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::watcher::Event;
use tokio::time::{Duration, Instant};

use super::slim::{Kind, Slim};
use super::watch::Key;
use crate::kube::stream::BadObject;

/// An object, or why it cannot be read.
pub(super) type Body<K> = Result<Arc<K>, BadObject>;

/// An object that has changed: as it was, and as it is.
pub(super) struct Change<K> {
    pub(super) before: Option<Arc<K>>,
    pub(super) after: Option<Arc<K>>,
}

struct Slot<K> {
    version: Box<str>,
    body: Body<K>,
}

/// Objects of one kind.
pub(super) struct Store<K> {
    objects: BTreeMap<Key, Slot<K>>,
    /// The list that is being taken.
    listed: Option<BTreeMap<Key, Slot<K>>>,
    state: State,
}

/// Whether the objects can be relied upon.
#[derive(Debug, Clone)]
enum State {
    /// The first list is not whole yet; with what is in the way, if anything.
    Starting(Option<String>),
    /// The watch is well.
    Following,
    /// The watch broke, with when and why.
    Broken(Instant, String),
}

impl<K: Kind> Store<K> {
    pub(super) fn new() -> Self {
        Self { objects: BTreeMap::new(), listed: None, state: State::Starting(None) }
    }

    /// Takes in an event; tells what has changed by it.
    pub(super) fn take(&mut self, event: Event<Slim<K>>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let (key, slot) = self.slot(object);
                self.listed.get_or_insert_default().insert(key, slot);
                Vec::new()
            }
            Event::InitDone => {
                self.state = State::Following;
                let listed = self.listed.take().unwrap_or_default();
                let before = std::mem::replace(&mut self.objects, listed);
                self.differences(before)
            }
            Event::Apply(object) => {
                self.well();
                let (key, slot) = self.slot(object);
                let after = readable(&slot);
                let before = self.objects.insert(key, slot).as_ref().and_then(readable);
                vec![Change { before, after }]
            }
            Event::Delete(object) => {
                self.well();
                let key = (object.namespace().to_owned(), object.name().to_owned());
                let before = self.objects.remove(&key).as_ref().and_then(readable);
                vec![Change { before, after: None }]
            }
        }
    }

    /// The watch broke, and will list anew.
    pub(super) fn broke(&mut self, why: String) {
        self.listed = None;
        self.state = match std::mem::replace(&mut self.state, State::Following) {
            State::Starting(_) => State::Starting(Some(why)),
            State::Following => State::Broken(Instant::now(), why),
            State::Broken(since, _) => State::Broken(since, why),
        };
    }

    /// The API server does not serve the kind: there are no such objects.
    pub(super) fn not_served(&mut self) {
        self.objects.clear();
        self.state = State::Following;
    }

    /// Why the objects cannot be relied upon.
    pub(super) fn doubt(&self, patience: Duration) -> Option<String> {
        match &self.state {
            State::Starting(None) => Some(format!("the first list of {} is not complete yet", K::PLURAL)),
            State::Starting(Some(why)) => Some(format!("{} cannot be listed: {why}", K::PLURAL)),
            State::Broken(since, why) if since.elapsed() > patience => {
                Some(format!("the watch of {} has been broken for {} s: {why}", K::PLURAL, since.elapsed().as_secs()))
            }
            State::Broken(..) | State::Following => None,
        }
    }

    /// For how long the watch has been broken.
    pub(super) fn age(&self) -> Duration {
        match &self.state {
            State::Broken(since, _) => since.elapsed(),
            State::Starting(_) | State::Following => Duration::ZERO,
        }
    }

    /// All that can be read, in the order of namespaces and names.
    pub(super) fn readable(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().filter_map(|slot| slot.body.as_ref().ok())
    }

    /// Those that cannot be read.
    pub(super) fn bad(&self) -> impl Iterator<Item = &BadObject> {
        self.objects.values().filter_map(|slot| slot.body.as_ref().err())
    }

    /// An object of the cluster by its name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&(String::new(), name.to_owned())).and_then(|slot| slot.body.as_ref().ok())
    }

    fn well(&mut self) {
        if matches!(self.state, State::Broken(..)) {
            self.state = State::Following;
        }
    }

    /// An object for the store; one that is there already in this version is kept, so that a list taken anew costs little memory.
    fn slot(&self, object: Slim<K>) -> (Key, Slot<K>) {
        let key = (object.namespace().to_owned(), object.name().to_owned());
        let version: Box<str> = object.version().into();
        let known = self.objects.get(&key).filter(|known| known.version == version && !version.is_empty());
        let body = known.map_or(object.body, |known| known.body.clone());
        (key, Slot { version, body })
    }

    fn differences(&self, mut before: BTreeMap<Key, Slot<K>>) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        for (key, slot) in &self.objects {
            let old = before.remove(key);
            if old.as_ref().is_none_or(|old| old.version != slot.version) {
                changes.push(Change { before: old.as_ref().and_then(readable), after: readable(slot) });
            }
        }
        changes.extend(before.values().map(|old| Change { before: readable(old), after: None }));
        changes
    }
}

fn readable<K>(slot: &Slot<K>) -> Option<Arc<K>> {
    slot.body.as_ref().ok().map(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::objects::Node;

    fn node(name: &str, version: &str, ready: &str) -> Slim<Node> {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},
                "status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        ))
        .expect("a node")
    }

    fn names(store: &Store<Node>) -> Vec<&str> {
        store.readable().map(|node| node.metadata.name.as_str()).collect()
    }

    #[test]
    fn a_list_counts_when_it_is_whole() {
        let mut store = Store::new();
        assert!(store.doubt(Duration::ZERO).is_some());
        store.take(Event::Init);
        store.take(Event::InitApply(node("a", "1", "True")));
        assert!(names(&store).is_empty() && store.doubt(Duration::ZERO).is_some());
        assert_eq!(store.take(Event::InitDone).len(), 1);
        assert_eq!((names(&store), store.doubt(Duration::ZERO)), (vec!["a"], None));
    }

    #[test]
    fn what_went_while_nobody_watched_is_told() {
        let mut store = Store::new();
        store.take(Event::Init);
        for name in ["a", "b", "c"] {
            store.take(Event::InitApply(node(name, "1", "True")));
        }
        store.take(Event::InitDone);
        store.take(Event::Init);
        store.take(Event::InitApply(node("a", "1", "True")));
        store.take(Event::InitApply(node("c", "2", "False")));
        let changes = store.take(Event::InitDone);
        let told: Vec<(bool, bool)> =
            changes.iter().map(|change| (change.before.is_some(), change.after.is_some())).collect();
        assert_eq!(told, [(true, true), (true, false)]);
        assert_eq!(names(&store), ["a", "c"]);
    }

    #[test]
    fn an_object_that_cannot_be_read_costs_nobody_else() {
        let mut store = Store::new();
        store.take(Event::Init);
        store.take(Event::InitApply(node("a", "1", "True")));
        let bad = r#"{"metadata":{"name":"b","resourceVersion":"7"},"spec":{"unschedulable":"perhaps"}}"#;
        store.take(Event::InitApply(serde_json::from_str(bad).expect("read as bad")));
        store.take(Event::InitDone);
        assert_eq!(names(&store), ["a"]);
        let bad: Vec<&str> = store.bad().map(|bad| bad.name.as_str()).collect();
        assert_eq!(bad, ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_watch_is_relied_upon_for_a_while_only() {
        let mut store: Store<Node> = Store::new();
        store.broke("forbidden".to_owned());
        assert!(store.doubt(Duration::from_mins(1)).is_some_and(|why| why.contains("forbidden")));
        store.take(Event::Init);
        store.take(Event::InitDone);
        store.broke("gone".to_owned());
        assert_eq!(store.doubt(Duration::from_mins(1)), None);
        tokio::time::advance(Duration::from_secs(61)).await;
        store.broke("still gone".to_owned());
        assert!(store.doubt(Duration::from_mins(1)).is_some_and(|why| why.contains("61 s")));
        store.take(Event::Apply(node("a", "1", "True")));
        assert_eq!(store.doubt(Duration::from_mins(1)), None);
    }
}
