//! What a GPU costs, and what not buying it for a while is worth.
//!
//! Input: prices per GPU model, as an operator writes them. Invariants: one currency; every number is used as written; nothing has a
//! price that nobody gave.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Amount;
use crate::model::{Catalogue, LookupError};

/// Milliseconds of a month: a twelfth of 365.25 days.
pub const MONTH_MS: u128 = 2_629_800_000;
/// Milliseconds of a year of 365.25 days.
pub const YEAR_MS: u128 = 12 * MONTH_MS;
/// Milliseconds of an hour.
pub const HOUR_MS: u128 = 3_600_000;

/// Prices of the GPU models of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// Currency of all prices, by its code: three capital letters.
    pub currency: Currency,
    /// Prices by GPU model: a key of the catalogue such as `A100-80GB`, or a product name.
    pub models: BTreeMap<String, Price>,
}

/// Prices of one GPU model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// What one GPU costs to buy, with its share of the server where that counts.
    pub purchase: Amount,
    /// Months over which it is written off.
    pub amortisation_months: u32,
    /// Cost of capital in percent per year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interest_percent: Option<Amount>,
    /// What one such GPU costs per hour elsewhere, on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_per_hour: Option<Amount>,
}

/// A currency code such as `USD`; nothing else, because it becomes a label of metrics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(String);

/// Why prices are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// No code of a currency.
    #[error("`{0}` is no currency code; write three capital letters such as USD or EUR")]
    Currency(String),
    /// Writing off over no time at all.
    #[error(
        "models.{0}.amortisationMonths: a GPU is written off over 1 to 1200 months; give the months of your books, often 36"
    )]
    Amortisation(String),
    /// The model is not one that the catalogue knows.
    #[error("models.{model}: {source}")]
    Model {
        /// As it was written.
        model: String,
        /// What the catalogue says.
        source: LookupError,
    },
    /// Two names for one model.
    #[error("models.{first} and models.{second} are the same GPU model; keep one of them")]
    Twice {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
}

impl Currency {
    /// Checks a code.
    ///
    /// # Errors
    /// Not three capital letters.
    pub fn new(code: &str) -> Result<Self, PriceError> {
        if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(code.to_owned()))
        } else {
            Err(PriceError::Currency(code.to_owned()))
        }
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Currency {
    type Error = PriceError;

    fn try_from(code: String) -> Result<Self, PriceError> {
        Self::new(&code)
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0
    }
}

/// The key under which the catalogue knows a model by key or product name.
pub(super) fn board_key(model: &str) -> Result<&'static str, LookupError> {
    let catalogue = Catalogue::embedded();
    catalogue
        .find_by_product(model, None)
        .or_else(|_| catalogue.find_by_key(model))
        .map(|geometry| geometry.board().key.as_str())
}

impl Prices {
    /// Checks what the form alone does not: months, model names, no model twice.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn check(&self) -> Result<(), PriceError> {
        let mut seen = BTreeMap::<&str, &str>::new();
        for (model, price) in &self.models {
            if !(1..=1200).contains(&price.amortisation_months) {
                return Err(PriceError::Amortisation(model.clone()));
            }
            let key = board_key(model).map_err(|source| PriceError::Model { model: model.clone(), source })?;
            if let Some(first) = seen.insert(key, model) {
                return Err(PriceError::Twice { first: first.to_owned(), second: model.clone() });
            }
        }
        Ok(())
    }

    /// The prices of a model, by any name that the catalogue knows.
    pub fn of(&self, model: &str) -> Option<&Price> {
        self.models.get(model).or_else(|| {
            let wanted = board_key(model).ok()?;
            self.models.iter().find(|(name, _)| board_key(name).is_ok_and(|key| key == wanted)).map(|(_, price)| price)
        })
    }
}

impl Price {
    /// The share of the purchase price that is written off while so much GPU time passes, in milliseconds.
    pub fn amortised(&self, gpu_ms: u128) -> Amount {
        self.purchase.times(gpu_ms, u128::from(self.amortisation_months).saturating_mul(MONTH_MS))
    }

