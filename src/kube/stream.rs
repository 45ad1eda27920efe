//! From bytes to objects: JSON or YAML, lists or single objects, one document or many.
//!
//! Input: a reader. Output: [`Objects`], the few kinds that planning reads, in the order of the file. The items of a
//! list are taken one by one: each is first held as raw text (JSON) or a value (YAML), read into its small structure,
//! and dropped. An object that cannot be read is reported in [`Objects::bad`] and costs nobody else; only text that
//! is no JSON or YAML at all, or holds no Kubernetes object, is an error of the whole input.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Read};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::objects::{DeviceClass, DisruptionBudget, MigNode, Node, Pod, PriorityClass, ResourceSlice, Stamps, Text};

/// Lists may stand in lists; nobody writes more levels than this.
const MAX_LIST_DEPTH: u8 = 4;

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
    pub(crate) nodes: Vec<Node>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) budgets: Vec<DisruptionBudget>,
    pub(crate) classes: Vec<PriorityClass>,
    pub(crate) mig_nodes: Vec<MigNode>,
    /// Policies as (name, text in JSON): they are read strictly, elsewhere.
    pub(crate) policies: Vec<(String, String)>,
    pub(crate) slices: Vec<ResourceSlice>,
    pub(crate) device_classes: Vec<DeviceClass>,
    pub(crate) bad: Vec<BadObject>,
    /// How many objects of each kind were met, those that are not read included.
    pub(crate) kinds: BTreeMap<String, usize>,
    /// The newest moment in any object.
    pub(crate) newest: Option<i64>,
}

impl Objects {
    fn see(&mut self, moment: Option<i64>) {
        self.newest = self.newest.max(moment);
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
pub(crate) fn read_objects(mut reader: impl BufRead) -> Result<Objects, StreamError> {
    let mut first = Vec::new();
    let skipped = skip_blank(&mut reader, &mut first)?;
    match first.first() {
        None => Err(StreamError::whole(
            "the input is empty; write it with `kubectl get nodes,pods,pdb,priorityclasses -A -o json`",
        )),
        Some(b'{' | b'[') => read_json(first.as_slice().chain(reader), skipped),
        Some(_) => read_yaml(first.as_slice().chain(reader)),
    }
}

/// Skips a byte order mark and blanks; leaves the first lines' worth of bytes in `first` and returns the lines skipped.
fn skip_blank(reader: &mut impl BufRead, first: &mut Vec<u8>) -> Result<usize, StreamError> {
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

fn read_json(reader: impl Read, skipped: usize) -> Result<Objects, StreamError> {
    let mut objects = Objects::default();
    // The parser reads byte by byte; the buffer below keeps that cheap across the chained readers.
    let reader = std::io::BufReader::with_capacity(1 << 16, reader);
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Document<Box<RawValue>>>() {
        let document = document.map_err(|error| json_error(&error, skipped))?;
        objects.merge(document.objects);
    }
    Ok(objects)
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

fn read_yaml(mut reader: impl Read) -> Result<Objects, StreamError> {
    let mut objects = Objects::default();
    for document in serde_saphyr::read_with_options::<_, Document<serde_json::Value>>(&mut reader, yaml_options()) {
        let document = document.map_err(|error| yaml_error(&error))?;
        objects.merge(document.objects);
    }
    Ok(objects)
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
            max_aliases: 1_000,
            max_merge_keys: 1_000,
        },
        with_snippet: false,
    }
}

pub(crate) fn yaml_error(error: &serde_saphyr::Error) -> StreamError {
    let place = error.location();
    let text = error.without_snippet().to_string();
    // The location is told apart; the library appends it to the message.
    let message = text.split(" at line ").next().unwrap_or(&text).trim_end_matches(':').to_owned();
    StreamError {
        line: place.map_or(0, |place| usize::try_from(place.line()).unwrap_or(0)),
        column: place.map_or(0, |place| usize::try_from(place.column()).unwrap_or(0)),
        message,
    }
}

/// One value of the source, not yet read into a structure.
trait Raw: DeserializeOwned {
    /// Reads the value, naming the field that does not fit.
    fn read<T: DeserializeOwned>(&self) -> Result<T, String>;
    /// Makes an object from its members.
    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String>;
    /// The value as JSON text.
    fn text(&self) -> String;
}

impl Raw for Box<RawValue> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.get()).map_err(|_| {
            let mut deserializer = serde_json::Deserializer::from_str(self.get());
            explain(serde_path_to_error::deserialize::<_, T>(&mut deserializer).map(drop))
        })
    }

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        let mut text = String::from("{");
        for (position, (key, value)) in members.iter().enumerate() {
            if position > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(key.as_str()).to_string());
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        RawValue::from_string(text).map_err(|error| error.to_string())
    }

    fn text(&self) -> String {
        self.get().to_owned()
    }
}

