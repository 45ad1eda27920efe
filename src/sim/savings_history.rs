//! What savings need to know of a simulated cluster.
//!
//! Input: a [`History`] of the simulator. Output: the same story as [`savings::History`], point by point, so that the simulator's reports and
//! the metrics of a real cluster come from one place.
//!
//! Running work counts on the GPU model of its node. Waiting work belongs to no model yet: it counts on the first model, by name, that has
//! the profiles it asks for; work that no model has is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{History, Record, Stamped};
use crate::model::Catalogue;
use crate::savings::{self, Happening, Instances, Pods, Point};

/// Work that is waiting or running.
struct Work {
    instances: Instances,
    /// Model that it waits for; none has it.
    waits_for: Option<String>,
    /// Model on which it runs.
    runs_on: Option<String>,
}

impl Work {
    fn counts_on(&self) -> Option<&String> {
        self.runs_on.as_ref().or(self.waits_for.as_ref())
    }
}

#[derive(Default)]
struct Story {
    work: BTreeMap<String, Work>,
    /// GPU model of each node.
    nodes: BTreeMap<String, String>,
    /// What each GPU is cut into.
    gpus: BTreeMap<(String, u32), Instances>,
    /// Models whose demand has changed since it was last told.
    changed: BTreeSet<String>,
    points: Vec<Point>,
}

/// Tells a simulated history as savings need it.
pub fn from_sim(history: &History) -> savings::History {
    let models: BTreeSet<&str> = history.records.iter().filter_map(|stamped| model_of(&stamped.record)).collect();
    let mut story = Story::default();
    let mut before = 0;
    for Stamped { at, record } in &history.records {
        if *at > before {
            story.tell_demand(before);
            before = *at;
        }
        story.take(*at, record, &models);
    }
    story.tell_demand(before);
    story.points.push(Point { at_ms: history.end.max(before), happening: Happening::End });
    savings::History { source: "simulated".into(), points: story.points }
}

fn model_of(record: &Record) -> Option<&str> {
    match record {
        Record::Gpu { node: _, index: _, model, instances: _ } => Some(model),
        Record::Arrived { .. }
        | Record::Started { .. }
        | Record::Evicted { .. }
        | Record::Interrupted { .. }
        | Record::Finished { .. }
        | Record::Burst { .. }
        | Record::Claimed { .. }
        | Record::Ended { .. }
        | Record::Planned { .. } => None,
    }
}

/// Whether a model of the catalogue has all profiles of some work.
fn has(model: &str, instances: &Instances) -> bool {
    let catalogue = Catalogue::embedded();
    let board = catalogue.find_by_product(model, None).or_else(|_| catalogue.find_by_key(model));
    board.is_ok_and(|board| instances.keys().all(|profile| board.find(profile).is_some()))
}

impl Story {
    fn take(&mut self, at_ms: u64, record: &Record, models: &BTreeSet<&str>) {
        match record {
            Record::Arrived { work, instances } => {
                let waits_for = models.iter().find(|model| has(model, instances)).map(|&model| model.to_owned());
                let arrived = Work { instances: instances.clone(), waits_for, runs_on: None };
                self.changed.extend(arrived.counts_on().cloned());
                self.work.insert(work.clone(), arrived);
            }
            Record::Started { work, node } => {
                let model = self.nodes.get(node).cloned();
                self.moves(work, model);
            }
            Record::Evicted { work, lost: _ } | Record::Interrupted { work, lost: _ } => self.moves(work, None),
            Record::Finished { work } => {
                if let Some(gone) = self.work.remove(work) {
                    self.changed.extend(gone.counts_on().cloned());
                }
            }
            Record::Burst { work, reason: _, rest } => {
                let Some(gone) = self.work.remove(work) else { return };
                let Some(model) = gone.counts_on().cloned() else { return };
                self.changed.insert(model.clone());
                let happening = Happening::Burst { model, instances: gone.instances, rest_ms: *rest };
                self.points.push(Point { at_ms, happening });
            }
            Record::Gpu { node, index, model, instances } => {
                self.nodes.insert(node.clone(), model.clone());
                let mut cut = Instances::new();
                for instance in instances {
                    *cut.entry(instance.profile.clone()).or_default() += 1;
                }
                let known = self.gpus.insert((node.clone(), *index), cut.clone());
                if known.as_ref() != Some(&cut) {
                    let name = format!("{node}/{index}");
                    let happening = Happening::Gpu { model: model.clone(), name, instances: cut };
                    self.points.push(Point { at_ms, happening });
                }
            }
            Record::Claimed { .. } | Record::Ended { .. } | Record::Planned { .. } => {}
        }
    }