    /// What the capital earns, or does not cost, while the purchase is put off for so much GPU time, in milliseconds.
    pub fn capital(&self, gpu_ms: u128) -> Option<Amount> {
        let percent = self.interest_percent?;
        // Price × percent/100 × years; one division.
        Some(self.purchase.times(percent.as_micros().saturating_mul(gpu_ms), Amount::whole(100).as_micros() * YEAR_MS))
    }

    /// What so many GPUs cost to buy.
    pub fn sticker(&self, gpus: u64) -> Amount {
        self.purchase.times(u128::from(gpus), 1)
    }

    /// What so much GPU time costs elsewhere, in milliseconds.
    pub fn on_demand(&self, gpu_ms: u128) -> Option<Amount> {
        self.on_demand_per_hour.map(|price| price.times(gpu_ms, HOUR_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(json: &str) -> Price {
        serde_json::from_str(json).expect("a price")
    }

    fn prices(json: &str) -> Result<Prices, String> {
        let prices: Prices = serde_json::from_str(json).map_err(|error| error.to_string())?;
        prices.check().map_err(|error| error.to_string())?;
        Ok(prices)
    }

    #[test]
    fn the_value_is_the_share_of_the_time() {
        let price =
            price(r#"{"purchase": 15000, "amortisationMonths": 36, "interestPercent": 6, "onDemandPerHour": "3.67"}"#);
        // Two GPUs not bought for half a year: a twelfth... of 36 months is 1/6 each, so 2 × 15000 / 6; interest 2 × 15000 × 6 % / 2.
        let gpu_ms = 2 * 6 * MONTH_MS;
        assert_eq!(price.amortised(gpu_ms), Amount::whole(5000));
        assert_eq!(price.capital(gpu_ms), Some(Amount::whole(900)));
        assert_eq!(price.sticker(2), Amount::whole(30_000));
        assert_eq!(price.on_demand(10 * HOUR_MS + HOUR_MS / 2), Some(Amount::parse("38.535").expect("an amount")));
    }

    #[test]
    fn what_nobody_gave_is_not_made_up() {
        let price = price(r#"{"purchase": 15000, "amortisationMonths": 36}"#);
        assert_eq!((price.capital(MONTH_MS), price.on_demand(HOUR_MS)), (None, None));
    }

    #[test]
    fn a_model_is_found_by_key_and_by_product_name() {
        let given = r#"{"currency": "EUR", "models": {"a100-80gb": {"purchase": 1, "amortisationMonths": 1}}}"#;
        let given = prices(given).expect("prices");
        assert_eq!(given.of("NVIDIA A100-SXM4-80GB").map(|price| price.purchase), Some(Amount::whole(1)));
        assert_eq!(given.of("NVIDIA A100-SXM4-40GB"), None);
        assert_eq!(given.of("a toaster"), None);
    }

    #[test]
    fn wrong_prices_are_refused_with_place_and_remedy() {
        let model = |name: &str| format!(r#""{name}": {{"purchase": 1, "amortisationMonths": 36}}"#);
        for (json, part) in [
            (r#"{"currency": "usd", "models": {}}"#.to_owned(), "three capital letters"),
            (r#"{"currency": "USD", "models": {}, "price": 3}"#.to_owned(), "unknown field `price`"),
            (
                r#"{"currency": "USD", "models": {"A30": {"purchase": 1, "amortisationMonths": 0}}}"#.to_owned(),
                "models.A30.amortisationMonths",
            ),
            (
                r#"{"currency": "USD", "models": {"A30": {"purchase": -1, "amortisationMonths": 1}}}"#.to_owned(),
                "`-1` is not an amount",
            ),
            (format!(r#"{{"currency": "USD", "models": {{{}}}}}"#, model("a200-80gb")), "models.a200-80gb: no board"),
            (
                format!(r#"{{"currency": "USD", "models": {{{}, {}}}}}"#, model("A30-24GB"), model("a30")),
                "models.A30-24GB and models.a30 are the same",
            ),
        ] {
            let error = prices(&json).expect_err(&json);
            assert!(error.contains(part), "{error}");
        }
    }
}
