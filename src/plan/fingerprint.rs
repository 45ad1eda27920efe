//! The fingerprint of a planning input: the world that a plan was made for.
//!
//! Input: a [`PlanningInput`]. Output: SHA-256 in hexadecimal over a canonical, length-prefixed encoding of everything
//! that decides which plans are legal and how good they are. Invariants: inputs of the same content have the same
//! fingerprint in whatever order they were put together, because node sets, budgets and resources are encoded by what
//! they contain and not by their position; inputs under which some plan is judged differently have different ones.
//!
//! Left out on purpose: the moment (`now`), findings, prose of reasons, MIG UUIDs, and the seconds that a pod has waited
//! beyond the ageing factor that they amount to. They change from one reading of an unchanged cluster to the next, and
//! no rule and no level of the objective reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::weight::AgeingFactors;
use crate::model::{
    BudgetId, Budgets, Capacity, CapacityKind, ControllerKind, Demand, DisruptionLevel, EvictionBudget, Geometry, Gpu,
    Instance, Limit, MediaEngines, MigStrategy, Movability, Node, NodeId, NodeSetId, Occupancy, Offer, PendingPod,
    PlanningInput, PodRef, Policy, Profile, Reason, RunningPod, Weight,
};

/// Names the encoding; raised whenever it changes, so that old fingerprints never match by accident.
const ENCODING: &str = "retile planning input 1";
/// The same where pods weigh 1 each.
const OF_PODS: &str = "retile planning input 1, each pod weighs 1";

/// SHA-256 over the canonical form of an input, as 64 lower-case hexadecimal digits.
pub fn fingerprint(input: &PlanningInput) -> String {
    let mut hash = Encoder::default();
    hash.text(match input.policy().weight {
        Weight::Slices => ENCODING,
        Weight::Pods => OF_PODS,
    });
    policy(&mut hash, input.policy());
    hash.flag(input.placements_assumed());
    let names = Names::of(input);
    names.nodes(&mut hash);
    names.running(&mut hash);
    names.pending(&mut hash);
    hash.list(input.unplannable(), |hash, pod| {
        pod_ref(hash, &pod.pod);
        reason(hash, pod.reason);
    });
    hash.list(names.budgets.values().collect::<Vec<_>>(), |hash, digest| hash.bytes(digest));
    hash.number(input.forecast().values().filter(|&&weight| weight > 0).count() as u64);
    for (resource, &weight) in input.forecast().iter().filter(|&(_, &weight)| weight > 0) {
        hash.text(&input.resources()[resource.index()]);
        hash.number(u64::from(weight));
    }
    hex(&hash.finish())
}

/// Digests of the shared parts of an input, so that each is encoded once.
struct Names<'a> {
    input: &'a PlanningInput,
    sets: Vec<[u8; 32]>,
    /// In the order of their names; the same budget once.
    budgets: BTreeMap<(&'a str, u32), [u8; 32]>,
    /// By their ids.
    by_id: Vec<[u8; 32]>,
}

impl<'a> Names<'a> {
    fn of(input: &'a PlanningInput) -> Self {
        let sets = (0..input.node_sets().len()).map(|set| node_set(input, NodeSetId::new(set))).collect();
        let mut budgets = BTreeMap::new();
        let mut by_id = Vec::with_capacity(input.budgets().len());
        for EvictionBudget { name, allowed } in input.budgets() {
            let mut hash = Encoder::default();
            hash.text(name);
            hash.number(u64::from(*allowed));
            let digest = hash.finish();
            budgets.insert((name.as_str(), *allowed), digest);
            by_id.push(digest);
        }
        Self { input, sets, budgets, by_id }
    }

