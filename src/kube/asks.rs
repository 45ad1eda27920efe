//! What a pod asks of MIG, whichever way it says so.
//!
//! Three ways: a resource per profile (`nvidia.com/mig-1g.10gb`, nodes of the mixed strategy); `nvidia.com/gpu` with a
//! node selector on a product that names the profile (nodes of the single strategy); `nvidia.com/gpu` with a node
//! selector `nvidia.com/gpu.mig-partition-<profile>` (either). A pod that just asks for `nvidia.com/gpu` wants whole GPUs.

use super::objects::Pod;
use super::requests::Requests;
use super::resource_name::{GPU, GPU_SHARED, MigName, PARTITION_PREFIX, parse_profile, parse_resource};
use crate::model::PRODUCT_LABEL;

/// What a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing of MIG.
    Nothing,
    /// Whole GPUs (or any instance, on a node of the single strategy).
    WholeGpus(u64),
    /// Instances.
    Instances(Wanted),
    /// Something that means nothing, with the reason in words.
    Malformed(String),
    /// MIG instances and whole GPUs at once.
    Both,
}

/// Instances that a pod wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Profiles and counts.
    pub(crate) instances: Vec<(MigName, u64)>,
    /// How they are asked for.
    pub(crate) manner: Manner,
}

/// The ways to ask for instances; they decide which nodes can serve.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    /// By resource name: nodes of the mixed strategy.
    Resource,
    /// By a product that names the profile, e.g. of `NVIDIA-A100-SXM4-80GB`: nodes of the single strategy.
    Product(String),
    /// By a partition selector under this key: nodes of either strategy.
    Partition(String),
}

impl Manner {
    /// The key of the node selector that expresses the wish; it names what is to be made, so it selects no node.
    pub(crate) fn selector_key(&self) -> Option<&str> {
        match self {
            Self::Resource => None,
            Self::Product(_) => Some(PRODUCT_LABEL),
            Self::Partition(key) => Some(key),
        }
    }
}

/// Reads what a pod asks for from its effective requests and its node selector.
pub(crate) fn ask(pod: &Pod, requests: &Requests) -> Ask {
    let mut instances = Vec::new();
    let mut gpus = 0_u64;
    for (resource, &count) in &requests.devices {
        match parse_resource(resource) {
            Some(Ok(name)) => instances.push((name, count)),
            Some(Err(error)) => return Ask::Malformed(error.to_string()),
            None if resource == GPU || resource == GPU_SHARED => gpus = gpus.saturating_add(count),
            None => {}
        }
    }
    match (instances.is_empty(), gpus) {
        (true, 0) => Ask::Nothing,
        (false, 0) => Ask::Instances(Wanted { instances, manner: Manner::Resource }),
        (false, _) => Ask::Both,
        (true, _) => by_selector(pod, gpus),
    }
}

fn by_selector(pod: &Pod, gpus: u64) -> Ask {
    let selector = &pod.spec.node_selector;
    let mut partitions = selector.keys().filter_map(|key| Some((key, key.strip_prefix(PARTITION_PREFIX)?)));
    if let Some((key, profile)) = partitions.next() {
        if partitions.next().is_some() {
            return Ask::Malformed(format!("selects several partitions; keep one `{PARTITION_PREFIX}…`"));
        }
        return wanted(profile, gpus, Manner::Partition(key.clone()), key);
    }
    let product = selector.get(PRODUCT_LABEL).map_or("", |text| text.0.as_str());
    match product.split_once("-MIG-") {
        Some((base, profile)) => {
            let profile = profile.trim_end_matches("-SHARED");
            wanted(profile, gpus, Manner::Product(base.to_owned()), product)
        }
        None => Ask::WholeGpus(gpus),
    }
}

fn wanted(profile: &str, count: u64, manner: Manner, shown: &str) -> Ask {
    match parse_profile(profile) {
        Some(profile) => {
            Ask::Instances(Wanted { instances: vec![(MigName { profile, shared: false }, count)], manner })
        }
        None => Ask::Malformed(format!("`{shown}` names no MIG profile such as `1g.10gb`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::requests::effective;

    fn ask_of(limits: &str, selector: &str) -> Ask {
        let json =
            format!(r#"{{"spec":{{"nodeSelector":{selector},"containers":[{{"resources":{{"limits":{limits}}}}}]}}}}"#);
        let pod: Pod = serde_json::from_str(&json).expect("a pod");
        ask(&pod, &effective(&pod).expect("well formed"))
    }

    fn name(profile: &str) -> MigName {
        MigName { profile: profile.to_owned(), shared: false }
    }

    #[test]
    fn the_three_ways_to_ask_are_told_apart() {
        let by_resource = ask_of(r#"{"nvidia.com/mig-1g.10gb.me":"1","nvidia.com/mig-2g.20gb":2}"#, "{}");
        let instances = vec![(name("1g.10gb+me"), 1), (name("2g.20gb"), 2)];
        assert_eq!(by_resource, Ask::Instances(Wanted { instances, manner: Manner::Resource }));

        let key = "nvidia.com/gpu.mig-partition-3g.20gb";
        let by_partition = ask_of(r#"{"nvidia.com/gpu":"1"}"#, &format!(r#"{{"{key}":"true"}}"#));
        let manner = Manner::Partition(key.to_owned());
        assert_eq!(by_partition, Ask::Instances(Wanted { instances: vec![(name("3g.20gb"), 1)], manner }));

        let product = r#"{"nvidia.com/gpu.product":"NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"}"#;
        let manner = Manner::Product("NVIDIA-A100-SXM4-80GB".to_owned());
        let expected = Ask::Instances(Wanted { instances: vec![(name("1g.10gb"), 2)], manner });
        assert_eq!(ask_of(r#"{"nvidia.com/gpu":"2"}"#, product), expected);
    }

    #[test]
    fn whole_gpus_and_nothing_are_left_alone() {
        assert_eq!(ask_of(r#"{"nvidia.com/gpu":"1"}"#, r#"{"nvidia.com/gpu.product":"Tesla-T4"}"#), Ask::WholeGpus(1));
        assert_eq!(ask_of(r#"{"cpu":"1","nvidia.com/mig-1g.10gb":0}"#, "{}"), Ask::Nothing);
        assert_eq!(ask_of(r#"{"nvidia.com/gpu":"1","nvidia.com/mig-1g.10gb":1}"#, "{}"), Ask::Both);
    }

    #[test]
    fn malformed_names_are_said_to_be() {
        for limits in
            [r#"{"nvidia.com/mig-1c.2g.20gb":1}"#, r#"{"nvidia.com/mig-":1}"#, r#"{"nvidia.com/MIG-1g.10gb":1}"#]
        {
            assert!(matches!(ask_of(limits, "{}"), Ask::Malformed(_)), "{limits}");
        }
        let selector = r#"{"nvidia.com/gpu.mig-partition-huge":"true"}"#;
        assert!(matches!(ask_of(r#"{"nvidia.com/gpu":1}"#, selector), Ask::Malformed(_)));
    }
}
