//! What is written onto a node beside the taint: annotations that keep autoscalers off it, and labels that pause the GPU Operator's clients of its GPUs.
//!
//! Inputs: labels and annotations of a node as they were read. Outputs: [`Marks`], to be written in one patch on what was read. Pure. Invariants: what
//! is written is on record on the node itself, in the same patch; only what is on record is taken back, and only while it still says what was
//! written: what somebody else has set since is theirs and stays. A pause that somebody else has joined is on record until they have left it.

use std::collections::BTreeMap;

use super::view::{NodeView, PodView};

/// Annotation of a node that lists, with commas between them, the annotations by which we keep autoscalers off it while it has our taint: those
/// that were not there before. They go with the taint.
pub const PROTECTION: &str = "retile.dev/autoscaler-protection";
/// Annotation of a node that lists, with commas between them, the clients that we have paused on it: names of [`CLIENTS`].
pub const PAUSED_CLIENTS: &str = "retile.dev/paused-clients";

/// How the labels begin by which the GPU Operator places its operands on nodes, one each.
pub const DEPLOY: &str = "nvidia.com/gpu.deploy.";
/// The label of the device plugin.
pub const DEPLOY_PLUGIN: &str = "nvidia.com/gpu.deploy.device-plugin";
/// How these labels end for those that may hold GPUs while instances change. NVIDIA's mig-manager pauses the same.
pub const CLIENTS: [&str; 6] = ["device-plugin", "gpu-feature-discovery", "dcgm-exporter", "dcgm", "nvsm", "client"];
/// The value with which the GPU Operator's pods are placed.
pub const DEPLOYED: &str = "true";
/// The value that takes them off a node, and that the operator leaves alone. Who pauses a client that is paused already joins a value of their own to
/// it with an underscore, as NVIDIA's driver manager does, and takes it off again: they leave what they have found.
pub const PAUSED: &str = "paused-for-mig-change";

/// What the Cluster Autoscaler and Karpenter read.
const AUTOSCALERS: [&str; 2] = ["cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"];
/// The value that protects.
const PROTECTED: &str = "true";

/// Labels or annotations by key.
type Map = BTreeMap<String, String>;
/// What is to be written onto a node with these labels and annotations: [`pause`] or [`resume`].
pub type Marking = fn(&Map, &Map) -> Marks;

/// Labels and annotations to write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Labels with their new values. None is ever added or removed.
    pub labels: BTreeMap<String, &'static str>,
    /// Annotations with their new values; `None` removes one.
    pub annotations: BTreeMap<&'static str, Option<String>>,
}

/// Keeps autoscalers off a node.
pub fn protect(annotations: &Map) -> Marks {
    let free = AUTOSCALERS.into_iter().filter(|key| !annotations.contains_key(*key));
    let ours: Vec<&'static str> = free.collect();
    if ours.is_empty() || annotations.contains_key(PROTECTION) {
        return Marks::default();
    }
    let record = (PROTECTION, Some(ours.join(",")));
    let set = ours.into_iter().map(|key| (key, Some(PROTECTED.to_owned())));
    Marks { annotations: set.chain([record]).collect(), ..Marks::default() }
}

/// Takes off what [`protect`] has put on.
pub fn unprotect(annotations: &Map) -> Marks {
    let Some(record) = annotations.get(PROTECTION) else { return Marks::default() };
    let listed = AUTOSCALERS.into_iter().filter(|key| record.split(',').any(|ours| ours == *key));
    let ours = listed.filter(|key| annotations.get(*key).is_some_and(|value| value == PROTECTED));
    Marks { annotations: ours.chain([PROTECTION]).map(|key| (key, None)).collect(), ..Marks::default() }
}

/// Pauses the clients that the GPU Operator has placed on a node; nothing where it has placed none, or we have paused them before.
pub fn pause(labels: &Map, annotations: &Map) -> Marks {
    let placed = |client: &&str| labels.get(&label_of(client)).is_some_and(|value| value == DEPLOYED);
    let clients: Vec<&'static str> = CLIENTS.into_iter().filter(placed).collect();
    if clients.is_empty() || annotations.contains_key(PAUSED_CLIENTS) {
        return Marks::default();
    }
    Marks {
        annotations: [(PAUSED_CLIENTS, Some(clients.join(",")))].into(),
        labels: clients.into_iter().map(|client| (label_of(client), PAUSED)).collect(),
    }
}