    /// Work runs on a model from now on, or on none.
    fn moves(&mut self, work: &str, model: Option<String>) {
        let Some(work) = self.work.get_mut(work) else { return };
        self.changed.extend(work.counts_on().cloned());
        work.runs_on = model;
        self.changed.extend(work.counts_on().cloned());
    }

    /// Says who runs and who waits, for the models where that has changed.
    fn tell_demand(&mut self, at_ms: u64) {
        for model in std::mem::take(&mut self.changed) {
            let counted = |running: bool| -> Vec<Pods> {
                let mut counts: BTreeMap<&Instances, u64> = BTreeMap::new();
                let here = self.work.values().filter(|work| work.counts_on() == Some(&model));
                for work in here.filter(|work| work.runs_on.is_some() == running) {
                    *counts.entry(&work.instances).or_default() += 1;
                }
                counts.into_iter().map(|(instances, pods)| Pods { pods, instances: instances.clone() }).collect()
            };
            let (running, pending) = (counted(true), counted(false));
            self.points.push(Point { at_ms, happening: Happening::Demand { model, running, pending } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::BurstReason;
    use super::*;
    use crate::plan::PlannedInstance;

    const A100: &str = "NVIDIA A100-SXM4-80GB";
    const MINUTE: u64 = 60_000;

    fn gpu(node: &str, profile: &str, starts: &[u8], size: u8) -> Record {
        let instance = |&start: &u8| PlannedInstance {
            start,
            size,
            profile: profile.into(),
            pods: Vec::new(),
            occupancy_unknown: false,
        };
        let instances = starts.iter().map(instance).collect();
        Record::Gpu { node: node.into(), index: 0, model: A100.into(), instances }
    }

    fn arrived(work: &str, profile: &str) -> Record {
        Record::Arrived { work: work.into(), instances: BTreeMap::from([(profile.to_owned(), 1)]) }
    }

    fn started(work: &str) -> Record {
        Record::Started { work: work.into(), node: "a".into() }
    }

    fn history(records: Vec<(u64, Record)>, end: u64) -> History {
        let records = records.into_iter().map(|(at, record)| Stamped { at: at * MINUTE, record }).collect();
        History { records, end: end * MINUTE }
    }

    #[test]
    fn a_simulated_story_is_accounted_for() {
        let told = history(
            vec![
                (0, gpu("a", "3g.40gb", &[0, 4], 4)),
                (0, arrived("big-1", "3g.40gb")),
                (0, arrived("big-2", "3g.40gb")),
                (0, started("big-1")),
                (0, started("big-2")),
                (60, Record::Finished { work: "big-1".into() }),
                (60, Record::Finished { work: "big-2".into() }),
                (60, arrived("small-1", "1g.10gb")),
                (60, arrived("small-2", "1g.10gb")),
                (62, gpu("a", "1g.10gb", &[0, 1], 1)),
                (62, started("small-1")),
                (62, started("small-2")),
                (90, Record::Burst { work: "small-2".into(), reason: BurstReason::Lost, rest: 8 * 30 * MINUTE }),
            ],
            120,
        );
        let savings = from_sim(&told).savings().expect("a history that makes sense");
        let report = savings.report(None).expect("a report");
        let model = &report.models[0];
        assert_eq!((model.gpus, model.needed, report.until_ms), (1, 1, 120 * MINUTE));
        // Two 3g and then two 1g: on a layout that stays, one GPU for each.
        let rows: Vec<(u64, u64)> =
            model.counterfactuals.iter().map(|row| (row.needed, row.deferred_gpu_seconds / 60)).collect();
        assert_eq!(rows, [(2, 60), (2, 60), (2, 120)]);
        assert_eq!(model.waited_pod_seconds, 2 * 120);
        assert_eq!((model.burst.pods, model.burst.gpu_seconds), (1, 30 * 60));
    }

    #[test]
    fn an_evicted_pod_waits_and_unknown_work_is_left_out() {
        let told = history(
            vec![
                (0, gpu("a", "1g.10gb", &[0], 1)),
                (0, arrived("w", "1g.10gb")),
                (0, arrived("x", "1g.5gb")),
                (1, started("w")),
                (5, Record::Evicted { work: "w".into(), lost: 0 }),
                (7, started("w")),
            ],
            10,
        );
        let report = from_sim(&told).savings().expect("savings").report(None).expect("a report");
        assert_eq!(report.models[0].waited_pod_seconds, 3 * 60);
        assert_eq!(report.models[0].counterfactuals[2].needed, 1);
    }

    #[test]
    fn an_empty_story_is_a_history() {
        assert_eq!(from_sim(&History::default()).points, [Point { at_ms: 0, happening: Happening::End }]);
    }
}
