//! tmp
use super::args::DemoArgs;
use super::error::CliError;
use super::output::Streams;
pub(crate) fn demo(_args: &DemoArgs, _streams: &mut Streams<'_>) -> Result<u8, CliError> {
    Ok(0)
}
