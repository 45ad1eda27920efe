//! Checks of the API server, of what of retile is installed, and of rights.

use serde_json::Value;

use super::Check;
use crate::cli::show::names::{clean, count, some_of};
use crate::kube::crd;
use crate::kube::live::preflight::{Facts, Part};
use crate::model::{Clients, Mode};

const API: &str = "API server";
const RETILE: &str = "retile";
const RIGHTS: &str = "Rights";
/// Lowest minor version whose tokens of pods name their node, which the agent's admission policy asks for.
const LOWEST_MINOR: u32 = 30;
/// Seconds after which a lease that is not renewed is nobody's.
const LEASE: i64 = 60;
/// Names that are listed before the rest is counted.
const MOST: usize = 6;

/// All of them.
pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    // Who may not read the definitions still sees the objects.
    let objects = facts.installed.as_ref().is_ok_and(|installed| installed.nodes.is_some());
    let installed = definitions_there(facts) > 0 || objects;
    let mut checks = vec![version(&facts.version)];
    checks.extend(definitions(facts));
    if installed {
        checks.push(policy(facts));
        checks.push(controller(facts));
        checks.push(leader(facts));
        checks.push(agents(facts));
        checks.push(admission(facts));
        checks.extend(clients(facts));
    }
    checks.push(own_rights(facts));
    if installed {
        checks.push(controllers_rights(facts));
    }
    checks
}

fn unknown(area: &'static str, what: &str, why: &str) -> Check {
    Check::warn(area, format!("{what} not known: {why}"), "ask for the right, or have somebody run this who has it")
}

fn version(version: &str) -> Check {
    let minor = version.trim_start_matches('v').split('.').nth(1);
    let minor = minor.map(|minor| minor.chars().take_while(char::is_ascii_digit).collect::<String>());
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if minor >= LOWEST_MINOR => Check::ok(API, format!("Kubernetes {version}")),
        Some(_) => Check::fail(
            API,
            format!("Kubernetes {version}: tokens of pods do not name their node, so agents are refused"),
            format!("upgrade to 1.{LOWEST_MINOR} or later"),
        ),
        None => Check::warn(API, format!("version `{version}` is not understood"), "check that it is 1.30 or later"),
    }
}

fn definitions_there(facts: &Facts) -> usize {
    facts.definitions.iter().filter(|(_, found)| matches!(found, Ok(Some(_)))).count()
}

fn definitions(facts: &Facts) -> Vec<Check> {
    let there = definitions_there(facts);
    let readable = facts.definitions.iter().all(|(_, found)| found.is_ok());
    if there == 0 && readable {
        let remedy = "to install it: `retile crds | kubectl apply --server-side -f -`, then docs/how-to/install.md; `retile plan --live` works without";
        return vec![Check::warn(RETILE, "not installed: no custom resources of retile.dev", remedy)];
    }
    let check = |(name, found): &(String, Part<Option<Value>>)| match found {
        Err(_) => None,
        Ok(None) => Some(Check::fail(
            RETILE,
            format!("{name} is missing while others are there"),
            "`retile crds | kubectl apply --server-side -f -`",
        )),
        Ok(Some(definition)) => Some(definition_check(name, definition)),
    };
    unreadable_definitions(facts).into_iter().chain(facts.definitions.iter().filter_map(check)).collect()
}

/// Those that cannot be read, together: the reason is the same for all.
fn unreadable_definitions(facts: &Facts) -> Option<Check> {
    let unreadable = |(name, found): &'_ (String, Part<Option<Value>>)| Some((name.clone(), found.clone().err()?));
    let (names, whys): (Vec<String>, Vec<String>) = facts.definitions.iter().filter_map(unreadable).unzip();
    Some(unknown(RETILE, &format!("the definitions {} are", some_of(&names, MOST)), whys.first()?))
}

