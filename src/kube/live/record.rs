//! `MigNode` objects as the controller reads them: for planning, and as records of the protocol. One that either side cannot read is
//! unreadable as a whole, and its node is left alone.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

use super::slim::Kind;
use crate::exec;
use crate::kube::crd;
use crate::kube::objects::{Meta, MigNode};

/// A record, twice.
pub(super) struct Record {
    /// As the export reader sees it.
    pub(super) report: Arc<MigNode>,
    /// As the protocol sees it.
    pub(super) record: exec::MigNode,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let report: MigNode = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let object: crd::MigNode = serde_json::from_str(raw.get()).map_err(D::Error::custom)?;
        let record = crd::record(object).map_err(D::Error::custom)?;
        Ok(Self { report: Arc::new(report), record })
    }
}

impl Kind for Record {
    const GROUP: &'static str = crd::GROUP;
    const VERSION: &'static str = crd::VERSION;
    const KIND: &'static str = "MigNode";
    const PLURAL: &'static str = "mignodes";

    fn meta(&self) -> &Meta {
        &self.report.metadata
    }
}
