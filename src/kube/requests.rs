//! What a pod asks for, as the scheduler counts it.
//!
//! Per resource: the larger of (all containers and sidecars together) and (each init container beside the sidecars
//! that start before it), plus overhead (KEP-753). Requests that are absent default from limits.

use super::objects::{ByName, Container, Pod};
use super::quantity::{Amount, Quantity};
use super::resource_name::{GPU, GPU_SHARED, looks_like_mig};
use crate::model::mutant::{self, Mutant};
use crate::model::{Capacity, CapacityKind};

/// The effective requests of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Requests {
    /// CPU, memory, the pod's own place, and other ordinary resources.
    pub(crate) ordinary: Capacity,
    /// MIG and GPU resources by name, without those of amount zero.
    pub(crate) devices: ByName<u64>,
}

/// Why a pod's requests mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// A quantity that cannot be read.
    #[error("{resource}: {message}")]
    Quantity { resource: String, message: String },
    /// A device that is asked for in part, or a negative number of times.
    #[error("{0} must be a whole number of at least 0")]
    NotWhole(String),
    /// A device whose request and limit differ.
    #[error("{0} has a request that differs from its limit; devices cannot be overcommitted")]
    Overcommitted(String),
}

/// Whether a resource is a device of NVIDIA's plugin that this program looks at.
pub(crate) fn is_device(name: &str) -> bool {
    name == GPU || name == GPU_SHARED || looks_like_mig(name)
}

/// Whether any container of a pod names such a device, whatever the amount.
pub(crate) fn mentions_device(pod: &Pod) -> bool {
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    containers
        .flat_map(|container| container.resources.limits.keys().chain(container.resources.requests.keys()))
        .any(|name| is_device(name))
}

/// Amounts by resource, ordered by name. Borrows the names: every pod of a cluster is counted, and most ask for the same.
#[derive(Clone, Default)]
struct Sums<'a>(Vec<(&'a str, Quantity)>);

impl<'a> Sums<'a> {
    fn read(amounts: &'a ByName<Amount>) -> Result<Self, RequestError> {
        let read = |(name, amount): (&'a String, &'a Amount)| match &amount.0 {
            Ok(quantity) => Ok((name.as_str(), *quantity)),
            Err(error) => Err(RequestError::Quantity { resource: name.clone(), message: error.to_string() }),
        };
        amounts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<Quantity> {
        self.0.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|position| self.0[position].1)
    }

    /// Changes the amount of a resource; one that is not there counts as zero.
    fn change(&mut self, name: &'a str, change: impl FnOnce(Quantity) -> Quantity) {
        match self.0.binary_search_by(|(known, _)| (*known).cmp(name)) {
            Ok(position) => self.0[position].1 = change(self.0[position].1),
            Err(position) => self.0.insert(position, (name, change(Quantity::default()))),
        }
    }

    fn add(&mut self, more: &Self) {
        more.0.iter().for_each(|&(name, amount)| self.change(name, |sum| sum.plus(amount)));
    }

    fn raise(&mut self, other: &Self) {
        other.0.iter().for_each(|&(name, amount)| self.change(name, |most| most.max(amount)));
    }

    /// Takes over what is said there; the rest stays.
    fn overlay(&mut self, other: &Self) {
        other.0.iter().for_each(|&(name, amount)| self.change(name, |_| amount));
    }
}

/// Counts what a pod asks for.
pub(crate) fn effective(pod: &Pod) -> Result<Requests, RequestError> {
    let spec = &pod.spec;
    let mut running = Sums::default();
    for container in &spec.containers {
        running.add(&asked(container)?);
    }
    let mut sidecars = Sums::default();
    let mut peak = Sums::default();
    for container in spec.init_containers.iter().filter(|_| !mutant::on(Mutant(30))) {
        let amounts = asked(container)?;
        if container.restart_policy == "Always" {
            sidecars.add(&amounts);
            peak.raise(&sidecars);
        } else {
            let mut beside = sidecars.clone();
            beside.add(&amounts);
            peak.raise(&beside);
        }
    }
    running.add(&sidecars);
    peak.raise(&running);
    peak.overlay(&pod_level(pod)?);
    peak.add(&Sums::read(&spec.overhead)?);
    Ok(sort(&peak))
}

