//! Which pods the kubelet means: it names pods without their UIDs, and older ones also name pods that have ended.
//!
//! Inputs: what the node says, and the pods that the API server binds to it. Output: the same holders, with UIDs where they are known. A
//! holder that is none of these pods stays as it is, and so holds on to its instance. Pure.

use crate::exec::port::Occupant;
use crate::exec::view::PodView;

/// Whether pods are named without their UIDs, so that the API server must be asked.
pub(super) fn unidentified(occupants: &[Occupant]) -> bool {
    occupants.iter().filter_map(|occupant| occupant.pod.as_ref()).any(|pod| pod.uid.is_empty())
}

/// Puts UIDs to names. Pods whose containers have all ended hold nothing.
pub(super) fn identified(occupants: &[Occupant], pods: &[PodView]) -> Vec<Occupant> {
    let known = occupants.iter().filter_map(|occupant| {
        let Some(named) = occupant.pod.as_ref().filter(|pod| pod.uid.is_empty()) else { return Some(occupant.clone()) };
        let of_name = |it: &&PodView| it.pod.namespace == named.namespace && it.pod.name == named.name;
        match pods.iter().find(of_name) {
            Some(ended) if ended.finished => None,
            Some(pod) => Some(Occupant { instance: occupant.instance.clone(), pod: Some(pod.pod.clone()) }),
            None => Some(occupant.clone()),
        }
    });
    let mut known: Vec<Occupant> = known.collect();
    known.sort();
    known
}
