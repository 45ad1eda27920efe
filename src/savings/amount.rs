//! Exact amounts of money.
//!
//! Input: decimal numbers as people write them. Invariants: no binary fraction is involved; every division rounds down, so that a claim is
//! never larger than the truth.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts of one unit of currency that an [`Amount`] counts.
const MICROS: u128 = 1_000_000;
/// Digits behind the point that an amount can hold.
const DIGITS: usize = 6;
/// Largest whole part that is read: far above any price, far below the range of the arithmetic.
const MOST: u128 = 1_000_000_000_000;

/// An amount of money, or another decimal number, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount(u128);

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not of the form of a decimal number.
    #[error("`{0}` is not an amount; write a decimal number such as 15000 or 3.67")]
    Form(String),
    /// More digits behind the point than an amount can hold.
    #[error("`{0}` has more than {DIGITS} digits behind the point; round it")]
    Digits(String),
    /// Out of range.
    #[error("`{0}` is too large; amounts end at {MOST}")]
    TooLarge(String),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of whole units of currency.
    pub const fn whole(units: u64) -> Self {
        Self(units as u128 * MICROS)
    }

    /// An amount in millionths of the unit.
    pub const fn micros(micros: u128) -> Self {
        Self(micros)
    }

    /// Millionths of the unit.
    pub const fn as_micros(self) -> u128 {
        self.0
    }

    /// Reads a decimal number such as `3.67`.
    ///
    /// # Errors
    /// No such number, too many digits, out of range.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || text.ends_with('.') {
            return Err(AmountError::Form(text.to_owned()));
        }
        let part = part.trim_end_matches('0');
        if part.len() > DIGITS {
            return Err(AmountError::Digits(text.to_owned()));
        }
        let whole: u128 = whole.parse().ok().filter(|&it| it <= MOST).ok_or(AmountError::TooLarge(text.to_owned()))?;
        let part = format!("{part:0<DIGITS$}").parse::<u128>().map_err(|_| AmountError::Form(text.to_owned()))?;
        Ok(Self(whole * MICROS + part))
    }

    /// This amount times `numerator / denominator`, rounded down; saturating. Nothing for a denominator of 0.
    #[must_use]
    pub fn times(self, numerator: u128, denominator: u128) -> Self {
        if denominator == 0 {
            return Self::ZERO;
        }
        // The whole multiples first, so that the product that may saturate is as small as it can be.
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        Self(self.0.saturating_mul(whole).saturating_add(self.0.saturating_mul(rest) / denominator))
    }

    /// The sum; saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Amount {
    /// Two digits behind the point, rounded down; commas between thousands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = (self.0 / MICROS).to_string();
        let mut grouped = String::new();
        for (position, digit) in whole.chars().enumerate() {
            if position > 0 && (whole.len() - position).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad(&format!("{grouped}.{:02}", self.0 % MICROS / 10_000))
    }
}

impl Serialize for Amount {
    /// A decimal number in a string, exact.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let part = format!("{:06}", self.0 % MICROS);
        let part = part.trim_end_matches('0');
        let whole = self.0 / MICROS;
        serializer.collect_str(&format_args!("{whole}{}{part}", if part.is_empty() { "" } else { "." }))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 15000 or 3.67, not negative")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Amount, E> {
                Amount::parse(&value.to_string()).map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Amount, E> {
                Amount::parse(&value.to_string()).map_err(E::custom)
            }

            /// The shortest decimal that means the same number, which is the one that was written.
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Amount, E> {
                Amount::parse(&value.to_string()).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Amount, E> {
                Amount::parse(value).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_and_shown_rounded_down() {
        for (text, micros, shown) in [
            ("0", 0, "0.00"),
            ("15000", 15_000_000_000, "15,000.00"),
            ("3.67", 3_670_000, "3.67"),
            ("1234567.899999", 1_234_567_899_999, "1,234,567.89"),
            ("2.5000000000", 2_500_000, "2.50"),
        ] {
            let amount = Amount::parse(text).expect("an amount");
            assert_eq!((amount.as_micros(), amount.to_string().as_str()), (micros, shown), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "1e3", "1,000", "1.2.3", "0.0000001", "NaN", "9999999999999", " 1"] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_keeps_every_digit() {
        for (json, amount) in [("15000", "15000"), ("3.67", "3.67"), ("\"0.1\"", "0.1"), ("0.000001", "0.000001")] {
            let read: Amount = serde_json::from_str(json).expect("an amount");
            assert_eq!(read, Amount::parse(amount).expect("an amount"));
            let written = serde_json::to_string(&read).expect("JSON");
            assert_eq!(serde_json::from_str::<Amount>(&written).expect("an amount"), read);
        }
        for json in ["-1", "1e300", "true", "null", "\"many\""] {
            let error = serde_json::from_str::<Amount>(json).expect_err("no amount").to_string();
            assert!(error.contains("amount"), "{error}");
        }
    }

    #[test]
    fn fractions_round_down_once() {
        assert_eq!(Amount::whole(10).times(1, 3), Amount::micros(3_333_333));
        assert_eq!(Amount::whole(10).times(7, 3), Amount::micros(23_333_333));
        assert_eq!(Amount::whole(10).times(1, 0), Amount::ZERO);
        assert_eq!(Amount::micros(u128::MAX).times(5, 2), Amount::micros(u128::MAX));
    }
}
