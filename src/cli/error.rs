//! What the command line says when it cannot do what it was asked: what is wrong, where, and what to do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::show::names::count;

/// Why a verb fails. `Display` says what is wrong; [`CliError::place`] and [`CliError::help`] the rest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A file (or standard input) could not be read.
    #[error("cannot read {}: {}", source_name(.path), plain(.source))]
    Read {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An export could not be opened.
    #[error("cannot read {}: {}", source_name(.path), plain(.source))]
    ReadExport {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file was read and makes no sense.
    #[error("{message}")]
    Input {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// Object and field, or line and column, where known.
        place: Option<String>,
        /// What to do.
        help: String,
    },
    /// An argument that clap could not judge by itself.
    #[error("{message}")]
    Argument {
        /// Argument as it was given.
        argument: String,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Something asked for is not in the export.
    #[error("{message}")]
    NotFound {
        /// The file, `-` for standard input.
        path: PathBuf,
        /// What is missing.
        message: String,
        /// What to do.
        help: String,
    },
    /// A plan was checked and is not legal for the cluster.
    #[error("the plan is not valid for this cluster: {} found", count(.violations.len() as u64, "violation"))]
    Rejected {
        /// The plan's file.
        path: PathBuf,
        /// What is wrong with it, one line each.
        violations: Vec<String>,
        /// Whether the plan was made for another state of the cluster, or under other wishes.
        other_world: bool,
    },
    /// A plan was made for a state that the cluster is no longer in.
    #[error("the world has moved since the plan was made; nothing was written")]
    Moved {
        /// The plan's file.
        path: PathBuf,
        /// What differs, one line each.
        violations: Vec<String>,
    },
    /// A file could not be written.
    #[error("cannot write {}: {}", .path.display(), plain(.source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Standard output broke for another reason than a reader that has gone.
    #[error("cannot write to standard output: {}", plain(.0))]
    Stdout(std::io::Error),
    /// This machine cannot be read.
    #[cfg(feature = "node")]
    #[error("{message}")]
    Machine {
        /// What is wrong, and where.
        message: String,
        /// What to do.
        help: String,
    },
    /// A cluster cannot be reached, or does not allow what is asked.
    #[error("{message}")]
    Cluster {
        /// What is wrong, and where.
        message: String,
        /// What to do.
        help: String,
    },
    /// retile contradicts itself.
    #[error("internal error: {0}")]
    Internal(String),
}

impl CliError {
    /// The same error, where what could not be read should have been an export.
    pub(crate) fn of_an_export(self) -> Self {
        if let Self::Read { path, source } = self { Self::ReadExport { path, source } } else { self }
    }

    /// Where: file, object, field.
    pub(crate) fn place(&self) -> Option<String> {
        match self {
            Self::Input { path, place, .. } => Some(match place {
                Some(place) => format!("{}, {place}", source_name(path)),
                None => source_name(path),
            }),
            Self::NotFound { path, .. } | Self::Rejected { path, .. } | Self::Moved { path, .. } => {
                Some(source_name(path))
            }
            Self::Argument { argument, .. } => Some(format!("argument `{argument}`")),
            Self::Read { .. }
            | Self::ReadExport { .. }
            | Self::Write { .. }
            | Self::Stdout(_)
            | Self::Cluster { .. }
            | Self::Internal(_) => None,
            #[cfg(feature = "node")]
            Self::Machine { .. } => None,
        }
    }

    /// What to do.
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Input { help, .. }
            | Self::Argument { help, .. }
            | Self::NotFound { help, .. }
            | Self::Cluster { help, .. } => help.clone(),
            #[cfg(feature = "node")]
            Self::Machine { help, .. } => help.clone(),
            Self::Read { path, source } => help_for_reading(path, source, ""),
            Self::ReadExport { path, source } => help_for_reading(path, source, MAKE_EXPORT),
            Self::Rejected { other_world: true, .. } => {
                "plan again on this export; a plan holds only for the state and the policy that it was made for".into()
            }
            Self::Rejected { other_world: false, .. } => {
                "do not apply this plan; make a new one with `retile plan`".into()
            }
            Self::Moved { .. } => "plan again with `retile plan --live --save FILE`, and apply that".into(),
            Self::Write { .. } => "give a path in a folder that exists and that you may write to".into(),
            Self::Stdout(_) => "check where the output goes, for instance whether the disk is full".into(),
            Self::Internal(_) => {
                "nothing was printed or written; please report this together with the export that shows it".into()
            }
        }
    }

    /// The whole message, as it goes to standard error.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {self}\n");
        if let Self::Rejected { violations, .. } | Self::Moved { violations, .. } = self {
            for violation in violations {
                let _ = writeln!(text, "  - {violation}");
            }
        }
        if let Some(place) = self.place() {
            let _ = writeln!(text, "  at: {place}");
        }
        let _ = writeln!(text, "  help: {}", self.help());
        text
    }
}

/// What makes the file that is missing most often.
const MAKE_EXPORT: &str = "; `kubectl get nodes,pods,pdb,priorityclasses -A -o json > export.json` makes an export";

fn help_for_reading(path: &Path, source: &std::io::Error, makes_one: &str) -> String {
    // The kinds belong to the standard library and grow; only these three have advice of their own.
    let kind = source.kind();
    if kind == std::io::ErrorKind::NotFound {
        format!("check the path{makes_one}")
    } else if kind == std::io::ErrorKind::IsADirectory {
        format!("give a file inside {}", path.display())
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "check that you may read the file".into()
    } else {
        "check the file and try again".into()
    }
}

/// How a source is called in messages.
pub(crate) fn source_name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".into() } else { path.display().to_string() }
}

/// A system error without the number that only programmers read.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The names closest to one that is not known: those that it is part of, then those a few keystrokes away.
pub(crate) fn near_misses<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = name.to_lowercase();
    let mut ranked: Vec<(u32, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let lower = candidate.to_lowercase();
            if !wanted.is_empty() && (lower.contains(&wanted) || wanted.contains(&lower)) {
                return Some((0, candidate));
            }
            let likeness = strsim::jaro_winkler(&wanted, &lower);
            (likeness > 0.75).then_some((((1.0 - likeness) * 1000.0) as u32 + 1, candidate))
        })
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(5).map(|(_, candidate)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_and_what_to_do() {
        let error = CliError::Input {
            path: "export.json".into(),
            message: "the file ends in the middle of an object".into(),
            place: Some("line 3, column 7".into()),
            help: "export again".into(),
        };
        assert_eq!(
            error.render(),
            "error: the file ends in the middle of an object\n  at: export.json, line 3, column 7\n  help: export again\n"
        );
    }

    #[test]
    fn a_missing_file_is_named_without_system_numbers() {
        let source = std::fs::read("no/such/file").expect_err("does not exist");
        let error = CliError::Read { path: "no/such/file".into(), source };
        assert!(error.render().starts_with("error: cannot read no/such/file: no such file or directory\n  help: "));
    }

    #[test]
    fn near_misses_find_parts_and_typing_errors() {
        let boards = ["A100-40GB", "A100-80GB", "H100-80GB-SXM5", "A30-24GB"];
        assert_eq!(near_misses("a100", boards), ["A100-40GB", "A100-80GB"]);
        assert!(near_misses("a100-80g", boards).contains(&"A100-80GB"));
        assert!(near_misses("zzz", boards).is_empty());
    }
}
