//! Sorts pods into those that hold, those that want, and those that only take ordinary resources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kube::asks::{Ask, ask};
use crate::kube::findings::Findings;
use crate::kube::objects::Pod;
use crate::kube::requests::{Requests, effective};
use crate::model::{Capacity, PodRef};

/// A pod with everything that is derived from it alone.
pub(super) struct Digest<'a> {
    pub(super) pod: &'a Pod,
    pub(super) requests: Requests,
    pub(super) ask: Ask,
}

impl Digest<'_> {
    pub(super) fn id(&self) -> PodRef {
        pod_ref(self.pod)
    }
}

/// Pods, sorted into those that matter.
#[derive(Default)]
pub(super) struct Pods<'a> {
    /// All that hold or want instances.
    pub(super) digests: Vec<Digest<'a>>,
    /// Positions in `digests` of bound pods, by node.
    pub(super) bound: BTreeMap<&'a str, Vec<usize>>,
    /// Positions in `digests` of pods without a node.
    pub(super) unbound: Vec<usize>,
    /// Ordinary resources taken, by node.
    pub(super) taken: BTreeMap<&'a str, Capacity>,
    /// Nodes with a pod whose requests cannot be read.
    pub(super) unclear: BTreeSet<&'a str>,
    /// Unbound pods whose requests cannot be read.
    pub(super) malformed: Vec<(&'a Pod, String)>,
}

pub(super) fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef { namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() }
}

pub(super) fn sort_pods<'a>(pods: &'a [Arc<Pod>], findings: &mut Findings) -> Pods<'a> {
    let mut sorted = Pods::default();
    for pod in pods.iter().map(AsRef::as_ref).filter(|pod: &&Pod| !pod.has_ended()) {
        let node = pod.spec.node_name.as_str();
        let requests = match effective(pod) {
            Ok(requests) => requests,
            Err(error) => {
                let consequence = if pod.bound() {
                    sorted.unclear.insert(node);
                    format!("; free instances on {node} count as held and nothing lands there")
                } else {
                    sorted.malformed.push((pod, error.to_string()));
                    String::new()
                };
                findings.pod(pod_ref(pod), format!("asks for something malformed: {error}{consequence}"));
                continue;
            }
        };
        if pod.bound() {
            sorted.taken.entry(node).or_default().add(&requests.ordinary);
        }
        let ask = ask(pod, &requests);
        if ask == Ask::Nothing {
            continue;
        }
        let position = sorted.digests.len();
        if pod.bound() {
            sorted.bound.entry(node).or_default().push(position);
        } else {
            sorted.unbound.push(position);
        }
        sorted.digests.push(Digest { pod, requests, ask });
    }
    sorted
}
