//! What of retile is in a cluster: its records, policies, plans and leader, as values, and the pods that wait for MIG instances.
//!
//! Only reads. What the API server does not serve is none, which is another answer than an empty list.

use serde_json::Value;

use super::client::Server;
use super::listing::{MIG_NODES, MIG_PLANS, MIG_POLICIES, PODS, Unanswered, listed, objects};
use super::requests::LEASE;
use super::{PolicyInForce, clock};
use crate::exec::port::ClusterError;
use crate::kube::asks::{Ask, ask};
use crate::kube::objects::Pod;
use crate::kube::requests::effective;
use crate::kube::time::parse_moment;

/// retile's own objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// When it was read, in seconds since the epoch.
    pub now: i64,
    /// `MigNode` objects; none where the definition is not installed.
    pub nodes: Option<Vec<Value>>,
    /// `MigPolicy` objects.
    pub policies: Option<Vec<Value>>,
    /// `MigPlan` objects.
    pub plans: Option<Vec<Value>>,
    /// The leader's lease, none where there is none; or why it is not known.
    pub lease: Result<Option<Value>, String>,
    /// Pods that wait for MIG instances; or why they are not known.
    pub waiting: Result<Vec<WaitingPod>, String>,
}

/// A pod that is bound to no node and asks for MIG instances.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingPod {
    /// When it was made, in seconds since the epoch.
    pub created: Option<i64>,
    /// `namespace/name`.
    pub name: String,
    /// What it asks for, such as `2 x 1g.10gb`.
    pub wants: String,
}

/// Reads what of retile is there; `namespace` is where the controller's lease is.
///
/// # Errors
/// Something cannot be read, for another reason than that it is not there. Pods that may not be listed are no error.
pub async fn installed(server: &Server, namespace: &str) -> Result<Installed, Unanswered> {
    Ok(Installed {
        now: clock::now().as_second(),
        nodes: objects(server, &MIG_NODES).await?,
        policies: objects(server, &MIG_POLICIES).await?,
        plans: objects(server, &MIG_PLANS).await?,
        lease: lease(server, namespace).await?,
        waiting: waiting(server).await.map_err(|error| error.to_string()),
    })
}

async fn lease(server: &Server, namespace: &str) -> Result<Result<Option<Value>, String>, Unanswered> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}");
    match server.read(path).await {
        Ok(lease) => Ok(Ok(Some(lease))),
        Err(ClusterError::NotFound) => Ok(Ok(None)),
        // Who leads is one line among many.
        Err(error @ ClusterError::Forbidden(_)) => Ok(Err(error.to_string())),
        Err(error) => Err(Unanswered { verb: "get", resource: "leases.coordination.k8s.io".into(), error }),
    }
}

async fn waiting(server: &Server) -> Result<Vec<WaitingPod>, Unanswered> {
    // Those that are bound to no node; the API server keeps an index by node.
    let unbound = listed(server, &PODS, "spec.nodeName=").await?.unwrap_or_default();
    let mut waiting: Vec<WaitingPod> = unbound.into_iter().filter_map(|pod| waits(&pod)).collect();
    waiting.sort();
    Ok(waiting)
}

fn waits(pod: &Value) -> Option<WaitingPod> {
    let pod: Pod = serde_json::from_str(&pod.to_string()).ok()?;
    if pod.bound() || pod.metadata.deleting() || pod.has_ended() || !pod.spec.scheduling_gates.is_empty() {
        return None;
    }
    let Ask::Instances(wanted) = ask(&pod, &effective(&pod).ok()?) else { return None };
    let wants = wanted.instances.iter().map(|(name, count)| match count {
        1 => name.profile.clone(),
        count => format!("{count} x {}", name.profile),
    });
    Some(WaitingPod {
        created: pod.metadata.creation_timestamp.0,
        name: format!("{}/{}", pod.metadata.namespace, pod.metadata.name),
        wants: wants.collect::<Vec<_>>().join(" + "),
    })
}

impl Installed {
    /// The policy that counts; none where nobody has written one.
    pub fn policy(&self) -> PolicyInForce {
        PolicyInForce::of(self.policies.as_deref().unwrap_or_default())
    }

    /// Who leads, and for how many seconds the lease has not been renewed; none where nobody does, or it is not known.
    pub fn leader(&self) -> Option<(String, Option<i64>)> {
        let spec = self.lease.as_ref().ok()?.as_ref()?.get("spec")?;
        let holder = spec.get("holderIdentity")?.as_str().filter(|holder| !holder.is_empty())?;
        let renewed = spec.get("renewTime").and_then(Value::as_str).and_then(|text| parse_moment(text).ok());
        Some((holder.to_owned(), renewed.map(|renewed| (self.now - renewed).max(0))))
    }
}

/// When an object's status was last written, as its managers of fields say, in seconds since the epoch.
pub fn status_written(object: &Value) -> Option<i64> {
    let managers = object.pointer("/metadata/managedFields")?.as_array()?;
    let of_status = managers.iter().filter(|manager| manager["subresource"] == "status");
    of_status.filter_map(|manager| parse_moment(manager["time"].as_str()?).ok()).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(limits: &Value, spec: &Value) -> Value {
        let mut pod = json!({
            "metadata": {"namespace": "ml", "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"resources": {"limits": limits}}]},
            "status": {"phase": "Pending"},
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        pod
    }

    #[test]
    fn only_pods_that_wait_for_instances_count() {
        let mig = json!({"nvidia.com/mig-1g.10gb": "2"});
        let waiting = waits(&pod(&mig, &json!({}))).expect("it waits");
        assert_eq!((waiting.name.as_str(), waiting.wants.as_str()), ("ml/p", "2 x 1g.10gb"));
        assert_eq!(waits(&pod(&json!({"cpu": "1"}), &json!({}))), None);
        assert_eq!(waits(&pod(&mig, &json!({"nodeName": "a"}))), None);
        assert_eq!(waits(&pod(&mig, &json!({"schedulingGates": [{"name": "g"}]}))), None);
    }

    #[test]
    fn the_leader_is_who_holds_the_lease() {
        let lease = |holder| json!({"spec": {"holderIdentity": holder, "renewTime": "1970-01-01T00:00:10.5Z"}});
        let of = |lease| Installed { now: 15, lease: Ok(Some(lease)), waiting: Ok(Vec::new()), ..empty() }.leader();
        assert_eq!(of(lease("a")), Some(("a".into(), Some(5))));
        assert_eq!(of(lease("")), None);
    }

    fn empty() -> Installed {
        Installed { now: 0, nodes: None, policies: None, plans: None, lease: Ok(None), waiting: Ok(Vec::new()) }
    }

    #[test]
    fn a_report_is_as_old_as_the_status_and_not_as_the_spec() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "c", "time": "1970-01-01T00:01:00Z"},
            {"manager": "a", "time": "1970-01-01T00:00:30Z", "subresource": "status"},
        ]}});
        assert_eq!(status_written(&object), Some(30));
    }
}
