//! Answers to what the loop and the agents ask.

use std::rc::Rc;

use super::ApiServer;
use super::deletion::{DeleteError, Deletion};
use super::objects::{LeaseObject, Meta, Name, Node, Record};
use super::observe::Observer;
use super::rules::{check_spec, check_status, cut_spec, cut_status};
use super::store::{Object, Objects};
use super::views::{node_view, pod_view, record_view};
use crate::exec::marks::{self, Marking};
use crate::exec::mutant::{self, Mutant};
use crate::exec::port::{ClusterAnswer, ClusterError, ClusterReply, ClusterRequest, Lease};
use crate::exec::{MigNodeSpec, MigNodeStatus, OperationId, TAINT_KEY, Taint, Version};

/// Name of the one lease.
pub(super) fn lease_name() -> Name {
    Name::of("retile", "retile-leader")
}

/// What a request is answered from, besides the objects themselves.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Makes observations.
    pub observer: &'a Observer,
    /// What `Observe` without `fresh` reads.
    pub cache: &'a Objects,
}

impl ApiServer {
    /// Answers a request at the moment `now`.
    ///
    /// # Errors
    /// As the API server would.
    pub fn answer(&mut self, now: u64, request: &ClusterRequest, view: &View<'_>) -> ClusterReply {
        match request {
            ClusterRequest::Observe { .. }
            | ClusterRequest::GetMigNode { .. }
            | ClusterRequest::GetNode { .. }
            | ClusterRequest::ListPods { .. }
            | ClusterRequest::GetLease => read(self.objects(), now, request, view),
            ClusterRequest::WriteSpec { node, version, spec } => self.write_spec(now, node, *version, spec),
            ClusterRequest::WriteStatus { node, version, status } => self.write_status(now, node, *version, status),
            ClusterRequest::AddTaint { node, version, operation } => self.add_taint(now, node, *version, operation),
            ClusterRequest::RemoveTaint { node, version, operation } => {
                self.remove_taint(now, node, *version, operation)
            }
            ClusterRequest::PauseClients { node, version, operation, dry_run } => {
                self.ours(node, operation)?;
                if *dry_run {
                    return self.node_at(node, *version).map(|found| ClusterAnswer::Node(Box::new(node_view(found))));
                }
                self.mark(now, node, *version, marks::pause)
            }
            ClusterRequest::ResumeClients { node, version, .. } => self.mark(now, node, *version, marks::resume),
            ClusterRequest::Evict { pod, body, dry_run } => {
                self.evict(now, &Name::from(pod), body, *dry_run).map(|()| ClusterAnswer::Accepted)
            }
            ClusterRequest::DeletePluginPod { pod } => {
                let options = Deletion { uid: Some(pod.uid.clone()), ..Deletion::default() };
                match self.delete_pod(now, &Name::from(pod), &options) {
                    Ok(()) => Ok(ClusterAnswer::Accepted),
                    Err(DeleteError::NotFound) => Err(ClusterError::NotFound),
                    Err(DeleteError::Conflict) => Err(ClusterError::Conflict),
                }
            }
            ClusterRequest::WriteLease { version, lease } => self.write_lease(now, *version, lease),
        }
    }

    /// Answers a read from the state at an earlier version, as a replica of the API server that lags behind would.
    ///
    /// # Errors
    /// The version is no longer kept; or as the API server would.
    pub fn answer_stale(&self, now: u64, request: &ClusterRequest, version: u64, view: &View<'_>) -> ClusterReply {
        let Some(objects) = self.at_version(version) else { return Err(ClusterError::Expired) };
        read(&objects, now, request, view)
    }

    fn write_spec(&mut self, now: u64, node: &str, version: Version, spec: &MigNodeSpec) -> ClusterReply {
        let record = self.objects().records.get(node).cloned().ok_or(ClusterError::NotFound)?;
        check(record.meta.version, version)?;
        let spec = cut_spec(spec);
        check_spec(&record.spec, &spec)?;
        self.replace_record(now, &record, |record| record.spec = spec)
    }

