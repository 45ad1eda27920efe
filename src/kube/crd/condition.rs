//! Conditions, as Kubernetes writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;

/// One aspect of an object's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the object that this is about.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub observed_generation: i64,
    /// When the status last changed, by the clock of whoever wrote it; for people.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, in words.
    #[serde(default)]
    #[schemars(length(max = limits::DETAIL))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Condition {
    /// A condition as it is at a moment; where the status is the same as before, so is the moment of its last change.
    pub(super) fn new(
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        observed_generation: i64,
        moment: &str,
        before: &[Self],
    ) -> Self {
        let same = before.iter().find(|old| old.kind == kind && old.status == status);
        Self {
            kind: kind.to_owned(),
            status,
            observed_generation,
            last_transition_time: same.map_or(moment, |old| &old.last_transition_time).to_owned(),
            reason: reason.to_owned(),
            message: limits::cut(message, limits::DETAIL),
        }
    }
}
