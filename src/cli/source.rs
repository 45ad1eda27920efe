//! Reading what the verbs are given: exports, policies, plans.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::args::SourceArgs;
use super::error::{CliError, source_name};
use super::live::{LeftAlone, NAME, Reach};
use super::output::Streams;
use crate::kube::export::{self, PolicyFile, ReadError, ReadOptions, Source};
use crate::kube::live::listing::listing_with_sights;
use crate::kube::policy::parse_policy;
use crate::model::{DisruptionLevel, PlanningInput, Policy};

/// How an export is made; the remedy for everything that is none.
const MAKE_AN_EXPORT: &str =
    "make an export with `kubectl get nodes,pods,pdb,priorityclasses -A -o json > export.json`";

/// A cluster that was read.
pub(crate) struct Cluster {
    /// What planning reads.
    pub(crate) input: PlanningInput,
    /// Nodes that a controller there leaves alone whatever is planned; none of an export.
    pub(crate) left_alone: LeftAlone,
}

/// Reads a cluster; `level` is the disruption level where the arguments give none.
pub(crate) fn read(
    args: &SourceArgs,
    level: Option<DisruptionLevel>,
    streams: &mut Streams<'_>,
) -> Result<Cluster, CliError> {
    let SourceArgs { file, live, disruption, policy, now } = args;
    let policy_file = match policy {
        Some(path) if path.as_os_str() == "-" && file.as_os_str() == "-" && !live.live => {
            return Err(CliError::Argument {
                argument: "--policy -".into(),
                message: "the policy and the export cannot both come from standard input".into(),
                help: "give the export with -f FILE".into(),
            });
        }
        Some(path) => Some(PolicyFile { name: source_name(path), text: read_text(path, streams)? }),
        None => None,
    };
    let options = ReadOptions {
        now: now.map(jiff::Timestamp::as_second),
        policy: policy_file,
        disruption: disruption.map(DisruptionLevel::from).or(level),
    };
    if let Some(cluster) = live.cluster() {
        let (listed, sights) = Reach::reading(&cluster)?.ask(async |server| listing_with_sights(server).await)?;
        let read = export::read(Source::Reader(NAME, &mut listed.list().as_bytes()), &options);
        let read = read.map(|input| Cluster { left_alone: LeftAlone::of(&sights, &input), input });
        return read.map_err(|error| {
            if matches!(error, ReadError::NoNodes { .. }) {
                return CliError::Cluster {
                    message: "the cluster has no nodes".into(),
                    help: "check that the kubeconfig and its context name the right cluster".into(),
                };
            }
            refused(&origin(args), policy.as_deref(), error)
        });
    }
    let name = source_name(file);
    let read = with_reader(file, streams, |reader| export::read(Source::Reader(&name, reader), &options))
        .map_err(CliError::of_an_export)?;
    let input = read.map_err(|error| refused(file, policy.as_deref(), error))?;
    Ok(Cluster { input, left_alone: LeftAlone::default() })
}

/// Where the arguments say that the cluster comes from, for messages.
pub(crate) fn origin(args: &SourceArgs) -> PathBuf {
    if args.live.live { NAME.into() } else { args.file.clone() }
}

/// What that is: an export, or the cluster.
pub(crate) fn what(args: &SourceArgs) -> &'static str {
    if args.live.live { NAME } else { "the export" }
}

/// Reads a policy by itself.
pub(crate) fn read_policy(path: &Path, streams: &mut Streams<'_>) -> Result<Policy, CliError> {
    parse_policy(&read_text(path, streams)?).map_err(|error| CliError::Input {
        path: path.to_owned(),
        message: format!("the policy cannot be used: {}", error.message),
        place: error.place.map(|(line, column)| format!("line {line}, column {column}")),
        help: "correct the MigPolicy, or give another one with --policy FILE".into(),
    })
}

/// The reader's refusal as what, where and what to do.
pub(crate) fn refused(file: &Path, policy: Option<&Path>, error: ReadError) -> CliError {
    let path = file.to_owned();
    let at = |place: Option<(usize, usize)>| place.map(|(line, column)| format!("line {line}, column {column}"));
    match error {
        ReadError::Open { path, source } => CliError::ReadExport { path, source },
        ReadError::Directory(path) => CliError::ReadExport { path, source: std::io::ErrorKind::IsADirectory.into() },
        ReadError::Malformed { origin: _, place, message } => {
            // The reader says what is wrong and, behind a semicolon, what to do.
            let (message, help) = message.rsplit_once("; ").unwrap_or((&message, MAKE_AN_EXPORT));
            CliError::Input { path, message: message.to_owned(), place: at(place), help: help.to_owned() }
        }
        ReadError::NoNodes { origin: _, found } => {
            let message = format!("the export holds no Node{found}");
            CliError::Input { path, message, place: None, help: MAKE_AN_EXPORT.into() }
        }
        ReadError::Policy { origin, source } => CliError::Input {
            message: format!("the policy cannot be used: {}", source.message),
            place: at(source.place).or_else(|| policy.is_none().then_some(origin)),
            path: policy.map_or(path, Path::to_owned),
            help: "correct the MigPolicy, or give another one with --policy FILE".into(),
        },
        ReadError::Policies { origin: _, count } => CliError::Input {
            path,
            message: format!("the export holds {count} MigPolicies and none named `default`"),
            place: None,
            help: "choose one with --policy FILE".into(),
        },
        ReadError::Inconsistent { origin: _, source } => {
            CliError::Internal(format!("the parts of the export contradict each other: {source}"))
        }
    }
}

/// Runs `read` on a file, or on standard input for `-`.
pub(crate) fn with_reader<T>(
    path: &Path,
    streams: &mut Streams<'_>,
    read: impl FnOnce(&mut dyn BufRead) -> T,
) -> Result<T, CliError> {
    if path.as_os_str() == "-" {
        if streams.input_is_terminal {
            streams.note("reading the export from the terminal; give a file with -f, or end the input with Ctrl-D\n");
        }
        return Ok(read(streams.input));
    }
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    Ok(read(&mut BufReader::new(file)))
}

/// Reads a whole text file, or standard input for `-`.
pub(crate) fn read_text(path: &Path, streams: &mut Streams<'_>) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let done = with_reader(path, streams, |reader| reader.read_to_end(&mut bytes).map(|_| ()))?;
    done.map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| CliError::Input {
        path: path.to_owned(),
        message: "the file is not UTF-8 text".into(),
        place: Some(format!("byte {}", error.utf8_error().valid_up_to())),
        help: "give the JSON or YAML file itself, not a compressed or binary form of it".into(),
    })
}
