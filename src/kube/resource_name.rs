//! The grammar of MIG resource names: `nvidia.com/mig-1g.10gb.me.shared`.
//!
//! Says what a name means; whether a board has such a profile is for its table to say.
//! Source: the naming rule of NVIDIA's device plugin (mixed strategy): `mig-` and the profile with `+` turned into `.`.

use crate::model::mig_resource;
pub(crate) use crate::model::{GPU_RESOURCE as GPU, MIG_PREFIX};

/// Whole GPUs offered several times.
pub(crate) const GPU_SHARED: &str = "nvidia.com/gpu.shared";
/// Key of the node selector by which other tools ask for an instance as `nvidia.com/gpu`.
pub(crate) const PARTITION_PREFIX: &str = "nvidia.com/gpu.mig-partition-";
/// Longest name that the device plugin registers.
const MAX_LENGTH: usize = 63;

/// A well-formed MIG resource name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MigName {
    /// Profile as `nvidia-smi` spells it: `1g.10gb+me`.
    pub profile: String,
    /// Whether it names the shared replicas of an instance.
    pub shared: bool,
}

impl MigName {
    /// The resource name.
    pub fn resource(&self) -> String {
        let shared = if self.shared { ".shared" } else { "" };
        format!("{}{shared}", mig_resource(&self.profile))
    }
}

/// Why a name that looks like a MIG resource is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A compute instance smaller than its GPU instance.
    #[error(
        "{0} names a compute instance smaller than its GPU instance, which NVIDIA's device plugin never offers; \
         ask for the whole instance, such as `nvidia.com/mig-2g.20gb`"
    )]
    PartialCompute(String),
    /// The spelling is none that any profile has.
    #[error("{0} is no MIG resource name; write it as `nvidia.com/mig-1g.10gb`, in lower case")]
    Malformed(String),
}

/// Whether a name means to be that of a MIG resource, however it goes on.
pub(crate) fn looks_like_mig(name: &str) -> bool {
    name.get(..MIG_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(MIG_PREFIX))
}

/// Reads a resource name; `None` when it does not look like a MIG resource at all.
pub fn parse_resource(name: &str) -> Option<Result<MigName, NameError>> {
    if !looks_like_mig(name) {
        return None;
    }
    let shown = || name.chars().take(80).collect::<String>();
    let Some(rest) = name.strip_prefix(MIG_PREFIX).filter(|_| name.len() <= MAX_LENGTH) else {
        return Some(Err(NameError::Malformed(shown())));
    };
    let (profile, shared) = rest.strip_suffix(".shared").map_or((rest, false), |profile| (profile, true));
    Some(match parse_profile(profile) {
        Some(profile) => Ok(MigName { profile, shared }),
        None if starts_with_compute_slices(profile) => Err(NameError::PartialCompute(shown())),
        None => Err(NameError::Malformed(shown())),
    })
}

/// Reads a profile in the spelling of resource names (`1g.10gb.me`) into that of `nvidia-smi` (`1g.10gb+me`).
pub fn parse_profile(text: &str) -> Option<String> {
    let (slices, rest) = digits(text)?;
    let rest = rest.strip_prefix("g.")?;
    let (memory, rest) = digits(rest)?;
    let suffix = match rest.strip_prefix("gb")? {
        "" => "",
        ".me" | "+me" => "+me",
        ".me.all" | "+me.all" => "+me.all",
        ".gfx" | "+gfx" => "+gfx",
        "-me" => "-me",
        _ => return None,
    };
    Some(format!("{slices}g.{memory}gb{suffix}"))
}

fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn starts_with_compute_slices(text: &str) -> bool {
    digits(text).is_some_and(|(_, rest)| rest.starts_with("c."))
}

/// The profile that a label like `nvidia.com/mig-1g.10gb.count` belongs to, where the label ends in `.what`.
pub(crate) fn profile_of_label(label: &str, what: &str) -> Option<String> {
    parse_profile(label.strip_prefix(MIG_PREFIX)?.strip_suffix(what)?.strip_suffix('.')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_grammar() {
        for (name, profile, shared) in [
            ("nvidia.com/mig-1g.10gb", "1g.10gb", false),
            ("nvidia.com/mig-1g.10gb.me", "1g.10gb+me", false),
            ("nvidia.com/mig-1g.24gb.me.all", "1g.24gb+me.all", false),
            ("nvidia.com/mig-1g.24gb.gfx", "1g.24gb+gfx", false),
            ("nvidia.com/mig-1g.24gb-me", "1g.24gb-me", false),
            ("nvidia.com/mig-9g.999gb", "9g.999gb", false),
            ("nvidia.com/mig-1g.10gb.shared", "1g.10gb", true),
            ("nvidia.com/mig-1g.10gb.me.shared", "1g.10gb+me", true),
        ] {
            let read = parse_resource(name).expect("a MIG name").expect(name);
            assert_eq!((read.profile.as_str(), read.shared), (profile, shared));
            assert_eq!(read.resource(), name);
        }
    }

    #[test]
    fn refuses_what_only_looks_like_it() {
        let long = format!("nvidia.com/mig-1g.{}gb", "1".repeat(300));
        for name in
            ["nvidia.com/mig-", "nvidia.com/mig-1g", "nvidia.com/MIG-1g.10gb", "Nvidia.com/mig-1g.10gb", long.as_str()]
        {
            assert!(matches!(parse_resource(name), Some(Err(NameError::Malformed(_)))), "{name}");
        }
        assert!(matches!(parse_resource("nvidia.com/mig-1c.2g.20gb"), Some(Err(NameError::PartialCompute(_)))));
        for name in ["nvidia.com/gpu", "cpu", "", "nvidia.com/mi", "example.com/mig-1g.10gb"] {
            assert_eq!(parse_resource(name), None);
        }
    }

    #[test]
    fn labels_name_their_profile() {
        assert_eq!(profile_of_label("nvidia.com/mig-1g.10gb.me.count", "count").as_deref(), Some("1g.10gb+me"));
        assert_eq!(profile_of_label("nvidia.com/mig.strategy", "count"), None);
        assert_eq!(profile_of_label("nvidia.com/mig-1g.10gb.replicas", "count"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_read_or_refused(name in "(nvidia.com/mig-)?\\PC{0,30}") {
            if let Some(Ok(read)) = parse_resource(&name) {
                proptest::prop_assert_eq!(read.resource(), name);
            }
        }
    }
}
