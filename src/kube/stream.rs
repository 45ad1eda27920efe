//! From bytes to objects: JSON or YAML, lists or single objects, one document or many.
//!
//! Input: a reader. Output: [`Objects`], the few kinds that planning reads, in the order of the file. The items of a
//! list are taken one by one: each is first held as raw text (JSON) or a value (YAML), read into its small structure,
//! and dropped. An object that cannot be read is reported in [`Objects::bad`] and costs nobody else; only text that
//! is no JSON or YAML at all, or holds no Kubernetes object, is an error of the whole input.

mod document;
mod raw;
mod sniff;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use self::document::Document;
use self::sniff::skip_blank;
use super::objects::{DeviceClass, DisruptionBudget, MigNode, Node, Pod, PriorityClass, ResourceSlice, Resources};

/// An object that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BadObject {
    /// Kind; empty when even that is unreadable.
    pub(crate) kind: String,
    /// Namespace, where the object says it.
    pub(crate) namespace: String,
    /// Name, where the object says it.
    pub(crate) name: String,
    /// Node that a bad pod is bound to.
    pub(crate) node: String,
    /// What is wrong, with the field.
    pub(crate) message: String,
}

/// The objects of an export, by kind.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) budgets: Vec<DisruptionBudget>,
    pub(crate) classes: Vec<PriorityClass>,
    pub(crate) mig_nodes: Vec<Arc<MigNode>>,
    /// Policies as (name, text in JSON): they are read strictly, elsewhere.
    pub(crate) policies: Vec<(String, String)>,
    pub(crate) slices: Vec<ResourceSlice>,
    pub(crate) device_classes: Vec<DeviceClass>,
    pub(crate) bad: Vec<BadObject>,
    /// How many objects of each kind were met, those that are not read included.
    pub(crate) kinds: BTreeMap<String, usize>,
    /// The newest moment in any object.
    pub(crate) newest: Option<i64>,
    /// What containers ask for, each once, while objects are being read.
    pub(crate) shared: BTreeSet<Arc<Resources>>,
}

impl Objects {
    fn see(&mut self, moment: Option<i64>) {
        self.newest = self.newest.max(moment);
    }

    /// Keeps once what many containers ask for.
    fn share(&mut self, pod: &mut Pod) {
        for container in pod.spec.containers.iter_mut().chain(&mut pod.spec.init_containers) {
            match self.shared.get(&container.resources) {
                Some(known) => container.resources = Arc::clone(known),
                None => drop(self.shared.insert(Arc::clone(&container.resources))),
            }
        }
    }

    fn merge(&mut self, mut other: Self) {
        self.nodes.append(&mut other.nodes);
        self.pods.append(&mut other.pods);
        self.budgets.append(&mut other.budgets);
        self.classes.append(&mut other.classes);
        self.mig_nodes.append(&mut other.mig_nodes);
        self.policies.append(&mut other.policies);
        self.slices.append(&mut other.slices);
        self.device_classes.append(&mut other.device_classes);
        self.bad.append(&mut other.bad);
        for (kind, count) in other.kinds {
            *self.kinds.entry(kind).or_default() += count;
        }
        self.see(other.newest);
    }
}

/// Reads one object of a known kind that stands alone.
#[cfg(feature = "cluster")]
pub(crate) fn read_raw<T: serde::de::DeserializeOwned>(raw: &RawValue, kind: &str) -> Result<T, BadObject> {
    document::read_one(raw, kind)
}

/// Why the input as a whole cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamError {
    /// Line, from 1; 0 when there is no place.
    pub(crate) line: usize,
    /// Column, from 1; 0 when there is no place.
    pub(crate) column: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl StreamError {
    fn whole(message: impl Into<String>) -> Self {
        Self { line: 0, column: 0, message: message.into() }
    }
}

/// Reads all objects.
pub(crate) fn read_objects(reader: impl BufRead) -> Result<Objects, StreamError> {
    let mut objects = Objects::default();
    match Input::open(reader, HELD)? {
        Input::Held { text, skipped } => each_held(&text, skipped, |document: Document<&RawValue>| {
            objects.merge(document.objects);
        })?,
        Input::Json { start, rest, skipped } => each_streamed(&start, rest, skipped, |it: Document<Box<RawValue>>| {
            objects.merge(it.objects);
        })?,
        Input::Yaml { start, rest } => each_yaml(&start, rest, |document: Document<serde_json::Value>| {
            objects.merge(document.objects);
        })?,
    }
    Ok(objects)
}

/// A document, by the language that it is written in.
pub(super) enum Written<J, Y> {
    /// JSON.
    Json(J),
    /// YAML.
    Yaml(Y),
}

/// Reads one document after another.
pub(super) fn each_document<J: DeserializeOwned, Y: DeserializeOwned>(
    reader: impl BufRead,
    mut take: impl FnMut(Written<J, Y>),
) -> Result<(), StreamError> {
    match Input::open(reader, HELD)? {
        Input::Held { text, skipped } => each_held(&text, skipped, |document| take(Written::Json(document))),
        Input::Json { start, rest, skipped } => {
            each_streamed(&start, rest, skipped, |document| take(Written::Json(document)))
        }
        Input::Yaml { start, rest } => each_yaml(&start, rest, |document| take(Written::Yaml(document))),
    }
}

