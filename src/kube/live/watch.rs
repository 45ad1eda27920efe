//! Watches that say when facts have changed.
//!
//! Inputs: a kind and a selector. Output: a call for each change of the facts that somebody cares for; what else is written to an object (the
//! heartbeats of kubelets, our own reports) wakes nobody. A watch that breaks is resumed after a rest; a list that was taken anew is compared
//! with what was known, so that a deletion in between is noticed.

use std::collections::BTreeMap;

use futures::StreamExt;
use kube::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event};

use super::client::Server;
use super::slim::{Kind, Slim};

/// Namespace and name.
pub(super) type Key = (String, String);

/// A stream of events about a kind of objects; errors are part of it, and it rests after each.
pub(super) fn events<K: Kind>(
    server: &Server,
    config: Config,
) -> impl futures::Stream<Item = Result<Event<Slim<K>>, watcher::Error>> + Send + use<K> {
    watcher::watcher(Api::<Slim<K>>::all(server.client()), config).default_backoff()
}

/// Follows a kind of objects and calls for each whose facts have changed, appeared or gone. Ends never.
pub(super) async fn follow<K: Kind, F: PartialEq + Send>(
    server: Server,
    config: Config,
    facts: impl Fn(&K) -> F + Send,
    mut changed: impl FnMut(&Key) + Send,
) {
    let mut known = Known { facts: BTreeMap::new(), listed: None };
    let mut events = std::pin::pin!(events::<K>(&server, config));
    let mut well = true;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                well = true;
                for key in known.take(event, &facts) {
                    changed(&key);
                }
            }
            Err(error) => {
                // Each breach once: the watch goes on trying.
                if well {
                    tracing::warn!(kind = K::KIND, %error, "the watch is broken and is tried again");
                }
                well = false;
            }
        }
    }
}

/// Facts by object; none for an object that cannot be read.
struct Known<F> {
    facts: BTreeMap<Key, Option<F>>,
    /// Objects of the list that is being taken.
    listed: Option<BTreeMap<Key, Option<F>>>,
}

impl<F: PartialEq> Known<F> {
    /// Objects whose facts an event changes.
    fn take<K: Kind>(&mut self, event: Event<Slim<K>>, facts: &impl Fn(&K) -> F) -> Vec<Key> {
        let read = |object: &Slim<K>| {
            let key = (object.namespace().to_owned(), object.name().to_owned());
            (key, object.body.as_ref().ok().map(|body| facts(body)))
        };
        match event {
            Event::Init => {
                self.listed = Some(BTreeMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let (key, facts) = read(&object);
                self.listed.get_or_insert_default().insert(key, facts);
                Vec::new()
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let old = std::mem::replace(&mut self.facts, listed);
                let changed = self.facts.iter().filter(|(key, facts)| old.get(*key) != Some(facts));
                let gone = old.keys().filter(|key| !self.facts.contains_key(*key));
                changed.map(|(key, _)| key.clone()).chain(gone.cloned()).collect()
            }
            Event::Apply(object) => {
                let (key, facts) = read(&object);
                let same = self.facts.get(&key) == Some(&facts);
                self.facts.insert(key.clone(), facts);
                if same { Vec::new() } else { vec![key] }
            }
            Event::Delete(object) => {
                let (key, _) = read(&object);
                self.facts.remove(&key);
                vec![key]
            }
        }
    }
}
