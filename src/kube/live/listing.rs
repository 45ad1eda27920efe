//! A live cluster as an export: everything that planning reads, listed afresh and stripped, page by page.
//!
//! Inputs: a server. Output: objects as `retile snapshot` writes them. Invariant: only reads; whoever plans from it plans as from an export of
//! the same objects. A kind that the API server does not serve is one of which there is none; a kind that may not be read is an error, because what
//! is unknown must not count as absent.

use serde_json::Value;

use super::client::Server;
use super::clock;
use super::refusal::is_not_served;
use super::requests::page_of;
use super::sights::Sights;
use crate::exec::port::ClusterError;
use crate::kube::crd;
use crate::kube::strip::Stripped;

/// A kind of objects, and where the API server keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Group; empty for the core one.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
}

impl Resource {
    const fn new(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str) -> Self {
        Self { group, version, plural, kind }
    }

    /// `pods`, `mignodes.retile.dev`: as rights are written.
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Path of its collection over all namespaces.
    pub(super) fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}/{}", self.version, self.plural)
        } else {
            format!("/apis/{}/{}/{}", self.group, self.version, self.plural)
        }
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// Nodes.
pub const NODES: Resource = Resource::new("", "v1", "nodes", "Node");
/// Pods.
pub const PODS: Resource = Resource::new("", "v1", "pods", "Pod");
/// Disruption budgets.
pub const BUDGETS: Resource = Resource::new("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
/// Priority classes.
pub const CLASSES: Resource = Resource::new("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass");
/// Devices that drivers of dynamic resource allocation offer.
pub const SLICES: Resource = Resource::new("resource.k8s.io", "v1", "resourceslices", "ResourceSlice");
/// Classes of such devices.
pub const DEVICE_CLASSES: Resource = Resource::new("resource.k8s.io", "v1", "deviceclasses", "DeviceClass");
/// Records of nodes.
pub const MIG_NODES: Resource = Resource::new(crd::GROUP, crd::VERSION, "mignodes", "MigNode");
/// Policies.
pub const MIG_POLICIES: Resource = Resource::new(crd::GROUP, crd::VERSION, "migpolicies", "MigPolicy");
/// Published plans.
pub const MIG_PLANS: Resource = Resource::new(crd::GROUP, crd::VERSION, "migplans", "MigPlan");

/// What planning reads, in the order in which it is listed.
pub const PLANNED: [Resource; 8] = [NODES, PODS, BUDGETS, CLASSES, SLICES, DEVICE_CLASSES, MIG_NODES, MIG_POLICIES];

/// A request that was not answered as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{verb} {resource}: {error}")]
pub struct Unanswered {
    /// `list`, `get`, `create`, …
    pub verb: &'static str,
    /// The resource, as rights are written.
    pub resource: String,
    /// How the API server refused.
    pub error: ClusterError,
}

/// Lists everything that planning reads and leaves of it what planning needs, with the moment at which it was listed.
///
/// # Errors
/// A kind cannot be listed, for another reason than that the API server does not serve it.
pub async fn listing(server: &Server) -> Result<Stripped, Unanswered> {
    list(server, |_, _| {}).await
}

/// The same, with the nodes as the controller judges them, of the same moment.
///
/// # Errors
/// As [`listing`].
pub async fn listing_with_sights(server: &Server) -> Result<(Stripped, Sights), Unanswered> {
    let mut sights = Sights::at(clock::now().as_second());
    let listed = list(server, |kind, object| sights.take(kind, object)).await?;
    Ok((listed, sights))
}

async fn list(server: &Server, mut look: impl FnMut(&str, &Value)) -> Result<Stripped, Unanswered> {
    let mut all = Stripped { moment: Some(clock::now().as_second()), whole: true, ..Stripped::default() };
    for resource in PLANNED {
        let api_version = resource.api_version();
        let add = |object: Value| {
            look(resource.kind, &object);
            all.add(object, &api_version, resource.kind);
        };
        each(server, &resource, "", add).await?;
    }
    Ok(all)
}

/// All objects of a kind as values; none where the API server does not serve it.
///
/// # Errors
/// It cannot be listed.
pub async fn objects(server: &Server, resource: &Resource) -> Result<Option<Vec<Value>>, Unanswered> {
    listed(server, resource, "").await
}

/// Those of a kind that a field selector selects.
pub(super) async fn listed(
    server: &Server,
    resource: &Resource,
    selector: &str,
) -> Result<Option<Vec<Value>>, Unanswered> {
    let mut all = Vec::new();
    let served = each(server, resource, selector, |object| all.push(object)).await?;
    Ok(served.then_some(all))
}

/// Takes the objects of a kind one by one; whether the API server serves it.
async fn each(
    server: &Server,
    resource: &Resource,
    selector: &str,
    mut take: impl FnMut(Value),
) -> Result<bool, Unanswered> {
    let mut rest = String::new();
    loop {
        let mut page: Value = match server.read(page_of(&resource.path(), selector, &rest)).await {
            Ok(page) => page,
            Err(error) if rest.is_empty() && (error == ClusterError::NotFound || is_not_served(&error)) => {
                return Ok(false);
            }
            Err(error) => return Err(Unanswered { verb: "list", resource: resource.full_name(), error }),
        };
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            items.into_iter().for_each(&mut take);
        }
        page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().clone_into(&mut rest);
        if rest.is_empty() {
            return Ok(true);
        }
    }
}
