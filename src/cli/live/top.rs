//! `top`: a cluster live, as `status` has it, drawn anew every other second.
//!
//! Inputs: what of retile is in a cluster; keys. Outputs: on a terminal a picture that fits it, elsewhere one status. Invariants: a terminal that was
//! taken over is given back; an API server that does not answer for a while is said in the picture, and asked again.

use std::time::Duration;

use super::Reach;
use super::args::{InstallationArgs, TopArgs};
use super::status::{self, Status, node_lines, span};
use crate::cli::SUCCESS;
use crate::cli::demo::{Screen, Wish, cut};
use crate::cli::error::CliError;
use crate::cli::output::Streams;
use crate::cli::show::bar::paint;
use crate::kube::live::installed::installed;

const BOLD: anstyle::Style = anstyle::Style::new().bold();
const DIM: anstyle::Style = anstyle::Style::new().dimmed();
const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default();
/// Rows that are left to who waits.
const WAITING: usize = 5;

/// Shows a cluster until somebody has seen enough.
pub(crate) fn top(args: &TopArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let TopArgs { installation: InstallationArgs { cluster, namespace }, once, interval } = args;
    let reach = Reach::reading(cluster)?;
    let look = || -> Result<Status, CliError> {
        Ok(Status::of(&reach.ask(async |server| installed(server, namespace).await)?))
    };
    let mut status = look()?;
    let screen = if streams.data_is_terminal && !once { Screen::enter().map_err(CliError::Stdout)? } else { None };
    let Some(screen) = screen else {
        streams.data(&status::render(&status)).map_err(CliError::Stdout)?;
        return Ok(SUCCESS);
    };
    let mut trouble = None;
    loop {
        let (columns, rows) = Screen::size();
        screen.draw(&picture(&status, trouble.as_deref(), columns, rows), streams).map_err(CliError::Stdout)?;
        if screen.wait(Duration::from_secs(*interval)).map_err(CliError::Stdout)? != Wish::Watch {
            return Ok(SUCCESS);
        }
        match look() {
            Ok(now) => (status, trouble) = (now, None),
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}

/// One picture, no wider and no higher than asked for.
fn picture(status: &Status, trouble: Option<&str>, width: usize, height: usize) -> Vec<String> {
    let mut lines = vec![format!("{}{}", paint(BOLD, "retile top   "), paint(DIM, "q ends"))];
    if let Some(trouble) = trouble {
        lines.push(paint(RED, &format!("out of date: {trouble}")));
    }
    lines.extend(status::headline(status).lines().map(str::to_owned));
    lines.push(String::new());
    let foot = waiting(status);
    let room = height.saturating_sub(lines.len() + foot.len());
    // Nodes with an operation first: they are what changes.
    let mut nodes: Vec<_> = status.nodes.iter().collect();
    nodes.sort_by_key(|node| node.operation.is_none());
    let body: Vec<String> = nodes.iter().flat_map(|node| node_lines(node)).collect();
    let shown = if body.len() <= room { body.len() } else { room.saturating_sub(1) };
    lines.extend(body[..shown].iter().cloned());
    if shown < body.len() {
        lines.push(paint(DIM, &format!("… {} more lines; `retile status` has all", body.len() - shown)));
    }
    lines.extend(foot);
    lines.truncate(height);
    lines.iter().map(|line| cut(line, width)).collect()
}

fn waiting(status: &Status) -> Vec<String> {
    let reasons: Vec<String> =
        status.waiting_by_reason().into_iter().map(|(reason, pods)| format!("{pods} {reason}")).collect();
    if reasons.is_empty() {
        return Vec::new();
    }
    let head = [String::new(), paint(BOLD, &format!("waiting: {}", reasons.join(", ")))];
    let pod = |pod: &status::Waiting| {
        let waited = pod.waited.map_or_else(|| "-".to_owned(), span);
        format!("{waited:>6}  {}  {}  {}", pod.pod, pod.wants, pod.reason)
    };
    head.into_iter().chain(status.waiting.iter().take(WAITING).map(pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::live::installed::{Installed, WaitingPod};

    fn status(nodes: usize) -> Status {
        let node = |number: usize| {
            serde_json::json!({"metadata": {"name": format!("gpu-{number:02}")}, "spec": {}, "status": {"gpus": [
                {"index": 0, "uuid": format!("GPU-{number}"), "model": "NVIDIA A100-SXM4-40GB", "instances": []}]}})
        };
        let mut nodes: Vec<_> = (0..nodes).map(node).collect();
        if let Some(last) = nodes.last_mut() {
            last["spec"]["operation"] = serde_json::json!({
                "id": "op-1", "epoch": 1, "protocol": 1, "nodeUid": "u", "steps": [], "residents": [], "phase": "Claimed",
                "gpus": [], "victims": [], "beneficiaries": []
            });
        }
        Status::of(&Installed {
            now: 100,
            nodes: Some(nodes),
            policies: None,
            plans: None,
            lease: Ok(None),
            waiting: Ok(vec![WaitingPod { created: Some(40), name: "ml/p".into(), wants: "1g.5gb".into() }]),
        })
    }

    #[test]
    fn a_picture_fits_and_shows_what_changes_first() {
        for (nodes, height) in [(0, 20), (2, 20), (40, 20), (40, 24)] {
            let lines = picture(&status(nodes), Some("connection refused"), 66, height);
            assert!(lines.len() <= height, "{nodes} nodes: {}", lines.len());
            let plain: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
            assert!(plain.iter().all(|line| line.chars().count() <= 66), "{plain:#?}");
            assert!(plain.iter().any(|line| line.contains("out of date: connection refused")), "{plain:#?}");
            assert!(plain.iter().any(|line| line.contains("60s  ml/p  1g.5gb")), "{plain:#?}");
            let first = plain.iter().find(|line| line.starts_with("gpu-"));
            assert!(nodes == 0 || first.is_some_and(|line| line.contains("op-1")), "{plain:#?}");
        }
    }
}
