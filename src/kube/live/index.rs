//! The index: every object that planning reads, as the watches have last told.
//!
//! It is synchronous: whoever looks takes what is there at that moment, all kinds under one lock. It can be relied upon only when each kind has
//! been listed whole and no watch has been broken for longer than is allowed; otherwise there is a doubt, in words. A dead connection is
//! noticed after [`SILENCE`] at the latest, because no watch lasts longer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher::{self, Config};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::client::Server;
use super::in_force::Keeper;
use super::reactions::{self, Reaction};
use super::record::Record;
use super::slim::{Kind, PolicyText, Slim};
use super::snapshot::{Snapshot, matters, relevant};
use super::store::Store;
use super::wake::Wake;
use crate::kube::crd;
use crate::kube::objects::{DeviceClass, DisruptionBudget, Node, Pod, PriorityClass, ResourceSlice};

/// How long one watch lasts, in seconds.
const SILENCE: u32 = 60;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Rest before a kind that the API server does not serve is asked for again.
const NOT_SERVED_REST: Duration = Duration::from_mins(5);

/// Objects by kind.
pub(super) struct Index {
    pub(super) nodes: Store<Node>,
    pub(super) pods: Store<Pod>,
    pub(super) budgets: Store<DisruptionBudget>,
    pub(super) classes: Store<PriorityClass>,
    pub(super) device_classes: Store<DeviceClass>,
    pub(super) slices: Store<ResourceSlice>,
    pub(super) records: Store<Record>,
    pub(super) policies: Store<PolicyText>,
}

/// The index with who waits for it.
pub(super) struct Shared {
    index: Mutex<Index>,
    keeper: Mutex<Keeper>,
    wake: Mutex<Wake>,
    stirred: Notify,
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics while it holds a lock, and what is there is replaced by the next list at the latest.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    fn new() -> Self {
        Self {
            nodes: Store::new(),
            pods: Store::new(),
            budgets: Store::new(),
            classes: Store::new(),
            device_classes: Store::new(),
            slices: Store::new(),
            records: Store::new(),
            policies: Store::new(),
        }
    }

    /// Why the index cannot be relied upon.
    pub(super) fn doubt(&self, patience: Duration) -> Option<String> {
        self.nodes
            .doubt(patience)
            .or_else(|| self.records.doubt(patience))
            .or_else(|| self.policies.doubt(patience))
            .or_else(|| self.pods.doubt(patience))
            .or_else(|| self.budgets.doubt(patience))
            .or_else(|| self.classes.doubt(patience))
            .or_else(|| self.device_classes.doubt(patience))
            .or_else(|| self.slices.doubt(patience))
    }

    /// For how long the watch that is worst off has been broken.
    pub(super) fn age(&self) -> Duration {
        [
            self.nodes.age(),
            self.records.age(),
            self.policies.age(),
            self.pods.age(),
            self.budgets.age(),
            self.classes.age(),
            self.device_classes.age(),
            self.slices.age(),
        ]
        .into_iter()
        .max()
        .unwrap_or_default()
    }

    /// What planning reads.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.add_records(self.records.readable());
        let objects = &mut snapshot.objects;
        objects.nodes = self.nodes.readable().map(Arc::clone).collect();
        let nodes = relevant(&objects.nodes, &snapshot.records);
        objects.pods = self.pods.readable().filter(|pod| matters(pod, &nodes)).map(Arc::clone).collect();
        objects.budgets = self.budgets.readable().map(|budget| (**budget).clone()).collect();
        objects.classes = self.classes.readable().map(|class| (**class).clone()).collect();
        objects.device_classes = self.device_classes.readable().map(|class| (**class).clone()).collect();
        objects.slices = self.slices.readable().map(|slice| (**slice).clone()).collect();
        let bad = self.nodes.bad().chain(self.pods.bad()).chain(self.budgets.bad()).chain(self.classes.bad());
        objects.bad = bad.chain(self.records.bad()).chain(self.device_classes.bad()).cloned().collect();
        snapshot
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            index: Mutex::new(Index::new()),
            keeper: Mutex::new(Keeper::default()),
            wake: Mutex::default(),
            stirred: Notify::new(),
        }
    }

    /// Starts the watches.
    pub(super) fn watch(self: &Arc<Self>, server: &Server) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        let (this, server) = (|| Arc::clone(self), || server.clone());
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.nodes, reactions::node));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.pods, reactions::pod));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.budgets, reactions::none));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.classes, reactions::none));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.device_classes, reactions::none));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.slices, reactions::slice));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.records, reactions::record));
        watches.spawn(keep(this(), server(), |index: &mut Index| &mut index.policies, reactions::policy));
        watches
    }

    /// The index as it is now.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        unpoisoned(&self.index)
    }

    /// The policy that is kept.
    pub(super) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        unpoisoned(&self.keeper)
    }

    /// Waits until something has changed since the last call.
    pub(super) async fn changed(&self) -> Wake {
        loop {
            let wake = std::mem::take(&mut *unpoisoned(&self.wake));
            if wake != Wake::default() {
                return wake;
            }
            self.stirred.notified().await;
        }
    }

    fn take<K: Kind>(
        &self,
        event: watcher::Event<Slim<K>>,
        store: fn(&mut Index) -> &mut Store<K>,
        react: fn(&Index, &super::store::Change<K>) -> Reaction,
    ) {
        let mut index = self.index();
        let changes = store(&mut index).take(event);
        let mut reaction = Reaction::default();
        for change in &changes {
            reaction.add(react(&index, change));
        }
        if reaction.policies {
            let fault = self.keeper().take(index.policies.readable(), index.policies.bad().next());
            drop(index);
            if let Some(fault) = fault {
                tracing::error!(%fault, "the MigPolicy is not usable; the last good one stays in force");
            }
        }
        if reaction.wake != Wake::default() {
            unpoisoned(&self.wake).add(reaction.wake);
            self.stirred.notify_one();
        }
    }
}

/// Keeps one kind of objects up to date. Ends never: after each breach it rests, and lists anew.
async fn keep<K: Kind>(
    shared: Arc<Shared>,
    server: Server,
    store: fn(&mut Index) -> &mut Store<K>,
    react: fn(&Index, &super::store::Change<K>) -> Reaction,
) {
    let mut rest = FIRST_REST;
    loop {
        let config = Config::default().timeout(SILENCE);
        let mut events = std::pin::pin!(watcher::watcher(Api::<Slim<K>>::all(server.client()), config));
        while let Some(event) = events.next().await {
            let error = match event {
                Ok(event) => {
                    rest = FIRST_REST;
                    shared.take(event, store, react);
                    continue;
                }
                Err(error) => error,
            };
            if K::GROUP != crd::GROUP && not_served(&error) {
                store(&mut shared.index()).not_served();
                rest = NOT_SERVED_REST;
            } else {
                tracing::warn!(kind = K::KIND, %error, "the watch broke; listing anew in {} s", rest.as_secs());
                let why = match K::GROUP {
                    crd::GROUP if not_served(&error) => format!("{error}; install what `retile crds` prints"),
                    _ => error.to_string(),
                };
                store(&mut shared.index()).broke(why);
            }
            break;
        }
        sleep(rest).await;
        rest = (rest * 2).min(LONGEST_REST);
    }
}

/// Whether the API server does not know a kind that older ones do not have. Our own kinds it must know.
fn not_served(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}
