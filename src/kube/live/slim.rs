//! Objects as the watches read them: the few fields that planning needs, or why they cannot be read.
//!
//! A bad object costs nobody else: a list with one in it is read, and the object is kept as unreadable.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::value::RawValue;

use super::thin::thin;
use crate::kube::crd;
use crate::kube::objects::{
    DeviceClass, DisruptionBudget, Meta, MigNode, Node, Pod, PriorityClass, ResourceSlice, Stamps,
};
use crate::kube::stream::{BadObject, read_raw};

/// A kind of objects that the export reader knows, with where the API server keeps it.
pub(super) trait Kind: DeserializeOwned + Send + Sync + 'static {
    /// Group; empty for the core one.
    const GROUP: &'static str;
    /// Version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural, as in paths.
    const PLURAL: &'static str;
    /// Metadata.
    fn meta(&self) -> &Meta;
    /// Drops what nobody reads of this object.
    fn thin(&mut self) {}
}

macro_rules! kinds {
    ($($type:ident: $group:expr, $version:expr, $plural:literal;)+) => {
        $(impl Kind for $type {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($type);
            const PLURAL: &'static str = $plural;
            fn meta(&self) -> &Meta { &self.metadata }
        })+
    };
}

kinds! {
    Node: "", "v1", "nodes";
    PriorityClass: "scheduling.k8s.io", "v1", "priorityclasses";
    DeviceClass: "resource.k8s.io", "v1", "deviceclasses";
    ResourceSlice: "resource.k8s.io", "v1", "resourceslices";
    MigNode: crd::GROUP, crd::VERSION, "mignodes";
}

impl Kind for Pod {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
    fn thin(&mut self) {
        thin(self);
    }
}

impl Kind for DisruptionBudget {
    const GROUP: &'static str = "policy";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "PodDisruptionBudget";
    const PLURAL: &'static str = "poddisruptionbudgets";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// A policy as text: it is read strictly, elsewhere.
#[derive(Debug, Clone)]
pub(super) struct PolicyText {
    metadata: Meta,
    /// JSON.
    pub(super) text: String,
}

impl<'de> Deserialize<'de> for PolicyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Named {
            metadata: Meta,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let Named { metadata } = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self { metadata, text: raw.get().to_owned() })
    }
}

impl Kind for PolicyText {
    const GROUP: &'static str = crd::GROUP;
    const VERSION: &'static str = crd::VERSION;
    const KIND: &'static str = "MigPolicy";
    const PLURAL: &'static str = "migpolicies";
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

/// Path of a kind's collection, over all namespaces.
pub(super) fn collection<K: Kind>() -> String {
    match K::GROUP {
        "" => format!("/api/{}/{}", K::VERSION, K::PLURAL),
        group => format!("/apis/{group}/{}/{}", K::VERSION, K::PLURAL),
    }
}

/// An object of the API server.
pub(super) struct Slim<K> {
    meta: ObjectMeta,
    /// The object, or why it cannot be read.
    pub(super) body: Result<Arc<K>, BadObject>,
    /// The newest moment at which it was written, as far as it says.
    pub(super) written: Option<i64>,
}

impl<K> Clone for Slim<K> {
    fn clone(&self) -> Self {
        Self { meta: self.meta.clone(), body: self.body.clone(), written: self.written }
    }
}

impl<K> fmt::Debug for Slim<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace(), self.name())
    }
}

impl<K> Slim<K> {
    /// Namespace; empty for objects of the cluster.
    pub(super) fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// Name.
    pub(super) fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Version, as text.
    pub(super) fn version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de, K: Kind> Deserialize<'de> for Slim<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Stamped {
            #[serde(default)]
            metadata: Stamps,
        }
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let stamped: Option<Stamped> = serde_json::from_str(raw.get()).ok();
        let mut body = read_raw::<K>(&raw, K::KIND);
        if let Ok(object) = &mut body {
            object.thin();
        }
        let meta = match &body {
            Ok(object) => {
                let meta = object.meta();
                ObjectMeta {
                    name: Some(meta.name.clone()),
                    namespace: Some(meta.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                    resource_version: Some(meta.version_text().to_owned()),
                    ..ObjectMeta::default()
                }
            }
            Err(bad) => ObjectMeta {
                name: Some(bad.name.clone()),
                namespace: Some(bad.namespace.clone()).filter(|namespace| !namespace.is_empty()),
                resource_version: version_of(&raw),
                ..ObjectMeta::default()
            },
        };
        let written = stamped.and_then(|stamped| stamped.metadata.newest());
        Ok(Self { meta, body: body.map(Arc::new), written })
    }
}

/// The version of an object of which nothing else need be readable.
fn version_of(raw: &RawValue) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    value.pointer("/metadata/resourceVersion")?.as_str().map(str::to_owned)
}

impl<K: Kind> Resource for Slim<K> {
    type DynamicType = ();
    /// Watches go over all namespaces.
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
