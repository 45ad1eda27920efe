//! How a simulated cluster behaves, apart from its fleet and its workload.

use crate::model::Policy;
use crate::sim::scheduler::Scoring;

/// A span of milliseconds from which each delay is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Shortest.
    pub least: u64,
    /// Longest.
    pub most: u64,
}

impl Span {
    /// Always the same.
    pub const fn exactly(millis: u64) -> Self {
        Self { least: millis, most: millis }
    }

    /// From one delay to another.
    pub const fn between(least: u64, most: u64) -> Self {
        Self { least, most }
    }
}

/// Delays and choices of everything around the loop, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The policy in force; none is the unlimited one of a dry run.
    pub policy: Option<Policy>,
    /// Replicas of the controller.
    pub controllers: u32,
    /// From a request to its effect, and again from the effect to the answer.
    pub api: Span,
    /// How far the loop's cache lags behind.
    pub cache_lag: u64,
    /// From a change until a resting machine that watches it is woken.
    pub watch: Span,
    /// How far the scheduler's cache lags behind.
    pub scheduler_lag: u64,
    /// From one pod that is scheduled to the next.
    pub scheduler_cycle: u64,
    /// How the scheduler chooses.
    pub scoring: Scoring,
    /// Whether the scheduler preempts.
    pub preemption: bool,
    /// From a change until the cluster's own controllers act on it.
    pub controllers_delay: Span,
    /// From a change until a kubelet acts on it.
    pub kubelet_delay: Span,
    /// From the admission of a pod until its containers run.
    pub container_start: Span,
    /// From the first signal to a container until it has ended; never longer than its grace.
    pub container_stop: Span,
    /// From the admission of a plugin's pod until it looks at the boards.
    pub plugin_start: Span,
    /// Whether pods of the device plugin tolerate every taint, or none.
    pub plugin_tolerates: bool,
    /// Whether our controller keeps autoscalers off nodes under operation.
    pub protect_nodes: bool,
    /// How often kubelets write the status of their nodes; what they advertise changes only then.
    pub heartbeat: u64,
    /// How long a node is silent before it counts as not ready.
    pub node_grace: u64,
    /// From the end of a process until it runs again.
    pub restart: Span,
    /// Of a hundred containers with instances, those that open the GPU at once.
    pub opens_gpu_percent: u32,
    /// Changes that the API server keeps for watches and stale reads.
    pub kept_changes: usize,
    /// Lines of the trace that are kept; 0 for none.
    pub trace: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: None,
            controllers: 1,
            api: Span::between(2, 8),
            cache_lag: 50,
            watch: Span::between(10, 100),
            scheduler_lag: 50,
            scheduler_cycle: 5,
            scoring: Scoring::LeastAllocated,
            preemption: false,
            controllers_delay: Span::between(50, 250),
            kubelet_delay: Span::between(20, 120),
            container_start: Span::between(800, 2500),
            container_stop: Span::between(200, 2000),
            plugin_start: Span::between(1000, 2500),
            plugin_tolerates: true,
            protect_nodes: false,
            heartbeat: 10_000,
            node_grace: 40_000,
            restart: Span::between(1000, 4000),
            opens_gpu_percent: 100,
            kept_changes: 4096,
            trace: 0,
        }
    }
}
