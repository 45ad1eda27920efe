//! What becomes of work when its pods start, stop and end.

use super::{State, Works, stopped};
use crate::sim::api::{ApiServer, Deletion, Disruption, Meta, Pod, WORK};
use crate::sim::history::{BurstReason, Record};
use crate::sim::workload::Kind;

/// How the containers of a pod came to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The work is done.
    Done,
    /// Before it was done, or before they ever ran.
    Early(Option<Disruption>),
}

impl Works {
    /// The containers of a pod run: how long they will need, in milliseconds, and what happened.
    pub fn started(&mut self, pod: &Pod, node: &str, now: u64) -> Option<(u64, Vec<Record>)> {
        let name = pod.work()?;
        let work = self.works.get_mut(name)?;
        let mut records = Vec::new();
        match &work.state {
            State::Waiting { since } => work.waited += now.saturating_sub(*since),
            State::Running { since, uid, .. } if *uid != pod.meta.uid => {
                // The pod before it was cut off unseen.
                let ran = now.saturating_sub(*since);
                let goes_on = matches!(work.arrival.kind, Kind::Service | Kind::Stateful);
                work.rest = if goes_on { work.rest.saturating_sub(ran) } else { work.rest };
                records.push(Record::Interrupted { work: name.to_owned(), lost: if goes_on { 0 } else { ran } });
            }
            State::Running { .. } | State::Ahead | State::Finished | State::Burst => return None,
        }
        work.state = State::Running { since: now, node: node.to_owned(), uid: pod.meta.uid.clone() };
        records.push(Record::Started { work: name.to_owned(), node: node.to_owned() });
        Some((work.rest, records))
    }

    /// The containers of a pod have ended, or the pod is gone without ever having run.
    pub fn stopped(&mut self, pod: &Pod, stop: Stop, api: &mut ApiServer, now: u64) -> Vec<Record> {
        let Some(name) = pod.work().map(str::to_owned) else { return Vec::new() };
        let Some(work) = self.works.get_mut(&name) else { return Vec::new() };
        let ran = match &work.state {
            State::Running { since, uid, .. } if *uid == pod.meta.uid => Some(now.saturating_sub(*since)),
            State::Running { .. } | State::Ahead | State::Waiting { .. } | State::Finished | State::Burst => None,
        };
        let disruption = match stop {
            Stop::Done if ran.is_some() => {
                work.state = State::Finished;
                work.rest = 0;
                // The owner clears its pod away; gone already is as good.
                let _ = api.delete_pod(now, &pod.meta.name, &Deletion::default());
                return vec![Record::Finished { work: name }];
            }
            Stop::Done => None,
            Stop::Early(disruption) => disruption,
        };
        let goes_on = matches!(work.arrival.kind, Kind::Service | Kind::Stateful);
        let mut records = Vec::new();
        let lost = match ran {
            Some(ran) if goes_on => {
                work.rest = work.rest.saturating_sub(ran);
                0
            }
            Some(ran) => ran,
            None => 0,
        };
        if ran.is_some() {
            work.wait(now);
            records.push(stopped(&name, lost, disruption));
        } else if disruption.is_some() && matches!(work.state, State::Waiting { .. }) {
            records.push(stopped(&name, 0, disruption));
        }
        if work.arrival.kind == Kind::Bare && matches!(work.state, State::Waiting { .. }) {
            records.extend(self.burst(&name, BurstReason::Lost));
            self.reconcile(&name, api, now);
        }
        records
    }

    /// The containers of a pod whose object is gone have ended before their time.
    pub fn cut_off(&mut self, work: &str, uid: &str, api: &mut ApiServer, now: u64) -> Vec<Record> {
        let runs = self.works.get(work).is_some_and(|work| match &work.state {
            State::Running { uid: running, .. } => running == uid,
            State::Ahead | State::Waiting { .. } | State::Finished | State::Burst => false,
        });
        if !runs {
            return Vec::new();
        }
        let meta = Meta {
            uid: uid.to_owned(),
            labels: std::collections::BTreeMap::from([(WORK.to_owned(), work.to_owned())]),
            ..Meta::default()
        };
        self.stopped(&Pod { meta, ..Pod::default() }, Stop::Early(None), api, now)
    }
}
