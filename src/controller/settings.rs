//! What the wiring tells the loop: who it is, and how long it waits for what.

use std::time::Duration;

use crate::exec::Timing;
use crate::model::{Clients, Mode};

/// Settings of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name in the lease. No two processes may ever share one, a process and its successor included.
    pub identity: String,
    /// From one plan to the next.
    pub period: Duration,
    /// How soon after a plan the next one may come when new demand has settled; `None` to keep to the period.
    pub soonest: Option<Duration>,
    /// Waiting times of operations.
    pub timing: Timing,
    /// What operations do to other clients of a node's GPUs.
    pub clients: Clients,
    /// Waiting times of the lease.
    pub lease: LeaseTimes,
    /// Most operations under way at a time, those that wait for others included.
    pub concurrency: u32,
    /// Arrivals after which an older arrival counts half in the forecast; `None` leaves the forecast that the input has.
    pub forecast: Option<u32>,
    /// Whether plans are carried out. Operations that are found under way are seen through in any mode.
    pub mode: Mode,
    /// How long an agent's heartbeat may stand still.
    pub silence: Duration,
    /// How long a pod may take to be bound after the operation that was for it.
    pub landing: Duration,
    /// How long a node or a shape of demand is let be after the first failure; doubles.
    pub back_off_first: Duration,
    /// The longest that it is let be.
    pub back_off_most: Duration,
    /// How long a move of a pod counts against the cap on moves.
    pub move_window: Duration,
    /// Steps of work that one judgement may take.
    pub judge_work: u64,
}

impl Settings {
    /// The usual settings, for a process of this name that carries plans out.
    pub fn of(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            period: Duration::from_mins(5),
            soonest: Some(Duration::from_secs(30)),
            timing: Timing::default(),
            clients: Clients::default(),
            lease: LeaseTimes::default(),
            concurrency: 16,
            forecast: Some(50),
            mode: Mode::Act,
            silence: Duration::from_mins(1),
            landing: Duration::from_mins(1),
            back_off_first: Duration::from_mins(5),
            back_off_most: Duration::from_hours(6),
            move_window: Duration::from_hours(6),
            judge_work: 1_000_000,
        }
    }
}

/// How long a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long others wait for a sign of the holder before they take the lease.
    pub duration: Duration,
    /// How long the holder acts without having renewed it; shorter than `duration`.
    pub renew_within: Duration,
    /// Rest between two tries or renewals.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), renew_within: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}