    /// Writes a status; at version 0 it makes the record of a node that has none.
    fn write_status(&mut self, now: u64, node: &str, version: Version, status: &MigNodeStatus) -> ClusterReply {
        let Some(record) = self.objects().records.get(node).cloned() else {
            if version != Version::default() {
                return Err(ClusterError::NotFound);
            }
            let status = cut_status(status);
            check_status(&status)?;
            let meta = Meta { name: Name::cluster(node), ..Meta::default() };
            let owner = status.node_uid.clone();
            let record = Record { meta, owner, status, ..Record::default() };
            let record = self.create_record(now, record);
            return Ok(ClusterAnswer::MigNode(Box::new(record_view(&record))));
        };
        check(record.meta.version, version)?;
        let status = cut_status(status);
        check_status(&status)?;
        self.replace_record(now, &record, |record| record.status = status)
    }

    fn replace_record(&mut self, now: u64, record: &Record, change: impl FnOnce(&mut Record)) -> ClusterReply {
        let record = self.modify_record(now, &record.meta.name.name, change).ok_or(ClusterError::NotFound)?;
        Ok(ClusterAnswer::MigNode(Box::new(record_view(&record))))
    }

    fn add_taint(&mut self, now: u64, node: &str, version: Version, operation: &OperationId) -> ClusterReply {
        let taint = Taint { key: TAINT_KEY.to_owned(), value: operation.0.clone(), effect: "NoSchedule".to_owned() };
        let protects = self.protects;
        self.change_taints(now, node, version, |node| {
            node.taints.retain(|old| old.key != TAINT_KEY);
            node.taints.push(taint);
            let Meta { labels, annotations, .. } = &mut node.meta;
            if protects {
                marks::protect(annotations).apply(labels, annotations);
            }
        })
    }

    /// Removes our taint; a patch whose test of the value fails is a conflict.
    fn remove_taint(&mut self, now: u64, node: &str, version: Version, operation: &OperationId) -> ClusterReply {
        self.ours(node, operation)?;
        self.change_taints(now, node, version, |node| {
            node.taints.retain(|taint| !is_ours(taint, operation));
            let Meta { labels, annotations, .. } = &mut node.meta;
            marks::unprotect(annotations).apply(labels, annotations);
        })
    }

    /// Whether a node has our taint for this operation.
    fn ours(&self, node: &str, operation: &OperationId) -> Result<(), ClusterError> {
        let found = self.objects().nodes.get(node).ok_or(ClusterError::NotFound)?;
        let ours = found.taints.iter().any(|taint| is_ours(taint, operation));
        if ours { Ok(()) } else { Err(ClusterError::Conflict) }
    }

    /// Writes marks onto a node.
    fn mark(&mut self, now: u64, node: &str, version: Version, marks: Marking) -> ClusterReply {
        let found = self.node_at(node, version)?;
        let marks = marks(&found.meta.labels, &found.meta.annotations);
        let node = self.modify_node(now, node, |node| marks.apply(&mut node.meta.labels, &mut node.meta.annotations));
        let node = node.ok_or(ClusterError::NotFound)?;
        Ok(ClusterAnswer::Node(Box::new(node_view(&node))))
    }

    /// A node that still has this version.
    fn node_at(&self, node: &str, version: Version) -> Result<&Node, ClusterError> {
        let found = self.objects().nodes.get(node).ok_or(ClusterError::NotFound)?;
        check(found.meta.version, version)?;
        Ok(found)
    }

