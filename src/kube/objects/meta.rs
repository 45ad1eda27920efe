//! Metadata that every object has, and the lenient types that the other objects share.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, de::IgnoredAny};

use super::by_name::ByName;
use crate::kube::time::Stamp;

/// Reads `null` like an absent field.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list, `null` like an absent one, and keeps no room for more: most lists of a pod have one entry.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let mut list: Vec<T> = or_default(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

/// A string; an unquoted boolean or number of a hand-written file reads as its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_none<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Labels or a node selector.
pub(crate) type Labels = ByName<Text>;

/// Annotations that somebody here reads; all others, however large, are dropped while parsing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Annotations(BTreeMap<String, String>);

impl Annotations {
    const KEPT: [&str; 9] = [
        "retile.dev/",
        "karpenter.sh/",
        "cluster-autoscaler.kubernetes.io/",
        "scheduling.k8s.io/",
        "scheduling.volcano.sh/",
        "kubernetes.io/config.mirror",
        "hami.io/",
        "nvidia.com/",
        "nos.nebuly.com/",
    ];

    /// Whether annotations of this key are read.
    pub(crate) fn are_kept(key: &str) -> bool {
        Self::KEPT.iter().any(|prefix| key.starts_with(prefix))
    }

    /// Value of an annotation.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All that are kept.
    #[cfg(feature = "cluster")]
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether any annotation's key starts so.
    pub(crate) fn any_with_prefix(&self, prefix: &str) -> bool {
        self.0.keys().any(|key| key.starts_with(prefix))
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnnotationsVisitor;
        impl<'de> Visitor<'de> for AnnotationsVisitor {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut kept = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if Annotations::are_kept(&key) {
                        let Text(value) = map.next_value()?;
                        kept.insert(key, value.chars().take(256).collect());
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_map(AnnotationsVisitor)
    }
}

/// An owner of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) controller: bool,
}

/// Object metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) namespace: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) uid: String,
    #[serde(default, deserialize_with = "or_default")]
    resource_version: Text,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) generation: i64,
    #[serde(default)]
    pub(crate) creation_timestamp: Stamp,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) deletion_timestamp: Option<Text>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) labels: Labels,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: Annotations,
    #[serde(default, deserialize_with = "list")]
    pub(crate) owner_references: Vec<Owner>,
}

impl Meta {
    /// Value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(|text| text.0.as_str())
    }

    /// All labels, as plain text.
    #[cfg(feature = "cluster")]
    pub(crate) fn plain_labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect()
    }

    /// The object's version as the API server counts; 0 when it is no number.
    pub(crate) fn version(&self) -> u64 {
        self.resource_version.0.parse().unwrap_or(0)
    }

    /// The object's version as it stands there.
    #[cfg(feature = "cluster")]
    pub(crate) fn version_text(&self) -> &str {
        &self.resource_version.0
    }

    /// Whether somebody has asked for the deletion.
    pub(crate) fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// Moments of any object, whatever its kind: of its creation and of the last writes.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stamps {
    #[serde(default)]
    pub(crate) creation_timestamp: Stamp,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) managed_fields: Vec<FieldsWritten>,
}

/// Moment at which a manager last wrote fields.
#[derive(Debug, Clone, Default, DeriveDeserialize)]
pub(crate) struct FieldsWritten {
    #[serde(default)]
    pub(crate) time: Stamp,
}

impl Stamps {
    /// The newest of the moments.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.managed_fields.iter().filter_map(|written| written.time.0).chain(self.creation_timestamp.0).max()
    }
}
