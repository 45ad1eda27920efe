//! Times of the week at which operations may start.
//!
//! Input: days, a time of day, a duration, a zone. Output: whether a moment lies within. A start that a clock change skips is moved to the
//! first moment after it; one that happens twice counts the first time.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Longest window in seconds: a week.
const LONGEST: u64 = 7 * 24 * 3600;

/// A window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: Vec<Weekday>,
    start: Time,
    seconds: i64,
    zone: TimeZone,
}

impl Window {
    /// A window; no days means every day, no zone means UTC.
    ///
    /// # Errors
    /// A day, time, duration or zone that cannot be; the message says what is allowed.
    pub fn new(days: &[String], start: &str, seconds: u64, zone: Option<&str>) -> Result<Self, String> {
        let days = days.iter().map(|day| weekday(day)).collect::<Result<_, _>>()?;
        if seconds == 0 || seconds > LONGEST {
            return Err("the duration of a window is above 0 and at most 168h".to_owned());
        }
        let zone = zone.map_or(Ok(TimeZone::UTC), |name| {
            TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone; write it like `Europe/Berlin`"))
        })?;
        Ok(Self { days, start: time(start)?, seconds: i64::try_from(seconds).unwrap_or(i64::MAX), zone })
    }

    /// Whether a moment, in seconds since the epoch, lies within.
    pub fn holds(&self, moment: i64) -> bool {
        let Ok(now) = Timestamp::from_second(moment) else { return false };
        let today = now.to_zoned(self.zone.clone()).date();
        // It may have started up to a week ago, and today's may belong to a date line ahead.
        (-1..=7_i32).any(|back| {
            let Ok(date) = today.checked_sub(back.days()) else { return false };
            if !self.days.is_empty() && !self.days.contains(&date.weekday()) {
                return false;
            }
            let Ok(start) = date.to_datetime(self.start).to_zoned(self.zone.clone()) else { return false };
            let since = moment.saturating_sub(start.timestamp().as_second());
            (0..self.seconds).contains(&since)
        })
    }
}

fn weekday(day: &str) -> Result<Weekday, String> {
    Ok(match day {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return Err(format!("`{day}` is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun")),
    })
}

fn time(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is no time of day; write it as `22:00`");
    let (hour, minute) =
        text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2).ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<i8>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (hour, minute) = (number(hour).ok_or_else(wrong)?, number(minute).ok_or_else(wrong)?);
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::time::parse_moment;

    fn window(days: &[&str], start: &str, hours: u64, zone: Option<&str>) -> Window {
        let days: Vec<String> = days.iter().map(|&day| day.to_owned()).collect();
        Window::new(&days, start, hours * 3600, zone).expect("a window")
    }

    fn holds(window: &Window, moment: &str) -> bool {
        window.holds(parse_moment(moment).expect("a moment"))
    }

    #[test]
    fn a_night_reaches_into_the_next_day() {
        // 2026-11-28 is a Saturday.
        let night = window(&["Sat"], "22:00", 6, None);
        for (moment, inside) in [
            ("2026-11-28T21:59:59Z", false),
            ("2026-11-28T22:00:00Z", true),
            ("2026-11-29T03:59:59Z", true),
            ("2026-11-29T04:00:00Z", false),
            ("2026-11-29T23:00:00Z", false),
        ] {
            assert_eq!(holds(&night, moment), inside, "{moment}");
        }
    }

    #[test]
    fn the_zone_counts_and_so_does_its_summer() {
        let berlin = window(&[], "22:00", 1, Some("Europe/Berlin"));
        assert!(holds(&berlin, "2026-11-28T21:30:00Z") && !holds(&berlin, "2026-11-28T20:30:00Z"));
        assert!(holds(&berlin, "2026-07-28T20:30:00Z") && !holds(&berlin, "2026-07-28T21:30:00Z"));
        let kiritimati = window(&["Sun"], "00:00", 1, Some("Pacific/Kiritimati"));
        assert!(holds(&kiritimati, "2026-11-28T10:30:00Z"));
    }

    #[test]
    fn a_start_that_summer_time_skips_is_just_after() {
        let skipped = window(&[], "02:30", 1, Some("Europe/Berlin"));
        // At 01:00 UTC clocks went from 02:00 to 03:00.
        assert!(holds(&skipped, "2026-03-29T01:45:00Z"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let days = |day: &str| vec![day.to_owned()];
        assert!(Window::new(&days("Monday"), "22:00", 60, None).is_err());
        assert!(Window::new(&[], "22:00", 0, None).is_err());
        assert!(Window::new(&[], "22:00", LONGEST + 1, None).is_err());
        assert!(Window::new(&[], "22:00", 60, Some("Europe/Atlantis")).is_err());
        for start in ["24:00", "22:60", "9:00", "22", "-1:00", "22:00:00", "+1:00"] {
            assert!(Window::new(&[], start, 60, None).is_err(), "{start}");
        }
    }
}
