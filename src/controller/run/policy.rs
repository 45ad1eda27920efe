//! What the `MigPolicy` in force says to the loop itself, beside what planning reads of it.

use std::time::Duration;

use crate::controller::Settings;
use crate::model::Mode;
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
    /// Why the newest policy is not in force, while an older one is.
    pub refused: Option<String>,
}

impl Wishes {
    /// The settings of a loop that was started with `base`, in a mode.
    pub(super) fn settings(&self, base: &Settings, mode: Mode) -> Settings {
        let period = self.interval.unwrap_or(base.period);
        Settings {
            period,
            soonest: base.soonest.map(|soonest| soonest.min(period)),
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
        let paused = Wishes { paused: true, ..none };
        assert_eq!(paused.settings(&base, Mode::Act).mode, Mode::Observe);
    }
}
