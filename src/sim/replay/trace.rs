//! Our own trace format: JSON lines, a header and then one piece of work per line.
//!
//! Input and output: text and a [`Workload`]. The form, version 1:
//!
//! ```text
//! {"format":"retile-trace","version":1,"comment":"anything, may be left out"}
//! {"at_ms":0,"name":"train-0","instances":{"3g.40gb":1},"runs_ms":3600000,"priority":0,"kind":"job","patience_ms":7200000}
//! ```
//!
//! `priority` (0), `kind` (`service`, `stateful`, `job`, `bare`; `service`) and `patience_ms` (`null`, for ever) may be left out. Lines may
//! come in any order; names are unique. Invariant: what is written reads back as the same workload. Nothing is guessed: an unknown field,
//! a number that is none or a name that stands twice is refused with its line, its field and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::sim::{Arrival, Kind, Workload};

/// Version of the format.
pub const VERSION: u64 = 1;
/// What a header calls the format.
pub const FORMAT: &str = "retile-trace";
/// Longest time in a trace: far beyond any replay, far below where sums of milliseconds overflow.
const MOST_MS: u64 = 1 << 45;
const FIELDS: [&str; 7] = ["at_ms", "name", "instances", "runs_ms", "priority", "kind", "patience_ms"];

/// Why a trace is refused: line and field, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TraceError {
    /// Line, from 1.
    pub line: usize,
    /// Field, where one is to blame.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl TraceError {
    /// `line 3, field runs_ms`.
    pub fn place(&self) -> String {
        match &self.field {
            Some(field) => format!("line {}, field `{field}`", self.line),
            None => format!("line {}", self.line),
        }
    }
}

/// Reads a trace.
///
/// # Errors
/// No header of this version, a line that is no JSON object, a field that is unknown, missing or of another type, a name that stands twice.
pub fn read(text: &str) -> Result<Workload, TraceError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((number, line)) = lines.next() else {
        return Err(refusal(1, None, "the trace is empty".into(), &header_help()));
    };
    check_header(number + 1, line)?;
    let mut arrivals = Vec::new();
    let mut names = BTreeSet::new();
    for (number, line) in lines {
        let arrival = Line::parse(number + 1, line)?.arrival()?;
        if !names.insert(arrival.name.clone()) {
            let message = format!("the name `{}` stands twice", arrival.name);
            return Err(refusal(number + 1, Some("name"), message, "give each piece of work a name of its own"));
        }
        arrivals.push(arrival);
    }
    arrivals.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    Ok(Workload { arrivals })
}

/// Writes a trace.
pub fn write(workload: &Workload, comment: Option<&str>) -> String {
    let mut header = json!({"format": FORMAT, "version": VERSION});
    if let Some(comment) = comment {
        header["comment"] = json!(comment);
    }
    let mut text = format!("{header}\n");
    for arrival in &workload.arrivals {
        let Arrival { at, name, instances, runs, priority, kind, patience } = arrival;
        let line = json!({
            "at_ms": at, "name": name, "instances": instances, "runs_ms": runs,
            "priority": priority, "kind": kind_name(*kind), "patience_ms": patience,
        });
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Spelling of a kind.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "service",
        Kind::Stateful => "stateful",
        Kind::Job => "job",
        Kind::Bare => "bare",
    }
}

/// A kind by its spelling.
pub fn kind_named(name: &str) -> Option<Kind> {
    [Kind::Service, Kind::Stateful, Kind::Job, Kind::Bare].into_iter().find(|&kind| kind_name(kind) == name)
}

fn refusal(line: usize, field: Option<&str>, message: String, help: &str) -> TraceError {
    TraceError { line, field: field.map(str::to_owned), message, help: help.to_owned() }
}

fn header_help() -> String {
    format!("begin the trace with the line {{\"format\":\"{FORMAT}\",\"version\":{VERSION}}}")
}

