//! Documents, lists and objects.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::raw::{Header, Raw, Whole};
use super::{BadObject, Objects};
use crate::kube::objects::{MigNode, Node, Pod, PodCondition, Text};

/// Lists may stand in lists; nobody writes more levels than this.
const MAX_LIST_DEPTH: u8 = 4;

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

/// One document of the source: an object, a list of objects, or a bare array of them.
pub(super) struct Document<R> {
    pub(super) objects: Objects,
    raw: PhantomData<R>,
}

impl<'de, R: Raw + Deserialize<'de>> Deserialize<'de> for Document<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let objects = deserializer.deserialize_any(DocumentVisitor::<R> { depth: 0, raw: PhantomData })?;
        Ok(Self { objects, raw: PhantomData })
    }
}

struct DocumentVisitor<R> {
    depth: u8,
    raw: PhantomData<R>,
}

impl<'de, R: Raw + Deserialize<'de>> Visitor<'de> for DocumentVisitor<R> {
    type Value = Objects;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a Kubernetes object or a List of them, as `kubectl get nodes,pods,pdb,priorityclasses -A -o json` writes",
        )
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
        let kind = Text(header.kind.0.strip_suffix("List").unwrap_or_default().to_owned());
        let header = Header { kind, ..header };
        for raw in items.without_kind {
            let newest = raw.head().map_or(None, |(_, newest)| newest);
            add_as(&mut items.objects, &raw, &header, newest, self.depth);
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

impl<'de, R: Raw + Deserialize<'de>> DeserializeSeed<'de> for Items<R> {
    type Value = ItemsRead<R>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Raw + Deserialize<'de>> Visitor<'de> for Items<R> {
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
            match raw.head() {
                Ok((header, _)) if header.kind.0.is_empty() => read.without_kind.push(raw),
                Ok((header, newest)) => add_as(&mut read.objects, &raw, &header, newest, self.depth),
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

fn add<W: Whole>(objects: &mut Objects, raw: &W, depth: u8) {
    if let Ok((header, newest)) = raw.head() {
        add_as(objects, raw, &header, newest, depth);
    }
}

/// Reads one object by its kind; `newest` is the newest moment of its metadata.
fn add_as<W: Whole>(objects: &mut Objects, raw: &W, header: &Header, newest: Option<i64>, depth: u8) {
    let Header { kind: Text(kind), api_version: Text(api_version) } = header;
    if kind == "List" || kind.ends_with("List") && raw.read::<HasItems>().is_ok_and(|list| list.items.is_some()) {
        return add_list(objects, raw, depth);
    }
    if let Some(count) = objects.kinds.get_mut(kind) {
        *count += 1;
    } else {
        objects.kinds.insert(kind.clone(), 1);
    }
    objects.see(newest);
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let read = match (group, kind.as_str()) {
        ("", "Node") => raw.read::<Node>().map(|node| {
            objects.see(node.status.conditions.iter().filter_map(PodCondition::newest).max());
            objects.nodes.push(Arc::new(node));
        }),
        ("", "Pod") => raw.read::<Pod>().and_then(checked_pod).map(|mut pod| {
            objects.see(pod.newest());
            objects.share(&mut pod);
            objects.pods.push(Arc::new(pod));
        }),
        ("policy" | "", "PodDisruptionBudget") => raw.read().map(|budget| objects.budgets.push(budget)),
        ("scheduling.k8s.io" | "", "PriorityClass") => raw.read().map(|class| objects.classes.push(class)),
        ("retile.dev" | "", "MigNode") => raw.read::<MigNode>().map(|node| {
            objects.see(node.status.gpus.iter().filter_map(|gpu| gpu.last_changed.0).max());
            objects.see(node.status.conditions.iter().filter_map(PodCondition::newest).max());
            objects.mig_nodes.push(Arc::new(node));
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

/// Reads one object of a known kind that stands alone.
#[cfg(feature = "cluster")]
pub(super) fn read_one<T: serde::de::DeserializeOwned>(raw: &RawValue, kind: &str) -> Result<T, BadObject> {
    raw.read().map_err(|message| bad_object(&raw, kind, message))
}

fn checked_pod(pod: Pod) -> Result<Pod, String> {
    if pod.metadata.name.is_empty() { Err("metadata.name: is missing".to_owned()) } else { Ok(pod) }
}

fn bad_object<W: Whole>(raw: &W, kind: &str, message: String) -> BadObject {
    let names = raw.read::<Names>().unwrap_or_default().metadata;
    let node = raw.read::<Bound>().unwrap_or_default().spec.node_name.0;
    BadObject { kind: kind.to_owned(), namespace: names.namespace.0, name: names.name.0, node, message }
}

#[derive(Deserialize)]
struct HasItems {
    items: Option<IgnoredAny>,
}

fn add_list<W: Whole>(objects: &mut Objects, raw: &W, depth: u8) {
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
    let visitor = DocumentVisitor::<&RawValue> { depth: depth + 1, raw: PhantomData };
    match deserializer.deserialize_any(visitor) {
        Ok(inner) => objects.merge(inner),
        Err(error) => objects.bad.push(refuse(error.to_string())),
    }
}
