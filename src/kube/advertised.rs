//! What a node says of its MIG instances: counts by profile from labels, capacity and allocatable.
//!
//! Three sources tell the same story in different words; where they contradict each other the node is refused rather
//! than averaged. A resource of amount zero says nothing: removed resources stay in a node's status as zero for ever.

use std::collections::BTreeMap;

use super::objects::{Node, Text};
use super::quantity::Amount;
use super::resource_name::{GPU, GPU_SHARED, MigName, parse_resource, profile_of_label};
use crate::model::REPLICAS_LABEL;

/// Instances of one profile on a node, by the name that the node uses for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertised {
    /// Instances that exist.
    pub(crate) instances: u32,
    /// Replicas that pods may take in all, of the instances that work.
    pub(crate) usable: u64,
    /// Times that one instance is offered.
    pub(crate) replicas: u32,
    /// Whether the replicas have a resource name of their own.
    pub(crate) shared: bool,
}

#[derive(Default)]
struct Words {
    count: Option<u64>,
    replicas: Option<u64>,
    plain: (Option<u64>, Option<u64>),
    shared: (Option<u64>, Option<u64>),
}

/// Reads what the node advertises, by profile name.
///
/// # Errors
/// Contradictions, in words.
pub(crate) fn advertised(node: &Node) -> Result<BTreeMap<String, Advertised>, String> {
    let mut words: BTreeMap<String, Words> = BTreeMap::new();
    for (label, Text(value)) in &node.metadata.labels {
        if let Some(profile) = profile_of_label(label, "count") {
            words.entry(profile).or_default().count = Some(number(label, value)?);
        } else if let Some(profile) = profile_of_label(label, "replicas") {
            words.entry(profile).or_default().replicas = Some(number(label, value)?);
        }
    }
    for (name, amount) in &node.status.capacity {
        if let Some((profile, shared)) = profile_of(name) {
            let words = words.entry(profile).or_default();
            let slot = if shared { &mut words.shared } else { &mut words.plain };
            slot.0 = Some(whole(name, amount)?);
        }
    }
    for (name, amount) in &node.status.allocatable {
        if let Some((profile, shared)) = profile_of(name) {
            let words = words.entry(profile).or_default();
            let slot = if shared { &mut words.shared } else { &mut words.plain };
            slot.1 = Some(whole(name, amount)?);
        }
    }
    let mut read = BTreeMap::new();
    for (profile, words) in words {
        if let Some(advertised) = reconcile(&profile, &words)? {
            read.insert(profile, advertised);
        }
    }
    Ok(read)
}

fn profile_of(name: &str) -> Option<(String, bool)> {
    let MigName { profile, shared } = parse_resource(name)?.ok()?;
    Some((profile, shared))
}

fn number(label: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("the label {label} is `{value}`, which is no count"))
}

