//! The first bytes of an input: blanks to skip, and formats that are none of ours.

use std::io::{BufRead, Read as _};

use super::StreamError;

/// Skips a byte order mark and blanks; leaves the first lines' worth of bytes in `first` and returns the lines skipped.
pub(super) fn skip_blank(reader: &mut impl BufRead, first: &mut Vec<u8>) -> Result<usize, StreamError> {
    let io = |error: std::io::Error| StreamError::whole(format!("cannot be read: {error}"));
    let mut start = Vec::new();
    reader.take(4).read_to_end(&mut start).map_err(io)?;
    refuse_foreign(&start)?;
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&start);
    let mut lines = 0;
    let mut pending: &[u8] = start;
    let mut byte = [0_u8];
    loop {
        let next = if let Some((&next, rest)) = pending.split_first() {
            pending = rest;
            next
        } else if reader.read(&mut byte).map_err(io)? == 1 {
            byte[0]
        } else {
            return Ok(lines);
        };
        match next {
            b'\n' => lines += 1,
            b' ' | b'\t' | b'\r' => {}
            0 => return Err(StreamError::whole("holds binary data, not JSON or YAML; was the right file given?")),
            other => {
                first.push(other);
                first.extend_from_slice(pending);
                return Ok(lines);
            }
        }
    }
}

fn refuse_foreign(start: &[u8]) -> Result<(), StreamError> {
    let refuse = |message: &str| Err(StreamError::whole(message));
    match start {
        [0x1F, 0x8B, ..] => refuse("is compressed with gzip; unpack it first: `gunzip -c FILE | retile plan -f -`"),
        [0x28, 0xB5, 0x2F, 0xFD] => refuse("is compressed with zstd; unpack it first"),
        [b'P', b'K', 3 | 5, _] => refuse("is a zip archive; unpack it first"),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            refuse("is UTF-16, as PowerShell's `>` writes it; write UTF-8: `… | Out-File -Encoding utf8 FILE`")
        }
        [0x7F, b'E', b'L', b'F'] | [0x89, b'P', b'N', b'G'] => refuse("holds binary data, not JSON or YAML"),
        _ => Ok(()),
    }
}
