//! What the `MigPolicy` in force says to the loop itself, beside what planning reads of it.

use std::time::Duration;

use crate::controller::Settings;
use crate::kube::live::PolicyInForce;
use crate::model::{Clients, Mode};
use crate::savings::Prices;

/// What the operator wants of the loop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// How often it plans at least; none leaves it as the program was started.
    pub interval: Option<Duration>,
    /// Prices for the savings.
    pub prices: Option<Prices>,
    /// Whether nothing new may start, whatever the mode.
    pub paused: bool,
    /// What operations do to other clients of a node's GPUs.
    pub clients: Clients,
    /// Why the newest policy is not in force, while an older one is.
    pub refused: Option<String>,
}

impl Wishes {
    /// What a policy wants. Prices that cannot be read are none, and are told like a policy that is refused.
    pub(super) fn of(policy: &PolicyInForce) -> Self {
        let PolicyInForce { document, name, fault } = policy;
        let (prices, unread) = match document.prices.clone().map(serde_json::from_value::<Prices>) {
            None => (None, None),
            Some(Ok(prices)) => match prices.check() {
                Ok(()) => (Some(prices), None),
                Err(error) => (None, Some(error.to_string())),
            },
            Some(Err(error)) => (None, Some(error.to_string())),
        };
        let unread = unread.map(|error| format!("MigPolicy {}: spec.prices: {error}", name.as_deref().unwrap_or("?")));
        Self {
            interval: document.interval.map(Duration::from_secs),
            prices,
            paused: document.paused,
            clients: document.clients,
            refused: fault.clone().or(unread),
        }
    }

    /// The settings of a loop that was started with `base`, in a mode.
    pub(super) fn settings(&self, base: &Settings, mode: Mode) -> Settings {
        let period = self.interval.unwrap_or(base.period);
        Settings {
            period,
            soonest: base.soonest.map(|soonest| soonest.min(period)),
            clients: self.clients,
            mode: if self.paused { Mode::Observe } else { mode },
            ..base.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_how_often_and_whether_at_all() {
        let base = Settings::of("me");
        let none = Wishes::default();
        assert_eq!(none.settings(&base, Mode::Act), base);
        let often = Wishes { interval: Some(Duration::from_secs(10)), ..none.clone() };
        let settings = often.settings(&base, Mode::Recommend);
        assert_eq!((settings.period, settings.soonest), (Duration::from_secs(10), Some(Duration::from_secs(10))));
        assert_eq!(settings.mode, Mode::Recommend);
        let pausing = Wishes { clients: Clients::OperatorPause, ..none.clone() };
        assert_eq!(pausing.settings(&base, Mode::Act).clients, Clients::OperatorPause);
        let paused = Wishes { paused: true, ..none };
        assert_eq!(paused.settings(&base, Mode::Act).mode, Mode::Observe);
    }
}
