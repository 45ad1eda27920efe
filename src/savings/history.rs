//! Savings histories as files: JSON lines, a header and then one point each.
//!
//! Inputs and outputs: text and a [`History`]. Invariants: points are in the order of their time; what happens at the same moment is one
//! change, whatever order it is written in; a field that is not known is refused; writing what was read gives the same points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Instances, Savings, SavingsError, State};

/// What the header calls the format.
pub const FORMAT: &str = "retile-savings-history";
/// Version of the format.
pub const FORMAT_VERSION: u32 = 1;

/// What happened, as far as savings depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Where it comes from, for people.
    pub source: String,
    /// In the order of time.
    pub points: Vec<Point>,
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Milliseconds from any moment that is the same for the whole history.
    pub at_ms: u64,
    /// What.
    pub happening: Happening,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A GPU is there from now on, or is cut anew.
    Gpu {
        /// GPU model.
        model: String,
        /// A name that lasts.
        name: String,
        /// What it is cut into.
        instances: Instances,
    },
    /// A GPU is not there any more.
    Gone {
        /// GPU model.
        model: String,
        /// Its name.
        name: String,
    },
    /// Who runs and who waits from now on.
    Demand {
        /// GPU model.
        model: String,
        /// Running pods.
        running: Vec<Pods>,
        /// Waiting pods.
        pending: Vec<Pods>,
    },
    /// Work went elsewhere.
    Burst {
        /// GPU model.
        model: String,
        /// What it needed.
        instances: Instances,
        /// Running time that it still needed, in milliseconds.
        rest_ms: u64,
    },
    /// The history ends; until then everything stays as it is.
    End,
}

/// Pods that ask for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pods {
    /// How many.
    pub pods: u64,
    /// What one of them asks for.
    pub instances: Instances,
}

/// Why a history cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct HistoryError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: HistoryProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryProblem {
    /// The file holds nothing.
    #[error("the history is empty; its first line is {{\"format\": {FORMAT:?}, \"format_version\": {FORMAT_VERSION}}}")]
    Empty,
    /// No JSON, a field that is missing or not known, a value of a wrong type.
    #[error("{0}; write one JSON object per line, as the history format describes")]
    Form(String),
    /// Another format, or none.
    #[error("the file is not a savings history but {0:?}; its first line says {FORMAT:?}")]
    Format(String),
    /// Another version.
    #[error("format_version is {0}, this program reads {FORMAT_VERSION}; write the history again with this program")]
    Version(u32),
    /// Not exactly one happening.
    #[error("a line holds at_ms and exactly one of gpu, gone, demand, burst, end; this one holds {0} of them")]
    Happenings(usize),
    /// A GPU leaves that is not there.
    #[error("the GPU {0} leaves but was not there; name it as in its line `gpu`")]
    NotThere(String),
    /// Something follows the end.
    #[error("the history goes on after its end; leave out the line `end`, or what follows it")]
    AfterEnd,
    /// It cannot be counted.
    #[error(transparent)]
    Savings(#[from] SavingsError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    format_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    source: String,
}