fn definition_check(name: &str, definition: &Value) -> Check {
    let items = |path: &str| definition.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
    let served = items("/spec/versions").iter().any(|it| it["name"] == crd::VERSION && it["served"] == true);
    let established =
        items("/status/conditions").iter().any(|it| it["type"] == "Established" && it["status"] == "True");
    if !served {
        return Check::fail(
            RETILE,
            format!("{name} does not serve {}", crd::VERSION),
            "install the definitions of this program: `retile crds | kubectl apply --server-side -f -`",
        );
    }
    if !established {
        let remedy = format!("`kubectl describe crd {name}` says why");
        return Check::fail(RETILE, format!("{name} is not established"), remedy);
    }
    Check::ok(RETILE, format!("{name} {}", crd::VERSION))
}

fn policy(facts: &Facts) -> Check {
    let installed = match &facts.installed {
        Ok(installed) => installed,
        Err(why) => return unknown(RETILE, "its objects are", why),
    };
    let policy = installed.policy();
    if let Some(fault) = policy.fault {
        return Check::fail(
            RETILE,
            format!("the MigPolicy cannot be used: {fault}"),
            "correct it; the last good one stays in force",
        );
    }
    match policy.name {
        None => Check::ok(RETILE, "no MigPolicy: it only observes"),
        Some(name) => {
            let paused = if policy.document.paused { ", paused" } else { "" };
            Check::ok(RETILE, format!("MigPolicy {name}: {:?}{paused}", policy.document.policy.mode))
        }
    }
}

/// How many pods of a workload are wanted, and ready.
fn replicas(workload: &Value, wanted: &str, ready: &str) -> (u64, u64) {
    let number = |path: &str| workload.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    (number(wanted), number(ready))
}

fn name_of(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"))
}

fn controller(facts: &Facts) -> Check {
    match facts.controllers.as_deref() {
        Err(why) => unknown(RETILE, "the controller's Deployment is", why),
        Ok([]) => Check::warn(
            RETILE,
            "no Deployment of the controller in this namespace",
            "give the namespace of the installation with -n, or install it (docs/how-to/install.md)",
        ),
        Ok([controller, ..]) => {
            let (wanted, ready) = replicas(controller, "/spec/replicas", "/status/readyReplicas");
            let found = format!("controller {}: {ready} of {} ready", name_of(controller), count(wanted, "pod"));
            if ready == 0 {
                Check::fail(RETILE, found, "`kubectl describe` its pods; docs/troubleshooting.md")
            } else {
                Check::ok(RETILE, found)
            }
        }
    }
}

fn leader(facts: &Facts) -> Check {
    let Ok(installed) = &facts.installed else { return unknown(RETILE, "who leads is", "its objects cannot be read") };
    if let Err(why) = &installed.lease {
        return unknown(RETILE, "who leads is", why);
    }
    match installed.leader() {
        None => Check::fail(
            RETILE,
            "no controller leads, so nothing is planned or carried out",
            "start the controller, or give its namespace with -n; docs/runbooks/RetileNoLeader.md",
        ),
        Some((holder, Some(seconds))) if seconds > LEASE => Check::fail(
            RETILE,
            format!("the leader {holder} has not renewed its lease for {seconds} s"),
            "see whether the controller runs and reaches the API server; docs/runbooks/RetileNoLeader.md",
        ),
        Some((holder, seconds)) => {
            let renewed = seconds.map_or_else(String::new, |seconds| format!(", lease renewed {seconds} s ago"));
            Check::ok(RETILE, format!("{holder} leads{renewed}"))
        }
    }
}

fn agents(facts: &Facts) -> Check {
    match facts.agents.as_deref() {
        Err(why) => unknown(RETILE, "the agents' DaemonSet is", why),
        Ok([]) => Check::warn(
            RETILE,
            "no DaemonSet of agents in this namespace: placements are inferred, and nothing can be changed",
            "give the namespace of the installation with -n, or install it (docs/how-to/install.md)",
        ),
        Ok([agents, ..]) => {
            let (wanted, ready) = replicas(agents, "/status/desiredNumberScheduled", "/status/numberReady");
            let found = format!("agents {}: {ready} of {} ready", name_of(agents), count(wanted, "pod"));
            if ready < wanted {
                Check::warn(RETILE, found, "`kubectl describe` those that are not; docs/how-to/run-the-agent.md")
            } else {
                Check::ok(RETILE, found)
            }
        }
    }
}

