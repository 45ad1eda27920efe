//! Under which resource names the GPUs of the cluster offer their profiles.
//!
//! The scheduler matches names letter by letter, and drivers spell some profiles differently (`3g.39gb`, `3g.40gb`). So a
//! node offers a profile under the name that it uses itself; where it has no such instance yet, under the only name
//! that nodes with the same board use; where nobody has one, under the name of the board's table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inventory::{NodeDraft, dashed};
use super::resource_name::MigName;
use crate::model::{Geometry, MigStrategy, ProfileId};

/// What one instance of a profile offers: resource name and replicas.
pub(crate) type NamedOffer = (String, u32);

/// Resource names of the whole cluster.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// Names in use, by board and profile.
    seen: BTreeMap<(String, ProfileId), BTreeSet<String>>,
    /// Everything that some node offers.
    offered: BTreeSet<String>,
    /// For each profile name or alias of a board in the cluster, the names under which it is offered.
    by_profile: BTreeMap<String, BTreeSet<String>>,
    /// Offered names that no node uses yet: a guess from the board's table.
    guessed: BTreeSet<String>,
    /// Products in the cluster, as labels spell them.
    products: BTreeSet<String>,
}

/// Why a profile cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unoffered {
    /// No board of the cluster has it.
    UnknownProfile,
    /// The cluster's nodes call it otherwise.
    OtherName(String),
    /// No node shares it.
    NotShared,
}

impl Offers {
    /// Learns the names that nodes use.
    pub(crate) fn learn(drafts: &[NodeDraft]) -> Self {
        let mut offers = Self::default();
        for draft in drafts.iter().filter(|draft| draft.strategy == MigStrategy::Mixed) {
            for geometry in boards(draft) {
                let names = draft.advertised.keys().chain(&draft.reported_names);
                for (name, id) in names.filter_map(|name| Some((name, geometry.find(name)?))) {
                    let key = (geometry.board().key.clone(), id);
                    offers.seen.entry(key).or_default().insert(name.clone());
                }
            }
        }
        for draft in drafts {
            offers.products.extend(draft.gpus.iter().map(|gpu| dashed(&gpu.product)));
            for geometry in boards(draft) {
                let named = offers.of(draft, geometry);
                for (id, offer) in geometry.profile_ids().zip(named) {
                    let Some((resource, _)) = offer else { continue };
                    let profile = geometry.profile(id);
                    for name in std::iter::once(&profile.name).chain(&profile.aliases) {
                        offers.by_profile.entry(name.clone()).or_default().insert(resource.clone());
                    }
                    if !offers.seen.contains_key(&(geometry.board().key.clone(), id)) {
                        offers.guessed.insert(resource.clone());
                    }
                    offers.offered.insert(resource);
                }
            }
        }
        offers
    }

    /// What the GPUs of a board on a node offer, by profile.
    pub(crate) fn of(&self, draft: &NodeDraft, geometry: &Geometry) -> Vec<Option<NamedOffer>> {
        geometry.profile_ids().map(|id| self.of_profile(draft, geometry, id)).collect()
    }

    /// What each GPU of a node offers, by profile; GPUs of one board share it.
    pub(crate) fn by_gpu(&self, draft: &NodeDraft) -> Vec<Arc<[Option<NamedOffer>]>> {
        let mut known: Vec<(&Geometry, Arc<[Option<NamedOffer>]>)> = Vec::new();
        let mut all = Vec::with_capacity(draft.gpus.len());
        for gpu in &draft.gpus {
            let geometry = gpu.geometry.as_ref();
            let at = known.iter().position(|(board, _)| std::ptr::eq(*board, geometry)).unwrap_or_else(|| {
                known.push((geometry, self.of(draft, geometry).into()));
                known.len() - 1
            });
            all.push(Arc::clone(&known[at].1));
        }
        all
    }

    fn of_profile(&self, draft: &NodeDraft, geometry: &Geometry, id: ProfileId) -> Option<NamedOffer> {
        let profile = geometry.profile(id);
        if !profile.placeable() {
            return None;
        }
        if draft.strategy == MigStrategy::Single {
            // Named after the table: pods do not see the name, they ask for nvidia.com/gpu.
            let replicas = draft.advertised.values().next().map_or(1, |advertised| advertised.replicas);
            return Some((MigName { profile: profile.name.clone(), shared: false }.resource(), replicas));
        }
        let own = draft.advertised.iter().filter(|(name, _)| profile.is_named(name));
        if let Some((name, advertised)) = own.max_by_key(|(_, advertised)| advertised.usable) {
            let name = MigName { profile: name.clone(), shared: advertised.shared };
            return Some((name.resource(), advertised.replicas));
        }
        let reported = draft.reported_names.iter().find(|name| profile.is_named(name));
        let elsewhere = self.seen.get(&(geometry.board().key.clone(), id)).filter(|names| names.len() == 1);
        let name = reported.or_else(|| elsewhere.and_then(BTreeSet::first)).unwrap_or(&profile.name);
        Some((MigName { profile: name.clone(), shared: false }.resource(), 1))
    }

    /// The offered resource that a pod means by a resource name.
    pub(crate) fn resolve(&self, asked: &MigName) -> Result<String, Unoffered> {
        let resource = asked.resource();
        if self.offered.contains(&resource) {
            return Ok(resource);
        }
        let names = self.by_profile.get(&asked.profile).ok_or(Unoffered::UnknownProfile)?;
        if asked.shared {
            return Err(Unoffered::NotShared);
        }
        // Under a guessed name nobody offers anything yet, so the pod's spelling may be the right one.
        let guess = names.iter().find(|name| self.guessed.contains(*name));
        guess.cloned().ok_or_else(|| Unoffered::OtherName(names.first().cloned().unwrap_or_default()))
    }

    /// The offered resource of a profile that a pod names in a selector rather than as a resource.
    pub(crate) fn resolve_profile(&self, profile: &str) -> Result<String, Unoffered> {
        let plain = MigName { profile: profile.to_owned(), shared: false }.resource();
        if self.offered.contains(&plain) {
            return Ok(plain);
        }
        let names = self.by_profile.get(profile).and_then(BTreeSet::first);
        names.cloned().ok_or(Unoffered::UnknownProfile)
    }

    /// Profiles that some board of the cluster has, for messages.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.by_profile.keys().map(String::as_str)
    }
}

fn boards(draft: &NodeDraft) -> impl Iterator<Item = &Geometry> {
    let mut seen = BTreeSet::new();
    draft.gpus.iter().filter(move |gpu| seen.insert(gpu.geometry.board().key.clone())).map(|gpu| gpu.geometry.as_ref())
}
