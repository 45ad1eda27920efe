//! Kubernetes quantities: `500m`, `16Gi`, `1e3`, as strings or as numbers.
//!
//! Input: the text of a quantity. Output: a [`Quantity`], exact to the nano unit (finer amounts round away from zero,
//! as the API server does) and saturating far above anything that a cluster can hold. Total: no text panics.
//! Source of the grammar: `resource.Quantity` in Kubernetes' apimachinery.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

const NANO: i128 = 1_000_000_000;
/// Decimals beyond these round away from zero; more cannot change an amount of nano units by more than one.
const MAX_DECIMALS: i32 = 18;
/// Exponents beyond these saturate or vanish anyway.
const MAX_EXPONENT: i32 = 200;

/// An amount in nano units, saturated at the limits of `i128`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity(i128);

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("`{text}` is no quantity; write a number with an optional suffix, such as `4`, `500m` or `16Gi`")]
pub struct QuantityError {
    /// The text, shortened where it is long.
    pub text: String,
}

impl Quantity {
    /// A whole number of units.
    pub fn from_units(units: i128) -> Self {
        Self(units.saturating_mul(NANO))
    }

    /// Reads a quantity.
    ///
    /// # Errors
    /// The text does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text).map(Self).ok_or_else(|| QuantityError { text: text.chars().take(40).collect() })
    }

    /// Units, rounded up as the scheduler does, within `i64`.
    pub fn units(self) -> i64 {
        clamp(div_up(self.0, NANO))
    }

    /// Thousandths of a unit, rounded up, within `i64`.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.0, NANO / 1000))
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(self) -> bool {
        self.0 % NANO == 0 || self.0.unsigned_abs() >= i128::MAX.unsigned_abs()
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn div_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by > 0 { quotient + 1 } else { quotient }
}

/// The amount in nano units; `None` when the text is malformed.
fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() || decimals.contains('.') {
        return None;
    }
    let (power_of_two, power_of_ten) = scale(suffix)?;
    let (mantissa, exponent) = mantissa(whole, decimals);
    let scaled = mantissa.saturating_mul(1 << power_of_two);
    let nano = shift(scaled, exponent + power_of_ten + 9);
    Some(if negative { -nano } else { nano })
}

/// Digits as a number and the power of ten that belongs to it.
fn mantissa(whole: &str, decimals: &str) -> (i128, i32) {
    let (mut value, mut exponent, mut lost) = (0_i128, 0_i32, false);
    for digit in whole.bytes() {
        match value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0'))) {
            Some(next) if exponent == 0 => value = next,
            _ => exponent = (exponent + 1).min(MAX_EXPONENT),
        }
    }
    let mut taken = 0;
    for digit in decimals.bytes() {
        let next = value.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0')));
        match next {
            Some(next) if exponent == 0 && taken < MAX_DECIMALS => {
                value = next;
                taken += 1;
            }
            _ => lost |= digit != b'0',
        }
    }
    (value.saturating_add(i128::from(lost)), exponent - taken)
}

/// Multiplies by a power of ten; what gets lost rounds up.
fn shift(value: i128, power: i32) -> i128 {
    if power >= 0 {
        (0..power.min(MAX_EXPONENT)).fold(value, |value, _| value.saturating_mul(10))
    } else {
        match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => div_up(value, divisor),
            None => i128::from(value > 0),
        }
    }
}

/// Powers of two and ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => (0, exponent(suffix)?),
    })
}

fn exponent(suffix: &str) -> Option<i32> {
    let signed = suffix.strip_prefix(['e', 'E'])?;
    let digits = signed.strip_prefix(['-', '+']).unwrap_or(signed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i32>().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
    Some(if signed.starts_with('-') { -size } else { size })
}

/// A quantity as it stands in an object: what is malformed is kept as an error, so that only its reader fails.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub Result<Quantity, QuantityError>);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;
        impl Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as \"16Gi\" or 4")
            }
            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(Quantity::parse(text)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount(Ok(Quantity::from_units(i128::from(value)))))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Amount, E> {
                Ok(Amount(Ok(Quantity::from_units(i128::from(value)))))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Amount, E> {
                Ok(Amount(Quantity::parse(&value.to_string())))
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_whole_grammar() {
        let table: [(&str, i64, i64); 28] = [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("+4", 4, 4000),
            ("-1", -1, -1000),
            ("500m", 1, 500),
            ("1000000m", 1000, 1_000_000),
            ("1.5", 2, 1500),
            (".5", 1, 500),
            ("5.", 5, 5000),
            ("0.0001", 1, 1),
            ("1n", 1, 1),
            ("250u", 1, 1),
            ("1k", 1000, 1_000_000),
            ("1e3", 1000, 1_000_000),
            ("1E3", 1000, 1_000_000),
            ("1e-3", 1, 1),
            ("12e+1", 120, 120_000),
            ("1Ki", 1024, 1_024_000),
            ("1.5Ki", 1536, 1_536_000),
            ("2Mi", 2_097_152, 2_097_152_000),
            ("16Gi", 17_179_869_184, 17_179_869_184_000),
            ("3Ti", 3_298_534_883_328, 3_298_534_883_328_000),
            ("1M", 1_000_000, 1_000_000_000),
            ("1E", 1_000_000_000_000_000_000, i64::MAX),
            ("9223372036854775807", i64::MAX, i64::MAX),
            ("1e30", i64::MAX, i64::MAX),
            ("-1e30", i64::MIN, i64::MIN),
            ("1e99999999999999999999", i64::MAX, i64::MAX),
        ];
        for (text, units, millis) in table {
            let quantity = Quantity::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((quantity.units(), quantity.millis()), (units, millis), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in [
            "", " ", "-", "+", ".", "1.2.3", "1e", "1ee3", "1 Gi", "1KiB", "k", "0x10", "NaN", "inf", "１", "1i", "--1",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn long_digits_saturate_and_do_not_lose_the_order() {
        let long = "9".repeat(300);
        assert_eq!(Quantity::parse(&long).expect("digits").units(), i64::MAX);
        let tiny = format!("0.{}1", "0".repeat(300));
        assert_eq!(Quantity::parse(&tiny).expect("digits").millis(), 1);
    }

    #[test]
    fn wholeness_decides_what_an_extended_resource_may_ask() {
        assert!(Quantity::parse("1000m").expect("quantity").is_whole());
        assert!(!Quantity::parse("500m").expect("quantity").is_whole());
        assert!(Quantity::parse("1e40").expect("quantity").is_whole());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn whole_numbers_are_exact(value in proptest::num::i64::ANY) {
            proptest::prop_assert_eq!(Quantity::parse(&value.to_string()).map(Quantity::units), Ok(value));
        }
    }
}
