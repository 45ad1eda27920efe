//! What is installed starts the programs with options that they have.
//!
//! Reads the objects in `deploy/kustomize` (which `deploy/check` holds to the Helm chart) and the chart's own templates, for the options that only some values
//! bring.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// A program, and the template of its workload.
const WORKLOADS: [(&str, &str, &str); 2] = [
    ("retile-controller", "Deployment", "controller/deployment.yaml"),
    ("retile-agent", "DaemonSet", "agent/daemonset.yaml"),
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The arguments in the object of this kind.
fn arguments(kind: &str) -> Vec<String> {
    let objects = read("deploy/kustomize/base/retile.yaml");
    let line = format!("kind: {kind}");
    let object = objects.split("\n---\n").find(|object| object.lines().any(|found| found == line));
    let object = object.unwrap_or_else(|| panic!("the base has no {kind}"));
    let given = object.lines().filter_map(|line| line.trim().strip_prefix("- --"));
    given
        .map(|rest| format!("--{rest}").replace("$(POD_NAMESPACE)", "retile-system").replace("$(POD_NAME)", "a"))
        .collect()
}

/// Names of all options that a template can bring.
fn options(template: &str) -> BTreeSet<String> {
    let text = read(&format!("deploy/helm/retile/templates/{template}"));
    let given = text.lines().filter_map(|line| line.trim().strip_prefix("- --"));
    given.map(|rest| format!("--{}", rest.split('=').next().unwrap_or(rest))).collect()
}

/// Output of `--help` after other arguments: options that are unknown, or values that are, are refused before it is reached.
fn help(program: &str, arguments: &[String]) -> String {
    let output = Command::cargo_bin(program)
        .expect("cargo builds the program for this test")
        .args(arguments)
        .arg("--help")
        .env("NODE_NAME", "n1")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

#[test]
fn programs_have_the_options_that_they_are_started_with() {
    for (program, kind, template) in WORKLOADS {
        let given = arguments(kind);
        assert!(given.iter().any(|argument| argument.starts_with("--metrics-address=")), "{kind}: {given:?}");
        let help = help(program, &given);
        let known: BTreeSet<&str> = help.split(|c: char| c.is_whitespace() || c == '=' || c == ',').collect();
        for option in options(template) {
            assert!(known.contains(option.as_str()), "{program} has no {option}, which {template} may give it");
        }
    }
}

#[test]
fn the_agent_takes_its_node_from_the_variable_that_is_set() {
    assert!(read("deploy/kustomize/base/retile.yaml").contains("name: NODE_NAME"));
    assert!(help("retile-agent", &[]).contains("[env: NODE_NAME="));
}

#[test]
fn the_definitions_are_where_both_ways_to_install_take_them_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for link in ["crds", "dashboards", "alerts"] {
        let path: PathBuf = folder.join("helm/retile/files").join(link);
        assert!(path.is_dir(), "{} leads nowhere", path.display());
    }
}
