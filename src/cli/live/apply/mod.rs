//! `apply`: hands a saved plan to the controller, approved, as a person does with a plan that the controller has published.
//!
//! Inputs: a plan, and the cluster as it is now. Output: an approved `MigPlan`, or a refusal with what differs. Invariants: a plan is handed in only
//! after the independent verifier has accepted it for a fresh listing; nothing is written before a person has agreed; what is carried out is
//! decided by the controller, which plans anew and takes of the plan only what it would do itself.

mod follow;

use std::collections::BTreeSet;

use serde_json::Value;

use self::follow::{End, Following};
use super::args::{ApplyArgs, DryRun, InstallationArgs};
use super::{LeftAlone, NAME, Reach};
use crate::cli::error::{CliError, source_name};
use crate::cli::output::Streams;
use crate::cli::planning::{axes, unusable_plan};
use crate::cli::show::names::{clean, count, some_of};
use crate::cli::show::{View, text};
use crate::cli::source;
use crate::cli::{FAILURE, SUCCESS};
use crate::kube::export::{self, ReadOptions, Source};
use crate::kube::live::installed::{Installed, installed};
use crate::kube::live::listing::{Unanswered, listing_with_sights};
use crate::kube::live::{PolicyInForce, Submitted, submit, who_asks};
use crate::model::{Mode, PlanningInput};
use crate::plan::{self, Plan, Rejection, Verified};

/// Hands a plan in.
pub(crate) fn apply(args: &ApplyArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let ApplyArgs { plan: path, installation: InstallationArgs { cluster, namespace }, yes, dry_run, wait, timeout } =
        args;
    let dry = *dry_run == Some(DryRun::Server);
    let text = source::read_text(path, streams)?;
    let plan = plan::from_json(&text, &source_name(path)).map_err(|error| unusable_plan(path, error))?;
    let asks = !yes && !dry;
    if asks && (!streams.input_is_terminal || path.as_os_str() == "-") {
        return Err(CliError::Argument {
            argument: path.display().to_string(),
            message: "nobody can be asked whether to go on, because standard input is no terminal".into(),
            help: "give --yes to go on without asking, or --dry-run=server to try".into(),
        });
    }
    if plan.nodes.is_empty() {
        streams.data("The plan changes nothing; there is nothing to hand in.\n").map_err(CliError::Stdout)?;
        return Ok(SUCCESS);
    }
    let reach = Reach::writing(cluster)?;
    let before = reach.ask(async |server| installed(server, namespace).await)?;
    allowed(&before)?;
    let (listed, sights) = reach.ask(async |server| listing_with_sights(server).await)?;
    let read = export::read(Source::Reader(NAME, &mut listed.list().as_bytes()), &ReadOptions::default());
    let input = read.map_err(|error| source::refused(NAME.as_ref(), None, error))?;
    let standing = still_valid(plan, &input);
    let (plan, changed) = standing.map_err(|violations| CliError::Moved { path: path.clone(), violations })?;
    reported(&plan, before.nodes.as_deref().unwrap_or_default())?;
    let left_alone = LeftAlone::of(&sights, &input);
    let changes = || plan.nodes.iter().map(|node| node.name.as_str());
    if left_alone.all(changes()) {
        return Err(nothing_possible(&left_alone, &changes().collect::<Vec<_>>()));
    }
    streams.data(&text::render(&View::of(&plan, &axes(&input)))).map_err(CliError::Stdout)?;
    if changed {
        streams.note(
            "note: the cluster is not quite as it was when the plan was made; all that the plan says still holds, though another might be better now\n",
        );
    }
    left_alone.tell(changes(), streams);
    if before.leader().is_none() {
        streams.note("warning: no controller leads now; the plan waits until one does\n");
    }
    if asks && !agreed(&plan, streams)? {
        streams.note("Nothing was written.\n");
        return Ok(FAILURE);
    }
    let submitted = hand_in(&reach, &plan, dry)?;
    streams.data(&told(&submitted, dry)).map_err(CliError::Stdout)?;
    if !wait {
        return Ok(SUCCESS);
    }
    let nodes: BTreeSet<String> = plan.nodes.iter().map(|node| node.name.clone()).collect();
    let mut following = Following::new(submitted.name(), nodes, &before);
    match following.follow(&reach, namespace, *timeout, streams)? {
        End::Done => Ok(SUCCESS),
        End::Other => Ok(FAILURE),
    }
}