fn check_header(number: usize, line: &str) -> Result<(), TraceError> {
    let wrong = |field: Option<&str>, message: String| refusal(number, field, message, &header_help());
    let line = Line::parse(number, line).map_err(|_| wrong(None, "the first line is no header".into()))?;
    if line.fields.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(wrong(Some("format"), format!("the first line does not say that this is a `{FORMAT}`")));
    }
    match line.fields.get("version") {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) => {
            let message = format!("version {version} of the format is not known here, only {VERSION}");
            return Err(refusal(number, Some("version"), message, "use a newer retile, or write the trace again"));
        }
        None => return Err(wrong(Some("version"), "the header has no version".into())),
    }
    let unknown = line.fields.keys().find(|key| !["format", "version", "comment"].contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| Err(wrong(Some(key), format!("the header has no field `{key}`"))))
}

/// One line, as an object.
struct Line {
    number: usize,
    fields: Map<String, Value>,
}

impl Line {
    fn parse(number: usize, text: &str) -> Result<Self, TraceError> {
        let help = "write one JSON object per line";
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(Self { number, fields }),
            Ok(_) => Err(refusal(number, None, "the line is no JSON object".into(), help)),
            Err(error) => {
                // The position within the line is right, its line number is always 1.
                let message = format!("the line is no JSON: {} (column {})", reason(&error), error.column());
                Err(refusal(number, None, message, help))
            }
        }
    }

    fn wrong(&self, field: &str, message: String, help: &str) -> TraceError {
        refusal(self.number, Some(field), message, help)
    }

    fn required(&self, field: &str, help: &str) -> Result<&Value, TraceError> {
        self.fields.get(field).ok_or_else(|| self.wrong(field, format!("the field `{field}` is missing"), help))
    }

    fn time(&self, field: &str) -> Result<u64, TraceError> {
        let help = "write a whole number of milliseconds, such as 3600000";
        let value = self.required(field, help)?;
        let number = value.as_u64().filter(|&number| number <= MOST_MS);
        number.ok_or_else(|| self.wrong(field, format!("{value} is no time"), help))
    }

    fn arrival(&self) -> Result<Arrival, TraceError> {
        if let Some(unknown) = self.fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let help = format!("the fields are {}", FIELDS.join(", "));
            return Err(self.wrong(unknown, format!("there is no field `{unknown}`"), &help));
        }
        let help = "write a name such as \"train-0\"";
        let name = self.required("name", help)?;
        let name = name.as_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| self.wrong("name", "the name is no text, or empty".into(), help))?.to_owned();
        let runs = self.time("runs_ms")?;
        if runs == 0 {
            return Err(self.wrong("runs_ms", "the work runs for no time".into(), "write at least 1"));
        }
        let patience = match self.fields.get("patience_ms") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.time("patience_ms")?),
        };
        Ok(Arrival {
            at: self.time("at_ms")?,
            name,
            instances: self.instances()?,
            runs,
            priority: self.priority()?,
            kind: self.kind()?,
            patience,
        })
    }

    fn instances(&self) -> Result<BTreeMap<String, u32>, TraceError> {
        let help = "write profiles and counts, such as {\"1g.10gb\":1}";
        let value = self.required("instances", help)?;
        let wrong = |message: String| self.wrong("instances", message, help);
        let counts = value.as_object().ok_or_else(|| wrong(format!("{value} is no object")))?;
        let mut instances = BTreeMap::new();
        for (profile, count) in counts {
            let number = count.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
            let number = number.ok_or_else(|| wrong(format!("{count} is no count of `{profile}`")))?;
            instances.insert(profile.clone(), number);
        }
        if instances.is_empty() { Err(wrong("no instance is asked for".into())) } else { Ok(instances) }
    }

    fn priority(&self) -> Result<i32, TraceError> {
        let Some(value) = self.fields.get("priority") else { return Ok(0) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| {
            self.wrong("priority", format!("{value} is no priority"), "write a whole number, 0 for an ordinary pod")
        })
    }

    fn kind(&self) -> Result<Kind, TraceError> {
        let Some(value) = self.fields.get("kind") else { return Ok(Kind::Service) };
        value.as_str().and_then(kind_named).ok_or_else(|| {
            self.wrong("kind", format!("{value} is no kind"), "write \"service\", \"stateful\", \"job\" or \"bare\"")
        })
    }
}

