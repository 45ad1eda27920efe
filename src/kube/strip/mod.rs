//! Leaves of an export what planning reads, and nothing else: no environment, commands, images, names of secrets, foreign annotations.
//!
//! Inputs: an export, or objects as an API server lists them. Output: objects as lines of JSON, and the `List` of them. Invariants: the plan of
//! what is left is the plan of the whole, byte for byte; what is not named in `keep` does not stay, so that a field that Kubernetes adds later
//! is left out until somebody reads it. Must not depend on a cluster.
//!
//! Labels stay whole, because selectors read them; and names, because plans name what they change.

mod keep;

use std::fmt;
use std::io::BufRead;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use self::keep::Keep;
use super::export::{ReadError, malformed};
use super::objects::{Annotations, Stamps};
use super::stream::{Written, each_document};
use super::time::parse_moment;

/// Lists may stand in lists; nobody writes more levels than this.
const MAX_LIST_DEPTH: u8 = 4;
/// Longest value of an annotation that is read.
const ANNOTATION: usize = 256;

/// An export that holds only what planning reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stripped {
    /// Objects, each as JSON on one line, in the order of the source.
    pub objects: Vec<String>,
    /// Objects of kinds that nobody reads, which are left out.
    pub left_out: usize,
    /// The moment that the objects describe where they do not show it themselves, in seconds since the epoch.
    pub moment: Option<i64>,
    /// Whether it holds all objects of all kinds that planning reads, as a live cluster's listing does; of an export nobody knows.
    pub whole: bool,
}

/// Kind of the object that carries the moment. Nobody reads more of it than when it was made.
const MOMENT: &str = "Moment";
/// The same, where the listing is whole.
pub(crate) const SNAPSHOT: &str = "Snapshot";

impl Stripped {
    /// Adds an object; `kind` and `api_version` say what it is where it does not say so itself, as in the lists of an API server.
    pub fn add(&mut self, object: Value, api_version: &str, kind: &str) {
        self.add_at(object, api_version, kind, 0);
    }

    /// All objects as one `List`, as `kubectl` writes it, behind an object that carries the moment.
    pub fn list(&self) -> String {
        let moment = self.moment.and_then(|moment| jiff::Timestamp::from_second(moment).ok()).map(|moment| {
            let made = json!({"creationTimestamp": moment.to_string(), "name": "snapshot"});
            let kind = if self.whole { SNAPSHOT } else { MOMENT };
            json!({"apiVersion": "retile.dev/v1alpha1", "kind": kind, "metadata": made}).to_string()
        });
        let items: Vec<&str> = moment.iter().chain(&self.objects).map(String::as_str).collect();
        let items = items.join(",\n");
        format!("{{\"apiVersion\":\"v1\",\"items\":[\n{items}\n],\"kind\":\"List\",\"metadata\":{{}}}}\n")
    }

    fn add_at(&mut self, mut object: Value, api_version: &str, kind: &str, depth: u8) {
        if !object.is_object() {
            self.objects.push(hollow(&object).to_string());
            return;
        }
        let own = |field: &str| object.get(field).and_then(Value::as_str).filter(|it| !it.is_empty());
        let api_version = own("apiVersion").unwrap_or(api_version).to_owned();
        let kind = own("kind").unwrap_or(kind).to_owned();
        if kind.ends_with("List") && depth < MAX_LIST_DEPTH && object.get("items").is_some_and(Value::is_array) {
            let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) else { return };
            let of = kind.strip_suffix("List").unwrap_or_default();
            for item in items {
                self.add_at(item, &api_version, of, depth + 1);
            }
            return;
        }
        let Some(keep) = keep::of_kind(&api_version, &kind) else {
            self.left_out += usize::from(kind != MOMENT && kind != SNAPSHOT);
            self.whole |= kind == SNAPSHOT;
            let stamps = serde_json::from_value::<Stamps>(object["metadata"].take()).ok();
            self.moment = self.moment.max(stamps.and_then(|stamps| stamps.newest()));
            return;
        };
        if let Value::Object(fields) = &mut object {
            fields.insert("apiVersion".into(), api_version.into());
            fields.insert("kind".into(), kind.into());
        }
        self.objects.extend(stripped(keep, object).map(|object| object.to_string()));
    }
}

/// Strips an export, JSON or YAML; `origin` names it in errors.
///
/// # Errors
/// It is no JSON or YAML of Kubernetes objects.
pub fn strip(origin: &str, reader: &mut dyn BufRead) -> Result<Stripped, ReadError> {
    let mut all = Stripped::default();
    let read = each_document::<Items, Items>(reader, |document| match document {
        Written::Json(Items(document)) | Written::Yaml(Items(document)) => all.append(document),
    });
    read.map_err(|error| malformed(origin.to_owned(), error))?;
    Ok(all)
}

