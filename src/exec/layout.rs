//! What layouts say: which instances an operation touches, what a device plugin must advertise.
//!
//! Inputs: targets of an operation, reports of an agent, boards. Pure.

use std::collections::BTreeMap;

use crate::model::{
    GPU_RESOURCE, MIG_PREFIX, MigStrategy, PRODUCT_LABEL, STRATEGY_LABEL, mig_resource, profile_in_names,
};
use crate::plan::Place;

use super::port::BoardState;
use super::record::{GpuReport, GpuTarget, Operation};
use super::view::NodeView;

impl Operation {
    /// Whether it changes no instance.
    pub fn is_repair(&self) -> bool {
        self.gpus.is_empty()
    }

    /// Whether it only hands instances over: pods make way for others, and no instance is changed.
    pub fn only_hands_over(&self) -> bool {
        !self.is_repair() && !self.gpus.iter().any(GpuTarget::is_cut)
    }
}

impl NodeView {
    /// Whether the device plugin offers instances of one profile only, and as GPUs (strategy `single`).
    fn single(&self) -> bool {
        MigStrategy::told(self.labels.get(STRATEGY_LABEL).map(String::as_str)) == MigStrategy::Single
    }

    /// The resource that the device plugin offers an instance of this profile as.
    pub(super) fn resource_of(&self, profile: &str) -> String {
        if self.single() { GPU_RESOURCE.to_owned() } else { mig_resource(profile) }
    }

    /// Resources by which pods of the node may ask for an instance of this profile. While feature discovery is paused its labels may be gone.
    pub(super) fn asked_for_by(&self, profile: &str) -> Vec<String> {
        let untold = self.pause_on_record() && !self.labels.contains_key(STRATEGY_LABEL);
        let gpus = untold.then(|| GPU_RESOURCE.to_owned());
        std::iter::once(self.resource_of(profile)).chain(gpus).collect()
    }

    /// Whether the product that feature discovery tells is that of the reported instances, as far as it tells instances at all.
    pub(super) fn tells_product(&self, gpus: &[GpuReport]) -> bool {
        let Some(instance) = gpus.iter().find_map(|gpu| gpu.instances.first()).filter(|_| self.single()) else {
            return true;
        };
        let wanted = format!("-MIG-{}", profile_in_names(&instance.place.profile));
        self.labels.get(PRODUCT_LABEL).is_none_or(|product| product.trim_end_matches("-SHARED").ends_with(&wanted))
    }
}

impl GpuTarget {
    /// Instances that are destroyed.
    pub fn destroyed(&self) -> impl Iterator<Item = &Place> {
        self.base.iter().filter(|place| !self.target.contains(place))
    }

    /// Instances that are created.
    pub fn created(&self) -> impl Iterator<Item = &Place> {
        self.target.iter().filter(|place| !self.base.contains(place))
    }

    /// Whether an instance is destroyed or created; otherwise some are only handed over.
    pub fn is_cut(&self) -> bool {
        self.destroyed().next().is_some() || self.created().next().is_some()
    }

    /// Whether an instance at this place is destroyed or created.
    pub fn touches(&self, place: &Place) -> bool {
        self.base.contains(place) != self.target.contains(place)
    }
}

/// Whether the reported instances are exactly these, each with its compute instance.
pub(super) fn reported(gpus: &[GpuReport], uuid: &str, places: &[Place]) -> bool {
    gpus.iter().find(|gpu| gpu.uuid == uuid).is_some_and(|gpu| {
        let there: Vec<&Place> = gpu.instances.iter().map(|instance| &instance.place).collect();
        same(&there, places) && gpu.instances.iter().all(|instance| instance.uuid.is_some())
    })
}

/// Whether the board has exactly these instances, each with its compute instance.
pub(super) fn holds(board: &BoardState, places: &[Place]) -> bool {
    let there: Vec<&Place> = board.instances.iter().map(|instance| &instance.place).collect();
    same(&there, places) && board.instances.iter().all(|instance| instance.compute.is_some())
}

fn same(there: &[&Place], wanted: &[Place]) -> bool {
    there.len() == wanted.len() && wanted.iter().all(|place| there.contains(&place))
}

