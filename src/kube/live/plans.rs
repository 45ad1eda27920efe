//! Published plans: `MigPlan` objects, a bounded number of them, and the approvals that people write into them.
//!
//! The document in an object is the plan's own JSON, which `retile verify` and `retile apply` read. Only a person sets the approval: what the
//! controller calls here reads it and never writes it, and [`submit`] is for the command line, in a person's name.

use http::Method;
use serde_json::json;

use super::client::{Call, Content, Server, name};
use super::refusal::Question;
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, Approval, MigPlan, MigPlanSpec, MigPlanStatus, PlanPhase};
use crate::plan::Plan;

/// Plans that are kept; the oldest go first, those under way and those approved last.
pub const KEPT: usize = 20;

/// How often the same plan can be published, or handed in again, after it has ended.
const TIMES: u32 = 32;

/// A published plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Name of its object.
    pub name: String,
    /// Version of the object, as it was read.
    pub version: String,
    /// Fingerprint of the state that it was made for.
    pub fingerprint: String,
    /// Whether a person wants it carried out.
    pub approved: bool,
    /// How far it is.
    pub phase: Option<PlanPhase>,
    /// Operations that carry it out.
    pub operations: Vec<String>,
    /// The plan's JSON.
    pub document: String,
}

impl Published {
    /// Whether nothing of it has begun, and nobody has put it aside.
    pub fn is_proposed(&self) -> bool {
        match self.phase {
            None | Some(PlanPhase::Proposed) => true,
            Some(PlanPhase::Executing | PlanPhase::Finished | PlanPhase::Superseded) => false,
        }
    }
}

fn collection() -> String {
    format!("/apis/{}/{}/migplans", crd::GROUP, crd::VERSION)
}

#[derive(serde::Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<MigPlan>,
}