/// Whether the policy lets a person's plan be carried out.
fn allowed(installed: &Installed) -> Result<(), CliError> {
    let refuse = |message: String, help: &str| Err(CliError::Cluster { message, help: help.to_owned() });
    if installed.plans.is_none() || installed.nodes.is_none() {
        return refuse(
            "retile is not installed here: the API server does not know migplans.retile.dev".into(),
            "install it (docs/how-to/install.md); nothing was written",
        );
    }
    let PolicyInForce { document, name, fault } = installed.policy();
    if let Some(fault) = fault {
        return refuse(format!("the MigPolicy cannot be used: {fault}"), "correct the MigPolicy; nothing was written");
    }
    let name = name.map_or_else(
        || "there is no MigPolicy, so the mode is".to_owned(),
        |name| format!("MigPolicy {name} has the mode"),
    );
    if document.paused {
        return refuse(
            "the MigPolicy is paused, so nothing new starts".into(),
            "set `spec.paused: false`; nothing was written",
        );
    }
    match document.policy.mode {
        Mode::Recommend => Ok(()),
        Mode::Observe => refuse(
            format!("{name} Observe, in which nothing is changed"),
            "set `spec.mode: Recommend` in the MigPolicy, in which plans are carried out once a person approves them; nothing was written",
        ),
        Mode::Act => refuse(
            format!("{name} Act, in which the controller carries its own plans out and reads no approvals"),
            "wait for the controller's next plan, or set `spec.mode: Recommend`; nothing was written",
        ),
    }
}

/// The plan, if all that it says holds for the cluster as it is, and whether that is another state than it was made for; else what differs.
///
/// What a plan was weighed by may have changed without a word of it being wrong: it is then a plan for the new state, though perhaps no longer the best.
fn still_valid(mut plan: Plan, input: &PlanningInput) -> Result<(Verified<Plan>, bool), Vec<String>> {
    let now = plan::fingerprint(input);
    let changed = plan.input_fingerprint != now;
    plan.input_fingerprint = now;
    let told =
        |Rejection { violations }: Rejection| violations.iter().map(ToString::to_string).collect::<Vec<String>>();
    Ok((plan::verify(plan, input).map_err(told)?, changed))
}

/// Whether an agent reports from each node that changes; without one its placements are assumed, and nobody could carry the change out.
fn reported(plan: &Plan, records: &[Value]) -> Result<(), CliError> {
    let known = |name: &str| {
        records.iter().any(|record| record["metadata"]["name"] == name && record["status"]["gpus"].is_array())
    };
    let silent: Vec<&str> = plan.nodes.iter().map(|node| node.name.as_str()).filter(|name| !known(name)).collect();
    if silent.is_empty() {
        return Ok(());
    }
    Err(CliError::Cluster {
        message: format!("no agent reports from {}, which the plan changes", some_of(&silent, 6)),
        help: "see whether the agents run there (`retile doctor`), then plan again on what they report; nothing was written".into(),
    })
}

/// Why nothing of a plan would be carried out: each node that it changes is left alone.
fn nothing_possible(left_alone: &LeftAlone, nodes: &[&str]) -> CliError {
    let why = |node: &&str| Some(format!("node {} ({})", clean(node), left_alone.why(node)?));
    let told: Vec<String> = nodes.iter().filter_map(why).collect();
    CliError::Cluster {
        message: format!("the controller leaves alone all that the plan changes: {}", some_of(&told, 3)),
        help: "mend what is named, then hand the plan in again; nothing was written".into(),
    }
}

