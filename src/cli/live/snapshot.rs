//! `snapshot`: what planning reads of a cluster, and nothing else, as an export that can be given away.

use super::Reach;
use super::args::SnapshotArgs;
use crate::cli::SUCCESS;
use crate::cli::error::{CliError, source_name};
use crate::cli::output::Streams;
use crate::cli::show::names::count;
use crate::cli::source;
use crate::kube::live::listing::listing;
use crate::kube::strip::{self, Stripped};
use crate::plan::write_whole;

/// Reads a cluster or an export and writes what planning reads of it.
pub(crate) fn snapshot(args: &SnapshotArgs, streams: &mut Streams<'_>) -> Result<u8, CliError> {
    let SnapshotArgs { file, cluster, output } = args;
    let stripped = match file {
        Some(path) => {
            let name = source_name(path);
            let read = source::with_reader(path, streams, |reader| strip::strip(&name, reader));
            read.map_err(CliError::of_an_export)?.map_err(|error| source::refused(path, None, error))?
        }
        None => Reach::reading(cluster)?.ask(async |server| listing(server).await)?,
    };
    let Stripped { objects, left_out, moment: _, whole: _ } = &stripped;
    let written = count(objects.len() as u64, "object");
    let left = if *left_out > 0 {
        format!("; {} of kinds that planning does not read left out", count(*left_out as u64, "object"))
    } else {
        String::new()
    };
    if output.as_os_str() == "-" {
        streams.data(&stripped.list()).map_err(CliError::Stdout)?;
        streams.note(&format!("{written}{left}\n"));
    } else {
        let failed = |source| CliError::Write { path: output.clone(), source };
        write_whole(&stripped.list(), output).map_err(failed)?;
        streams.note(&format!("{written} in {}{left}\n", output.display()));
    }
    Ok(SUCCESS)
}