/// Lets go on what [`pause`] has paused. What others have joined stays on record: they will leave our value behind.
pub fn resume(labels: &Map, annotations: &Map) -> Marks {
    let Some(record) = annotations.get(PAUSED_CLIENTS) else { return Marks::default() };
    let joined = |value: &str| value != PAUSED && value.contains(PAUSED);
    let kept = recorded(labels, annotations, joined).join(",");
    let left = if kept.is_empty() { Some(None) } else { (kept != *record).then_some(Some(kept)) };
    let ours = paused(labels, annotations).into_iter();
    Marks {
        labels: ours.map(|client| (label_of(client), DEPLOYED)).collect(),
        annotations: left.map(|left| (PAUSED_CLIENTS, left)).into_iter().collect(),
    }
}

/// Clients that we have paused on a node, and nobody has touched since.
pub fn paused(labels: &Map, annotations: &Map) -> Vec<&'static str> {
    recorded(labels, annotations, |value| value == PAUSED)
}

/// Clients on record whose label has such a value.
fn recorded(labels: &Map, annotations: &Map, such: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let Some(record) = annotations.get(PAUSED_CLIENTS) else { return Vec::new() };
    let listed = CLIENTS.into_iter().filter(|client| record.split(',').any(|ours| ours == *client));
    listed.filter(|client| labels.get(&label_of(client)).is_some_and(|value| such(value))).collect()
}

/// The label by which a client is placed.
pub(crate) fn label_of(client: &str) -> String {
    format!("{DEPLOY}{client}")
}

impl Marks {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    /// Writes them into labels and annotations.
    pub fn apply(&self, labels: &mut Map, annotations: &mut Map) {
        labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), (*value).to_owned())));
        for (key, value) in &self.annotations {
            match value {
                Some(value) => annotations.insert((*key).to_owned(), value.clone()),
                None => annotations.remove(*key),
            };
        }
    }
}

impl NodeView {
    /// Whether a pause of ours is on record on it, whatever its labels say by now.
    pub(crate) fn pause_on_record(&self) -> bool {
        self.annotations.contains_key(PAUSED_CLIENTS)
    }

    /// Whether there is anything to let go on, or a record to correct.
    pub(crate) fn can_resume(&self) -> bool {
        !resume(&self.labels, &self.annotations).is_empty()
    }

    /// Whether there is anything to pause on it.
    pub(super) fn can_pause(&self) -> bool {
        !pause(&self.labels, &self.annotations).is_empty()
    }

