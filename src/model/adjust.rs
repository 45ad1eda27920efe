//! The few changes that a controller makes to an observed [`PlanningInput`] before it plans: what must be left alone for now, and what is
//! expected to come.
//!
//! Each only ever takes possibilities away (or replaces the forecast), and keeps the invariants of the input: order, valid indices, legal layouts,
//! and pods named by exactly the instances that they list.

use std::collections::BTreeMap;

use super::gpu::Occupancy;
use super::ids::{GpuId, NodeId, PodId, ResourceId};
use super::input::{PlanningInput, Unplannable, scaled};
use super::pod::{Movability, PendingPod};
use super::reason::Reason;

impl PlanningInput {
    /// Position of a node by its name.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        self.nodes.binary_search_by(|node| node.name.as_str().cmp(name)).ok().map(NodeId::new)
    }

    /// Lets nothing on a GPU be changed. A GPU that is frozen already keeps its reason.
    pub fn freeze_gpu(&mut self, gpu: GpuId, reason: Reason, detail: impl Into<String>) {
        let frozen = &mut self.gpus[gpu.index()].frozen;
        if frozen.is_none() {
            *frozen = Some((reason, detail.into()));
        }
    }

    /// Takes a node out of the plan: its GPUs are frozen, and its instances offer nothing, shared ones included.
    pub fn withdraw_node(&mut self, node: NodeId, reason: Reason, detail: &str) {
        for position in self.nodes[node.index()].gpus.clone() {
            let id = GpuId::new(position);
            self.freeze_gpu(id, reason, detail);
            let gpu = &mut self.gpus[position];
            for slot in 0..gpu.instances.len() {
                if gpu.free_replicas(&gpu.instances[slot]) == 0 {
                    continue;
                }
                let occupancy = std::mem::replace(&mut gpu.instances[slot].occupancy, Occupancy::Unknown);
                if let Occupancy::Busy(pods) = occupancy {
                    for pod in pods {
                        self.running[pod.index()].instances.retain(|held| *held != (id, slot));
                    }
                }
            }
        }
    }

    /// Lets a running pod stay where it is. A pod that never moves anyway keeps its reason.
    pub fn protect(&mut self, pod: PodId, reason: Reason, detail: impl Into<String>) {
        let movability = &mut self.running[pod.index()].movability;
        if matches!(movability, Movability::From(_)) {
            *movability = Movability::Never(reason, detail.into());
        }
    }

    /// Plans no longer for the waiting pods for which `why` knows a reason, words and a remedy.
    pub fn set_aside(&mut self, mut why: impl FnMut(&PendingPod) -> Option<(Reason, String, String)>) {
        let mut aside = Vec::new();
        self.pending.retain(|pending| match why(pending) {
            Some((reason, detail, action)) => {
                aside.push(Unplannable { pod: pending.pod.clone(), reason, detail, action });
                false
            }
            None => true,
        });
        self.unplannable.append(&mut aside);
        self.unplannable.sort_by(|a, b| a.pod.cmp(&b.pod));
    }

    /// Replaces the forecast mix by weights of resources, by name; scaled like the builder does. Resources that nothing in the input names are
    /// left out.
    pub fn replace_forecast(&mut self, mix: &BTreeMap<String, u64>) {
        let known: BTreeMap<ResourceId, u64> = mix
            .iter()
            .filter(|&(_, &weight)| weight > 0)
            .filter_map(|(name, &weight)| {
                let position = self.resources.binary_search(name).ok()?;
                Some((ResourceId::new(position), weight))
            })
            .collect();
        let most = known.values().copied().max().unwrap_or(0);
        // Shifted together so that the builder's arithmetic, which counts in 32 bits, can take them.
        let shift = (64 - most.leading_zeros()).saturating_sub(32);
        let most = (most >> shift) as u32;
        self.forecast =
            known.into_iter().map(|(id, weight)| (id, scaled((weight >> shift).max(1) as u32, most))).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{
        Capacity, Catalogue, ControllerKind, Demand, DisruptionLevel, Gpu, Instance, MigStrategy, Node, NodeSet, Offer,
        PlanningInputBuilder, PodRef, RunningPod,
    };

    fn pod(name: &str) -> PodRef {
        PodRef { namespace: "ml".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    /// Node a: one GPU with a shared instance that one of two replicas is held of, and a free one. Two waiting pods.
    fn input() -> PlanningInput {
        let geometry = Arc::clone(Catalogue::embedded().find_by_key("a100-40gb").expect("a board"));
        let mut builder = PlanningInputBuilder::new(0);
        let small = builder.resource("nvidia.com/mig-1g.5gb");
        let large = builder.resource("nvidia.com/mig-3g.20gb");
        let all = builder.node_set(std::iter::once(NodeId::new(0)).collect::<NodeSet>());
        let holder = builder.running(RunningPod {
            pod: pod("holder"),
            node: NodeId::new(0),
            priority: 0,
            controller: ControllerKind::Replacing,
            movability: Movability::From(DisruptionLevel::Balanced),
            cost: 1,
            requests: Capacity::default(),
            demand: Demand::new([(small, 1)]),
            eligible: all,
            budgets: Vec::new(),
            instances: Vec::new(),
        });
        for name in ["first", "second"] {
            builder.pending(PendingPod {
                pod: pod(name),
                priority: 0,
                preempts: true,
                waiting_seconds: 60,
                demand: Demand::new([(large, 1)]),
                requests: Capacity::default(),
                eligible: all,
            });
        }
        let place =
            |profile: &str, start| geometry.place(geometry.find(profile).expect("a profile"), start).expect("a place");
        let instances = vec![
            Instance { placement: place("1g.5gb", 0), uuid: None, occupancy: Occupancy::Busy(vec![holder]) },
            Instance { placement: place("3g.20gb", 4), uuid: None, occupancy: Occupancy::Free },
        ];
        let offers: Vec<Option<Offer>> = geometry
            .profiles()
            .iter()
            .map(|profile| match profile.name.as_str() {
                "1g.5gb" => Some(Offer { resource: small, replicas: 2 }),
                "3g.20gb" => Some(Offer { resource: large, replicas: 1 }),
                _ => None,
            })
            .collect();
        let gpu = Gpu {
            node: NodeId::new(0),
            index: 0,
            uuid: "GPU-0".into(),
            product: "NVIDIA A100-SXM4-40GB".into(),
            geometry,
            instances,
            offers: offers.into(),
            frozen: None,
        };
        let node = Node { name: "a".into(), strategy: MigStrategy::Mixed, free: Capacity::default(), gpus: 0..0 };
        builder.node(node, vec![gpu]);
        builder.build().expect("a legal input")
    }

    #[test]
    fn a_withdrawn_node_offers_nothing_and_keeps_its_layout() {
        let mut input = input();
        let layout: Vec<_> = input.gpus()[0].instances.iter().map(|instance| instance.placement).collect();
        let node = input.node_named("a").expect("there");
        input.withdraw_node(node, Reason::WaitingForExecution, "under operation");
        let gpu = &input.gpus()[0];
        assert!(gpu.instances.iter().all(|instance| gpu.free_replicas(instance) == 0));
        assert_eq!(gpu.frozen.as_ref().map(|(reason, _)| *reason), Some(Reason::WaitingForExecution));
        assert_eq!(gpu.instances.iter().map(|instance| instance.placement).collect::<Vec<_>>(), layout);
        assert!(input.running()[0].instances.is_empty(), "the pod is named by exactly what it lists");
        assert_eq!(input.node_named("b"), None);
    }

    #[test]
    fn the_first_reason_to_freeze_or_protect_stands() {
        let mut input = input();
        input.freeze_gpu(GpuId::new(0), Reason::CoolingDown, "changed");
        input.freeze_gpu(GpuId::new(0), Reason::PolicyForbids, "later");
        assert_eq!(input.gpus()[0].frozen, Some((Reason::CoolingDown, "changed".to_owned())));
        assert_eq!(input.gpus()[0].instances[1].occupancy, Occupancy::Free, "a frozen GPU still serves");
        input.protect(PodId::new(0), Reason::PolicyForbids, "moved often");
        input.protect(PodId::new(0), Reason::CoolingDown, "later");
        assert_eq!(input.running()[0].movability, Movability::Never(Reason::PolicyForbids, "moved often".into()));
    }

    #[test]
    fn pods_set_aside_are_still_listed() {
        let mut input = input();
        input.set_aside(|pending| {
            (pending.pod.name == "first").then(|| (Reason::CoolingDown, "young".to_owned(), "wait".to_owned()))
        });
        assert_eq!(input.pending().iter().map(|pending| pending.pod.name.as_str()).collect::<Vec<_>>(), ["second"]);
        assert_eq!(input.unplannable()[0].pod.name, "first");
        assert_eq!(input.unplannable()[0].reason, Reason::CoolingDown);
    }

    #[test]
    fn a_forecast_is_scaled_to_its_largest_weight() {
        let mut input = input();
        let mix = BTreeMap::from([
            ("nvidia.com/mig-1g.5gb".to_owned(), u64::MAX),
            ("nvidia.com/mig-3g.20gb".to_owned(), u64::MAX / 2),
            ("nvidia.com/mig-7g.40gb".to_owned(), 9),
        ]);
        input.replace_forecast(&mix);
        assert_eq!(input.forecast().values().copied().collect::<Vec<_>>(), [10, 5]);
        input.replace_forecast(&BTreeMap::from([("nvidia.com/mig-3g.20gb".to_owned(), 1)]));
        assert_eq!(input.forecast().values().copied().collect::<Vec<_>>(), [10]);
        input.replace_forecast(&BTreeMap::new());
        assert!(input.forecast().is_empty());
    }
}
