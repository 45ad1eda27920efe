//! What the operator wants: mode, disruption level, budgets, stability.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod::ControllerKind;

/// What is done to other clients of a node's GPUs (device plugin, feature discovery, DCGM) while its instances change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clients {
    /// The device plugin's pod is replaced afterwards; nothing else is touched.
    #[default]
    Restart,
    /// Those that the GPU Operator has placed are paused meanwhile, by its own deploy labels.
    OperatorPause,
}

/// What retile does with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// Plans, explains and counts savings; changes nothing.
    Observe,
    /// Publishes plans that a person approves.
    Recommend,
    /// Carries plans out.
    Act,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Recommend, Self::Act];

    /// As the policy spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::Recommend => "Recommend",
            Self::Act => "Act",
        }
    }
}

/// Which running pods a plan may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DisruptionLevel {
    /// None: only free instances are destroyed.
    IdleOnly,
    /// Pods whose controller makes them again, within budgets; each lands again in the same plan.
    Balanced,
    /// Also Jobs and pods with local data; and a pod of strictly lower priority may be displaced without a new place
    /// when a waiting pod of higher priority gains one.
    Aggressive,
}

impl DisruptionLevel {
    /// Spelling of the command line.
    pub fn as_flag(self) -> &'static str {
        match self {
            Self::IdleOnly => "idle-only",
            Self::Balanced => "balanced",
            Self::Aggressive => "aggressive",
        }
    }
}

/// A limit per cycle: a number, or a share of what is managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// At most this many.
    Count(u32),
    /// At most this share, 0 to 100 percent; rounds up and is at least one, unless 0 %.
    Percent(u8),
}

impl Limit {
    /// The number that the limit allows out of `total`.
    pub fn of(self, total: usize) -> u64 {
        match self {
            Self::Count(count) => u64::from(count),
            Self::Percent(0) => 0,
            Self::Percent(share) => (total as u64 * u64::from(share)).div_ceil(100).max(1),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is neither a count (`5`) nor a share (`10%`) from 0 to 100 percent");
        if let Some(share) = text.strip_suffix('%') {
            let share: u8 = share.parse().map_err(|_| wrong())?;
            return if share <= 100 { Ok(Self::Percent(share)) } else { Err(wrong()) };
        }
        text.parse().map(Self::Count).map_err(|_| wrong())
    }
}

/// Factor by which added served weight must exceed the cost of the moves, in thousandths; 0 is purely lexicographic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GainFactor(u32);

impl GainFactor {
    /// A factor from thousandths.
    pub fn from_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// The factor in thousandths.
    pub fn thousandths(self) -> u32 {
        self.0
    }
}

impl FromStr for GainFactor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no factor from 0 to 1000 with at most three decimals, such as `1.5`");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || !whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) || decimals.len() > 3
        {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let thousandths: u32 = format!("{decimals:0<3}").parse().map_err(|_| wrong())?;
        if whole > 1000 { Err(wrong()) } else { Ok(Self(whole * 1000 + thousandths)) }
    }
}

/// What moving a running pod costs beyond what its own annotation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveCost {
    /// Added per full hour that the pod has run; at most [`MoveCost::MOST_PER_HOUR`].
    pub per_running_hour: u32,
    /// Added besides per full hour that a Job's pod has run, whose work starts again; at most [`MoveCost::MOST_PER_HOUR`].
    pub per_job_hour: u32,
}

impl MoveCost {
    /// Most that an hour adds.
    pub const MOST_PER_HOUR: u32 = 1000;
    /// Most that a pod can say that its move costs.
    pub const MOST_OWN: u32 = 1000;
    /// Most that the move of one pod costs: 100,000 moves stay below 10^9, and below 10^15 times a gain factor in thousandths.
    pub const MOST: u32 = 10_000;

    /// The cost of moving a pod that says that it costs `own`, 1 if it says nothing.
    pub fn of(self, own: u32, controller: ControllerKind, ran_seconds: u64) -> u32 {
        let Self { per_running_hour, per_job_hour } = self;
        let per_job_hour = match controller {
            ControllerKind::Job => per_job_hour,
            ControllerKind::Replacing | ControllerKind::DaemonSet | ControllerKind::None => 0,
        };
        let per_hour = u64::from(per_running_hour) + u64::from(per_job_hour);
        let cost = u64::from(own).saturating_add(per_hour.saturating_mul(ran_seconds / 3600));
        u32::try_from(cost.min(u64::from(Self::MOST))).unwrap_or(Self::MOST).max(1)
    }
}

/// What a waiting pod weighs on the level of served demand, before its age counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Its memory slices.
    #[default]
    Slices,
    /// 1, whatever it asks for.
    Pods,
}

