//! The entrance: a cluster export in, a planning input out.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::assemble::{Given, assemble};
use super::canonical::canonicalise;
use super::findings::Findings;
use super::policy::{PolicyDocument, PolicyError, parse_policy_document};
use super::scope::Scope;
use super::stream::{Objects, StreamError, read_objects};
use super::strip::SNAPSHOT;
use crate::model::{Catalogue, DisruptionLevel, InputError, PlanningInput, Policy};

/// Where an export comes from.
pub enum Source<'a> {
    /// A file.
    File(&'a Path),
    /// Standard input.
    Stdin,
    /// Any reader, with the name that errors give it.
    Reader(&'a str, &'a mut dyn BufRead),
}

/// A policy that is given beside the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Name of the file, for errors.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// How to read an export.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The moment that the export describes, in seconds since the epoch; without it the newest in the export.
    pub now: Option<i64>,
    /// A policy that wins over one in the export.
    pub policy: Option<PolicyFile>,
    /// A disruption level that wins over the policy's.
    pub disruption: Option<DisruptionLevel>,
}

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read.
    #[error("{}: {source}; give the path of a file, or `-` for standard input", .path.display())]
    Open {
        /// Path as given.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The path names a directory.
    #[error("{} is a directory; give the path of an export, or `-` for standard input", .0.display())]
    Directory(PathBuf),
    /// The text is no JSON or YAML of Kubernetes objects.
    #[error("{origin}{}: {message}", .place.map(|(line, column)| format!(", line {line}, column {column}")).unwrap_or_default())]
    Malformed {
        /// File, or standard input.
        origin: String,
        /// Line and column, from 1, where there is a place.
        place: Option<(usize, usize)>,
        /// What is wrong and what to do.
        message: String,
    },
    /// Nothing in the export is a node.
    #[error(
        "{origin} holds no Node{found}; write the export with `kubectl get nodes,pods,pdb,priorityclasses -A -o json`"
    )]
    NoNodes {
        /// File, or standard input.
        origin: String,
        /// What it holds instead, in words.
        found: String,
    },
    /// A policy that cannot be read.
    #[error("{origin}: {source}")]
    Policy {
        /// File, or object of the export.
        origin: String,
        /// What is wrong.
        source: PolicyError,
    },
    /// Several policies, of which none is the default.
    #[error(
        "{origin} holds {count} MigPolicies and none named `default`, so it is unclear which counts; \
         choose one with `--policy FILE`"
    )]
    Policies {
        /// File, or standard input.
        origin: String,
        /// How many.
        count: usize,
    },
    /// The parts contradict each other in a way that should have been found before.
    #[error("{origin}: {source}; please report this together with the export")]
    Inconsistent {
        /// File, or standard input.
        origin: String,
        /// What contradicts.
        source: InputError,
    },
}

/// Reads an export into a planning input.
///
/// Objects that are bad by themselves are left out and listed in [`PlanningInput::findings`].
///
/// # Errors
/// The export as a whole or a policy cannot be read; see [`ReadError`].
pub fn read(source: Source<'_>, options: &ReadOptions) -> Result<PlanningInput, ReadError> {
    let given = options.policy.as_ref().map(|file| {
        parse_policy_document(&file.text).map_err(|source| ReadError::Policy { origin: file.name.clone(), source })
    });
    let given = given.transpose()?;
    let (origin, objects) = match source {
        Source::File(path) => (path.display().to_string(), read_file(path)?),
        Source::Stdin => {
            let origin = "standard input".to_owned();
            let objects = read_objects(std::io::stdin().lock());
            (origin.clone(), objects.map_err(|error| malformed(origin, error))?)
        }
        Source::Reader(name, reader) => {
            (name.to_owned(), read_objects(reader).map_err(|error| malformed(name.to_owned(), error))?)
        }
    };
    plan_input(&origin, objects, given, options)
}

fn plan_input(
    origin: &str,
    mut objects: Objects,
    given: Option<PolicyDocument>,
    options: &ReadOptions,
) -> Result<PlanningInput, ReadError> {
    let mut findings = Findings::default();
    let unreadable = canonicalise(&mut objects, &mut findings);
    if objects.nodes.is_empty() && !objects.bad.iter().any(|bad| bad.kind == "Node") {
        let kinds: Vec<String> = objects.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let found = if kinds.is_empty() { String::new() } else { format!(" (it holds {})", kinds.join(", ")) };
        return Err(ReadError::NoNodes { origin: origin.to_owned(), found });
    }
    let document = match given {
        Some(document) => Some(document),
        None => exported_policy(origin, &objects, &mut findings)?,
    };
    let now = options.now.or(objects.newest).unwrap_or(0);
    let policy_given = document.is_some();
    let (mut policy, scope) = match document {
        Some(document) => (document.policy, document.scope),
        None => (Policy::assumed(), Scope::default()),
    };
    if let Some(level) = options.disruption {
        policy.disruption = level;
    }
    // A snapshot of a live cluster holds all there is; in an export, what is not there may not have been exported.
    let complete = objects.kinds.contains_key(SNAPSHOT);
    let given = Given { now, policy: &policy, by_policy: policy_given, scope: &scope, complete, by_age: true };
    let input = assemble(&objects, &unreadable, given, Catalogue::embedded(), findings);
    let input = input.map_err(|source| ReadError::Inconsistent { origin: origin.to_owned(), source })?;
    // An override of the level is no policy: the input still says that none was given.
    Ok(input.with_policy(policy))
}

/// The policy of the export: the only one, or the one named `default`, which is then said.
fn exported_policy(
    origin: &str,
    objects: &Objects,
    findings: &mut Findings,
) -> Result<Option<PolicyDocument>, ReadError> {
    let chosen = match objects.policies.as_slice() {
        [] => return Ok(None),
        [only] => only,
        several => several
            .iter()
            .find(|(name, _)| name == "default")
            .ok_or_else(|| ReadError::Policies { origin: origin.to_owned(), count: several.len() })?,
    };
    let (name, text) = chosen;
    if objects.policies.len() > 1 {
        let others = objects.policies.len() - 1;
        findings.object(format!("MigPolicy {name}"), format!("is used; the other {others} in the export are not"));
    }
    // The text was written anew from one line of values: its lines would mislead.
    let policy = parse_policy_document(text).map_err(|error| ReadError::Policy {
        origin: format!("{origin}, MigPolicy {name}"),
        source: PolicyError { place: None, ..error },
    })?;
    Ok(Some(policy))
}

fn read_file(path: &Path) -> Result<Objects, ReadError> {
    let open = |source| ReadError::Open { path: path.to_owned(), source };
    let file = File::open(path).map_err(open)?;
    if file.metadata().map_err(open)?.is_dir() {
        return Err(ReadError::Directory(path.to_owned()));
    }
    let reader = BufReader::with_capacity(1 << 16, file);
    read_objects(reader).map_err(|error| malformed(path.display().to_string(), error))
}

/// The stream's refusal, with where it comes from.
pub(super) fn malformed(origin: String, error: StreamError) -> ReadError {
    let place = (error.line > 0).then_some((error.line, error.column));
    ReadError::Malformed { origin, place, message: error.message }
}