impl Stripped {
    fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.left_out += other.left_out;
        self.moment = self.moment.max(other.moment);
        self.whole |= other.whole;
    }
}

/// What is left of a value; none where nothing is.
fn stripped(keep: &Keep, value: Value) -> Option<Value> {
    // An absent field and an empty one are read alike, except where `null` is the fault that makes an object unreadable.
    if value.is_null() {
        return Some(value);
    }
    Some(match (keep, value) {
        (Keep::Nothing, _) => return None,
        (Keep::Presence, _) => json!({}),
        (Keep::Scalar, value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => value,
        (Keep::Fields(fields), Value::Object(mut object)) => {
            let kept = fields
                .iter()
                .filter_map(|(name, keep)| Some(((*name).to_owned(), stripped(keep, object.remove(*name)?)?)));
            Value::Object(kept.collect())
        }
        (Keep::Edited(fields), Value::Object(object)) => {
            let edited = |(name, value): (String, Value)| match fields.iter().find(|(field, _)| *field == name) {
                Some((_, keep)) => Some((name, stripped(keep, value)?)),
                None => Some((name, value)),
            };
            Value::Object(object.into_iter().filter_map(edited).collect())
        }
        (Keep::Map(keep), Value::Object(object)) => {
            Value::Object(object.into_iter().filter_map(|(name, value)| Some((name, stripped(keep, value)?))).collect())
        }
        (Keep::Items(keep), Value::Array(items)) => {
            Value::Array(items.into_iter().filter_map(|item| stripped(keep, item)).collect())
        }
        (Keep::Annotations, Value::Object(object)) => {
            let kept: Map<String, Value> = object
                .into_iter()
                .filter(|(key, _)| Annotations::are_kept(key))
                .map(|(key, it)| (key, short(it)))
                .collect();
            return (!kept.is_empty()).then_some(Value::Object(kept));
        }
        (Keep::Moments, Value::Array(managers)) => return newest(&managers).map(|time| json!([{ "time": time }])),
        // Of another shape than it should have. Its object stays as unreadable as it was, and whatever stands there goes.
        (_, value) => hollow(&value),
    })
}

fn short(value: Value) -> Value {
    match value.as_str().and_then(|text| text.char_indices().nth(ANNOTATION).map(|(end, _)| &text[..end])) {
        Some(start) => start.into(),
        None => value,
    }
}

/// The newest of the moments at which managers have written.
fn newest(managers: &[Value]) -> Option<Value> {
    let times = managers.iter().filter_map(|manager| manager.get("time"));
    let known = times.filter_map(|time| Some((parse_moment(time.as_str()?).ok()?, time)));
    known.max_by_key(|(moment, _)| *moment).map(|(_, time)| time.clone())
}

/// A value of the same shape that says nothing.
fn hollow(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::String(_) => "".into(),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
    }
}

/// A document of an export, stripped item by item, so that a large list is never held as a whole.
struct Items(Stripped);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object or a List of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items, A::Error> {
        let mut all = Stripped::default();
        while let Some(item) = seq.next_element::<Value>()? {
            all.add(item, "", "");
        }
        Ok(Items(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Items, A::Error> {
        let mut fields = Map::new();
        let mut listed: Option<Listed> = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" {
                listed = Some(map.next_value()?);
            } else {
                fields.insert(key, map.next_value()?);
            }
        }
        let Some(Listed { mut stripped, without_kind }) = listed else {
            if !fields.contains_key("kind") {
                return Err(serde::de::Error::custom(
                    "this object has no `kind`, so it is no Kubernetes object; write the export with \
                     `kubectl get nodes,pods,pdb,priorityclasses -A -o json`",
                ));
            }
            let mut one = Stripped::default();
            one.add(Value::Object(fields), "", "");
            return Ok(Items(one));
        };
        let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
        let kind = text("kind").strip_suffix("List").unwrap_or_default();
        for item in without_kind {
            stripped.add_at(item, text("apiVersion"), kind, 1);
        }
        Ok(Items(stripped))
    }
}

/// The items of a list.
#[derive(Default)]
struct Listed {
    stripped: Stripped,
    /// Items of a typed list do not repeat their kind, and the list's own may come after them.
    without_kind: Vec<Value>,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListedVisitor;
        impl<'de> Visitor<'de> for ListedVisitor {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`items` to be an array of objects")
            }
            fn visit_unit<E>(self) -> Result<Listed, E> {
                Ok(Listed::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Listed, A::Error> {
                let mut listed = Listed::default();
                while let Some(item) = seq.next_element::<Value>()? {
                    if item.get("kind").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty()) {
                        listed.stripped.add_at(item, "", "", 1);
                    } else {
                        listed.without_kind.push(item);
                    }
                }
                Ok(listed)
            }
        }
        deserializer.deserialize_any(ListedVisitor)
    }
}

#[cfg(test)]
mod tests;