impl Weight {
    /// Weight of a pod that asks for so many memory slices.
    pub fn of(self, slices: u64) -> u64 {
        match self {
            Self::Slices => slices,
            Self::Pods => 1,
        }
    }

    /// Whether it is what holds where nothing is said.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits of one cycle; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budgets {
    /// Nodes on which a GPU is touched.
    pub nodes: Option<Limit>,
    /// GPUs touched.
    pub gpus: Option<Limit>,
    /// Pods evicted.
    pub evictions: Option<u32>,
}

/// What keeps layouts from flapping; all zero and `None` when no policy is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stability {
    /// Seconds that a pod must have waited before it counts.
    pub min_pending_age_seconds: u64,
    /// Seconds that a GPU rests after a change.
    pub gpu_cool_down_seconds: u64,
    /// Moves that one pod's controller tolerates; `None` for any number.
    pub pod_move_cap: Option<u32>,
}

/// Everything about the operator's wishes that planning reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What happens with plans.
    pub mode: Mode,
    /// Which pods may be moved.
    pub disruption: DisruptionLevel,
    /// What a waiting pod weighs.
    pub weight: Weight,
    /// What a set of moves must bring.
    pub gain_factor: GainFactor,
    /// What moves cost; acts before planning, on the cost of each running pod.
    pub move_cost: MoveCost,
    /// Limits per cycle.
    pub budgets: Budgets,
    /// Rest times.
    pub stability: Stability,
    /// Seconds after which a waiting pod weighs as much again, up to [`Policy::MAX_AGEING`] times; 0 switches it off.
    pub ageing_seconds: u64,
}

impl Policy {
    /// Most that ageing multiplies a pod's weight with.
    pub const MAX_AGEING: u64 = 8;

    /// What a new installation has: every field of a `MigPolicy` left out.
    pub fn installed() -> Self {
        Self {
            mode: Mode::Observe,
            disruption: DisruptionLevel::IdleOnly,
            weight: Weight::Slices,
            gain_factor: GainFactor::from_thousandths(1500),
            move_cost: MoveCost::default(),
            budgets: Budgets { nodes: Some(Limit::Percent(10)), gpus: Some(Limit::Percent(10)), evictions: Some(5) },
            stability: Stability { min_pending_age_seconds: 30, gpu_cool_down_seconds: 600, pod_move_cap: Some(1) },
            ageing_seconds: 3600,
        }
    }

    /// What `plan` uses when there is no policy: level and gain factor of a new installation, with no budgets and no waiting.
    pub fn assumed() -> Self {
        let Self { disruption, gain_factor, .. } = Self::installed();
        Self { disruption, gain_factor, ..Self::unlimited() }
    }

    /// Everything that serves more, with no budgets and no waiting.
    pub fn unlimited() -> Self {
        Self {
            mode: Mode::Observe,
            disruption: DisruptionLevel::Balanced,
            weight: Weight::Slices,
            gain_factor: GainFactor::default(),
            move_cost: MoveCost::default(),
            budgets: Budgets::default(),
            stability: Stability::default(),
            ageing_seconds: 3600,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_costs_what_its_pod_says_and_what_its_hours_add() {
        let rates = MoveCost { per_running_hour: 2, per_job_hour: 10 };
        let hours = |hours: u64| hours * 3600;
        for (own, controller, ran, cost) in [
            (1, ControllerKind::Replacing, 0, 1),
            (1, ControllerKind::Replacing, hours(1) - 1, 1),
            (1, ControllerKind::Replacing, hours(1), 3),
            (50, ControllerKind::Replacing, hours(3), 56),
            (50, ControllerKind::Job, hours(3), 86),
            (1, ControllerKind::DaemonSet, hours(3), 7),
            (1, ControllerKind::None, hours(3), 7),
            (1000, ControllerKind::Job, u64::MAX, MoveCost::MOST),
        ] {
            assert_eq!(rates.of(own, controller, ran), cost, "{own} {controller:?} {ran}");
        }
        for controller in [ControllerKind::Replacing, ControllerKind::Job] {
            assert_eq!(MoveCost::default().of(1, controller, hours(1_000_000)), 1, "time costs nothing by default");
        }
        assert_eq!(MoveCost::default().of(0, ControllerKind::Job, 0), 1, "no move is free");
        let dearest = MoveCost { per_running_hour: MoveCost::MOST_PER_HOUR, per_job_hour: MoveCost::MOST_PER_HOUR };
        assert_eq!(dearest.of(MoveCost::MOST_OWN, ControllerKind::Job, u64::MAX), MoveCost::MOST);
    }
}