/// The two fields that are read before all others.
#[derive(Deserialize)]
struct Head {
    format: String,
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gpu: Option<GpuLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<GoneLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    demand: Option<DemandLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<BurstLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<EndLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuLine {
    model: String,
    name: String,
    instances: Instances,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GoneLine {
    model: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DemandLine {
    model: String,
    running: Vec<Pods>,
    pending: Vec<Pods>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BurstLine {
    model: String,
    instances: Instances,
    rest_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {}

impl Line {
    fn into_point(self) -> Result<Point, HistoryProblem> {
        let Self { at_ms, gpu, gone, demand, burst, end } = self;
        let mut happenings = Vec::new();
        happenings.extend(gpu.map(|GpuLine { model, name, instances }| Happening::Gpu { model, name, instances }));
        happenings.extend(gone.map(|GoneLine { model, name }| Happening::Gone { model, name }));
        happenings.extend(demand.map(|DemandLine { model, running, pending }| Happening::Demand {
            model,
            running,
            pending,
        }));
        happenings.extend(burst.map(|BurstLine { model, instances, rest_ms }| Happening::Burst {
            model,
            instances,
            rest_ms,
        }));
        happenings.extend(end.map(|EndLine {}| Happening::End));
        match <[Happening; 1]>::try_from(happenings) {
            Ok([happening]) => Ok(Point { at_ms, happening }),
            Err(others) => Err(HistoryProblem::Happenings(others.len())),
        }
    }
}

impl From<&Point> for Line {
    fn from(point: &Point) -> Self {
        let mut line = Self { at_ms: point.at_ms, gpu: None, gone: None, demand: None, burst: None, end: None };
        match point.happening.clone() {
            Happening::Gpu { model, name, instances } => line.gpu = Some(GpuLine { model, name, instances }),
            Happening::Gone { model, name } => line.gone = Some(GoneLine { model, name }),
            Happening::Demand { model, running, pending } => {
                line.demand = Some(DemandLine { model, running, pending });
            }
            Happening::Burst { model, instances, rest_ms } => {
                line.burst = Some(BurstLine { model, instances, rest_ms });
            }
            Happening::End => line.end = Some(EndLine {}),
        }
        line
    }
}

/// Writes a history.
///
/// # Errors
/// Never for a history as this program makes them; the format's writer can refuse in principle.
pub fn write_history(history: &History) -> Result<String, serde_json::Error> {
    let header = Header { format: FORMAT.to_owned(), format_version: FORMAT_VERSION, source: history.source.clone() };
    let mut text = serde_json::to_string(&header)? + "\n";
    for point in &history.points {
        text += &serde_json::to_string(&Line::from(point))?;
        text.push('\n');
    }
    Ok(text)
}

/// Reads a history. Empty lines are allowed at the end only.
///
/// # Errors
/// The first line that cannot be understood. Whether the history makes sense is told by [`History::savings`].
pub fn read_history(text: &str) -> Result<History, HistoryError> {
    let at = |line: usize| move |problem: HistoryProblem| HistoryError { line: line + 1, problem };
    let mut lines = text.trim_end().lines().enumerate();
    let Some((_, first)) = lines.next() else { return Err(at(0)(HistoryProblem::Empty)) };
    let head: Head = serde_json::from_str(first).map_err(|error| at(0)(form(&error)))?;
    if head.format != FORMAT {
        return Err(at(0)(HistoryProblem::Format(head.format)));
    }
    if head.format_version != FORMAT_VERSION {
        return Err(at(0)(HistoryProblem::Version(head.format_version)));
    }
    let header: Header = serde_json::from_str(first).map_err(|error| at(0)(form(&error)))?;
    let points = lines.map(|(number, text)| {
        let line: Line = serde_json::from_str(text).map_err(|error| at(number)(form(&error)))?;
        line.into_point().map_err(at(number))
    });
    Ok(History { source: header.source, points: points.collect::<Result<_, _>>()? })
}

/// The reader's message with its column, without the line, which is always 1 to it.
fn form(error: &serde_json::Error) -> HistoryProblem {
    let all = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = all.strip_suffix(&place).unwrap_or(&all);
    HistoryProblem::Form(if error.column() > 0 {
        format!("{what}, column {}", error.column())
    } else {
        what.to_owned()
    })
}

impl History {
    /// Accumulates the whole history.
    ///
    /// # Errors
    /// The first line that makes no sense, with the number that [`write_history`] gives it.
    pub fn savings(&self) -> Result<Savings, HistoryError> {
        let mut savings = Savings::new();
        let mut state = State::new();
        let mut ended = false;
        for (index, point) in self.points.iter().enumerate() {
            let at = |problem: HistoryProblem| HistoryError { line: index + 2, problem };
            if ended {
                return Err(at(HistoryProblem::AfterEnd));
            }
            let Point { at_ms, happening } = point;
            if let Some(before) = index.checked_sub(1).map(|before| self.points[before].at_ms).filter(|it| it > at_ms) {
                return Err(at(SavingsError::Backwards { at: *at_ms, before }.into()));
            }
            apply(happening, &mut state, &mut savings).map_err(at)?;
            ended = matches!(happening, Happening::End);
            // What happens at one moment is one change.
            if self.points.get(index + 1).is_none_or(|next| next.at_ms > *at_ms) {
                savings.observe(*at_ms, &state).map_err(|error| at(error.into()))?;
            }
        }
        Ok(savings)
    }
}

fn apply(happening: &Happening, state: &mut State, savings: &mut Savings) -> Result<(), HistoryProblem> {
    match happening {
        Happening::Gpu { model, name, instances } => {
            savings.check(model, instances)?;
            state.entry(model.clone()).or_default().gpus.insert(name.clone(), instances.clone());
        }
        Happening::Gone { model, name } => {
            let gone = state.get_mut(model).and_then(|state| state.gpus.remove(name));
            gone.ok_or_else(|| HistoryProblem::NotThere(name.clone()))?;
        }
        Happening::Demand { model, running, pending } => {
            for Pods { pods: _, instances } in running.iter().chain(pending) {
                savings.check(model, instances)?;
            }
            let state = state.entry(model.clone()).or_default();
            state.running = counted(running);
            state.pending = counted(pending);
        }
        Happening::Burst { model, instances, rest_ms } => savings.burst(model, instances, *rest_ms)?,
        Happening::End => {}
    }
    Ok(())
}

fn counted(pods: &[Pods]) -> BTreeMap<Instances, u64> {
    let mut counted = BTreeMap::new();
    for Pods { pods, instances } in pods {
        let sum: &mut u64 = counted.entry(instances.clone()).or_default();
        *sum = sum.saturating_add(*pods);
    }
    counted
}