fn whole(name: &str, amount: &Amount) -> Result<u64, String> {
    match &amount.0 {
        Ok(quantity) if quantity.is_whole() && !quantity.is_negative() => {
            Ok(u64::try_from(quantity.units()).unwrap_or(u64::MAX))
        }
        Ok(_) => Err(format!("{name} is no whole number")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// Makes one statement out of three; `None` when there are no such instances.
fn reconcile(profile: &str, words: &Words) -> Result<Option<Advertised>, String> {
    let offered = |slot: (Option<u64>, Option<u64>)| slot.0.max(slot.1).unwrap_or(0) > 0;
    if offered(words.plain) && offered(words.shared) {
        return Err(format!("{profile} is offered both shared and unshared"));
    }
    let shared = offered(words.shared);
    let (capacity, allocatable) = if shared { words.shared } else { words.plain };
    let replicas = match words.replicas {
        Some(replicas) => u32::try_from(replicas.max(1)).map_err(|_| format!("{profile} has {replicas} replicas"))?,
        None if shared => return Err(format!("{profile} is shared, but the label with its replicas is missing")),
        None => 1,
    };
    let capacity = capacity.or(allocatable).unwrap_or(0);
    let usable = allocatable.unwrap_or(capacity);
    if usable > capacity {
        return Err(format!("{profile}: allocatable {usable} is above the capacity {capacity}"));
    }
    let factor = u64::from(replicas);
    let instances = match words.count {
        Some(count) if capacity == 0 || capacity == count.saturating_mul(factor) => count,
        // Some versions count the replicas.
        Some(count) if capacity == count && count % factor == 0 => count / factor,
        Some(count) => {
            return Err(format!("{profile}: the label counts {count} instances, the capacity says {capacity}"));
        }
        None if capacity % factor == 0 => capacity / factor,
        None => return Err(format!("{profile}: the capacity {capacity} is no multiple of {factor} replicas")),
    };
    let instances = u32::try_from(instances).map_err(|_| format!("{profile}: {instances} instances"))?;
    Ok((instances > 0).then_some(Advertised { instances, usable, replicas, shared }))
}

/// Whole GPUs that the node offers; replicas do not count.
pub(crate) fn whole_gpus(node: &Node) -> u64 {
    let most = |name: &str| {
        [&node.status.capacity, &node.status.allocatable]
            .into_iter()
            .filter_map(|amounts| amounts.get(name).and_then(|amount| whole(name, amount).ok()))
            .max()
            .unwrap_or(0)
    };
    let replicas = node.label(REPLICAS_LABEL).and_then(|text| text.parse::<u64>().ok()).unwrap_or(1).max(1);
    let (plain, shared) = (most(GPU), most(GPU_SHARED));
    plain.max(shared).div_ceil(replicas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(labels: &str, capacity: &str, allocatable: &str) -> Node {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"labels":{labels}}},"status":{{"capacity":{capacity},"allocatable":{allocatable}}}}}"#
        ))
        .expect("a node")
    }

    const NAME: &str = "nvidia.com/mig-1g.10gb";

    #[test]
    fn agreeing_sources_make_one_statement() {
        let seven = format!(r#"{{"{NAME}":"7"}}"#);
        let label = format!(r#"{{"{NAME}.count":"7","{NAME}.replicas":"1"}}"#);
        for node in [node(&label, &seven, &seven), node("{}", &seven, &seven), node("{}", "{}", &seven)] {
            let read = advertised(&node).expect("consistent");
            assert_eq!(read["1g.10gb"], Advertised { instances: 7, usable: 7, replicas: 1, shared: false });
        }
    }

    #[test]
    fn an_instance_that_does_not_work_or_is_not_served_is_not_usable() {
        let label = format!(r#"{{"{NAME}.count":"7"}}"#);
        let sick = node(&label, &format!(r#"{{"{NAME}":"7"}}"#), &format!(r#"{{"{NAME}":"6"}}"#));
        assert_eq!(advertised(&sick).expect("consistent")["1g.10gb"].usable, 6);
        let down = node(&label, &format!(r#"{{"{NAME}":"0"}}"#), &format!(r#"{{"{NAME}":"0"}}"#));
        let read = &advertised(&down).expect("consistent")["1g.10gb"];
        assert_eq!((read.instances, read.usable), (7, 0));
        let gone = node("{}", &format!(r#"{{"{NAME}":"0"}}"#), &format!(r#"{{"{NAME}":"0"}}"#));
        assert!(advertised(&gone).expect("consistent").is_empty());
    }

    #[test]
    fn replicas_are_counted_with_and_without_a_name_of_their_own() {
        let labels = format!(r#"{{"{NAME}.count":"7","{NAME}.replicas":"4"}}"#);
        let amounts = |name: &str| format!(r#"{{"{name}":"28"}}"#);
        let renamed = node(&labels, &amounts(&format!("{NAME}.shared")), &amounts(&format!("{NAME}.shared")));
        let expected = Advertised { instances: 7, usable: 28, replicas: 4, shared: true };
        assert_eq!(advertised(&renamed).expect("consistent")["1g.10gb"], expected);
        let unnamed = node(&labels, &amounts(NAME), &amounts(NAME));
        assert_eq!(advertised(&unnamed).expect("consistent")["1g.10gb"], Advertised { shared: false, ..expected });
    }

    #[test]
    fn contradictions_are_refused() {
        let label = |count: &str| format!(r#"{{"{NAME}.count":"{count}"}}"#);
        let amount = |count: &str| format!(r#"{{"{NAME}":"{count}"}}"#);
        for node in [
            node(&label("6"), &amount("7"), &amount("7")),
            node(&label("seven"), &amount("7"), &amount("7")),
            node("{}", &amount("6"), &amount("7")),
            node("{}", &amount("500m"), &amount("0")),
            node("{}", &amount("-1"), &amount("0")),
            node("{}", &format!(r#"{{"{NAME}.shared":"28"}}"#), "{}"),
            node("{}", &format!(r#"{{"{NAME}.shared":"28","{NAME}":"7"}}"#), "{}"),
        ] {
            assert!(advertised(&node).is_err(), "{node:?}");
        }
    }

    #[test]
    fn whole_gpus_do_not_count_replicas() {
        assert_eq!(whole_gpus(&node("{}", r#"{"nvidia.com/gpu":"2"}"#, r#"{"nvidia.com/gpu":"2"}"#)), 2);
        let shared = node(r#"{"nvidia.com/gpu.replicas":"4"}"#, r#"{"nvidia.com/gpu.shared":"8"}"#, "{}");
        assert_eq!(whole_gpus(&shared), 2);
        assert_eq!(whole_gpus(&node("{}", "{}", "{}")), 0);
    }
}
