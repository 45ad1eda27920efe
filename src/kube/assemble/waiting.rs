//! Pods that wait: those to plan for, and the reason of each of the others.

use std::collections::BTreeSet;

use super::Assembly;
use super::pods::{Digest, Pods, pod_ref};
use crate::kube::asks::Ask;
use crate::kube::eligibility::{Answer, Eligibility};
use crate::kube::offers::Unoffered;
use crate::kube::pending::{self, Waiting};
use crate::kube::requests::mentions_device;
use crate::kube::unmodelled::unmodelled;
use crate::model::{NodeSetId, PendingPod, PodRef, Reason, Unplannable};

impl Assembly<'_> {
    pub(super) fn add_pending(&mut self, pods: &Pods<'_>, eligibility: &mut Eligibility<'_>) {
        for (pod, error) in &pods.malformed {
            if mentions_device(pod) && !pod.metadata.deleting() {
                self.refuse(
                    pod_ref(pod),
                    Reason::Unsatisfiable,
                    format!("it asks for something malformed: {error}"),
                    "correct the resources of its containers",
                );
            }
        }
        let served_by_dra: BTreeSet<&str> =
            self.objects.device_classes.iter().map(|class| class.spec.extended_resource_name.as_str()).collect();
        for &position in &pods.unbound {
            self.add_waiting(&pods.digests[position], &served_by_dra, eligibility);
        }
    }

    fn add_waiting(&mut self, digest: &Digest<'_>, served_by_dra: &BTreeSet<&str>, eligibility: &mut Eligibility<'_>) {
        let waiting = pending::judge(digest.pod, self.now, self.least_age);
        let gone = waiting == Waiting::Gone;
        let wanted = match &digest.ask {
            Ask::Instances(wanted) if !gone => wanted,
            Ask::Malformed(detail) if !gone => {
                return self.refuse(
                    digest.id(),
                    Reason::Unsatisfiable,
                    detail.clone(),
                    "correct the resource name in its containers",
                );
            }
            Ask::Both if !gone => {
                return self.refuse(
                    digest.id(),
                    Reason::Unsatisfiable,
                    "it asks for MIG instances and for whole GPUs, which no node offers together as planned here"
                        .to_owned(),
                    "ask for either of them",
                );
            }
            Ask::Nothing | Ask::WholeGpus(_) | Ask::Instances(_) | Ask::Malformed(_) | Ask::Both => return,
        };
        if let Some(name) = digest.requests.devices.keys().find(|name| served_by_dra.contains(name.as_str())) {
            return self.refuse(
                digest.id(),
                Reason::NotModelled,
                format!("a DeviceClass serves {name} through dynamic resource allocation"),
                "remove extendedResourceName from the DeviceClass where the device plugin shall serve the name",
            );
        }
        if let Waiting::Gated = waiting {
            return self.refuse(
                digest.id(),
                Reason::NotModelled,
                "it is held back by scheduling gates".to_owned(),
                "wait until whoever set the gates lifts them",
            );
        }
        let unmodelled = unmodelled(digest.pod, &wanted.manner).or_else(|| self.repulsion.against(digest.pod));
        if let Some(unmodelled) = unmodelled {
            return self.refuse(digest.id(), Reason::NotModelled, unmodelled.detail, &unmodelled.action);
        }
        let wants = match self.resolve(wanted) {
            Ok(wants) => wants,
            Err((name, unoffered)) => return self.refuse_unoffered(digest, &name, &unoffered),
        };
        let answer = eligibility.of(digest.pod, &wanted.manner, &wants, &digest.requests.ordinary);
        if answer.nodes.is_empty() {
            let answer = answer.clone();
            return self.refuse_everywhere(digest, &answer);
        }
        let set = answer.nodes.clone();
        if let Waiting::Young(detail, action) = waiting {
            return self.refuse(digest.id(), Reason::CoolingDown, detail, action);
        }
        let eligible = self.builder.node_set(set);
        self.add_plannable(digest, &wants, eligible);
    }

    fn add_plannable(&mut self, digest: &Digest<'_>, wants: &[(String, u64)], eligible: NodeSetId) {
        let demand = self.demand(wants);
        self.forecast(&demand);
        let priority = self.priorities.of(digest.pod);
        if priority.lowered {
            let message = "its priority is above what users may set; it counts as 1000000000";
            self.findings.pod(digest.id(), message);
        }
        self.builder.pending(PendingPod {
            pod: digest.id(),
            priority: priority.value,
            preempts: priority.preempts,
            waiting_seconds: pending::waited(digest.pod, self.now),
            demand,
            requests: digest.requests.ordinary.clone(),
            eligible,
        });
    }

    fn refuse(&mut self, pod: PodRef, reason: Reason, detail: String, action: &str) {
        self.builder.unplannable(Unplannable { pod, reason, detail, action: action.to_owned() });
    }

    fn refuse_unoffered(&mut self, digest: &Digest<'_>, name: &str, unoffered: &Unoffered) {
        let (detail, action) = match unoffered {
            Unoffered::UnknownProfile => {
                let known: Vec<&str> = self.offers.profiles().collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                (
                    format!("no GPU of the cluster has the profile that it asks for as {name}"),
                    format!("ask for a profile that the cluster's boards have: {known}"),
                )
            }
            Unoffered::OtherName(other) => (
                format!("the cluster's nodes offer that profile as {other}, not as {name}"),
                format!("ask for {other}"),
            ),
            Unoffered::NotShared => (
                format!("no node shares that profile, so {name} is not offered"),
                "ask for the whole instance, or configure sharing in the device plugin".to_owned(),
            ),
        };
        self.refuse(digest.id(), Reason::Unsatisfiable, detail, &action);
    }

    fn refuse_everywhere(&mut self, digest: &Digest<'_>, answer: &Answer) {
        let reason = if answer.only_passing() { Reason::WaitingForCapacity } else { Reason::Unsatisfiable };
        let action = if answer.only_passing() {
            "wait until the nodes are back, or uncordon them"
        } else {
            "change what it asks for or its node rules, or add a node that fits"
        };
        self.refuse(digest.id(), reason, format!("no node is eligible: {}", answer.explain()), action);
    }
}