impl Raw for serde_json::Value {
    fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(self).map_err(|_| explain(serde_path_to_error::deserialize::<_, T>(self).map(drop)))
    }

    fn assemble(members: Vec<(String, Self)>) -> Result<Self, String> {
        Ok(Self::Object(members.into_iter().collect()))
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

fn explain(result: Result<(), serde_path_to_error::Error<serde_json::Error>>) -> String {
    match result {
        Ok(()) => "cannot be read".to_owned(),
        Err(error) => {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            if path == "." { message } else { format!("{path}: {message}") }
        }
    }
}

/// What every object says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: Text,
    #[serde(default)]
    kind: Text,
}

/// Names in an object that cannot be read otherwise.
#[derive(Deserialize, Default)]
struct Names {
    #[serde(default)]
    metadata: NamesMeta,
}

#[derive(Deserialize, Default)]
struct NamesMeta {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    namespace: Text,
}

#[derive(Deserialize, Default)]
struct Bound {
    #[serde(default)]
    spec: BoundSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BoundSpec {
    #[serde(default)]
    node_name: Text,
}

#[derive(Deserialize, Default)]
struct Stamped {
    #[serde(default)]
    metadata: Stamps,
}

/// One document of the source: an object, a list of objects, or a bare array of them.
struct Document<R> {
    objects: Objects,
    raw: PhantomData<R>,
}

impl<'de, R: Raw> Deserialize<'de> for Document<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let objects = deserializer.deserialize_any(DocumentVisitor::<R> { depth: 0, raw: PhantomData })?;
        Ok(Self { objects, raw: PhantomData })
    }
}

struct DocumentVisitor<R> {
    depth: u8,
    raw: PhantomData<R>,
}

impl<'de, R: Raw> Visitor<'de> for DocumentVisitor<R> {
    type Value = Objects;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or a List of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Objects, A::Error> {
        Ok(Items::<R> { depth: self.depth, raw: PhantomData }.visit_seq(seq)?.objects)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Objects, A::Error> {
        let mut members: Vec<(String, R)> = Vec::new();
        let mut items: Option<ItemsRead<R>> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                items = Some(map.next_value_seed(Items { depth: self.depth, raw: PhantomData })?);
            } else {
                members.push((key, map.next_value()?));
            }
        }
        let is_list = items.is_some();
        let whole = R::assemble(members).map_err(A::Error::custom)?;
        let header: Header = whole.read().map_err(A::Error::custom)?;
        if header.kind.0.is_empty() && !is_list {
            return Err(A::Error::custom(
                "this object has no `kind`, so it is no Kubernetes object; \
                 write the export with `kubectl get nodes,pods,pdb,priorityclasses -A -o json`",
            ));
        }
        let Some(mut items) = items else {
            let mut objects = Objects::default();
            add(&mut objects, &whole, self.depth);
            return Ok(objects);
        };
        let kind = header.kind.0.strip_suffix("List").unwrap_or_default();
        for raw in items.without_kind {
            add_as(&mut items.objects, &raw, kind, &header.api_version.0, self.depth);
        }
        Ok(items.objects)
    }
}

/// Reads the `items` of a list, one at a time.
struct Items<R> {
    depth: u8,
    raw: PhantomData<R>,
}

struct ItemsRead<R> {
    objects: Objects,
    /// Items of a typed list (`PodList`) do not repeat their kind, and the list's own may come after them.
    without_kind: Vec<R>,
}

