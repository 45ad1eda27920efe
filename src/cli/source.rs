//! Reading what the verbs are given and writing what they save; the only file access of the command line.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::output::Streams;

/// Runs `read` on a file, or on standard input for `-`.
pub(crate) fn with_reader<T>(
    path: &Path,
    streams: &mut Streams<'_>,
    read: impl FnOnce(&mut dyn Read) -> T,
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

/// Writes a file whole or not at all: beside it first, then in its place.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    let Some(name) = path.file_name() else { return Err(failed(std::io::ErrorKind::IsADirectory.into())) };
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    // A pipe or a device is no file that could be replaced.
    if path.exists() && !path.is_file() {
        return std::fs::write(path, text).map_err(failed);
    }
    let mut beside = name.to_owned();
    beside.push(format!(".{}.partial", std::process::id()));
    let beside: PathBuf = path.with_file_name(beside);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|source| {
        // Nothing of a failed attempt stays; when even that fails, the first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
        failed(source)
    })
}

pub(crate) fn read(
    args: &super::args::SourceArgs,
    d: Option<crate::model::DisruptionLevel>,
    streams: &mut Streams<'_>,
) -> Result<crate::model::PlanningInput, CliError> {
    todo!()
}