/// Whether a node advertises exactly the reported instances, by all its resources of instances. A resource with 0 means nothing.
pub fn advertises(node: &NodeView, gpus: &[GpuReport]) -> bool {
    let mut expected = BTreeMap::<String, u64>::new();
    for instance in gpus.iter().flat_map(|gpu| &gpu.instances).filter(|instance| instance.uuid.is_some()) {
        *expected.entry(node.resource_of(&instance.place.profile)).or_default() += 1;
    }
    // Without a board in MIG mode they are whole ones.
    let single = node.single() && !gpus.is_empty();
    let of_instances = |name: &str| name.starts_with(MIG_PREFIX) || single && name == GPU_RESOURCE;
    let advertised = node.allocatable.iter().filter(|&(name, &count)| count > 0 && of_instances(name));
    advertised.map(|(name, &count)| (name.clone(), count)).eq(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::marks::PAUSED_CLIENTS;
    use crate::exec::{InstanceReport, ReportedOccupancy};

    fn report(profile: &str, count: u8) -> GpuReport {
        let place = |start| Place { start, size: 1, profile: profile.to_owned() };
        let instance = |start| InstanceReport {
            place: place(start),
            uuid: Some(format!("MIG-{start}")),
            occupancy: ReportedOccupancy::Free,
            pods: Vec::new(),
        };
        let instances = (0..count).map(instance).collect();
        GpuReport { index: 0, uuid: "GPU-0".to_owned(), model: String::new(), instances }
    }

    fn node(strategy: &str, allocatable: &[(&str, u64)]) -> NodeView {
        let allocatable = allocatable.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        NodeView {
            labels: [(STRATEGY_LABEL.to_owned(), strategy.to_owned())].into(),
            allocatable,
            ..NodeView::default()
        }
    }

    #[test]
    fn instances_are_advertised_by_profile_or_under_the_strategy_single_as_gpus() {
        let gpus = [report("1g.5gb", 2), report("1g.5gb", 1)];
        let mig = "nvidia.com/mig-1g.5gb";
        assert!(advertises(&node("mixed", &[(mig, 3), (GPU_RESOURCE, 4), ("nvidia.com/mig-7g.40gb", 0)]), &gpus));
        assert!(!advertises(&node("mixed", &[(mig, 2)]), &gpus));
        assert!(!advertises(&node("mixed", &[(GPU_RESOURCE, 3)]), &gpus), "those are whole ones");
        assert!(advertises(&node("single", &[(GPU_RESOURCE, 3), (mig, 0)]), &gpus));
        assert!(!advertises(&node("single", &[(GPU_RESOURCE, 2)]), &gpus));
        assert!(
            !advertises(&node("single", &[(GPU_RESOURCE, 3), (mig, 3)]), &gpus),
            "another plugin offers them as well"
        );
        assert!(advertises(&node("single", &[(GPU_RESOURCE, 8)]), &[]), "no board is in MIG mode");
    }

    #[test]
    fn the_product_must_name_the_instances_where_pods_select_it() {
        let gpus = [report("1g.10gb+me", 2)];
        let told = |strategy: &str, product: Option<&str>| {
            let mut node = node(strategy, &[]);
            node.labels.extend(product.map(|product| (PRODUCT_LABEL.to_owned(), product.to_owned())));
            node.tells_product(&gpus)
        };
        for product in ["NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.me", "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb.me-SHARED"] {
            assert!(told("single", Some(product)), "{product}");
        }
        assert!(told("single", None), "nobody tells it");
        assert!(!told("single", Some("NVIDIA-A100-SXM4-80GB-MIG-1g.10gb")));
        assert!(told("mixed", Some("NVIDIA-A100-SXM4-80GB")));
    }

    #[test]
    fn while_feature_discovery_is_paused_a_pod_may_ask_by_either_resource() {
        let mig = "nvidia.com/mig-1g.5gb";
        assert_eq!(node("mixed", &[]).asked_for_by("1g.5gb"), [mig]);
        assert_eq!(node("single", &[]).asked_for_by("1g.5gb"), [GPU_RESOURCE]);
        let mut untold = NodeView::default();
        assert_eq!(untold.asked_for_by("1g.5gb"), [mig]);
        untold.annotations.insert(PAUSED_CLIENTS.to_owned(), "gpu-feature-discovery".to_owned());
        assert_eq!(untold.asked_for_by("1g.5gb"), [mig, GPU_RESOURCE]);
    }
}
