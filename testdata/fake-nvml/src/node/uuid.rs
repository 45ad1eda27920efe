//! UUIDs that look like NVIDIA's and are the same whenever the same is done to the same node.

/// UUID of a whole GPU.
pub(super) fn gpu(place: u32, key: &str) -> String {
    let seed = key.bytes().fold(u64::from(place) + 1, |sum, byte| mix(sum ^ u64::from(byte)));
    format!("GPU-{}", text(seed))
}

/// UUID of the MIG device of one incarnation of a compute instance.
pub(super) fn mig(gpu: &str, serial: u64) -> String {
    let seed = gpu.bytes().fold(serial, |sum, byte| mix(sum ^ u64::from(byte)));
    format!("MIG-{}", text(seed))
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the input.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

fn text(seed: u64) -> String {
    let (high, low) = (mix(seed), mix(seed ^ 0x5555_5555_5555_5555));
    let third = 0x5000 | (high & 0xfff);
    let fourth = 0x8000 | (low >> 48 & 0x3fff);
    format!("{:08x}-{:04x}-{third:04x}-{fourth:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, low & 0xffff_ffff_ffff)
}
