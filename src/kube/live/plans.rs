//! Published plans: `MigPlan` objects, a bounded number of them, and the approvals that people write into them.
//!
//! The document in an object is the plan's own JSON, which `retile verify` and `retile apply` read. Only a person sets the approval; this module
//! reads it, and never writes it.

use http::Method;
use serde_json::json;

use super::client::{Call, Content, Server, name};
use super::refusal::Question;
use crate::exec::port::ClusterError;
use crate::kube::crd::{self, MigPlan, MigPlanSpec, MigPlanStatus, PlanPhase};
use crate::plan::Plan;

/// Plans that are kept; the oldest go first, those under way and those approved last.
pub const KEPT: usize = 20;

/// A published plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Name of its object.
    pub name: String,
    /// Fingerprint of the state that it was made for.
    pub fingerprint: String,
    /// Whether a person wants it carried out.
    pub approved: bool,
    /// How far it is.
    pub phase: Option<PlanPhase>,
    /// The plan's JSON.
    pub document: String,
}

fn collection() -> String {
    format!("/apis/{}/{}/migplans", crd::GROUP, crd::VERSION)
}

#[derive(serde::Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<MigPlan>,
}

/// Publishes a plan under a name that follows from its content, so that the same plan is published once; and removes the oldest beyond [`KEPT`].
/// The caller holds only verified plans.
///
/// # Errors
/// The plan is too large for an object, or as the API server refuses.
pub async fn publish(server: &Server, plan: &Plan, summary: &str) -> Result<Published, ClusterError> {
    let document = crate::plan::to_json(plan).map_err(|error| ClusterError::Invalid(error.to_string()))?;
    if document.len() > crd::PLAN_DOCUMENT {
        let (is, most) = (document.len(), crd::PLAN_DOCUMENT);
        return Err(ClusterError::Invalid(format!("the plan has {is} bytes, a MigPlan holds {most}")));
    }
    let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX).min(i32::MAX as u32);
    let spec = MigPlanSpec {
        fingerprint: plan.input_fingerprint.clone(),
        served: number(plan.summary.served_pods),
        evicted: number(plan.summary.evicted_pods),
        nodes: number(plan.summary.nodes_changed),
        summary: summary.chars().take(4096).collect(),
        document,
        approval: None,
    };
    let called = object_name(&spec.document);
    let body = json!({
        "apiVersion": format!("{}/{}", crd::GROUP, crd::VERSION),
        "kind": "MigPlan",
        "metadata": {"name": called},
        "spec": serde_json::to_value(&spec).map_err(|error| ClusterError::Invalid(error.to_string()))?,
    });
    let content = Content::Object(&body);
    let call = Call { method: Method::POST, path: collection(), content, question: Question::Plain };
    let made: MigPlan = match server.write(&call).await {
        Ok(made) => {
            set_phase(server, &called, PlanPhase::Proposed, "").await?;
            made
        }
        // It is there already: published before, perhaps approved by now.
        Err(ClusterError::Conflict) => server.read(format!("{}/{}", collection(), name(&called)?)).await?,
        Err(error) => return Err(error),
    };
    prune(server, &called).await?;
    Ok(published(made))
}

/// All plans, oldest first.
///
/// # Errors
/// As the API server refuses.
pub async fn plans(server: &Server) -> Result<Vec<Published>, ClusterError> {
    Ok(objects(server).await?.into_iter().map(published).collect())
}

/// Writes how far a plan is.
///
/// # Errors
/// As the API server refuses.
pub async fn set_phase(server: &Server, plan: &str, phase: PlanPhase, detail: &str) -> Result<(), ClusterError> {
    let status =
        MigPlanStatus { phase: Some(phase), detail: detail.chars().take(1024).collect(), ..Default::default() };
    let status = serde_json::to_value(&status).map_err(|error| ClusterError::Invalid(error.to_string()))?;
    let body = json!({"status": status});
    let call = Call {
        method: Method::PATCH,
        path: format!("{}/{}/status", collection(), name(plan)?),
        content: Content::Merge(&body),
        question: Question::Plain,
    };
    server.send(&call).await
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

/// Removes the oldest beyond the number that is kept.
async fn prune(server: &Server, newest: &str) -> Result<(), ClusterError> {
    let all: Vec<Published> = objects(server).await?.into_iter().map(published).collect();
    let excess = all.len().saturating_sub(KEPT);
    let idle = |plan: &&Published| {
        plan.name != newest && plan.phase != Some(PlanPhase::Executing) && !(plan.approved && waits(plan))
    };
    for plan in all.iter().filter(idle).take(excess) {
        let path = format!("{}/{}", collection(), name(&plan.name)?);
        let call = Call { method: Method::DELETE, path, content: Content::None, question: Question::Plain };
        match server.send(&call).await {
            Ok(()) | Err(ClusterError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn waits(plan: &Published) -> bool {
    match plan.phase {
        None | Some(PlanPhase::Proposed) => true,
        Some(PlanPhase::Executing | PlanPhase::Finished | PlanPhase::Superseded) => false,
    }
}

fn published(plan: MigPlan) -> Published {
    let MigPlan { metadata, spec, status } = plan;
    Published {
        name: metadata.name.unwrap_or_default(),
        fingerprint: spec.fingerprint,
        approved: spec.approval.is_some_and(|approval| approval.approved),
        phase: status.and_then(|status| status.phase),
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
