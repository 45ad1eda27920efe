//! Replays: traces and generated workloads, the rules that retile is compared with, and what came of it.
//!
//! Inputs: a trace in [our own form](trace) or of [openb], or a [recipe](generate); a [fleet](fleet::FleetSpec); the
//! [rules](baselines::Rule) to compare. Output: a history per replay and its [figures](figures::Figures). The cluster in which a replay is
//! lived through is a parameter, an [`Engine`]: the whole simulator, or the [instant] cluster in which changes take no time.
//!
//! Invariants: the same inputs give the same outcome; figures are computed from histories alone, the same way for every rule.
//!
//! Must not depend on adapters, clocks or the environment, nor on the planner except through [`Retile`](crate::controller::Retile).

pub mod baselines;
pub mod bound;
pub mod figures;
pub mod fleet;
pub mod generate;
pub mod instant;
pub mod openb;
pub mod pool;
mod run;
pub mod trace;
pub mod unheld;
mod whole;

pub use run::{
    Case, Engine, Needed, Outcome, ReplayError, Replayed, RuleMaker, Scene, Setup, Target, instant as instant_engine,
    needed, run,
};
pub use whole::whole as whole_engine;