    fn change_taints(
        &mut self,
        now: u64,
        node: &str,
        version: Version,
        change: impl FnOnce(&mut Node),
    ) -> ClusterReply {
        let found = self.objects().nodes.get(node).ok_or(ClusterError::NotFound)?;
        // A merge patch carries the whole list of taints, as it was when it was read.
        let read = self.at_version(version.0).filter(|_| mutant::on(Mutant(23)));
        let read = read.and_then(|objects| Some(objects.nodes.get(node)?.taints.clone()));
        check(found.meta.version, version).or_else(|lost| if read.is_some() { Ok(()) } else { Err(lost) })?;
        let node = self.modify_node(now, node, |node| {
            if let Some(read) = read {
                node.taints = read;
            }
            change(node);
            node.unschedulable &= !(mutant::on(Mutant(4)) && node.taints.is_empty());
        });
        let node = node.ok_or(ClusterError::NotFound)?;
        Ok(ClusterAnswer::Node(Box::new(node_view(&node))))
    }

    fn write_lease(&mut self, now: u64, version: Option<Version>, lease: &Lease) -> ClusterReply {
        let name = lease_name();
        let before = self.objects().leases.get(&name).cloned();
        let mut after = match (&before, version) {
            (Some(before), _) if mutant::on(Mutant(24)) => LeaseObject::clone(before),
            (Some(before), Some(version)) => {
                check(before.meta.version, version)?;
                LeaseObject::clone(before)
            }
            (None, None) => {
                let mut new = LeaseObject { meta: Meta { name, ..Meta::default() }, ..LeaseObject::default() };
                self.born(&mut new.meta, now);
                new
            }
            // Somebody else was first, or has removed it.
            (Some(_), None) => return Err(ClusterError::Conflict),
            (None, Some(_)) => return Err(ClusterError::NotFound),
        };
        after.lease = lease.clone();
        let change = self.store.write(now, before.map(Object::Lease), Some(Object::Lease(Rc::new(after))));
        Ok(ClusterAnswer::Lease(Version(change.version), lease.clone()))
    }
}

fn is_ours(taint: &Taint, operation: &OperationId) -> bool {
    taint.key == TAINT_KEY && taint.value == operation.0
}

fn check(is: u64, expected: Version) -> Result<(), ClusterError> {
    if Version(is) == expected { Ok(()) } else { Err(ClusterError::Conflict) }
}

fn read(objects: &Objects, now: u64, request: &ClusterRequest, view: &View<'_>) -> ClusterReply {
    match request {
        ClusterRequest::Observe { fresh } => {
            let objects = if *fresh && !mutant::on(Mutant(21)) { objects } else { view.cache };
            view.observer.observe(objects, now).map(|observation| ClusterAnswer::Observed(Box::new(observation)))
        }
        ClusterRequest::GetMigNode { node } => {
            let record = objects.records.get(node).ok_or(ClusterError::NotFound)?;
            Ok(ClusterAnswer::MigNode(Box::new(record_view(record))))
        }
        ClusterRequest::GetNode { node } => {
            let node = objects.nodes.get(node).ok_or(ClusterError::NotFound)?;
            Ok(ClusterAnswer::Node(Box::new(node_view(node))))
        }
        ClusterRequest::ListPods { node } => {
            let objects = if mutant::on(Mutant(21)) { view.cache } else { objects };
            Ok(ClusterAnswer::Pods(objects.bound_to(node).map(|pod| pod_view(pod, objects)).collect()))
        }
        ClusterRequest::GetLease => {
            let lease = objects.leases.get(&lease_name()).ok_or(ClusterError::NotFound)?;
            Ok(ClusterAnswer::Lease(Version(lease.meta.version), lease.lease.clone()))
        }
        ClusterRequest::WriteSpec { .. }
        | ClusterRequest::WriteStatus { .. }
        | ClusterRequest::AddTaint { .. }
        | ClusterRequest::RemoveTaint { .. }
        | ClusterRequest::PauseClients { .. }
        | ClusterRequest::ResumeClients { .. }
        | ClusterRequest::Evict { .. }
        | ClusterRequest::DeletePluginPod { .. }
        | ClusterRequest::WriteLease { .. } => {
            Err(ClusterError::Invalid("a write cannot be answered by a reader".into()))
        }
    }
}