/// A container's requests, defaulted from its limits.
fn asked(container: &Container) -> Result<Sums<'_>, RequestError> {
    let limits = Sums::read(&container.resources.limits)?;
    let requests = Sums::read(&container.resources.requests)?;
    for &(name, _) in limits.0.iter().chain(&requests.0).filter(|(name, _)| is_device(name)) {
        let (limit, request) = (limits.get(name), requests.get(name));
        for amount in limit.into_iter().chain(request) {
            if !amount.is_whole() || amount.is_negative() {
                return Err(RequestError::NotWhole(name.to_owned()));
            }
        }
        if request.is_some() && request != limit {
            return Err(RequestError::Overcommitted(name.to_owned()));
        }
    }
    let mut amounts = limits;
    amounts.overlay(&requests);
    Ok(amounts)
}

/// Requests of the pod as a whole, which stand for those of its containers; they exist for CPU and memory only.
fn pod_level(pod: &Pod) -> Result<Sums<'_>, RequestError> {
    let mut amounts = Sums::read(&pod.spec.resources.limits)?;
    amounts.overlay(&Sums::read(&pod.spec.resources.requests)?);
    amounts.0.retain(|(name, _)| *name == "cpu" || *name == "memory" || name.starts_with("hugepages-"));
    Ok(amounts)
}

fn sort(sums: &Sums<'_>) -> Requests {
    let mut requests = Requests::default();
    requests.ordinary.set(CapacityKind::Pods, 1);
    for &(name, amount) in &sums.0 {
        if is_device(name) {
            let count = u64::try_from(amount.units()).unwrap_or(0);
            if count > 0 {
                requests.devices.insert(name.to_owned(), count);
            }
        } else {
            set(&mut requests.ordinary, name, amount);
        }
    }
    requests
}

fn set(capacity: &mut Capacity, name: &str, amount: Quantity) {
    match name {
        "cpu" => capacity.set(CapacityKind::CpuMilli, amount.millis()),
        "memory" => capacity.set(CapacityKind::MemoryBytes, amount.units()),
        "pods" => {}
        _ => capacity.set(CapacityKind::Named(name.to_owned()), amount.units()),
    }
}

