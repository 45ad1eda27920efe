//! The leader's lease, a `Lease` of `coordination.k8s.io`.
//!
//! The holder is `spec.holderIdentity`, the fencing epoch `spec.leaseTransitions`. Renewals are counted in the annotation
//! `retile.dev/renewals`: the field that Kubernetes has for them, `spec.renewTime`, is a moment on the holder's clock, which nobody else
//! may compare with its own. It is written for people, and so that other tools show the lease as alive, and never read.

use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Map, Value, json};

use super::{Content, Server};
use crate::exec::Version;
use crate::exec::port::{ClusterError, Lease};
use crate::kube::live::client::{Call, name};
use crate::kube::live::clock;
use crate::kube::live::refusal::Question;

/// Name of the lease.
pub(in crate::kube::live) const LEASE: &str = "retile-leader";
const RENEWALS: &str = "retile.dev/renewals";
/// Written for other tools; this program's own times are settings of the loop.
const DURATION_SECONDS: u32 = 15;

fn collection(namespace: &str) -> Result<String, ClusterError> {
    Ok(format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", name(namespace)?))
}

/// The lease of a namespace, as one process reads and writes it.
pub(in crate::kube::live) struct LeaseObject {
    namespace: String,
    /// As it was read or written last: what a renewal is written over, so that it takes one request.
    last: Mutex<Option<Value>>,
}

impl LeaseObject {
    /// Nothing is known of it yet.
    pub(in crate::kube::live) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), last: Mutex::new(None) }
    }

    /// The lease, by a quorum read.
    pub(in crate::kube::live) async fn get(&self, server: &Server) -> Result<(Version, Lease), ClusterError> {
        self.note(self.read(server).await?)
    }

    async fn read(&self, server: &Server) -> Result<Value, ClusterError> {
        server.read(format!("{}/{LEASE}", collection(&self.namespace)?)).await
    }

    /// Writes the lease, if it still has this version; `None`: if there is none.
    pub(in crate::kube::live) async fn write(
        &self,
        server: &Server,
        version: Option<Version>,
        lease: &Lease,
    ) -> Result<(Version, Lease), ClusterError> {
        let collection = collection(&self.namespace)?;
        let Some(version) = version else {
            let mut object = json!({"metadata": {"name": LEASE}});
            fill(&mut object, lease)?;
            let content = Content::Object(&object);
            let call = Call { method: Method::POST, path: collection, content, question: Question::Plain };
            return self.note(server.write(&call).await?);
        };
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_it = |object: &Value| read(object).is_ok_and(|(known, _)| known == version);
        let mut object = match known.filter(is_it) {
            Some(known) => known,
            None => Some(self.read(server).await?).filter(is_it).ok_or(ClusterError::Conflict)?,
        };
        // The API server compares the version once more. A `PUT` of a lease that is gone would make it anew; with the UID of the object that was
        // read it cannot.
        fill(&mut object, lease)?;
        let path = format!("{collection}/{LEASE}");
        let content = Content::Object(&object);
        match server.write(&Call { method: Method::PUT, path, content, question: Question::Plain }).await {
            Ok(written) => self.note(written),
            // The UID of a lease that is gone conflicts too; whoever asks must be able to tell the two apart.
            Err(ClusterError::Conflict) => self.note(self.read(server).await?).and(Err(ClusterError::Conflict)),
            Err(error) => Err(error),
        }
    }

    fn note(&self, object: Value) -> Result<(Version, Lease), ClusterError> {
        let answer = read(&object)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(object);
        Ok(answer)
    }
}

/// Puts a lease into its object, which keeps whatever else it says.
fn fill(object: &mut Value, lease: &Lease) -> Result<(), ClusterError> {
    let Lease { holder, renewals, transitions } = lease;
    let transitions = i32::try_from(*transitions)
        .map_err(|_| ClusterError::Invalid(format!("{transitions} transitions are more than a Lease can count")))?;
    object["apiVersion"] = json!("coordination.k8s.io/v1");
    object["kind"] = json!("Lease");
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    annotations[RENEWALS] = json!(renewals.to_string());
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object["spec"] = json!({
        "leaseDurationSeconds": DURATION_SECONDS,
        "leaseTransitions": transitions,
        "renewTime": clock::micros(clock::now()),
    });
    if !holder.is_empty() {
        object["spec"]["holderIdentity"] = json!(holder);
    }
    Ok(())
}

/// The lease that an object stands for. Whatever somebody else has left out counts as never renewed.
fn read(object: &Value) -> Result<(Version, Lease), ClusterError> {
    let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).and_then(|it| it.parse().ok());
    let version = version.ok_or_else(|| ClusterError::Unknown("the lease has no version that is a number".into()))?;
    let renewals = object["metadata"]["annotations"][RENEWALS].as_str().and_then(|it| it.parse().ok()).unwrap_or(0);
    let lease = Lease {
        holder: object["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned(),
        renewals,
        transitions: object["spec"]["leaseTransitions"].as_u64().unwrap_or(0),
    };
    Ok((Version(version), lease))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_survives_the_way_through_its_object() {
        for holder in ["pod-a_1", ""] {
            let lease = Lease { holder: holder.to_owned(), renewals: 41, transitions: 7 };
            let mut object = json!({"metadata": {"resourceVersion": "12", "labels": {"a": "b"}, "managedFields": []}});
            fill(&mut object, &lease).expect("it fits");
            assert_eq!(read(&object).expect("a lease"), (Version(12), lease));
            assert_eq!(object.pointer("/metadata/labels/a"), Some(&json!("b")));
            assert_eq!(object["spec"].get("holderIdentity").is_some(), !holder.is_empty());
        }
    }

    #[test]
    fn what_others_leave_out_counts_as_never_renewed() {
        let object = json!({"metadata": {"resourceVersion": "3"}, "spec": {"holderIdentity": "x"}});
        let lease = Lease { holder: "x".to_owned(), renewals: 0, transitions: 0 };
        assert_eq!(read(&object).expect("a lease"), (Version(3), lease));
        assert!(read(&json!({"metadata": {}})).is_err());
    }
}
