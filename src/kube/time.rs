//! Moments and spans as Kubernetes writes them.
//!
//! Moments are RFC 3339 and become seconds since the epoch; spans are Go's (`1h30m`, `90s`) and become whole seconds.
//! Reads no clock.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Reads an RFC 3339 moment, e.g. `2026-11-21T00:02:53Z`, as seconds since the epoch.
///
/// # Errors
/// The text is no such moment; the message says what is.
pub fn parse_moment(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_second)
        .map_err(|_| format!("`{text}` is no moment; write it as `2026-11-21T00:02:53Z`"))
}

/// Reads a Go duration (`5m`, `1h30m`, `0`) as whole seconds; parts of a second are cut off.
///
/// # Errors
/// The text is no duration, or a negative one; the message says what is allowed.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no duration; write it as `30s`, `10m` or `1h30m`");
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0_u128;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && decimals.is_empty() || decimals.len() > 9 || decimals.contains('.') {
            return Err(wrong());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let nano_part: u128 = format!("{decimals:0<9}").parse().map_err(|_| wrong())?;
        nanos += u128::from(whole) * unit + nano_part * unit / 1_000_000_000;
        rest = tail;
    }
    u64::try_from(nanos / 1_000_000_000).map_err(|_| wrong())
}

/// A moment in an object; whatever is no moment reads as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Stamp(pub Option<i64>);

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StampVisitor;
        impl<'de> Visitor<'de> for StampVisitor {
            type Value = Stamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment")
            }
            fn visit_str<E>(self, text: &str) -> Result<Stamp, E> {
                Ok(Stamp(parse_moment(text).ok()))
            }
            fn visit_unit<E>(self) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_none<E>(self) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Stamp, E> {
                Ok(Stamp(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Stamp, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Stamp(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stamp, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Stamp(None))
            }
        }
        deserializer.deserialize_any(StampVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_go() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30),
            ("10m", 600),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("1500ms", 1),
            (".5m", 30),
        ] {
            assert_eq!(parse_span(text), Ok(seconds), "{text}");
        }
        for text in ["", "5", "1d", "-5m", "m", "1h30", "1.2.3s", "1e3s", "NaN", "99999999999999999999h", "+"] {
            assert!(parse_span(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn moments_are_rfc_3339() {
        assert_eq!(parse_moment("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(parse_moment("1970-01-01T01:01:00.25+01:00"), Ok(60));
        assert!(parse_moment("yesterday").is_err());
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in ["null", "7", "\"later\"", "[1,{\"a\":2}]", "{\"a\":[1]}", "true", "-1", "0.5"] {
            assert_eq!(serde_json::from_str::<Stamp>(text).expect("lenient"), Stamp(None), "{text}");
        }
    }
}
