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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{DisruptionLevel, Movability, PodRef};

    fn named(name: &str, uid: &str) -> PodRef {
        PodRef { namespace: "ml".into(), name: name.into(), uid: uid.into() }
    }

    fn pod(name: &str, finished: bool) -> PodView {
        PodView {
            pod: named(name, &format!("uid-{name}")),
            owner: None,
            requests: BTreeMap::new(),
            deleting: false,
            finished,
            ready: true,
            device_plugin: false,
            deployed_as: std::collections::BTreeSet::new(),
            tolerates_taint: false,
            grace_seconds: 30,
            movability: Movability::From(DisruptionLevel::Balanced),
            budgets: Vec::new(),
        }
    }

    fn holds(instance: &str, pod: Option<PodRef>) -> Occupant {
        Occupant { instance: instance.into(), pod }
    }

    #[test]
    fn names_get_uids_ended_pods_let_go_and_strangers_hold_on() {
        let occupants = [
            holds("MIG-1", Some(named("runs", ""))),
            holds("MIG-2", Some(named("ended", ""))),
            holds("MIG-3", Some(named("stranger", ""))),
            holds("MIG-4", None),
        ];
        assert!(unidentified(&occupants) && !unidentified(&occupants[3..]));
        let expected = [
            holds("MIG-1", Some(named("runs", "uid-runs"))),
            holds("MIG-3", Some(named("stranger", ""))),
            holds("MIG-4", None),
        ];
        assert_eq!(identified(&occupants, &[pod("runs", false), pod("ended", true)]), expected);
    }

    #[test]
    fn a_uid_that_is_told_is_believed() {
        let old = [holds("MIG-1", Some(named("runs", "uid-of-before")))];
        assert_eq!(identified(&old, &[pod("runs", false)]), old);
    }
}