/// Publishes a plan under a name that follows from its content, so that the same plan is published once while it is not over; and removes the oldest
/// beyond [`KEPT`]. The caller holds only verified plans.
///
/// # Errors
/// The plan is too large for an object, or as the API server refuses.
pub async fn publish(server: &Server, plan: &Plan, summary: &str) -> Result<Published, ClusterError> {
    let spec = spec_of(plan, summary, None)?;
    // Published before, perhaps approved by now. A word that a person gave to one that is over must not count for another.
    let over = |plan: &Published| matches!(plan.phase, Some(PlanPhase::Finished | PlanPhase::Superseded));
    let same = |there: &Published| there.document == spec.document && !over(there);
    let older = plans(server).await?;
    if let Some(there) = older.iter().find(|there| same(there)) {
        return Ok(there.clone());
    }
    let stem = object_name(&spec.document);
    for called in names(&stem) {
        let body = object_of(&called, &spec)?;
        let content = Content::Object(&body);
        let call = Call { method: Method::POST, path: collection(), content, question: Question::Plain };
        match server.write::<MigPlan>(&call).await {
            Ok(made) => {
                set_phase(server, &called, PlanPhase::Proposed, "", None).await?;
                prune(server, &older).await?;
                return Ok(published(made));
            }
            Err(ClusterError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Err(too_often(&stem))
}

/// Names for objects of the same content, one after the other.
fn names(stem: &str) -> impl Iterator<Item = String> {
    (1..=TIMES).map(move |time| if time == 1 { stem.to_owned() } else { format!("{stem}-{time}") })
}

fn too_often(stem: &str) -> ClusterError {
    ClusterError::Invalid(format!("there are {TIMES} MigPlans of the same content; delete those named {stem}-…"))
}

/// What became of a plan that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// An approved object was made.
    Made(String),
    /// The controller had published the same plan; it is approved now.
    Approved(String),
    /// Somebody has approved the same plan, and it waits for its turn.
    Waits(String),
    /// The same plan is being carried out.
    UnderWay(String),
}

impl Submitted {
    /// Name of the object.
    pub fn name(&self) -> &str {
        match self {
            Self::Made(name) | Self::Approved(name) | Self::Waits(name) | Self::UnderWay(name) => name,
        }
    }
}

/// Hands in a plan with a person's approval: an object of its own, or the approval of the object that the controller has published for the
/// same plan. One that has ended is not begun anew: then there is another object of the same content. With `dry_run` the API server only says
/// whether it would be accepted. The caller holds only verified plans.
///
/// # Errors
/// The plan is too large for an object, or as the API server refuses.
pub async fn submit(
    server: &Server,
    plan: &Plan,
    summary: &str,
    by: &str,
    dry_run: bool,
) -> Result<Submitted, ClusterError> {
    let approval = Approval { approved: true, by: by.chars().take(253).collect() };
    let spec = spec_of(plan, summary, Some(approval.clone()))?;
    let query = if dry_run { "?dryRun=All" } else { "" };
    let stem = object_name(&spec.document);
    for called in names(&stem) {
        let body = object_of(&called, &spec)?;
        let (path, content) = (format!("{}{query}", collection()), Content::Object(&body));
        match server.send(&Call { method: Method::POST, path, content, question: Question::Plain }).await {
            Ok(()) => return Ok(Submitted::Made(called)),
            Err(ClusterError::Conflict) => {}
            Err(error) => return Err(error),
        }
        let there = published(server.read(format!("{}/{called}", collection())).await?);
        if there.document != spec.document {
            continue;
        }
        match (there.phase, there.approved) {
            (None | Some(PlanPhase::Proposed), true) => return Ok(Submitted::Waits(called)),
            (None | Some(PlanPhase::Proposed), false) => {
                let body = json!({"spec": {"approval": {"approved": true, "by": approval.by}}});
                let (path, content) = (format!("{}/{called}{query}", collection()), Content::Merge(&body));
                server.send(&Call { method: Method::PATCH, path, content, question: Question::Plain }).await?;
                return Ok(Submitted::Approved(called));
            }
            (Some(PlanPhase::Executing), _) => return Ok(Submitted::UnderWay(called)),
            (Some(PlanPhase::Finished | PlanPhase::Superseded), _) => {}
        }
    }
    Err(too_often(&stem))
}

/// Who asks, as the API server knows them; nothing where it does not say.
pub async fn who_asks(server: &Server) -> String {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned();
    let call = Call { method: Method::POST, path, content: Content::Object(&body), question: Question::Plain };
    let review: Result<serde_json::Value, _> = server.write(&call).await;
    let name = review.ok().and_then(|review| Some(review.pointer("/status/userInfo/username")?.as_str()?.to_owned()));
    name.unwrap_or_default()
}

/// The object's spec for a plan.
fn spec_of(plan: &Plan, summary: &str, approval: Option<Approval>) -> Result<MigPlanSpec, ClusterError> {
    let document = crate::plan::to_json(plan).map_err(|error| ClusterError::Invalid(error.to_string()))?;
    if document.len() > crd::PLAN_DOCUMENT {
        let (is, most) = (document.len(), crd::PLAN_DOCUMENT);
        return Err(ClusterError::Invalid(format!("the plan has {is} bytes, a MigPlan holds {most}")));
    }
    Ok(MigPlanSpec {
        fingerprint: plan.input_fingerprint.clone(),
        served: crd::count(plan.summary.served_pods),
        evicted: crd::count(plan.summary.evicted_pods),
        nodes: crd::count(plan.summary.nodes_changed),
        summary: summary.chars().take(4096).collect(),
        document,
        approval,
    })
}

fn object_of(name: &str, spec: &MigPlanSpec) -> Result<serde_json::Value, ClusterError> {
    Ok(json!({
        "apiVersion": format!("{}/{}", crd::GROUP, crd::VERSION),
        "kind": "MigPlan",
        "metadata": {"name": name},
        "spec": serde_json::to_value(spec).map_err(|error| ClusterError::Invalid(error.to_string()))?,
    }))
}

/// All plans, oldest first.
///
/// # Errors
/// As the API server refuses.
pub async fn plans(server: &Server) -> Result<Vec<Published>, ClusterError> {
    Ok(objects(server).await?.into_iter().map(published).collect())
}

/// Writes how far a plan is, and which operations carry it out where that is known. A plan that somebody has deleted is nobody's.
///
/// # Errors
/// As the API server refuses.
pub async fn set_phase(
    server: &Server,
    plan: &str,
    phase: PlanPhase,
    detail: &str,
    operations: Option<&[String]>,
) -> Result<(), ClusterError> {
    let mut body = status_of(phase, detail);
    if let Some(operations) = operations {
        body["status"]["operations"] = json!(operations);
    }
    write_status(server, plan, &body).await
}

fn status_of(phase: PlanPhase, detail: &str) -> serde_json::Value {
    json!({"status": {"phase": phase, "detail": crd::cut(detail, crd::DETAIL)}})
}

async fn write_status(server: &Server, plan: &str, body: &serde_json::Value) -> Result<(), ClusterError> {
    let path = format!("{}/{}/status", collection(), name(plan)?);
    let call = Call { method: Method::PATCH, path, content: Content::Merge(body), question: Question::Plain };
    match server.send(&call).await {
        Err(ClusterError::NotFound) => Ok(()),
        other => other,
    }
}

/// Puts a proposal aside that nobody has approved, as it was read: whoever approves it meanwhile comes first, and this is a conflict.
///
/// # Errors
/// As the API server refuses.
pub async fn put_aside(server: &Server, plan: &Published, why: &str) -> Result<(), ClusterError> {
    if plan.approved || !plan.is_proposed() {
        return Ok(());
    }
    let mut body = status_of(PlanPhase::Superseded, why);
    body["metadata"] = json!({"resourceVersion": plan.version});
    write_status(server, &plan.name, &body).await
}

async fn objects(server: &Server) -> Result<Vec<MigPlan>, ClusterError> {
    let List { mut items } = server.read(collection()).await?;
    // Moments of the API server's own clock, and all of them.
    items.sort_by_key(|plan| {
        let made = plan.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
        (made, plan.metadata.name.clone())
    });
    Ok(items)
}

/// Removes the oldest of those that were there before a new one, beyond the number that is kept with it.
async fn prune(server: &Server, older: &[Published]) -> Result<(), ClusterError> {
    let excess = (older.len() + 1).saturating_sub(KEPT);
    let idle = |plan: &&Published| plan.phase != Some(PlanPhase::Executing) && !(plan.approved && plan.is_proposed());
    for plan in older.iter().filter(idle).take(excess) {
        let path = format!("{}/{}", collection(), name(&plan.name)?);
        let call = Call { method: Method::DELETE, path, content: Content::None, question: Question::Plain };
        match server.send(&call).await {
            Ok(()) | Err(ClusterError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn published(plan: MigPlan) -> Published {
    let MigPlan { metadata, spec, status } = plan;
    let MigPlanStatus { phase, operations, .. } = status.unwrap_or_default();
    Published {
        name: metadata.name.unwrap_or_default(),
        version: metadata.resource_version.unwrap_or_default(),
        fingerprint: spec.fingerprint,
        approved: spec.approval.is_some_and(|approval| approval.approved),
        phase,
        operations,
        document: spec.document,
    }
}

/// The name of a plan's object: a digest of the document.
fn object_name(document: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(document.as_bytes());
    let start = digest.iter().take(6).fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    format!("plan-{start:012x}")
}
