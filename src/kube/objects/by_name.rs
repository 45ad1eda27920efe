//! A map of a few entries by name, as small as it can be.
//!
//! Invariant: ordered by name, no name twice. Of names that stand twice in the source the later counts, as in every map. Large clusters have
//! hundreds of thousands of such maps with one to ten entries each, for which a tree is mostly air.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Values by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByName<V>(Vec<(String, V)>);

/// Entries, ordered by name.
type Entries<'a, V> = std::iter::Map<std::slice::Iter<'a, (String, V)>, fn(&(String, V)) -> (&String, &V)>;

impl<V> ByName<V> {
    fn position(&self, name: &str) -> Result<usize, usize> {
        // Sources are mostly ordered by name already.
        if self.0.last().is_none_or(|(last, _)| last.as_str() < name) {
            return Err(self.0.len());
        }
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.position(name).ok().map(|position| &self.0[position].1)
    }

    /// Whether the name is there.
    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    /// Entries, ordered by name.
    pub(crate) fn iter(&self) -> Entries<'_, V> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Names, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Sets a value.
    pub(crate) fn insert(&mut self, name: String, value: V) {
        match self.position(&name) {
            Ok(position) => self.0[position].1 = value,
            Err(position) => self.0.insert(position, (name, value)),
        }
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Ok(position) = self.position(name) {
            self.0.remove(position);
        }
    }

    /// Keeps the entries of which this holds.
    #[cfg(feature = "cluster")]
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }
}

impl<V> Default for ByName<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> FromIterator<(String, V)> for ByName<V> {
    fn from_iter<T: IntoIterator<Item = (String, V)>>(entries: T) -> Self {
        let mut all = Self::default();
        entries.into_iter().for_each(|(name, value)| all.insert(name, value));
        all
    }
}

impl<V> IntoIterator for ByName<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a ByName<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = Entries<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByNameVisitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for ByNameVisitor<V> {
            type Value = ByName<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<V>, A::Error> {
                let mut read = ByName::default();
                while let Some((name, value)) = map.next_entry()? {
                    read.insert(name, value);
                }
                read.0.shrink_to_fit();
                Ok(read)
            }
        }
        deserializer.deserialize_map(ByNameVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    proptest::proptest! {
        #[test]
        fn it_is_the_map_of_the_same_entries(entries in proptest::collection::vec(("[a-e]{0,2}", 0_u8..9), 0..12)) {
            let members: Vec<String> = entries.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let text = format!("{{{}}}", members.join(","));
            let mut small: ByName<u8> = serde_json::from_str(&text).expect("a map");
            let mut tree: BTreeMap<String, u8> = serde_json::from_str(&text).expect("a map");
            proptest::prop_assert!(small.iter().eq(tree.iter()) && small.keys().eq(tree.keys()));
            proptest::prop_assert_eq!((small.len(), small.is_empty()), (tree.len(), tree.is_empty()));
            for name in ["", "a", "cc", "f"] {
                proptest::prop_assert_eq!(small.get(name), tree.get(name));
                proptest::prop_assert_eq!(small.contains_key(name), tree.contains_key(name));
                small.remove(name);
                tree.remove(name);
            }
            proptest::prop_assert!(small.into_iter().eq(tree));
        }

        #[test]
        fn such_maps_are_ordered_as_trees_are(
            a in proptest::collection::vec(("[a-c]{0,1}", 0_u8..3), 0..4),
            b in proptest::collection::vec(("[a-c]{0,1}", 0_u8..3), 0..4),
        ) {
            let small = |entries: &[(String, u8)]| entries.iter().cloned().collect::<ByName<u8>>();
            let tree = |entries: &[(String, u8)]| entries.iter().cloned().collect::<BTreeMap<String, u8>>();
            proptest::prop_assert_eq!(small(&a).cmp(&small(&b)), tree(&a).cmp(&tree(&b)));
        }
    }
}
