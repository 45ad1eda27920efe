//! Who holds which instance.
//!
//! With the agent's report the holders are known by name; without, the pods that are bound to a node are put onto its
//! instances in a fixed order (by name, packed), which is as good as any other and marked as assumed. Whatever does not
//! add up becomes unknown, and unknown is never free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::findings::Findings;
use super::inventory::{GpuDraft, Holder, NodeDraft};
use super::offers::NamedOffer;
use crate::model::{PodRef, Reason};

/// A pod that is bound to the node and holds instances.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    /// Position of the pod in the export.
    pub(crate) position: usize,
    pub(crate) pod: PodRef,
    /// Resources by name, in instances or replicas.
    pub(crate) wants: Vec<(String, u64)>,
}

/// What is known of a node besides its draft.
pub(crate) struct Tenancy<'a> {
    /// Tenants in order of namespace and name.
    pub(crate) tenants: &'a [Tenant],
    /// Whether some pod on the node cannot be read, so that any free instance may be held.
    pub(crate) unreadable: bool,
    /// Offers of each GPU of the draft, by profile.
    pub(crate) offers: &'a [Arc<[Option<NamedOffer>]>],
}

/// Decides the holder of every instance of a node.
pub(crate) fn settle(draft: &mut NodeDraft, tenancy: &Tenancy<'_>, findings: &mut Findings) {
    if draft.assumed {
        assume(draft, tenancy, findings);
    } else {
        match_reported(draft, tenancy, findings);
    }
    withhold_unusable(draft, tenancy.offers, findings);
    if tenancy.unreadable {
        free_instances(draft).for_each(|(_, _, holder)| *holder = Holder::Unknown);
    }
}

fn free_instances(draft: &mut NodeDraft) -> impl Iterator<Item = (usize, usize, &mut Holder)> {
    draft.gpus.iter_mut().enumerate().flat_map(|(position, gpu)| {
        let instances = gpu.instances.iter_mut();
        instances
            .filter(|instance| instance.holder == Holder::Free)
            .map(move |instance| (position, instance.placement.profile().index(), &mut instance.holder))
    })
}

fn offer_of<'a>(gpu: &GpuDraft, offers: &'a [Option<NamedOffer>], slot: usize) -> Option<&'a NamedOffer> {
    offers.get(gpu.instances[slot].placement.profile().index())?.as_ref()
}

/// Puts tenants onto instances, by name, filling one instance after the other.
fn assume(draft: &mut NodeDraft, tenancy: &Tenancy<'_>, findings: &mut Findings) {
    let mut room: BTreeMap<String, Vec<(usize, usize, u32)>> = BTreeMap::new();
    for (position, (gpu, offers)) in draft.gpus.iter().zip(tenancy.offers).enumerate() {
        for slot in 0..gpu.instances.len() {
            if let Some((resource, replicas)) = offer_of(gpu, offers, slot) {
                room.entry(resource.clone()).or_default().push((position, slot, *replicas));
            }
        }
    }
    let mut overfull = BTreeSet::new();
    for tenant in tenancy.tenants {
        for (resource, wanted) in &tenant.wants {
            let places = room.get_mut(resource).map(Vec::as_mut_slice).unwrap_or_default();
            let free: u64 = places.iter().map(|(_, _, left)| u64::from(*left)).sum();
            if free < *wanted {
                overfull.insert((resource.clone(), tenant.pod.to_string()));
                continue;
            }
            for (gpu, slot) in take(places, *wanted) {
                match &mut draft.gpus[gpu].instances[slot].holder {
                    Holder::Pods(pods) => pods.push(tenant.position),
                    holder @ (Holder::Free | Holder::Unknown | Holder::Reported(_)) => {
                        *holder = Holder::Pods(vec![tenant.position]);
                    }
                }
            }
        }
    }
    if let Some((resource, pod)) = overfull.first() {
        let message = format!("holds more pods than instances: {resource} for {pod} is not there");
        findings.node(&draft.name, format!("{message}; it is frozen, and its free instances count as held"));
        freeze(draft, &message);
    }
}

/// Takes replicas, from as many instances as possible only as long as one instance does not have them all.
fn take(places: &mut [(usize, usize, u32)], wanted: u64) -> Vec<(usize, usize)> {
    let mut taken = Vec::new();
    let mut missing = wanted;
    while missing > 0 {
        let before = missing;
        for (gpu, slot, left) in places.iter_mut().filter(|(_, _, left)| *left > 0) {
            if missing == 0 {
                break;
            }
            *left -= 1;
            missing -= 1;
            taken.push((*gpu, *slot));
        }
        if missing == before {
            break;
        }
    }
    taken
}

fn freeze(draft: &mut NodeDraft, message: &str) {
    for gpu in &mut draft.gpus {
        gpu.frozen.get_or_insert_with(|| (Reason::PolicyForbids, message.to_owned()));
    }
    free_instances(draft).for_each(|(_, _, holder)| *holder = Holder::Unknown);
}