/// What a node offers of ordinary resources; quantities that cannot be read count as zero.
pub(crate) fn ordinary_capacity(amounts: &ByName<Amount>) -> Capacity {
    /// Kubelets allow this many pods unless told otherwise.
    const DEFAULT_PODS: i64 = 110;
    let mut capacity = Capacity::default();
    let mut pods = DEFAULT_PODS;
    for (name, amount) in amounts {
        let Ok(amount) = &amount.0 else { continue };
        if name == "pods" {
            pods = amount.units();
        } else if !is_device(name) {
            set(&mut capacity, name, *amount);
        }
    }
    capacity.set(CapacityKind::Pods, pods);
    capacity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Pod {
        serde_json::from_str(&format!(r#"{{"metadata":{{"name":"p"}},"spec":{spec}}}"#)).expect("a pod")
    }

    fn devices(spec: &str) -> Result<Vec<(String, u64)>, RequestError> {
        effective(&pod(spec)).map(|requests| requests.devices.into_iter().collect())
    }

    const MIG: &str = "nvidia.com/mig-1g.10gb";

    #[test]
    fn init_containers_and_sidecars_count_as_in_kep_753() {
        let limit = |count: u32| format!(r#""resources":{{"limits":{{"{MIG}":"{count}"}}}}"#);
        let cases = [
            (format!(r#"{{"containers":[{{{}}},{{{}}}]}}"#, limit(1), limit(2)), 3),
            (format!(r#"{{"initContainers":[{{{}}}],"containers":[{{{}}}]}}"#, limit(4), limit(1)), 4),
            (
                format!(
                    r#"{{"initContainers":[{{"restartPolicy":"Always",{}}},{{{}}}],"containers":[{{{}}}]}}"#,
                    limit(1),
                    limit(3),
                    limit(2)
                ),
                4,
            ),
            (
                format!(
                    r#"{{"initContainers":[{{{}}},{{"restartPolicy":"Always",{}}}],"containers":[{{{}}}]}}"#,
                    limit(3),
                    limit(1),
                    limit(2)
                ),
                3,
            ),
            (format!(r#"{{"initContainers":[{{{}}}],"containers":[{{}}]}}"#, limit(1)), 1),
            (format!(r#"{{"initContainers":[{{"restartPolicy":"Always",{}}}]}}"#, limit(1)), 1),
            (format!(r#"{{"containers":[{{{}}}],"overhead":{{"{MIG}":1}}}}"#, limit(1)), 2),
        ];
        for (spec, count) in cases {
            assert_eq!(devices(&spec), Ok(vec![(MIG.to_owned(), count)]), "{spec}");
        }
    }

    #[test]
    fn amounts_of_devices_follow_the_quantity_grammar() {
        for (quantity, count) in [
            ("\"1k\"", 1000),
            ("\"1e3\"", 1000),
            ("\"1Ki\"", 1024),
            ("\"1000000m\"", 1000),
            ("7", 7),
            ("\"1E\"", 1_000_000_000_000_000_000),
            ("\"9223372036854775807\"", u64::try_from(i64::MAX).expect("positive")),
            ("\"1e30\"", u64::try_from(i64::MAX).expect("positive")),
        ] {
            let spec = format!(r#"{{"containers":[{{"resources":{{"limits":{{"{MIG}":{quantity}}}}}}}]}}"#);
            assert_eq!(devices(&spec), Ok(vec![(MIG.to_owned(), count)]), "{quantity}");
        }
        let zero = format!(r#"{{"containers":[{{"resources":{{"limits":{{"{MIG}":"0"}}}}}}]}}"#);
        assert_eq!(devices(&zero), Ok(vec![]));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let refused = |resources: &str| devices(&format!(r#"{{"containers":[{{"resources":{resources}}}]}}"#)).is_err();
        assert!(refused(&format!(r#"{{"limits":{{"{MIG}":"-1"}}}}"#)));
        assert!(refused(&format!(r#"{{"limits":{{"{MIG}":"500m"}}}}"#)));
        assert!(refused(&format!(r#"{{"limits":{{"{MIG}":"many"}}}}"#)));
        assert!(refused(&format!(r#"{{"requests":{{"{MIG}":"1"}}}}"#)));
        assert!(refused(&format!(r#"{{"requests":{{"{MIG}":"1"}},"limits":{{"{MIG}":"2"}}}}"#)));
        assert!(refused(r#"{"requests":{"cpu":"4 cores"}}"#));
    }

    #[test]
    fn ordinary_requests_take_limits_where_there_are_no_requests_and_obey_the_pod_level() {
        let asked = effective(&pod(
            r#"{"containers":[{"resources":{"requests":{"cpu":"500m"},"limits":{"cpu":"2","memory":"1Gi"}}}],
                "resources":{"requests":{"memory":"3Gi"}},"overhead":{"cpu":"0.25"}}"#,
        ))
        .expect("well formed")
        .ordinary;
        assert_eq!(asked.get(&CapacityKind::CpuMilli), 750);
        assert_eq!(asked.get(&CapacityKind::MemoryBytes), 3 << 30);
        assert_eq!(asked.get(&CapacityKind::Pods), 1);
    }
}
