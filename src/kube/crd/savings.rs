//! `MigPolicy.status.savings`: what the controllers have counted so far, in a few numbers per GPU model.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;

/// Savings so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavingsStatus {
    /// Since when is counted, by the clock of the controller that began. Time in which no controller led is not.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub since: String,
    /// By GPU model, ordered by name.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["model".into()]))]
    pub models: Vec<ModelSavings>,
}

/// Savings of one GPU model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSavings {
    /// Product name.
    #[schemars(length(min = 1, max = limits::PRODUCT))]
    pub model: String,
    /// For how long was counted, in milliseconds.
    #[schemars(range(max = limits::COUNTER))]
    pub elapsed_ms: u64,
    /// Time for which GPUs did not have to be bought.
    pub deferred_gpu_ms: DeferredTime,
    /// GPUs that are there.
    #[schemars(range(max = limits::COUNTER))]
    pub gpus: u64,
    /// Most GPUs that were there at once.
    #[schemars(range(max = limits::COUNTER))]
    pub most_gpus: u64,
    /// Most GPUs needed at once.
    #[schemars(range(max = limits::COUNTER))]
    pub most_needed: u64,
    /// Most GPUs needed at once with whole GPUs per pod.
    #[schemars(range(max = limits::COUNTER))]
    pub most_whole: u64,
    /// Most instances asked for at once, by profile.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    pub peaks: BTreeMap<String, u64>,
    /// Instances of the layouts that the GPUs had when they were first seen, by profile.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64))]
    pub first_layouts: BTreeMap<String, u64>,
}

/// Milliseconds of GPUs that were not bought, under each counterfactual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeferredTime {
    /// The same pods on the layouts that the GPUs had first.
    #[schemars(range(max = limits::COUNTER))]
    pub current_layout: u64,
    /// The best layouts that are fixed for the whole time.
    #[schemars(range(max = limits::COUNTER))]
    pub best_static: u64,
    /// Whole GPUs per pod.
    #[schemars(range(max = limits::COUNTER))]
    pub whole_gpu: u64,
}
