//! What an agent does with what it finds: one pure function of seven facts, total over all their 2,592 combinations.
//!
//! It is asked when the agent starts and before everything that it does later, so that a start in the middle is nothing special. Defaults:
//! an instance of the operation is held: nothing is touched; the board is neither base nor target nor between: nothing is touched; the node
//! has rebooted: no operation is carried on, what was there is restored if nobody holds anything.

use crate::exec::record::AgentPhase;

/// What is in the record, as against the operation that the agent has in hand (by its intent, or else by its own last report).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recorded {
    /// No operation.
    None,
    /// The one that the agent has in hand.
    Same,
    /// Another one.
    Other,
}

/// What the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BoardIs {
    /// What it was before the operation; without one, what was last applied.
    Base,
    /// What it is to become.
    Target,
    /// Some of both, and nothing else.
    Between,
    /// Anything else.
    Other,
}

/// Which instances are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// None.
    Nothing,
    /// Only such as the operation does not touch.
    Outside,
    /// One that the operation destroys or creates, or it cannot be told.
    Inside,
}

/// The facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Whether there is an intent on disk.
    pub intent: bool,
    /// What the record has.
    pub recorded: Recorded,
    /// How far the agent's last report says it is.
    pub phase: AgentPhase,
    /// What the board is.
    pub board: BoardIs,
    /// What is held.
    pub held: Held,
    /// Whether the node has rebooted since.
    pub rebooted: bool,
    /// Whether MIG mode is on where it must be.
    pub mig_mode: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing is in hand: report what is there.
    Serve,
    /// Touch nothing, and say why.
    Report,
    /// Touch nothing, and say that somebody else has changed the board.
    Drift,
    /// Look at the operation of the record, and accept or refuse it.
    Consider,
    /// Go on towards the target.
    Forward,
    /// Go back to the base.
    Backward,
    /// After a reboot: create again what was there.
    Restore,
    /// Find out whether the device plugin serves what the board has.
    Verify,
    /// The operation is over: remove its intent.
    Forget,
}

impl Action {
    /// Whether it may create or destroy an instance.
    pub fn changes_instances(self) -> bool {
        match self {
            Self::Forward | Self::Backward | Self::Restore => true,
            Self::Serve | Self::Report | Self::Drift | Self::Consider | Self::Verify | Self::Forget => false,
        }
    }
}

/// The decision.
pub fn decide(row: Row) -> Action {
    if !row.mig_mode {
        return Action::Report;
    }
    let action = if row.board == BoardIs::Other {
        Action::Drift
    } else if row.rebooted {
        Action::Restore
    } else {
        wish(row)
    };
    let held = match row.held {
        Held::Inside => true,
        Held::Outside => action == Action::Restore,
        Held::Nothing => false,
    };
    if held && action.changes_instances() { Action::Report } else { action }
}

/// What would be done if nobody held anything.
fn wish(row: Row) -> Action {
    match (row.intent, row.recorded) {
        (false, Recorded::None) => Action::Serve,
        (false, Recorded::Other) => Action::Consider,
        (true, Recorded::None | Recorded::Other) => abandoned(row),
        (_, Recorded::Same) => in_hand(row),
    }
}

/// There is an intent, but its operation has vanished or was replaced.
fn abandoned(row: Row) -> Action {
    match row.board {
        BoardIs::Base | BoardIs::Target => Action::Forget,
        BoardIs::Between => Action::Backward,
        BoardIs::Other => Action::Drift,
    }
}

fn in_hand(row: Row) -> Action {
    use BoardIs::{Base, Between, Other, Target};
    match (row.phase, row.board) {
        (_, Other) => Action::Drift,
        (AgentPhase::Accepted, Between) if !row.intent => Action::Drift,
        (AgentPhase::Accepted | AgentPhase::Executing, Base | Between | Target) => Action::Forward,
        (AgentPhase::RollingBack, Base | Between | Target) => Action::Backward,
        (AgentPhase::Repartitioned, Target) | (AgentPhase::RolledBack, Base) => Action::Verify,
        (AgentPhase::Applied, Base | Target) => Action::Verify,
        (AgentPhase::Repartitioned, Base | Between)
        | (AgentPhase::RolledBack, Target | Between)
        | (AgentPhase::Applied, Between) => Action::Drift,
        (AgentPhase::Idle | AgentPhase::Refused, Base | Target) if row.intent => Action::Forget,
        (AgentPhase::Idle | AgentPhase::Refused, Between) if row.intent => Action::Drift,
        (AgentPhase::Idle | AgentPhase::Refused, Base | Target | Between) => Action::Serve,
        (AgentPhase::Degraded, Base | Target | Between) => Action::Report,
    }
}