/// Finds the pods that the agent names; what it names and the export does not have is unknown.
fn match_reported(draft: &mut NodeDraft, tenancy: &Tenancy<'_>, findings: &mut Findings) {
    let by_name: BTreeMap<(&str, &str), &Tenant> = tenancy
        .tenants
        .iter()
        .map(|tenant| ((tenant.pod.namespace.as_str(), tenant.pod.name.as_str()), tenant))
        .collect();
    let mut held: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    let node = draft.name.clone();
    for (gpu, offers) in draft.gpus.iter_mut().zip(tenancy.offers) {
        for slot in 0..gpu.instances.len() {
            let offer = offer_of(gpu, offers, slot);
            let shown = || gpu.geometry.show(gpu.instances[slot].placement);
            let Holder::Reported(pods) = &gpu.instances[slot].holder else { continue };
            let mut found = Vec::new();
            for pod in pods {
                let tenant = by_name
                    .get(&(pod.namespace.as_str(), pod.name.as_str()))
                    .filter(|tenant| pod.uid.is_empty() || tenant.pod.uid.is_empty() || pod.uid == tenant.pod.uid);
                match tenant {
                    Some(tenant) => found.push(tenant.position),
                    None => findings.mig_node(
                        &node,
                        format!(
                            "GPU {}, {}: the pod {}/{} on it is not among the pods that run there; \
                             the instance counts as held",
                            gpu.index,
                            shown(),
                            pod.namespace,
                            pod.name
                        ),
                    ),
                }
            }
            if found.len() < pods.len() || offer.is_none() {
                gpu.instances[slot].holder = Holder::Unknown;
                continue;
            }
            for position in &found {
                if let Some((resource, _)) = offer {
                    *held.entry((*position, resource.as_str())).or_default() += 1;
                }
            }
            gpu.instances[slot].holder = Holder::Pods(found);
        }
    }
    withhold_unseen(draft, tenancy, &held, findings);
}

/// A pod that the API binds to the node but that the agent has not seen may hold any free instance of its profile.
fn withhold_unseen(
    draft: &mut NodeDraft,
    tenancy: &Tenancy<'_>,
    held: &BTreeMap<(usize, &str), u64>,
    findings: &mut Findings,
) {
    let mut unseen: BTreeSet<&str> = BTreeSet::new();
    for tenant in tenancy.tenants {
        for (resource, wanted) in &tenant.wants {
            if held.get(&(tenant.position, resource.as_str())).copied().unwrap_or(0) < *wanted {
                unseen.insert(resource);
                findings.pod(
                    &tenant.pod,
                    format!(
                        "runs on {} but its MigNode does not name it on {resource}; free instances of that profile \
                         count as held there",
                        draft.name
                    ),
                );
            }
        }
    }
    let offers = tenancy.offers;
    for (position, profile, holder) in free_instances(draft) {
        let offered = offers.get(position).and_then(|offers| offers.get(profile)?.as_ref());
        if offered.is_some_and(|(resource, _)| unseen.contains(resource.as_str())) {
            *holder = Holder::Unknown;
        }
    }
}

/// Where the node offers fewer replicas than it has instances for, the rest is sick or not served: not free.
fn withhold_unusable(draft: &mut NodeDraft, offers: &[Arc<[Option<NamedOffer>]>], findings: &mut Findings) {
    let mut limits: BTreeMap<(usize, usize), String> = BTreeMap::new();
    let mut usable: BTreeMap<String, u64> = BTreeMap::new();
    for (position, gpu) in draft.gpus.iter().enumerate() {
        for (name, advertised) in &draft.advertised {
            let Some(id) = gpu.geometry.find(name) else { continue };
            if let Some(Some((resource, _))) = offers.get(position).and_then(|offers| offers.get(id.index())) {
                limits.insert((position, id.index()), resource.clone());
                usable.insert(resource.clone(), advertised.usable);
            }
        }
    }
    for (gpu, offers) in draft.gpus.iter().zip(offers) {
        for (slot, instance) in gpu.instances.iter().enumerate() {
            let Some((resource, replicas)) = offer_of(gpu, offers, slot) else { continue };
            let taken = match &instance.holder {
                Holder::Free => 0,
                Holder::Pods(pods) => pods.len() as u64,
                Holder::Unknown | Holder::Reported(_) => u64::from(*replicas),
            };
            if let Some(left) = usable.get_mut(resource) {
                *left = left.saturating_sub(taken);
            }
        }
    }
    let mut withheld = 0;
    for (position, profile, holder) in free_instances(draft) {
        let Some(resource) = limits.get(&(position, profile)) else { continue };
        let replicas = offers[position][profile].as_ref().map_or(1, |(_, replicas)| u64::from(*replicas));
        let Some(left) = usable.get_mut(resource) else { continue };
        if *left >= replicas {
            *left -= replicas;
        } else {
            *holder = Holder::Unknown;
            withheld += 1;
        }
    }
    if withheld > 0 {
        findings.node(
            &draft.name,
            format!("does not offer {withheld} of its free instances (they are sick, or the device plugin is away); they count as held"),
        );
    }
}
