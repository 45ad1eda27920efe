//! The families of one program: what is scraped, and what the documentation says of it, from one registration.

use std::fmt::{self, Debug};
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, text};
use prometheus_client::registry::Registry;

use super::labels::{Labels, Whole, labels};
use super::series::{Count, Level, Spread, Sum};

/// What stands before each name.
const PREFIX: &str = "retile";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Is so at the moment.
    Gauge,
    /// How values spread.
    Histogram,
}

impl Kind {
    /// As OpenMetrics spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the documentation says of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyDoc {
    /// As it is scraped, `_total` included.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it is split by.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

labels! {
    /// Which build.
    Build {
        /// Version of retile.
        "version" => version: &'static str,
        /// Program.
        "program" => program: &'static str,
    }
}

/// The families of one program. Reading it is all that a scrape does.
#[derive(Debug, Clone)]
pub struct Book {
    registry: Arc<Registry>,
    families: Arc<Vec<FamilyDoc>>,
}

impl Book {
    /// All families, with their values now, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Never for figures as they are noted here; what writes text may say so.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// What the documentation says, in the order of the pages.
    pub fn families(&self) -> &[FamilyDoc] {
        &self.families
    }
}

/// Makes a [`Book`].
pub(super) struct Draft {
    registry: Registry,
    families: Vec<FamilyDoc>,
}

impl Draft {
    /// The book of a program, with its first family: which build it is.
    pub(super) fn of(program: &'static str) -> Self {
        let mut draft = Self { registry: Registry::with_prefix(PREFIX), families: Vec::new() };
        let build = draft.level("build_info", "Always 1; says which build this is", []);
        build.put(Build { version: env!("CARGO_PKG_VERSION"), program }, 1.0);
        draft
    }

    pub(super) fn close(self) -> Book {
        Book { registry: Arc::new(self.registry), families: Arc::new(self.families) }
    }

    fn add<L: Labels>(
        &mut self,
        (name, suffix): (&'static str, &str),
        kind: Kind,
        help: &'static str,
        metric: impl EncodeMetric + Debug + Send + Sync + 'static,
    ) {
        self.registry.register(name, help, metric);
        let name = format!("{PREFIX}_{name}{suffix}");
        self.families.push(FamilyDoc { name, kind, labels: L::NAMES, help });
    }

    /// A counter; `labels` start at 0. Its name goes without `_total`.
    pub(super) fn count<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: impl IntoIterator<Item = L>,
    ) -> Count<L> {
        let count = Count::starting(labels);
        self.add::<L>((name, "_total"), Kind::Counter, help, count.clone());
        count
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Count {
        self.count(name, help, [Whole])
    }

    /// A counter of parts.
    pub(super) fn sum<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: impl IntoIterator<Item = L>,
    ) -> Sum<L> {
        let sum = Sum::starting(labels);
        self.add::<L>((name, "_total"), Kind::Counter, help, sum.clone());
        sum
    }

    /// A gauge; `labels` start at 0.
    pub(super) fn level<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: impl IntoIterator<Item = L>,
    ) -> Level<L> {
        let level = Level::starting(labels);
        self.add::<L>((name, ""), Kind::Gauge, help, level.clone());
        level
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Level {
        self.level(name, help, [Whole])
    }

    /// A histogram of seconds.
    pub(super) fn spread<L: Labels>(
        &mut self,
        name: &'static str,
        help: &'static str,
        buckets: &'static [f64],
        labels: impl IntoIterator<Item = L>,
    ) -> Spread<L> {
        let spread = Spread::starting(buckets, labels);
        self.add::<L>((name, ""), Kind::Histogram, help, spread.clone());
        spread
    }
}