    fn nodes(&self, hash: &mut Encoder) {
        let mut boards = BTreeMap::new();
        let mut offered = BTreeMap::new();
        hash.list(self.input.nodes(), |hash, Node { name, strategy, free, gpus }| {
            hash.text(name);
            hash.number(match strategy {
                MigStrategy::Mixed => 0,
                MigStrategy::Single => 1,
            });
            capacity(hash, free);
            hash.list(&self.input.gpus()[gpus.clone()], |hash, gpu| {
                let Gpu { node: _, index, uuid, product, geometry, instances, offers, frozen } = gpu;
                hash.number(u64::from(*index));
                hash.text(uuid);
                hash.text(product);
                hash.bytes(boards.entry(Arc::as_ptr(geometry)).or_insert_with(|| board(geometry)));
                hash.bytes(
                    offered.entry(Arc::as_ptr(offers).cast::<()>()).or_insert_with(|| self.offers(offers.as_ref())),
                );
                hash.option(frozen.as_ref(), |hash, (why, _)| reason(hash, *why));
                hash.list(instances, instance);
            });
        });
    }

    fn offers(&self, offers: &[Option<Offer>]) -> [u8; 32] {
        let mut hash = Encoder::default();
        hash.list(offers, |hash, offer| {
            hash.option(offer.as_ref(), |hash, Offer { resource, replicas }| {
                hash.text(&self.input.resources()[resource.index()]);
                hash.number(u64::from(*replicas));
            });
        });
        hash.finish()
    }

    fn running(&self, hash: &mut Encoder) {
        hash.list(self.input.running(), |hash, running| {
            // Which instances it holds stands with the instances.
            let RunningPod { pod, node, priority, controller, movability, cost, .. } = running;
            let RunningPod { requests, demand, eligible, budgets, instances: _, .. } = running;
            pod_ref(hash, pod);
            hash.number(node.index() as u64);
            hash.signed(i64::from(*priority));
            hash.number(match controller {
                ControllerKind::Replacing => 0,
                ControllerKind::Job => 1,
                ControllerKind::DaemonSet => 2,
                ControllerKind::None => 3,
            });
            match movability {
                Movability::From(from) => {
                    hash.number(0);
                    level(hash, *from);
                }
                Movability::Never(why, _) => {
                    hash.number(1);
                    reason(hash, *why);
                }
            }
            hash.number(u64::from(*cost));
            capacity(hash, requests);
            self.demand(hash, demand);
            hash.bytes(&self.sets[eligible.index()]);
            self.pod_budgets(hash, budgets);
        });
    }

    fn pending(&self, hash: &mut Encoder) {
        let ageing = AgeingFactors::of(self.input);
        hash.list(self.input.pending(), |hash, pending| {
            let PendingPod { pod, priority, preempts, waiting_seconds: _, demand, requests, eligible } = pending;
            pod_ref(hash, pod);
            hash.signed(i64::from(*priority));
            hash.flag(*preempts);
            hash.number(ageing.factor(pending));
            self.demand(hash, demand);
            capacity(hash, requests);
            hash.bytes(&self.sets[eligible.index()]);
        });
    }

    /// By resource name, so that a resource that nothing uses leaves no trace; names are in the order of the ids.
    fn demand(&self, hash: &mut Encoder, demand: &Demand) {
        hash.list(demand.iter(), |hash, (resource, count)| {
            hash.text(&self.input.resources()[resource.index()]);
            hash.number(u64::from(count));
        });
    }

    fn pod_budgets(&self, hash: &mut Encoder, budgets: &[BudgetId]) {
        let mut names: Vec<&[u8; 32]> = budgets.iter().map(|budget| &self.by_id[budget.index()]).collect();
        names.sort_unstable();
        hash.list(names, |hash, digest| hash.bytes(digest));
    }
}

/// Profile and pods by their positions: the board's digest and the list of running pods, which is ordered by name, say
/// what stands there.
fn instance(hash: &mut Encoder, Instance { placement, uuid: _, occupancy }: &Instance) {
    hash.number(placement.profile().index() as u64);
    hash.number(u64::from(placement.start()));
    match occupancy {
        Occupancy::Free => hash.number(0),
        Occupancy::Busy(pods) => {
            hash.number(1);
            hash.list(pods, |hash, pod| hash.number(pod.index() as u64));
        }
        Occupancy::Unknown => hash.number(2),
    }
}

/// The positions of the nodes in a set; the list of nodes is ordered by name.
fn node_set(input: &PlanningInput, set: NodeSetId) -> [u8; 32] {
    let mut hash = Encoder::default();
    for position in 0..input.nodes().len() {
        if input.may_use(set, NodeId::new(position)) {
            hash.number(position as u64);
        }
    }
    hash.finish()
}

