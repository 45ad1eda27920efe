//! `plan`, `explain` and `verify`: the verbs that read a cluster.

use std::path::Path;

use super::args::{ExplainArgs, ExplainWhat, PlanArgs, PlanFormat, SearchArgs, SourceArgs, VerifyArgs};
use super::error::{CliError, near_misses, source_name};
use super::explain::{gpu, pod};
use super::more;
use super::output::Streams;
use super::show::names::{count, thousands};
use super::show::{Axes, View, svg, text};
use super::source::{self, Cluster};
use super::{CHANGES, SUCCESS, UNPROVEN};
use crate::model::{DisruptionLevel, PlanningInput};
use crate::plan::{self, FORMAT_VERSION, Plan, ServedBy, StorageError, Violation};
use crate::planner::{self, Termination, WorkLimit};

/// `plan`.
pub(crate) fn plan(args: &PlanArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let PlanArgs { source, search, output, save, exit_code } = args;
    let Cluster { mut input, left_alone } = source::read(source, None, streams)?;
    let mut limit = search.limit();
    let mut plan = make_within(&input, &mut limit)?;
    if !input.policy_given() && source.disruption.is_none() {
        let more;
        (input, more) = more::disruption(input, &plan, search.limit().left() - limit.left());
        plan.notes.extend(more);
    }
    let shown = render(&input, &plan, *output)?;
    if let Some(path) = save {
        plan::save(&plan, path).map_err(|error| unusable_plan(path, error))?;
    }
    streams.data(&shown).map_err(CliError::Stdout)?;
    left_alone.tell(plan.nodes.iter().map(|node| node.name.as_str()), streams);
    Ok(if *exit_code { exit_status(&plan) } else { SUCCESS })
}

/// What a plan comes to, for scripts. A plan without changes is the best one once nobody more can be served: every change costs on a level before
/// those that it could better.
fn exit_status(plan: &Plan) -> u8 {
    let proven = plan.optimality.levels.first().is_some_and(|served| served.value == served.bound);
    match (plan.summary.gpus_changed > 0, proven) {
        (true, _) => CHANGES,
        (false, true) => SUCCESS,
        (false, false) => UNPROVEN,
    }
}

/// `explain`.
pub(crate) fn explain(args: &ExplainArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let shown = match &args.what {
        ExplainWhat::Pod { pod, source, search } => explain_pod(pod, source, *search, streams)?,
        ExplainWhat::Gpu { gpu, source, search } => explain_gpu(gpu, source, *search, streams)?,
    };
    streams.data(&shown).map_err(CliError::Stdout)?;
    Ok(SUCCESS)
}

fn explain_pod(
    name: &str,
    source: &SourceArgs,
    search: SearchArgs,
    streams: &mut Streams<'_>,
) -> Result<String, CliError> {
    let name = if name.contains('/') { name.to_owned() } else { format!("default/{name}") };
    let Cluster { input, left_alone } = source::read(source, None, streams)?;
    let Some(subject) = pod::Subject::find(&input, &name) else {
        let pending = input.pending().iter().map(|pod| pod.pod.to_string());
        let known: Vec<String> = pending
            .chain(input.unplannable().iter().map(|pod| pod.pod.to_string()))
            .chain(input.running().iter().map(|pod| pod.pod.to_string()))
            .collect();
        let near = near_misses(&name, known.iter().map(String::as_str));
        let help = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
        return Err(CliError::NotFound {
            path: source::origin(source),
            message: format!("{} has no pod `{name}` that waits for MIG instances or holds any", source::what(source)),
            help: format!("{help}write NAMESPACE/NAME; `kubectl get pods -A` lists all"),
        });
    };
    let plan = make(&input, search)?;
    let given = plan.served.iter().filter(|served| served.pod == name && served.by == ServedBy::Change);
    left_alone.tell(given.map(|served| served.node.as_str()), streams);
    let mut planner = |changed: &PlanningInput| make(changed, search);
    pod::explain(&input, &plan, &axes(&input), subject, &mut planner)
}

fn explain_gpu(
    name: &str,
    source: &SourceArgs,
    search: SearchArgs,
    streams: &mut Streams<'_>,
) -> Result<String, CliError> {
    let parsed = name.rsplit_once('/').and_then(|(node, index)| Some((node, index.parse::<u32>().ok()?)));
    let Some((node, index)) = parsed.filter(|(node, _)| !node.is_empty()) else {
        return Err(CliError::Argument {
            argument: name.to_owned(),
            message: format!("`{name}` does not name a GPU"),
            help: "write NODE/INDEX, such as gpu-a-03/2".into(),
        });
    };
    let Cluster { input, left_alone } = source::read(source, None, streams)?;
    let Some(id) = gpu::find(&input, node, index) else {
        return Err(no_such_gpu(&input, source, node, index));
    };
    let plan = make(&input, search)?;
    Ok(gpu::explain(&input, &plan, &axes(&input), id, left_alone.why(node).as_deref()))
}