/// What serde says, without the position that it appends.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"format\":\"retile-trace\",\"version\":1}\n";

    fn refused(line: &str) -> TraceError {
        read(&format!("{HEADER}{line}\n")).expect_err(line)
    }

    #[test]
    fn what_is_written_reads_back() {
        let one = |at, name: &str, kind, patience| Arrival {
            at,
            name: name.into(),
            instances: BTreeMap::from([("1g.10gb".to_owned(), 2), ("3g.40gb".to_owned(), 1)]),
            runs: 60_000,
            priority: -5,
            kind,
            patience,
        };
        let arrivals = vec![
            one(0, "a \"quoted\" name", Kind::Service, None),
            one(7, "b", Kind::Stateful, Some(0)),
            one(7, "c", Kind::Job, Some(7_200_000)),
            one(9, "d", Kind::Bare, None),
        ];
        let workload = Workload { arrivals };
        assert_eq!(read(&write(&workload, Some("two\nlines"))).as_ref(), Ok(&workload));
    }

    #[test]
    fn the_shipped_trace_is_of_this_form() {
        let workload = read(include_str!("../../../testdata/traces/small.jsonl")).expect("a trace");
        assert_eq!(workload.arrivals.len(), 6);
        assert_eq!(workload.arrivals[5].instances["1g.10gb"], 2);
    }

    #[test]
    fn optional_fields_have_their_defaults_and_lines_any_order() {
        let text = format!(
            "{HEADER}{}\n\n{}\n",
            r#"{"at_ms":5,"name":"late","instances":{"1g.10gb":1},"runs_ms":1}"#,
            r#"{"at_ms":1,"name":"early","instances":{"1g.10gb":1},"runs_ms":1,"patience_ms":null}"#
        );
        let workload = read(&text).expect("a trace");
        let names: Vec<&str> = workload.arrivals.iter().map(|arrival| arrival.name.as_str()).collect();
        assert_eq!(names, ["early", "late"]);
        let Arrival { priority, kind, patience, .. } = &workload.arrivals[1];
        assert_eq!((*priority, *kind, *patience), (0, Kind::Service, None));
    }

    #[test]
    fn a_refusal_names_line_field_and_remedy() {
        for (line, field, word) in [
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":"1h"}"#, "runs_ms", "milliseconds"),
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":0}"#, "runs_ms", "at least 1"),
            (r#"{"at_ms":-1,"name":"a","instances":{"1g.10gb":1},"runs_ms":1}"#, "at_ms", "milliseconds"),
            (r#"{"name":"a","instances":{"1g.10gb":1},"runs_ms":1}"#, "at_ms", "milliseconds"),
            (r#"{"at_ms":0,"name":"","instances":{"1g.10gb":1},"runs_ms":1}"#, "name", "train-0"),
            (r#"{"at_ms":0,"name":"a","instances":{},"runs_ms":1}"#, "instances", "1g.10gb"),
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":0},"runs_ms":1}"#, "instances", "1g.10gb"),
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":1,"kind":"cron"}"#, "kind", "stateful"),
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":1,"priority":1.5}"#, "priority", "whole"),
            (r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":1,"gpu":1}"#, "gpu", "patience_ms"),
        ] {
            let error = refused(line);
            assert_eq!((error.line, error.field.as_deref()), (2, Some(field)), "{line}: {error:?}");
            assert!(error.help.contains(word), "{line}: {error:?}");
        }
        let twice = r#"{"at_ms":0,"name":"a","instances":{"1g.10gb":1},"runs_ms":1}"#;
        let error = refused(&format!("{twice}\n{twice}"));
        assert_eq!((error.line, error.place().as_str()), (3, "line 3, field `name`"));
        assert!(refused("{\"at_ms\":").message.contains("column"));
    }

    #[test]
    fn a_header_is_needed_and_must_be_of_this_version() {
        for wrong in
            ["", "\n", "{}", "[]", "{\"format\":\"retile-trace\"}", "{\"format\":\"retile-trace\",\"version\":2}"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let extra = "{\"format\":\"retile-trace\",\"version\":1,\"board\":\"x\"}";
        assert_eq!(read(extra).expect_err("an unknown field").field.as_deref(), Some("board"));
        assert_eq!(read(HEADER), Ok(Workload::default()));
    }
}