    /// Whether the pod is there as one of the clients that we have paused.
    pub(super) fn has_paused(&self, pod: &PodView) -> bool {
        let paused = paused(&self.labels, &self.annotations);
        !pod.finished && pod.deployed_as.iter().any(|client| paused.contains(&client.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> Map {
        entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn keys(marks: &Marks) -> Vec<(&str, Option<&str>)> {
        marks.annotations.iter().map(|(key, value)| (*key, value.as_deref())).collect()
    }

    #[test]
    fn what_was_not_there_is_set_and_recorded_and_taken_off_again() {
        let before = map(&[("other", "x")]);
        let marks = protect(&before);
        let [autoscaler, karpenter] = AUTOSCALERS;
        let both = format!("{autoscaler},{karpenter}");
        assert_eq!(keys(&marks), [(autoscaler, Some("true")), (karpenter, Some("true")), (PROTECTION, Some(&*both))]);
        let mut after = before.clone();
        marks.apply(&mut Map::new(), &mut after);
        assert_eq!(protect(&after), Marks::default(), "once is enough");
        unprotect(&after).apply(&mut Map::new(), &mut after);
        assert_eq!(after, before);
        assert_eq!(unprotect(&before), Marks::default());
    }

    #[test]
    fn what_others_set_stays_as_they_set_it() {
        let [autoscaler, karpenter] = AUTOSCALERS;
        let theirs = map(&[(karpenter, "true")]);
        let marks = protect(&theirs);
        assert_eq!(keys(&marks), [(autoscaler, Some("true")), (PROTECTION, Some(autoscaler))]);
        let changed = map(&[(autoscaler, "false"), (karpenter, "true"), (PROTECTION, autoscaler)]);
        assert_eq!(keys(&unprotect(&changed)), [(PROTECTION, None)], "somebody has changed ours since");
        let forged = map(&[("example.org/other", "true"), (PROTECTION, "example.org/other")]);
        assert_eq!(keys(&unprotect(&forged)), [(PROTECTION, None)], "a record names nothing but what we set");
        assert_eq!(
            protect(&map(&[(autoscaler, "false"), (karpenter, "x")])),
            Marks::default(),
            "nothing is left to set"
        );
    }

    fn labels(entries: &[(&str, &str)]) -> Map {
        entries.iter().map(|&(client, value)| (label_of(client), value.to_owned())).collect()
    }

    #[test]
    fn clients_that_the_operator_has_placed_are_paused_and_let_go_on() {
        let before =
            labels(&[("device-plugin", "true"), ("dcgm", "true"), ("dcgm-exporter", "false"), ("mig-manager", "true")]);
        let marks = pause(&before, &Map::new());
        assert_eq!(keys(&marks), [(PAUSED_CLIENTS, Some("device-plugin,dcgm"))]);
        let (mut after, mut annotations) = (before.clone(), Map::new());
        marks.apply(&mut after, &mut annotations);
        let expected =
            [("device-plugin", PAUSED), ("dcgm", PAUSED), ("dcgm-exporter", "false"), ("mig-manager", "true")];
        assert_eq!(after, labels(&expected));
        assert_eq!(paused(&after, &annotations), ["device-plugin", "dcgm"]);
        assert_eq!(pause(&after, &annotations), Marks::default(), "once is enough");
        resume(&after, &annotations).apply(&mut after, &mut annotations);
        assert_eq!((after, annotations), (before, Map::new()));
    }

    #[test]
    fn a_pause_that_the_driver_manager_has_joined_is_on_record_until_it_has_left() {
        let joined = "paused-for-mig-change_paused-for-driver-upgrade";
        let mut node = labels(&[("device-plugin", joined), ("dcgm", PAUSED), ("nvsm", "paused-for-driver-upgrade")]);
        let mut annotations = map(&[(PAUSED_CLIENTS, "device-plugin,dcgm,nvsm")]);
        let marks = resume(&node, &annotations);
        assert_eq!(keys(&marks), [(PAUSED_CLIENTS, Some("device-plugin"))]);
        marks.apply(&mut node, &mut annotations);
        let expected = [("device-plugin", joined), ("dcgm", DEPLOYED), ("nvsm", "paused-for-driver-upgrade")];
        assert_eq!(node, labels(&expected));
        assert_eq!(resume(&node, &annotations), Marks::default(), "nothing to do until it has left");
        node.insert(label_of("device-plugin"), PAUSED.to_owned());
        resume(&node, &annotations).apply(&mut node, &mut annotations);
        assert_eq!((node[&label_of("device-plugin")].as_str(), annotations), (DEPLOYED, Map::new()));
    }

    #[test]
    fn what_was_not_paused_by_us_is_not_let_go_on() {
        let theirs = labels(&[("device-plugin", PAUSED), ("dcgm", "paused-for-driver-upgrade"), ("nvsm", "true")]);
        assert_eq!(resume(&theirs, &Map::new()), Marks::default(), "nothing is on record");
        let record = map(&[(PAUSED_CLIENTS, "dcgm,nvsm,operator-validator")]);
        let marks = resume(&theirs, &record);
        assert_eq!((marks.labels.len(), keys(&marks)), (0, vec![(PAUSED_CLIENTS, None)]), "others have set them since");
        assert_eq!(pause(&labels(&[("device-plugin", "false")]), &Map::new()), Marks::default());
    }
}
