//! A plan of faults: which goes wrong where, as text that can be read back.

use std::fmt;
use std::str::FromStr;

use super::sites::Site;

/// Writes an enumeration of plain names, with a list of all and a way back from text.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($item:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($item),+ }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self:?}")
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().find(|item| format!("{item:?}") == text);
                found.copied().ok_or_else(|| format!("{text} is none of {:?}", Self::ALL))
            }
        }
    };
}
pub(crate) use named;

named! {
    /// What goes wrong. The families are in [`super::families`].
    Kind {
        Crash,
        Conflict, Throttled, ThrottledAfter, Blocked, Error500, Unavailable, GatewayApplied, Gateway, TimeoutApplied, Timeout,
        Forbidden, NotFound, Expired,
        InUse, NoRoom, NoInstance, NoPermission, InvalidArgument, GpuLost, LibraryMismatch, UnknownApplied, Unknown, Hang,
        KilledInside,
        Stale1, Stale5, StaleAll,
        Deaf, Compacted, Delayed,
        LeaseDeleted, LeaderPaused, QueuedWrite, LeaseThrottled, LeaderCrashed, StandbyCrashed,
        MigManager, MigManagerPending, DriverUpgrade, Karpenter, Autoscaler, Cordoned, Uncordoned, Untainted, ManualMig,
        SecondInstall, Reverted, RecordDeleted,
        PodBinds, DemandDeleted, PodFinishes, PodReplaced, PodDeleted, BudgetAdded, BudgetShrinks, SecondBudget, Annotated,
        PriorityArrives,
        KubeletRestarts, CheckpointLost, PluginBroken, PluginRestarts, StatusStale,
        Reboot, NotReady, NodeDeleted, NodeRecreated, AgentCrashes, DiskFull, DiskTorn,
        AgentPaused, LeaderSuspended,
    }
}

/// Before or after a request has had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Before,
    After,
}

/// One fault: at the `nth` and the following requests of a site, `times` in all. For [`Site::Clock`] `nth` are seconds and `times` is the
/// number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub site: Site,
    pub nth: u32,
    pub times: u32,
    pub side: Side,
    pub kind: Kind,
}

impl Fault {
    pub fn once(site: Site, side: Side, kind: Kind) -> Self {
        Self { site, nth: 0, times: 1, side, kind }
    }

    pub fn at(self, nth: u32) -> Self {
        Self { nth, ..self }
    }

    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

/// Faults of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { site, nth, times, side, kind } = self;
        let side = match side {
            Side::Before => '<',
            Side::After => '>',
        };
        write!(f, "{site}#{nth}x{times}{side}{kind}")
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("{text}: a fault is written SITE#NTHxTIMES<KIND, or with > when it comes after the effect");
        let (site, rest) = text.split_once('#').ok_or_else(bad)?;
        let (nth, rest) = rest.split_once('x').ok_or_else(bad)?;
        let cut = rest.find(['<', '>']).ok_or_else(bad)?;
        let side = if rest[cut..].starts_with('<') { Side::Before } else { Side::After };
        Ok(Self {
            site: site.parse()?,
            nth: nth.parse().map_err(|_| bad())?,
            times: rest[..cut].parse().map_err(|_| bad())?,
            side,
            kind: rest[cut + 1..].parse()?,
        })
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&shown.join(";"))
    }
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        text.split(';').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
