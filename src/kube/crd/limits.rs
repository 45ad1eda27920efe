//! Bounds of lists and texts. The API server multiplies them when it estimates what a rule costs, and refuses a definition that may cost too much.

/// GPUs of a node; machines have up to 16.
pub(super) const GPUS: usize = 32;
/// Instances of a GPU; boards have up to 8 slots, and the slot axis of the largest known one 8 units.
pub(super) const INSTANCES: usize = 16;
/// Pods of one instance, which is shared where the plugin replicates it.
pub(super) const SHARERS: usize = 64;
/// Pods in one operation.
pub(super) const PODS: usize = 512;
/// Steps of one operation: each instance of each GPU destroyed and created.
pub(super) const STEPS: usize = GPUS * INSTANCES;
/// Ended operations.
pub(super) const ENDED: usize = 16;
/// Names of objects, as Kubernetes bounds them.
pub(super) const NAME: usize = 253;
/// UUIDs, UIDs and names of operations.
pub(super) const ID: usize = 128;
/// Names of profiles and products.
pub(super) const PRODUCT: usize = 128;
/// Texts for people.
pub(crate) const DETAIL: usize = 1024;
/// Numbers that only grow. The API server keeps bounds as floating-point numbers, and refuses one that it cannot keep exactly.
pub(super) const COUNTER: u64 = (1 << 53) - 1;

/// A count as the schema bounds counts.
pub fn count(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

/// A text cut to a number of characters, with a sign that it was.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_the_bound_in_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