fn no_such_gpu(input: &PlanningInput, source: &SourceArgs, node: &str, index: u32) -> CliError {
    let path = source::origin(source);
    if let Some(known) = input.nodes().iter().find(|known| known.name == node) {
        let indices: Vec<u32> = input.gpus()[known.gpus.clone()].iter().map(|gpu| gpu.index).collect();
        return CliError::NotFound {
            path,
            message: format!("node {node} has no GPU {index} in MIG mode"),
            help: format!("its GPUs in MIG mode are {}", super::show::names::ranges(&indices)),
        };
    }
    let near = near_misses(node, input.nodes().iter().map(|known| known.name.as_str()));
    let near = if near.is_empty() { String::new() } else { format!("did you mean {}? ", near.join(" or ")) };
    CliError::NotFound {
        path,
        message: format!("{} has no node `{node}` with GPUs in MIG mode", source::what(source)),
        help: format!("{near}it has {} with such GPUs", count(input.nodes().len() as u64, "node")),
    }
}

/// `verify`.
pub(crate) fn verify(args: &VerifyArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let VerifyArgs { plan: path, source } = args;
    if path.as_os_str() == "-" && source.file.as_os_str() == "-" && !source.live.live {
        return Err(CliError::Argument {
            argument: "-f -".into(),
            message: "the plan and the export cannot both come from standard input".into(),
            help: "give the export with -f FILE".into(),
        });
    }
    let text = source::read_text(path, streams)?;
    let plan = plan::from_json(&text, &source_name(path)).map_err(|error| unusable_plan(path, error))?;
    let level = [DisruptionLevel::IdleOnly, DisruptionLevel::Balanced, DisruptionLevel::Aggressive]
        .into_iter()
        .find(|level| level.as_flag() == plan.disruption);
    let Cluster { input, left_alone } = source::read(source, level, streams)?;
    let verified = plan::verify(plan, &input).map_err(|rejection| CliError::Rejected {
        path: path.clone(),
        other_world: rejection.violations.iter().any(|violation| matches!(violation, Violation::Fingerprint { .. })),
        violations: rejection.violations.iter().map(ToString::to_string).collect(),
    })?;
    let summary = &verified.summary;
    let text = format!(
        "The plan is valid for this cluster: {} on {} to change, {} to evict, {} of {} ({}) served.\n",
        count(summary.gpus_changed, "GPU"),
        count(summary.nodes_changed, "node"),
        count(summary.evicted_pods, "pod"),
        thousands(summary.served_pods.cast_signed()),
        count(summary.pending_pods, "waiting pod"),
        count(summary.served_slices, "memory slice"),
    );
    streams.data(&text).map_err(CliError::Stdout)?;
    left_alone.tell(verified.nodes.iter().map(|node| node.name.as_str()), streams);
    Ok(SUCCESS)
}

/// The refusal of a plan's file as what, where and what to do.
pub(crate) fn unusable_plan(path: &Path, error: StorageError) -> CliError {
    let input = |message: String, place: Option<String>, help: &str| CliError::Input {
        path: path.to_owned(),
        message,
        place,
        help: help.into(),
    };
    match error {
        StorageError::Read { path: _, source } => CliError::Read { path: path.to_owned(), source },
        StorageError::Write { path: _, source } => CliError::Write { path: path.to_owned(), source },
        StorageError::Version { path: _, found } => input(
            format!("the plan's format_version is {found}, this program reads {FORMAT_VERSION}"),
            Some("field format_version".into()),
            "make the plan again with this program, or check it with the one that made it",
        ),
        StorageError::Other { path: _, found } => input(format!("this is {found} and no plan"), None, plan::UNEDITED),
        StorageError::Malformed { path: _, line, column, detail } => {
            input(format!("this is no plan: {detail}"), Some(format!("line {line}, column {column}")), plan::UNEDITED)
        }
    }
}

/// Plans, and has the plan checked by code that shares no logic with the planner; nothing unchecked is ever shown.
fn make(input: &PlanningInput, search: SearchArgs) -> Result<Plan, CliError> {
    make_within(input, &mut search.limit())
}

fn make_within(input: &PlanningInput, limit: &mut WorkLimit) -> Result<Plan, CliError> {
    let planned = planner::plan(input, limit).map_err(|error| CliError::Internal(error.to_string()))?;
    let verified = plan::verify(planned.into_plan(), input)
        .map_err(|rejection| CliError::Internal(format!("the planner's own plan is not legal: {rejection}")))?;
    Ok(verified.into_inner())
}

pub(crate) fn axes(input: &PlanningInput) -> Axes {
    input.gpus().iter().map(|gpu| (gpu.product.clone(), gpu.geometry.axis())).collect()
}

fn render(input: &PlanningInput, plan: &Plan, format: PlanFormat) -> Result<String, CliError> {
    match format {
        PlanFormat::Text => Ok(text::render(&View::of(plan, &axes(input)))),
        PlanFormat::Json => json(plan),
        PlanFormat::Yaml => serde_saphyr::to_string(plan)
            .map_err(|error| CliError::Internal(format!("the plan cannot be written as YAML: {error}"))),
        PlanFormat::Svg => Ok(svg::render(&View::of(plan, &axes(input)))),
    }
}

fn json(plan: &Plan) -> Result<String, CliError> {
    plan::to_json(plan).map_err(|error| CliError::Internal(format!("the plan cannot be written as JSON: {error}")))
}