fn agreed(plan: &Plan, streams: &mut Streams<'_>) -> Result<bool, CliError> {
    let summary = &plan.summary;
    streams.note(&format!(
        "\nHand this plan to the controller, to change {} on {} and evict {}? [y/N] ",
        count(summary.gpus_changed, "GPU"),
        count(summary.nodes_changed, "node"),
        count(summary.evicted_pods, "pod"),
    ));
    let mut answer = String::new();
    streams.input.read_line(&mut answer).map_err(|source| CliError::Read { path: "-".into(), source })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn hand_in(reach: &Reach, plan: &Plan, dry_run: bool) -> Result<Submitted, CliError> {
    let summary = format!(
        "handed in with `retile apply`: serves {} of {}, evicts {}",
        plan.summary.served_pods,
        count(plan.summary.pending_pods, "waiting pod"),
        count(plan.summary.evicted_pods, "pod"),
    );
    reach.ask(async |server| {
        let by = who_asks(server).await;
        submit(server, plan, &summary, &by, dry_run).await.map_err(|error| Unanswered {
            verb: "create",
            resource: "migplans.retile.dev".to_owned(),
            error,
        })
    })
}

fn told(submitted: &Submitted, dry_run: bool) -> String {
    let tried = if dry_run { " (server dry run: nothing was kept)" } else { "" };
    match submitted {
        Submitted::Made(name) => format!("\nmigplan/{name} created, approved{tried}\n"),
        Submitted::Approved(name) => format!("\nmigplan/{name} approved{tried}\n"),
        Submitted::Waits(name) => format!("\nmigplan/{name} was approved before and waits for the controller\n"),
        Submitted::UnderWay(name) => format!("\nmigplan/{name} is being carried out already\n"),
    }
}

/// Names of the operations that a node's record knows.
fn operations_of(record: &Value) -> BTreeSet<String> {
    let id = |operation: &Value| operation["id"].as_str().map(str::to_owned);
    let ended = record["spec"]["history"].as_array().into_iter().flatten().filter_map(id);
    ended.chain(id(&record["spec"]["operation"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Budgets, Limit, Policy};

    fn with_policy(spec: &Value) -> Installed {
        let policy = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"}, "spec": spec});
        Installed {
            now: 0,
            nodes: Some(Vec::new()),
            policies: Some(vec![policy]),
            plans: Some(Vec::new()),
            lease: Ok(None),
            waiting: Ok(Vec::new()),
        }
    }

    fn refusal(installed: &Installed) -> String {
        allowed(installed).expect_err("refused").render()
    }

    #[test]
    fn only_recommend_lets_a_plan_be_approved_and_each_refusal_says_what_to_do() {
        assert!(allowed(&with_policy(&json!({"mode": "Recommend"}))).is_ok());
        let observe = refusal(&with_policy(&json!({"mode": "Observe"})));
        assert!(observe.contains("the mode Observe") && observe.contains("spec.mode: Recommend"), "{observe}");
        assert!(refusal(&with_policy(&json!({"mode": "Act"}))).contains("reads no approvals"));
        assert!(refusal(&with_policy(&json!({"mode": "Recommend", "paused": true}))).contains("spec.paused: false"));
        assert!(refusal(&with_policy(&json!({"mode": "Later"}))).contains("cannot be used"));
        let nobody = Installed { policies: Some(Vec::new()), ..with_policy(&json!({})) };
        assert!(refusal(&nobody).contains("there is no MigPolicy"));
        let absent = Installed { plans: None, ..nobody };
        assert!(refusal(&absent).contains("not installed"));
    }

    #[test]
    fn a_plan_for_another_cluster_or_without_agents_is_refused_with_what_differs() {
        let read = |file: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/snapshots").join(file);
            export::read(Source::File(&path), &ReadOptions::default()).expect("it is shipped")
        };
        let input = read("one-dgx-a100.json");
        let record = |name: &str| json!({"metadata": {"name": name}, "status": {"gpus": []}});
        let plan = crate::planner::plan(&input, &mut crate::planner::WorkLimit::default()).expect("a plan").into_plan();
        let (verified, changed) = still_valid(plan.clone(), &input).expect("made for it");
        assert!(!changed && *verified == plan);
        assert!(reported(&plan, &[record("dgx-a100-01")]).is_ok());
        let silent = reported(&plan, &[record("another")]).expect_err("no agent").render();
        assert!(silent.contains("no agent reports from dgx-a100-01"), "{silent}");
        let differs = still_valid(plan.clone(), &read("six-gpu-nodes.json")).expect_err("another cluster");
        assert!(differs.iter().any(|line| line.contains("names the node dgx-a100-01")), "{differs:#?}");
        let budgets = Budgets { gpus: Some(Limit::Count(64)), ..Budgets::default() };
        let other = input.clone().with_policy(Policy { budgets, ..input.policy().clone() });
        let (verified, changed) =
            still_valid(plan.clone(), &other).expect("all that it says holds under the other policy");
        assert!(changed && verified.nodes == plan.nodes);
        let narrow = Budgets { gpus: Some(Limit::Count(1)), ..Budgets::default() };
        let narrow = input.clone().with_policy(Policy { budgets: narrow, ..input.policy().clone() });
        assert!(still_valid(plan, &narrow).is_err(), "it changes more GPUs than this policy allows");
    }
}