fn admission(facts: &Facts) -> Check {
    match facts.admission.as_deref() {
        Err(why) => unknown(RETILE, "admission policies are", why),
        Ok([]) => Check::warn(
            RETILE,
            "no admission policies: an agent's token could write other nodes' records",
            "install them with the chart (`admissionPolicies`); docs/security.md",
        ),
        Ok(bound) => {
            let names: Vec<&String> = bound.iter().map(|bound| &bound.policy).collect();
            Check::ok(RETILE, format!("admission policies: {}", some_of(&names, MOST)))
        }
    }
}

/// Whether what the policy wants done to the GPU Operator's clients is allowed. Where no policy is about nodes, it is.
fn clients(facts: &Facts) -> Option<Check> {
    let wanted = facts.installed.as_ref().ok()?.policy().document.clients;
    let bound = facts.admission.as_deref().ok()?;
    let forbidden = bound.iter().any(|bound| bound.policy == "retile-controller-node" && !bound.pauses);
    (wanted == Clients::OperatorPause && forbidden).then(|| {
        Check::fail(
            RETILE,
            "the MigPolicy has the GPU Operator's clients paused (`spec.clients: operator-pause`), and the admission policies forbid it: every \
             operation on a node with them is given up",
            "set the chart's `controller.pauseClients: true`, or `spec.clients: restart`; docs/coexistence.md",
        )
    })
}

/// Rights that are missing, and those whose review failed.
fn missing(rights: &[(&'static str, String, Part<bool>)]) -> (Vec<String>, Vec<String>) {
    let named = |wanted: &dyn Fn(&Part<bool>) -> bool| {
        let some = rights.iter().filter(|(.., answer)| wanted(answer));
        some.map(|(verb, resource, _)| format!("{verb} {resource}")).collect::<Vec<String>>()
    };
    (named(&|answer| *answer == Ok(false)), named(&Result::is_err))
}

fn own_rights(facts: &Facts) -> Check {
    let who = if facts.who.is_empty() { "who asks" } else { &facts.who };
    let (missing, unknown) = missing(&facts.rights);
    if !unknown.is_empty() {
        return Check::warn(RIGHTS, format!("{who}: not known for {}", some_of(&unknown, MOST)), "try again");
    }
    if missing.is_empty() {
        return Check::ok(RIGHTS, format!("{} may do all that this program asks for", clean(who)));
    }
    Check::warn(
        RIGHTS,
        format!("{who} may not: {}", some_of(&missing, MOST)),
        "ask for `retile-viewer` (read) or `retile-operator` (`apply`), and for reading nodes and pods; docs/how-to/live.md",
    )
}

fn controllers_rights(facts: &Facts) -> Check {
    if facts.controller_rights.is_empty() {
        return Check::ok(RIGHTS, "the controller's are not looked at: who asks may not review them");
    }
    let (missing, _) = missing(&facts.controller_rights);
    let changes = ["patch mignodes.retile.dev", "patch nodes", "create pods/eviction"];
    let (beyond, needed): (Vec<String>, Vec<String>) =
        missing.into_iter().partition(|right| changes.contains(&right.as_str()));
    if !needed.is_empty() {
        return Check::fail(
            RIGHTS,
            format!("the controller may not: {}", some_of(&needed, MOST)),
            "install its roles (docs/how-to/install.md), and give its namespace with -n",
        );
    }
    if beyond.is_empty() {
        return Check::ok(RIGHTS, "the controller may observe, reshape and evict");
    }
    // A profile that only observes, or only reshapes, has been chosen; the policy may ask for more.
    let policy = facts.installed.as_ref().ok().map(|installed| installed.policy().document.policy.clone());
    let mode = policy.map_or(Mode::Observe, |policy| policy.mode);
    let writes = beyond.iter().filter(|right| right.starts_with("patch ")).count();
    if mode != Mode::Observe && writes > 0 {
        return Check::fail(
            RIGHTS,
            format!("the policy's mode is {}, and the controller may not: {}", mode.name(), some_of(&beyond, MOST)),
            "install the rights of the profile `reshape` or `full` (docs/how-to/install.md), or set `spec.mode: Observe`",
        );
    }
    Check::ok(RIGHTS, format!("the controller may observe, and not: {}", some_of(&beyond, MOST)))
}
