//! The kinds of metrics, each one family: series by label set, in order, so that two scrapes of one state are the same bytes.
//!
//! Handles are cheap to clone and may be used from any thread. A table that is set anew is never seen half-empty.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::Histogram;

use super::labels::{Labels, Whole};

/// The series of one family.
#[derive(Debug)]
struct Series<L, V>(Arc<Mutex<BTreeMap<L, V>>>);

impl<L, V> Clone for Series<L, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Labels, V> Series<L, V> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<L, V>> {
        // Whoever panicked with it held has at most left out one figure.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn each(
        &self,
        mut encoder: MetricEncoder<'_>,
        mut one: impl FnMut(MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let series = self.lock();
        if L::NAMES.is_empty() {
            // Without braces, as people expect it.
            return series.values().next().map_or(Ok(()), |value| one(encoder, value));
        }
        series.iter().try_for_each(|(labels, value)| one(encoder.encode_family(labels)?, value))
    }
}

/// A family of the registry.
macro_rules! encode {
    ($kind:ident, $metric_type:ident, |$encoder:ident, $value:ident| $body:expr) => {
        impl<L> Clone for $kind<L> {
            fn clone(&self) -> Self {
                Self { series: self.series.clone() }
            }
        }

        impl<L: Labels> EncodeMetric for $kind<L> {
            fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
                self.series.each(encoder, |mut $encoder, $value| $body)
            }

            fn metric_type(&self) -> MetricType {
                MetricType::$metric_type
            }

            fn is_empty(&self) -> bool {
                self.series.lock().is_empty()
            }
        }
    };
}

/// Counts what has happened.
#[derive(Debug)]
pub struct Count<L = Whole> {
    series: Series<L, u64>,
}

encode!(Count, Counter, |encoder, value| encoder.encode_counter::<Whole, u64, u64>(value, None));

impl<L: Labels> Count<L> {
    /// Counters for these labels, at 0.
    pub(super) fn starting(labels: impl IntoIterator<Item = L>) -> Self {
        let series = Series::new();
        series.lock().extend(labels.into_iter().map(|labels| (labels, 0)));
        Self { series }
    }

    /// It has happened so many times more.
    pub fn add(&self, labels: L, more: u64) {
        let mut series = self.series.lock();
        let count = series.entry(labels).or_default();
        *count = count.saturating_add(more);
    }
}

impl Count {
    /// It has happened.
    pub fn more(&self, more: u64) {
        self.add(Whole, more);
    }
}

/// Sums what grows by parts, such as seconds.
#[derive(Debug)]
pub struct Sum<L = Whole> {
    series: Series<L, f64>,
}

encode!(Sum, Counter, |encoder, value| encoder.encode_counter::<Whole, f64, f64>(value, None));

impl<L: Labels> Sum<L> {
    pub(super) fn starting(labels: impl IntoIterator<Item = L>) -> Self {
        let series = Series::new();
        series.lock().extend(labels.into_iter().map(|labels| (labels, 0.0)));
        Self { series }
    }

    /// The sum is now this; one that falls is left as it is, since sums never fall.
    pub fn raise_to(&self, labels: L, value: f64) {
        let mut series = self.series.lock();
        let sum = series.entry(labels).or_default();
        *sum = value.max(*sum);
    }
}

/// What is so at the moment.
#[derive(Debug)]
pub struct Level<L = Whole> {
    series: Series<L, f64>,
}

encode!(Level, Gauge, |encoder, value| encoder.encode_gauge(value));

impl<L: Labels> Level<L> {
    pub(super) fn starting(labels: impl IntoIterator<Item = L>) -> Self {
        let series = Series::new();
        series.lock().extend(labels.into_iter().map(|labels| (labels, 0.0)));
        Self { series }
    }

    /// It is so now.
    pub fn put(&self, labels: L, value: f64) {
        self.series.lock().insert(labels, value);
    }

    /// These are all series from now on.
    pub fn replace(&self, all: impl IntoIterator<Item = (L, f64)>) {
        let all: BTreeMap<L, f64> = all.into_iter().collect();
        *self.series.lock() = all;
    }

    /// These series are so now; those that are not named fall to 0 but stay.
    pub fn refresh(&self, known: impl IntoIterator<Item = (L, f64)>) {
        let mut series = self.series.lock();
        series.values_mut().for_each(|value| *value = 0.0);
        series.extend(known);
    }
}

impl Level {
    /// It is so now.
    pub fn set(&self, value: f64) {
        self.put(Whole, value);
    }
}

/// How long something takes.
#[derive(Debug)]
pub struct Spread<L = Whole> {
    series: Series<L, Histogram>,
    buckets: &'static [f64],
}

impl<L> Clone for Spread<L> {
    fn clone(&self) -> Self {
        Self { series: self.series.clone(), buckets: self.buckets }
    }
}

impl<L: Labels> Spread<L> {
    pub(super) fn starting(buckets: &'static [f64], labels: impl IntoIterator<Item = L>) -> Self {
        let spread = Self { series: Series::new(), buckets };
        let empty = labels.into_iter().map(|labels| (labels, Histogram::new(buckets.iter().copied())));
        spread.series.lock().extend(empty);
        spread
    }

    /// It has taken so many seconds.
    pub fn note(&self, labels: L, seconds: f64) {
        let mut series = self.series.lock();
        series.entry(labels).or_insert_with(|| Histogram::new(self.buckets.iter().copied())).observe(seconds);
    }
}

impl Spread {
    /// It has taken so many seconds.
    pub fn took(&self, seconds: f64) {
        self.note(Whole, seconds);
    }
}

impl<L: Labels> EncodeMetric for Spread<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.series.each(encoder, |encoder, histogram| histogram.encode(encoder))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }

    fn is_empty(&self) -> bool {
        self.series.lock().is_empty()
    }
}