impl<'de, R: Raw> DeserializeSeed<'de> for Items<R> {
    type Value = ItemsRead<R>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Raw> Visitor<'de> for Items<R> {
    type Value = ItemsRead<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`items` to be an array of objects")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(ItemsRead { objects: Objects::default(), without_kind: Vec::new() })
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(ItemsRead { objects: Objects::default(), without_kind: Vec::new() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut read = ItemsRead { objects: Objects::default(), without_kind: Vec::new() };
        while let Some(raw) = seq.next_element::<R>()? {
            match raw.read::<Header>() {
                Ok(header) if header.kind.0.is_empty() => read.without_kind.push(raw),
                Ok(header) => add_as(&mut read.objects, &raw, &header.kind.0, &header.api_version.0, self.depth),
                Err(message) => read.objects.bad.push(BadObject {
                    kind: String::new(),
                    namespace: String::new(),
                    name: String::new(),
                    node: String::new(),
                    message,
                }),
            }
        }
        Ok(read)
    }
}

fn add<R: Raw>(objects: &mut Objects, raw: &R, depth: u8) {
    if let Ok(header) = raw.read::<Header>() {
        add_as(objects, raw, &header.kind.0, &header.api_version.0, depth);
    }
}

/// Reads one object by its kind.
fn add_as<R: Raw>(objects: &mut Objects, raw: &R, kind: &str, api_version: &str, depth: u8) {
    if kind == "List" || kind.ends_with("List") && raw.read::<HasItems>().is_ok_and(|list| list.items.is_some()) {
        return add_list(objects, raw, depth);
    }
    *objects.kinds.entry(kind.to_owned()).or_default() += 1;
    if let Ok(stamped) = raw.read::<Stamped>() {
        objects.see(stamped.metadata.newest());
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let read = match (group, kind) {
        ("", "Node") => raw.read::<Node>().map(|node| {
            objects.see(node.status.conditions.iter().filter_map(super::objects::PodCondition::newest).max());
            objects.nodes.push(node);
        }),
        ("", "Pod") => raw.read::<Pod>().and_then(checked_pod).map(|pod| {
            objects.see(pod.newest());
            objects.pods.push(pod);
        }),
        ("policy" | "", "PodDisruptionBudget") => raw.read().map(|budget| objects.budgets.push(budget)),
        ("scheduling.k8s.io" | "", "PriorityClass") => raw.read().map(|class| objects.classes.push(class)),
        ("retile.dev" | "", "MigNode") => raw.read::<MigNode>().map(|node| {
            objects.see(node.status.gpus.iter().filter_map(|gpu| gpu.last_changed.0).max());
            objects.see(node.status.conditions.iter().filter_map(super::objects::PodCondition::newest).max());
            objects.mig_nodes.push(node);
        }),
        ("retile.dev" | "", "MigPolicy") => {
            let names = raw.read::<Names>().unwrap_or_default();
            objects.policies.push((names.metadata.name.0, raw.text()));
            Ok(())
        }
        ("resource.k8s.io", "ResourceSlice") => raw.read().map(|slice| objects.slices.push(slice)),
        ("resource.k8s.io", "DeviceClass") => raw.read().map(|class| objects.device_classes.push(class)),
        _ => Ok(()),
    };
    if let Err(message) = read {
        objects.bad.push(bad_object(raw, kind, message));
    }
}

fn checked_pod(pod: Pod) -> Result<Pod, String> {
    if pod.metadata.name.is_empty() { Err("metadata.name: is missing".to_owned()) } else { Ok(pod) }
}

fn bad_object<R: Raw>(raw: &R, kind: &str, message: String) -> BadObject {
    let names = raw.read::<Names>().unwrap_or_default().metadata;
    let node = raw.read::<Bound>().unwrap_or_default().spec.node_name.0;
    BadObject { kind: kind.to_owned(), namespace: names.namespace.0, name: names.name.0, node, message }
}

#[derive(Deserialize)]
struct HasItems {
    items: Option<IgnoredAny>,
}

fn add_list<R: Raw>(objects: &mut Objects, raw: &R, depth: u8) {
    let refuse = |message: String| BadObject {
        kind: "List".to_owned(),
        namespace: String::new(),
        name: String::new(),
        node: String::new(),
        message,
    };
    if depth >= MAX_LIST_DEPTH {
        objects.bad.push(refuse(format!("lists stand in one another more than {MAX_LIST_DEPTH} levels deep")));
        return;
    }
    let text = raw.text();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let visitor = DocumentVisitor::<Box<RawValue>> { depth: depth + 1, raw: PhantomData };
    match deserializer.deserialize_any(visitor) {
        Ok(inner) => objects.merge(inner),
        Err(error) => objects.bad.push(refuse(error.to_string())),
    }
}
