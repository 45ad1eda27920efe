//! What the books come to: GPUs, time and money, with what each claim rests on.
//!
//! The JSON form is a contract: fields are added, never renamed or removed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::account::Account;
use super::{Amount, Counterfactual, Price, Prices, SavingsError};

/// Version of the JSON form of a [`Report`].
pub const REPORT_VERSION: u32 = 1;

/// Shares of the time, in thousandths, for which the needs are told again without the peaks.
const SHARES: [u16; 2] = [990, 950];

/// GPUs and money deferred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this form, [`REPORT_VERSION`].
    pub format_version: u32,
    /// First moment, in milliseconds as the history counts them.
    pub from_ms: u64,
    /// Last moment.
    pub until_ms: u64,
    /// Currency of all amounts; none without prices.
    pub currency: Option<String>,
    /// Per GPU model, ordered by name.
    pub models: Vec<ModelReport>,
    /// Over all models, in the order of [`Counterfactual::ALL`].
    pub totals: Vec<Total>,
}

/// One GPU model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelReport {
    /// GPU model, as the history names it.
    pub model: String,
    /// GPUs at the end.
    pub gpus: u64,
    /// Largest number of GPUs at one moment: what is owned.
    pub owned: u64,
    /// GPUs that the highest demand needs when layouts follow it.
    pub needed: u64,
    /// Under each counterfactual, in the order of [`Counterfactual::ALL`].
    pub counterfactuals: Vec<CounterfactualReport>,
    /// What MIG gives and what *dynamic* MIG adds, in GPUs.
    pub split: Split,
    /// The same needs without short peaks.
    pub sensitivity: Vec<Sensitivity>,
    /// Time that pods have in fact waited, in whole seconds of pods; under the counterfactuals nobody waits.
    pub waited_pod_seconds: u64,
    /// Work that went elsewhere.
    pub burst: BurstReport,
    /// Whether there is a price for the model.
    pub priced: bool,
}

/// One counterfactual for one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CounterfactualReport {
    /// Which.
    pub counterfactual: Counterfactual,
    /// GPUs that would have been needed.
    pub needed: u64,
    /// GPUs whose purchase is put off at the end.
    pub deferred: u64,
    /// For how long, summed over GPUs, in whole seconds.
    pub deferred_gpu_seconds: u64,
    /// What that is worth; none without a price.
    pub worth: Option<Worth>,
}

/// What GPUs not bought for a while are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Worth {
    /// The value that is claimed: the share of the price that would have been written off in that time.
    pub amortised: Amount,
    /// What the capital costs in that time, where an interest rate is given; not added to anything.
    pub capital_cost: Option<Amount>,
    /// The price of the GPUs that are put off at the end. A price tag, not a saving: they may have to be bought later.
    pub sticker_price: Amount,
}

/// Where a difference in GPUs comes from; negative where the claim does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Split {
    /// MIG itself: whole GPUs per pod less the best fixed layouts.
    pub mig: i64,
    /// Dynamic MIG: the best fixed layouts less layouts that follow the demand.
    pub dynamic: i64,
}

/// The needs when demand may exceed them for a part of the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sensitivity {
    /// Part of the time that is covered, in thousandths. Fixed layouts cover every profile's demand for that part, which asks less of them
    /// than of layouts that follow the demand: these cover all profiles at once.
    pub time_permille: u16,
    /// GPUs with layouts that follow the demand.
    pub needed: u64,
    /// GPUs under each counterfactual, in the order of [`Counterfactual::ALL`].
    pub otherwise: Vec<u64>,
}

/// Work that went elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BurstReport {
    /// Pods.
    pub pods: u64,
    /// Running time that they still needed, as shares of whole GPUs, in whole seconds.
    pub gpu_seconds: u64,
    /// What that costs on demand: a cost that was paid, not a saving; none without a price.
    pub cost: Option<Amount>,
}