/// What of a board decides which layouts are legal, and how its profiles are spelled in a plan.
fn board(geometry: &Geometry) -> [u8; 32] {
    let mut hash = Encoder::default();
    hash.text(&geometry.board().key);
    hash.number(u64::from(geometry.axis()));
    hash.list(geometry.profiles(), |hash, profile| {
        let Profile { name, aliases, size, max_count, media, starts, .. } = profile;
        hash.text(name);
        hash.list(aliases, |hash, alias| hash.text(alias));
        hash.option(size.as_ref(), |hash, size| hash.number(u64::from(*size)));
        hash.number(u64::from(*max_count));
        hash.number(match media {
            MediaEngines::Standard => 0,
            MediaEngines::Graphics => 1,
            MediaEngines::Extended => 2,
            MediaEngines::All => 3,
            MediaEngines::None => 4,
        });
        hash.list(starts, |hash, start| hash.number(u64::from(*start)));
    });
    hash.finish()
}

/// The mode, the rest times, the cap on moves and what hours add to the cost of a move act before planning (on what is
/// frozen, movable, waiting, or on a pod's cost) or after it, so they leave their trace elsewhere or none at all; the
/// ageing shows in the factors, and the weight in the name of the encoding.
fn policy(hash: &mut Encoder, policy: &Policy) {
    let Policy { mode: _, disruption, weight: _, gain_factor, move_cost: _, budgets, stability: _, ageing_seconds: _ } =
        policy;
    level(hash, *disruption);
    hash.number(u64::from(gain_factor.thousandths()));
    let Budgets { nodes, gpus, evictions } = budgets;
    for limit in [nodes, gpus] {
        hash.option(limit.as_ref(), |hash, limit| match limit {
            Limit::Count(count) => {
                hash.number(0);
                hash.number(u64::from(*count));
            }
            Limit::Percent(share) => {
                hash.number(1);
                hash.number(u64::from(*share));
            }
        });
    }
    hash.option(evictions.as_ref(), |hash, evictions| hash.number(u64::from(*evictions)));
}

fn level(hash: &mut Encoder, level: DisruptionLevel) {
    hash.text(level.as_flag());
}

fn reason(hash: &mut Encoder, reason: Reason) {
    hash.text(&reason.to_string());
}

fn pod_ref(hash: &mut Encoder, PodRef { namespace, name, uid }: &PodRef) {
    hash.text(namespace);
    hash.text(name);
    hash.text(uid);
}

fn capacity(hash: &mut Encoder, capacity: &Capacity) {
    hash.list(capacity.iter(), |hash, (kind, amount)| {
        match kind {
            CapacityKind::CpuMilli => hash.number(0),
            CapacityKind::MemoryBytes => hash.number(1),
            CapacityKind::Pods => hash.number(2),
            CapacityKind::Named(name) => {
                hash.number(3);
                hash.text(name);
            }
        }
        hash.signed(amount);
    });
}

fn hex(digest: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Writes values so that no two sequences of values have the same bytes: numbers have eight bytes, everything of
/// variable length is preceded by its length. Collects before hashing, because the hash is fastest on long pieces.
#[derive(Default)]
struct Encoder {
    hash: Sha256,
    pending: Vec<u8>,
}

impl Encoder {
    const PIECE: usize = 64 * 1024;

    fn number(&mut self, value: u64) {
        self.pending.extend_from_slice(&value.to_le_bytes());
        if self.pending.len() >= Self::PIECE {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
    }

    fn signed(&mut self, value: i64) {
        self.number(value as u64);
    }

    fn flag(&mut self, value: bool) {
        self.number(u64::from(value));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.pending.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<&T>, encode: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            encode(self, value);
        }
    }

    fn list<T, I>(&mut self, items: I, mut encode: impl FnMut(&mut Self, T))
    where
        I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    {
        let items = items.into_iter();
        self.number(items.len() as u64);
        for item in items {
            encode(self, item);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.pending);
        self.hash.finalize().into()
    }
}
