//! What `retile doctor` looks at: the API server, what of retile is installed, and who may do what.
//!
//! Only reads, and reviews of rights, which keep nothing. Each part can be missing or forbidden by itself; why stands in its place.

use http::Method;
use serde_json::{Value, json};

use super::client::{Call, Content, Server};
use super::installed::{Installed, installed};
use super::listing::{PLANNED, Unanswered, listing};
use super::refusal::{Question, is_not_served};
use crate::exec::port::ClusterError;
use crate::kube::crd;
use crate::kube::strip::Stripped;

/// A part, or why it is not known.
pub type Part<T> = Result<T, String>;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Version of the API server, such as `v1.34.1`.
    pub version: String,
    /// Definitions of the custom resources, by their full names; none where one is not there.
    pub definitions: Vec<(String, Part<Option<Value>>)>,
    /// Deployments of the controller.
    pub controllers: Part<Vec<Value>>,
    /// `DaemonSet`s of the agent.
    pub agents: Part<Vec<Value>>,
    /// retile's admission policies that are bound.
    pub admission: Part<Vec<Bound>>,
    /// retile's objects.
    pub installed: Part<Installed>,
    /// What planning reads.
    pub listing: Part<Stripped>,
    /// Who asks.
    pub who: String,
    /// Whether who asks may do so: verb, resource, answer.
    pub rights: Vec<(&'static str, String, Part<bool>)>,
    /// Whether the controller may do so; empty where that may not be asked.
    pub controller_rights: Vec<(&'static str, String, Part<bool>)>,
}

/// An admission policy that is bound; one that is not does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Its name.
    pub policy: String,
    /// Whether it lets the controller pause the GPU Operator's clients.
    pub pauses: bool,
}

/// Finds out. `namespace` is where retile is installed, or would be.
///
/// # Errors
/// The API server does not answer at all.
pub async fn facts(server: &Server, namespace: &str) -> Result<Facts, Unanswered> {
    let version: Value = server.read("/version".to_owned()).await.map_err(|error| Unanswered {
        verb: "get",
        resource: "/version".to_owned(),
        error,
    })?;
    let mut definitions = Vec::new();
    for plural in ["mignodes", "migplans", "migpolicies"] {
        let name = format!("{plural}.{}", crd::GROUP);
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        let found = match server.read(path).await {
            Ok(definition) => Ok(Some(definition)),
            Err(ClusterError::NotFound) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        definitions.push((name, found));
    }
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let rights = asked_for().into_iter().map(|(verb, resource)| async move {
        let answer = may(server, None, verb, &resource).await;
        (verb, resource, answer)
    });
    let rights = futures::future::join_all(rights).await;
    Ok(Facts {
        version: version["gitVersion"].as_str().unwrap_or("unknown").to_owned(),
        definitions,
        controllers: items(server, &format!("{apps}/deployments?labelSelector={}", labels("controller"))).await,
        agents: items(server, &format!("{apps}/daemonsets?labelSelector={}", labels("agent"))).await,
        admission: admission(server).await,
        installed: installed(server, namespace).await.map_err(|error| error.to_string()),
        listing: listing(server).await.map_err(|error| error.to_string()),
        who: super::who_asks(server).await,
        rights,
        controller_rights: of_the_controller(server, namespace).await,
    })
}

fn labels(component: &str) -> String {
    format!("app.kubernetes.io%2Fpart-of%3Dretile%2Capp.kubernetes.io%2Fcomponent%3D{component}")
}

async fn items(server: &Server, path: &str) -> Part<Vec<Value>> {
    match server.read::<Value>(path.to_owned()).await {
        Ok(mut list) => {
            let items = list["items"].take();
            Ok(items.as_array().cloned().unwrap_or_default())
        }
        Err(error) if error == ClusterError::NotFound || is_not_served(&error) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// Label of a binding whose policy lets clients be paused.
const PAUSES: &str = "/metadata/labels/retile.dev~1pauses-clients";

async fn admission(server: &Server) -> Part<Vec<Bound>> {
    let ours = "labelSelector=app.kubernetes.io%2Fpart-of%3Dretile";
    let path = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings?{ours}");
    let bindings = items(server, &path).await?;
    let bound = bindings.iter().filter_map(|binding| {
        let policy = binding.pointer("/spec/policyName")?.as_str()?.to_owned();
        Some(Bound { policy, pauses: binding.pointer(PAUSES).is_some_and(|value| value == "true") })
    });
    Ok(bound.collect())
}

/// What the live verbs need: reading for all, creating and approving plans for `apply`.
fn asked_for() -> Vec<(&'static str, String)> {
    let reads = PLANNED.iter().map(|resource| ("list", resource.full_name()));
    let plans = format!("migplans.{}", crd::GROUP);
    reads.chain([("list", plans.clone()), ("create", plans)]).collect()
}

/// What the controller needs in any mode, and beyond for changes.
async fn of_the_controller(server: &Server, namespace: &str) -> Vec<(&'static str, String, Part<bool>)> {
    let user = format!("system:serviceaccount:{namespace}:retile-controller");
    let mut wanted: Vec<(&'static str, String)> =
        PLANNED.iter().flat_map(|it| [("list", it.full_name()), ("watch", it.full_name())]).collect();
    wanted.extend([
        ("create", format!("migplans.{}", crd::GROUP)),
        ("patch", format!("mignodes.{}", crd::GROUP)),
        ("patch", "nodes".to_owned()),
        ("create", "pods/eviction".to_owned()),
    ]);
    let mut rights = Vec::new();
    for (verb, resource) in wanted {
        let answer = may(server, Some(&user), verb, &resource).await;
        if answer.is_err() && rights.is_empty() {
            return Vec::new();
        }
        rights.push((verb, resource, answer));
    }
    rights
}

/// Whether somebody, or who asks, may do something everywhere.
async fn may(server: &Server, user: Option<&str>, verb: &str, resource: &str) -> Part<bool> {
    let (name, group) = resource.split_once('.').unwrap_or((resource, ""));
    let (name, subresource) = name.split_once('/').unwrap_or((name, ""));
    let attributes = json!({"verb": verb, "group": group, "resource": name, "subresource": subresource});
    let (kind, plural, spec) = match user {
        Some(user) => {
            let namespace = user.split(':').nth(2).unwrap_or_default();
            let groups = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ];
            (
                "SubjectAccessReview",
                "subjectaccessreviews",
                json!({"resourceAttributes": attributes, "user": user, "groups": groups}),
            )
        }
        None => ("SelfSubjectAccessReview", "selfsubjectaccessreviews", json!({"resourceAttributes": attributes})),
    };
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
    let path = format!("/apis/authorization.k8s.io/v1/{plural}");
    let call = Call { method: Method::POST, path, content: Content::Object(&body), question: Question::Plain };
    let review: Value = server.write(&call).await.map_err(|error| error.to_string())?;
    Ok(review.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
}