/// JSON up to this many bytes is held while it is read, which takes a third of the time of reading it byte by byte; what is longer costs no
/// memory beyond.
const HELD: u64 = 256 << 20;

/// An input whose language is known.
enum Input<R> {
    /// JSON, all of it.
    Held { text: Vec<u8>, skipped: usize },
    /// JSON, of which more is to come.
    Json { start: Vec<u8>, rest: R, skipped: usize },
    /// YAML.
    Yaml { start: Vec<u8>, rest: R },
}

impl<R: BufRead> Input<R> {
    fn open(mut reader: R, most: u64) -> Result<Self, StreamError> {
        let mut start = Vec::new();
        let skipped = skip_blank(&mut reader, &mut start)?;
        match start.first() {
            None => Err(StreamError::whole(
                "the input is empty; write it with `kubectl get nodes,pods,pdb,priorityclasses -A -o json`",
            )),
            Some(b'{' | b'[') => {
                // Where reading fails, the parser meets the failure again and says at which place.
                let read = reader.by_ref().take(most).read_to_end(&mut start);
                Ok(if read.is_ok_and(|read| (read as u64) < most) {
                    Self::Held { text: start, skipped }
                } else {
                    Self::Json { start, rest: reader, skipped }
                })
            }
            Some(_) => Ok(Self::Yaml { start, rest: reader }),
        }
    }
}

fn each_held<'a, J: Deserialize<'a>>(text: &'a [u8], skipped: usize, take: impl FnMut(J)) -> Result<(), StreamError> {
    match std::str::from_utf8(text) {
        Ok(text) => each_json(serde_json::Deserializer::from_str(text), skipped, take),
        Err(_) => each_json(serde_json::Deserializer::from_slice(text), skipped, take),
    }
}

fn each_streamed<J: DeserializeOwned>(
    start: &[u8],
    rest: impl BufRead,
    skipped: usize,
    take: impl FnMut(J),
) -> Result<(), StreamError> {
    // The parser reads byte by byte; the buffer keeps that cheap across the chained readers.
    let reader = std::io::BufReader::with_capacity(1 << 16, start.chain(rest));
    each_json(serde_json::Deserializer::from_reader(reader), skipped, take)
}

fn each_json<'a, J: Deserialize<'a>, R: serde_json::de::Read<'a>>(
    deserializer: serde_json::Deserializer<R>,
    skipped: usize,
    mut take: impl FnMut(J),
) -> Result<(), StreamError> {
    for document in deserializer.into_iter() {
        take(document.map_err(|error| json_error(&error, skipped))?);
    }
    Ok(())
}

fn each_yaml<Y: DeserializeOwned>(
    start: &[u8],
    rest: impl BufRead,
    mut take: impl FnMut(Y),
) -> Result<(), StreamError> {
    let mut reader = start.chain(rest);
    for document in serde_saphyr::read_with_options(&mut reader, yaml_options()) {
        take(document.map_err(|error| yaml_error(&error))?);
    }
    Ok(())
}

fn json_error(error: &serde_json::Error, skipped: usize) -> StreamError {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    let message = if error.is_eof() {
        format!("the JSON ends too early ({message}); the export was cut off, write it again")
    } else if error.is_data() {
        message.to_owned()
    } else {
        format!("this is no valid JSON: {message}; write the export again with `-o json`")
    };
    StreamError { line: error.line() + skipped, column: error.column(), message }
}

/// Large exports are long but plain: room for many nodes, next to none for what anchors can blow up.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(4 << 30),
            max_events: 400_000_000,
            max_nodes: 400_000_000,
            max_total_scalar_bytes: 4 << 30,
            max_documents: 1_000_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 100_000,
            max_aliases: 1_000,
            max_merge_keys: 1_000,
        },
        with_snippet: false,
    }
}

/// The error with its place; budgets and policies of the library are said in the user's words.
pub(crate) fn yaml_error(error: &serde_saphyr::Error) -> StreamError {
    let place = error.location();
    let text = error.without_snippet().to_string();
    // The location is told apart; the library appends it to the message.
    let text = text.split(" at line ").next().unwrap_or(&text).trim_end_matches(':');
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or(text);
    let message = if text.starts_with("budget breached") || text.contains("alias") {
        format!(
            "the YAML nests or repeats itself beyond what such a file needs ({text}); write it out plainly, or as JSON"
        )
    } else {
        text.to_owned()
    };
    StreamError {
        line: place.map_or(0, |place| usize::try_from(place.line()).unwrap_or(0)),
        column: place.map_or(0, |place| usize::try_from(place.column()).unwrap_or(0)),
        message,
    }
}

#[cfg(test)]
mod tests;
