//! What the kubelet calls a MIG device.
//!
//! Input: a resource name and a device id of the device plugin. Output: the MIG device, nothing for devices that are none of ours, or why an
//! id cannot be understood. Ids by index name another device after every change, so a node that uses them is refused.

use std::fmt;

/// Longest id that makes sense; UUIDs of old drivers name GPU and instance ids as well.
const LONGEST: usize = 128;

/// A MIG device as the device plugin offers it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MigDevice {
    /// Its UUID.
    pub uuid: String,
    /// Which of the replicas, when it is shared.
    pub replica: Option<u32>,
}

impl fmt::Display for MigDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uuid)?;
        self.replica.map_or(Ok(()), |replica| write!(f, "::{replica}"))
    }
}

/// Why a device id cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceIdError {
    /// The device plugin counts devices instead of naming them.
    #[error(
        "the device plugin offers {resource} by index ({id:?}); an index means another device after every change, so set \
         deviceIDStrategy=uuid in the device plugin"
    )]
    ByIndex {
        /// Resource name.
        resource: String,
        /// The id.
        id: String,
    },
    /// The id is of no known form.
    #[error("the device id {id:?} of {resource} is neither a UUID of NVIDIA's nor one with a replica behind it")]
    Unknown {
        /// Resource name.
        resource: String,
        /// The id, cut off where it is too long to be one.
        id: String,
    },
}

impl MigDevice {
    /// Understands a device id; nothing when it is not a MIG device: a whole GPU, or a device of somebody else.
    ///
    /// # Errors
    /// A MIG or GPU resource whose ids are indices, or of no known form.
    pub fn parse(resource: &str, id: &str) -> Result<Option<Self>, DeviceIdError> {
        let resource_of_gpus = resource == "nvidia.com/gpu"
            || resource == "nvidia.com/gpu.shared"
            || resource.starts_with("nvidia.com/mig-");
        let unknown = || DeviceIdError::Unknown {
            resource: resource.to_owned(),
            id: id.chars().take(LONGEST).collect::<String>(),
        };
        let (uuid, replica) = match id.split_once("::") {
            None => (id, None),
            Some((uuid, number)) => match number.parse() {
                Ok(number) => (uuid, Some(number)),
                Err(_) if id.starts_with("MIG-") || resource_of_gpus => return Err(unknown()),
                Err(_) => return Ok(None),
            },
        };
        // Renamed resources are possible, so a MIG device counts under whichever name.
        if let Some(rest) = uuid.strip_prefix("MIG-") {
            let sound = !rest.is_empty()
                && id.len() <= LONGEST
                && rest.chars().all(|char| char.is_ascii_alphanumeric() || char == '-' || char == '/');
            return if sound { Ok(Some(Self { uuid: uuid.to_owned(), replica })) } else { Err(unknown()) };
        }
        if !resource_of_gpus || uuid.starts_with("GPU-") && !resource.starts_with("nvidia.com/mig-") {
            return Ok(None);
        }
        if !uuid.is_empty() && uuid.chars().all(|char| char.is_ascii_digit() || char == ':') {
            return Err(DeviceIdError::ByIndex { resource: resource.to_owned(), id: id.to_owned() });
        }
        Err(unknown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIG: &str = "nvidia.com/mig-1g.10gb";

    fn found(resource: &str, id: &str) -> Option<(String, Option<u32>)> {
        let device = MigDevice::parse(resource, id).expect("understood")?;
        assert_eq!(device.to_string(), id);
        Some((device.uuid, device.replica))
    }

    #[test]
    fn understands_uuids_of_all_drivers_and_replicas() {
        let uuid = "MIG-5c89852c-d268-c3f3-1b07-005d5ae1dc3f";
        assert_eq!(found(MIG, uuid), Some((uuid.into(), None)));
        assert_eq!(found("nvidia.com/mig-1g.10gb.shared", &format!("{uuid}::3")), Some((uuid.into(), Some(3))));
        let old = "MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/7/0";
        assert_eq!(found("nvidia.com/gpu", old), Some((old.into(), None)));
        assert_eq!(found("example.com/renamed", uuid), Some((uuid.into(), None)));
    }

    #[test]
    fn leaves_whole_gpus_and_other_devices_alone() {
        for (resource, id) in [
            ("nvidia.com/gpu", "GPU-5c89852c"),
            ("nvidia.com/gpu.shared", "GPU-5c89852c::1"),
            ("nvidia.com/hostdev", "0000:3b:00.0"),
            ("example.com/nic", "0"),
            ("example.com/nic", "eth::x"),
            ("nvidia.com/imex-channel", "12"),
        ] {
            assert_eq!(MigDevice::parse(resource, id), Ok(None), "{resource} {id}");
        }
    }

    #[test]
    fn refuses_indices_with_the_reason_and_the_remedy() {
        for (resource, id) in [(MIG, "0:1"), ("nvidia.com/gpu", "3"), (MIG, "0"), (MIG, "0:1::2")] {
            let error = MigDevice::parse(resource, id).expect_err("an index");
            assert!(matches!(&error, DeviceIdError::ByIndex { .. }), "{error}");
            assert!(error.to_string().contains("deviceIDStrategy=uuid"), "{error}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let long = format!("MIG-{}", "a".repeat(200));
        for (resource, id) in
            [(MIG, "GPU-5c89852c"), (MIG, ""), (MIG, "MIG-"), (MIG, "MIG-a b"), (MIG, "MIG-a::x"), (MIG, &long)]
        {
            let error = MigDevice::parse(resource, id).expect_err("nonsense");
            assert!(matches!(&error, DeviceIdError::Unknown { .. }), "{error}");
            assert!(error.to_string().len() < 400, "{error}");
        }
    }
}
