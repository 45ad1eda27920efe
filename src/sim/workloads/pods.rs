//! The pods that owners make.

use super::{Work, Works};
use crate::sim::api::{APP, ApiServer, Meta, NAMESPACE, Name, Owner, Pod, WORK};
use crate::sim::workload::Kind;

impl Work {
    /// Name of the pod with this number.
    pub(super) fn name_of(&self, number: u64) -> Name {
        let work = &self.arrival.name;
        let name = match self.arrival.kind {
            Kind::Service => format!("{work}-{number:05x}"),
            Kind::Stateful => format!("{work}-0"),
            Kind::Job => format!("{work}-{number}"),
            Kind::Bare => work.clone(),
        };
        Name::of(NAMESPACE, &name)
    }
}

impl Works {
    /// Makes the next pod of some work.
    pub(super) fn make_pod(&mut self, name: &str, api: &mut ApiServer, now: u64) {
        let template = self.template(name);
        let Some(work) = self.works.get_mut(name) else { return };
        let mut labels = template.labels;
        labels.insert(WORK.to_owned(), name.to_owned());
        labels.entry(APP.to_owned()).or_insert_with(|| application(name).to_owned());
        let meta = Meta {
            name: work.name_of(work.pods),
            labels,
            annotations: template.annotations,
            finalizers: template.finalizers,
            ..Meta::default()
        };
        work.pods += 1;
        api.create_pod(
            now,
            Pod {
                meta,
                owner: match work.arrival.kind {
                    Kind::Service => Owner::ReplicaSet,
                    Kind::Stateful => Owner::StatefulSet,
                    Kind::Job => Owner::Job,
                    Kind::Bare => Owner::None,
                },
                requests: work.requests.clone(),
                cpu_milli: template.cpu_milli,
                priority: work.arrival.priority,
                preempts: template.preempts,
                tolerations: template.tolerations,
                grace_seconds: template.grace_seconds,
                ..Pod::default()
            },
        );
    }
}

/// The application that work belongs to: its name without a number behind the last dash.
fn application(work: &str) -> &str {
    match work.rsplit_once('-') {
        Some((application, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            application
        }
        _ => work,
    }
}
