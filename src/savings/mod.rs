//! GPUs and money deferred, computed from what happened: one place for the simulator's reports, the command line and the metrics.