/// One counterfactual over all models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Which.
    pub counterfactual: Counterfactual,
    /// GPUs whose purchase is put off at the end.
    pub deferred: u64,
    /// For how long, summed over GPUs, in whole seconds.
    pub deferred_gpu_seconds: u64,
    /// What that is worth, over the models that have a price; none when none has.
    pub worth: Option<Worth>,
}

impl Worth {
    fn plus(self, other: Self) -> Self {
        let Self { amortised, capital_cost, sticker_price } = other;
        Self {
            amortised: self.amortised.plus(amortised),
            capital_cost: match (self.capital_cost, capital_cost) {
                (Some(one), Some(two)) => Some(one.plus(two)),
                (one, two) => one.or(two),
            },
            sticker_price: self.sticker_price.plus(sticker_price),
        }
    }
}

/// Closes the books.
pub(super) fn report(
    accounts: &BTreeMap<String, Account>,
    from_ms: u64,
    until_ms: u64,
    prices: Option<&Prices>,
) -> Result<Report, SavingsError> {
    let models: Vec<ModelReport> = accounts
        .iter()
        .map(|(name, account)| model(name, account, prices.and_then(|prices| prices.of(name))))
        .collect::<Result<_, _>>()?;
    let totals = Counterfactual::ALL.into_iter().enumerate().map(|(index, counterfactual)| {
        let rows = || models.iter().map(move |model| &model.counterfactuals[index]);
        Total {
            counterfactual,
            deferred: rows().map(|row| row.deferred).sum(),
            deferred_gpu_seconds: rows().map(|row| row.deferred_gpu_seconds).sum(),
            worth: rows().filter_map(|row| row.worth).reduce(Worth::plus),
        }
    });
    let totals = totals.collect();
    let currency = prices.map(|prices| prices.currency.code().to_owned());
    Ok(Report { format_version: REPORT_VERSION, from_ms, until_ms, currency, models, totals })
}

fn model(name: &str, account: &Account, price: Option<&Price>) -> Result<ModelReport, SavingsError> {
    let needs = account.needs()?;
    let deferred = needs.deferred(account.owned());
    let deferred_ms = account.deferred_ms();
    let counterfactuals = Counterfactual::ALL.into_iter().enumerate().map(|(index, counterfactual)| {
        let gpu_ms = deferred_ms[index];
        CounterfactualReport {
            counterfactual,
            needed: needs.otherwise[index],
            deferred: deferred[index],
            deferred_gpu_seconds: seconds(gpu_ms),
            worth: price.map(|price| Worth {
                amortised: price.amortised(gpu_ms),
                capital_cost: price.capital(gpu_ms),
                sticker_price: price.sticker(deferred[index]),
            }),
        }
    });
    let sensitivity = SHARES.into_iter().map(|time_permille| {
        let needs = account.needs_at(time_permille)?;
        Ok(Sensitivity { time_permille, needed: needs.dynamic, otherwise: needs.otherwise.to_vec() })
    });
    let of = |wanted: Counterfactual| {
        Counterfactual::ALL.iter().zip(needs.otherwise).find(|(it, _)| **it == wanted).map_or(0, |(_, needed)| needed)
    };
    let less = |more: u64, fewer: u64| more.cast_signed().saturating_sub(fewer.cast_signed());
    let best = of(Counterfactual::BestStatic);
    let burst = account.burst_time();
    Ok(ModelReport {
        model: name.to_owned(),
        gpus: account.fleet(),
        owned: account.owned(),
        needed: needs.dynamic,
        counterfactuals: counterfactuals.collect(),
        split: Split { mig: less(of(Counterfactual::WholeGpu), best), dynamic: less(best, needs.dynamic) },
        sensitivity: sensitivity.collect::<Result<_, SavingsError>>()?,
        waited_pod_seconds: seconds(account.waited_ms()),
        burst: BurstReport {
            pods: burst.pods,
            gpu_seconds: seconds(burst.gpu_ms),
            cost: price.and_then(|price| price.on_demand(burst.gpu_ms)),
        },
        priced: price.is_some(),
    })
}

/// Whole seconds.
fn seconds(ms: u128) -> u64 {
    u64::try_from(ms / 1000).unwrap_or(u64::MAX)
}
