//! The MIG GPUs of a node: from the agent's report where there is one, else from labels and resource counts.
//!
//! Output: a draft whose instances are legal on their boards; who holds them is decided later. A node whose sources
//! contradict each other, or whose counts no layout has, is left out with a finding that names the remedy. GPUs that
//! are not in MIG mode are left out silently.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::advertised::{Advertised, advertised, whole_gpus};
use super::findings::Findings;
use super::objects::{ByName, MigNode, Node, ReportedGpu, ReportedPod};
use super::placement_inference::{Counts, InferenceError, infer};
use super::resource_name::{GPU, GPU_SHARED};
use crate::model::{
    Catalogue, Geometry, Layout, MigStrategy, PRODUCT_LABEL, Placement, REPLICAS_LABEL, Reason, STRATEGY_LABEL,
};

/// More GPUs than any machine has; a count beyond is a mistake.
const MAX_GPUS: u64 = 64;
const REMEDY: &str = "check the node's labels and resources, or install the agent, which reports exact placements";

/// Who holds an instance, as far as the source tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody that is known yet.
    Free,
    /// Somebody whom the source cannot name.
    Unknown,
    /// Pods that the agent saw on it.
    Reported(Vec<ReportedPod>),
    /// Pods of the export, by position.
    Pods(Vec<usize>),
}

/// An instance.
#[derive(Debug, Clone)]
pub(crate) struct InstanceDraft {
    pub(crate) placement: Placement,
    pub(crate) uuid: Option<String>,
    pub(crate) holder: Holder,
}

/// A GPU in MIG mode.
#[derive(Debug, Clone)]
pub(crate) struct GpuDraft {
    pub(crate) index: u32,
    pub(crate) uuid: String,
    pub(crate) product: String,
    pub(crate) geometry: Arc<Geometry>,
    pub(crate) instances: Vec<InstanceDraft>,
    pub(crate) last_changed: Option<i64>,
    pub(crate) frozen: Option<(Reason, String)>,
}

/// A node with GPUs in MIG mode.
#[derive(Debug, Clone)]
pub(crate) struct NodeDraft {
    pub(crate) name: String,
    pub(crate) strategy: MigStrategy,
    pub(crate) gpus: Vec<GpuDraft>,
    /// What the node advertises, by profile name.
    pub(crate) advertised: BTreeMap<String, Advertised>,
    /// Profile names that the agent reports.
    pub(crate) reported_names: BTreeSet<String>,
    /// Whether placements were inferred.
    pub(crate) assumed: bool,
}

/// One layout per GPU, or why there is none.
type Inferred = Result<Vec<Vec<Placement>>, InferenceError>;

/// Drafts the nodes of one export; remembers inferred layouts, since nodes of one kind are cut alike.
pub(crate) struct Inventory<'a> {
    catalogue: &'a Catalogue,
    inferred: BTreeMap<(String, usize, Counts), Inferred>,
    /// Boards by product and memory label, since a fleet has few.
    boards: BTreeMap<(String, Option<u64>), Result<Arc<Geometry>, String>>,
}

impl<'a> Inventory<'a> {
    pub(crate) fn new(catalogue: &'a Catalogue) -> Self {
        Self { catalogue, inferred: BTreeMap::new(), boards: BTreeMap::new() }
    }

    /// Drafts a node; `None` when it has no GPU in MIG mode, or none that can be planned with.
    pub(crate) fn draft(
        &mut self,
        node: &Node,
        report: Option<&MigNode>,
        findings: &mut Findings,
    ) -> Option<NodeDraft> {
        let advertised = match advertised(node) {
            Ok(advertised) => advertised,
            Err(message) => {
                findings.node(&node.metadata.name, format!("contradicts itself and is left out: {message}; {REMEDY}"));
                return None;
            }
        };
        let drafted = match report {
            Some(report) => self.by_report(node, report, advertised, findings),
            None => self.by_labels(node, advertised),
        };
        match drafted {
            Ok(draft) => draft.filter(|draft| !draft.gpus.is_empty()),
            Err(message) => {
                findings.node(&node.metadata.name, format!("is left out: {message}"));
                None
            }
        }
    }

    fn by_labels(
        &mut self,
        node: &Node,
        advertised: BTreeMap<String, Advertised>,
    ) -> Result<Option<NodeDraft>, String> {
        let strategy = node.label(STRATEGY_LABEL);
        if strategy == Some("single") {
            return self.single(node);
        }
        let capable = node.label("nvidia.com/mig.capable") != Some("false");
        let offers = !advertised.is_empty();
        match strategy {
            Some("mixed") if capable || offers => {}
            Some("none") | None if offers => {}
            Some("mixed" | "none") | None => return Ok(None),
            Some(other) => return Err(format!("the label nvidia.com/mig.strategy is `{other}`; {REMEDY}")),
        }
        let product = product_label(node)?;
        if product.ends_with("-MIG-INVALID") {
            return Err("its MIG layout is invalid (MIG-INVALID), so its GPUs are not advertised".to_owned());
        }
        let gpus = count_label(node)?.checked_sub(whole_gpus(node)).ok_or_else(|| {
            format!("it advertises more whole GPUs than the label nvidia.com/gpu.count says; {REMEDY}")
        })?;
        if gpus == 0 {
            return if offers { Err(format!("it advertises MIG instances on no GPU; {REMEDY}")) } else { Ok(None) };
        }
        let geometry = self.board(product, memory_label(node))?;
        let mut counts = Counts::new();
        for (name, advertised) in &advertised {
            let profile = geometry
                .find(name)
                .ok_or_else(|| format!("its board {} has no profile {name}; {REMEDY}", geometry.board().key))?;
            *counts.entry(profile).or_default() += advertised.instances;
        }
        let layouts = self.layouts(&geometry, gpus as usize, counts)?;
        Ok(Some(inferred_draft(node, MigStrategy::Mixed, &geometry, layouts, advertised)))
    }

    /// A node of the single strategy: all instances of one profile, offered as `nvidia.com/gpu`.
    fn single(&mut self, node: &Node) -> Result<Option<NodeDraft>, String> {
        let product = product_label(node)?;
        if product.ends_with("-MIG-INVALID") {
            return Err("its MIG layout is invalid (MIG-INVALID), so its GPUs are not advertised".to_owned());
        }
        let Some((_, profile)) = product.trim_end_matches("-SHARED").split_once("-MIG-") else { return Ok(None) };
        let geometry = self.board(product, None)?;
        let id = geometry
            .find(profile)
            .ok_or_else(|| format!("its board {} has no profile {profile}; {REMEDY}", geometry.board().key))?;
        let instances = count_label(node)?;
        let replicas = node.label(REPLICAS_LABEL).and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
        let read = |amounts: &ByName<super::quantity::Amount>| {
            let amount = |name| amounts.get(name).and_then(|amount: &super::quantity::Amount| amount.0.clone().ok());
            let units = |name| amount(name).map(super::quantity::Quantity::units);
            units(GPU).max(units(GPU_SHARED)).and_then(|units| u64::try_from(units).ok())
        };
        let capacity = read(&node.status.capacity).unwrap_or(0);
        if capacity != 0 && capacity != instances * u64::from(replicas) {
            return Err(format!("the label nvidia.com/gpu.count says {instances}, the capacity {capacity}; {REMEDY}"));
        }
        let per_gpu = u64::from(geometry.profile(id).max_count.max(1));
        if instances == 0 || instances % per_gpu != 0 {
            return Err(format!("{instances} instances of {profile} do not fill whole GPUs of {per_gpu}; {REMEDY}"));
        }
        let usable = read(&node.status.allocatable).unwrap_or(capacity);
        let shared = node.status.capacity.contains_key(GPU_SHARED);
        let instances = u32::try_from(instances).map_err(|_| format!("{instances} instances"))?;
        let advertised = BTreeMap::from([(profile.to_owned(), Advertised { instances, usable, replicas, shared })]);
        let layouts =
            self.layouts(&geometry, (u64::from(instances) / per_gpu) as usize, Counts::from([(id, instances)]))?;
        Ok(Some(inferred_draft(node, MigStrategy::Single, &geometry, layouts, advertised)))
    }

    fn board(&mut self, product: &str, memory_mib: Option<u64>) -> Result<Arc<Geometry>, String> {
        let find = |(product, memory): &(String, Option<u64>)| {
            self.catalogue.find_by_product(product, *memory).map(Arc::clone).map_err(|error| error.to_string())
        };
        self.boards.entry((product.to_owned(), memory_mib)).or_insert_with_key(find).clone()
    }

    fn layouts(&mut self, geometry: &Geometry, gpus: usize, counts: Counts) -> Result<Vec<Vec<Placement>>, String> {
        let key = (geometry.board().key.clone(), gpus, counts);
        let result = self.inferred.entry(key).or_insert_with_key(|(_, gpus, counts)| infer(geometry, *gpus, counts));
        result.clone().map_err(|error| match error {
            InferenceError::Impossible => {
                format!("no layouts of its {gpus} MIG GPUs have the counts that it advertises; {REMEDY}")
            }
            InferenceError::WorkLimit => {
                format!("layouts with the counts that it advertises were not found in reasonable time; {REMEDY}")
            }
        })
    }

    fn by_report(
        &mut self,
        node: &Node,
        report: &MigNode,
        advertised: BTreeMap<String, Advertised>,
        findings: &mut Findings,
    ) -> Result<Option<NodeDraft>, String> {
        let name = &node.metadata.name;
        let told = &report.status.node_name;
        if !told.is_empty() && told != name {
            return Err(format!("its MigNode reports about the node {told}"));
        }
        let strategy = MigStrategy::told(node.label(STRATEGY_LABEL));
        let mut draft = NodeDraft {
            name: name.clone(),
            strategy,
            gpus: Vec::new(),
            advertised,
            reported_names: BTreeSet::new(),
            assumed: false,
        };
        let mut indices = BTreeSet::new();
        for gpu in &report.status.gpus {
            if !indices.insert(gpu.index) {
                return Err(format!("its MigNode reports the GPU {} twice", gpu.index));
            }
            match self.reported_gpu(node, gpu) {
                Ok(Some(gpu_draft)) => {
                    draft.reported_names.extend(gpu.instances.iter().map(|instance| instance.profile.clone()));
                    draft.gpus.push(gpu_draft);
                }
                Ok(None) => {}
                Err(message) => findings.mig_node(name, format!("GPU {} is left out: {message}", gpu.index)),
            }
        }
        if let Some(message) = contradiction(node, &draft, report.status.gpus.len()) {
            findings.node(name, format!("is frozen: {message}"));
            for gpu in &mut draft.gpus {
                gpu.frozen = Some((Reason::PolicyForbids, message.clone()));
                for instance in gpu.instances.iter_mut().filter(|instance| instance.holder == Holder::Free) {
                    instance.holder = Holder::Unknown;
                }
            }
        }
        Ok(Some(draft))
    }

    fn reported_gpu(&mut self, node: &Node, gpu: &ReportedGpu) -> Result<Option<GpuDraft>, String> {
        let enabled =
            gpu.mig_mode.0.eq_ignore_ascii_case("enabled") || gpu.mig_mode.0.is_empty() && !gpu.instances.is_empty();
        if !enabled {
            return Ok(None);
        }
        let memory = memory_label(node).filter(|_| node.label(STRATEGY_LABEL) != Some("single"));
        let geometry = self.board(&gpu.model, memory)?;
        let mut instances = Vec::with_capacity(gpu.instances.len());
        for reported in &gpu.instances {
            let profile = geometry
                .find(&reported.profile)
                .ok_or_else(|| format!("the board {} has no profile {}", geometry.board().key, reported.profile))?;
            let placement = geometry.place(profile, reported.start).map_err(|error| error.to_string())?;
            if reported.size.is_some_and(|size| size != placement.size()) {
                let size = reported.size.unwrap_or_default();
                return Err(format!(
                    "{} has size {size} there, which the board's table denies",
                    geometry.show(placement)
                ));
            }
            let holder = match reported.occupancy.0.to_ascii_lowercase().as_str() {
                "free" if reported.pods.is_empty() => Holder::Free,
                "busy" if !reported.pods.is_empty() => Holder::Reported(reported.pods.clone()),
                _ => Holder::Unknown,
            };
            instances.push(InstanceDraft { placement, uuid: reported.uuid.clone(), holder });
        }
        instances.sort_by_key(|instance| instance.placement.start());
        let placements = instances.iter().map(|instance| instance.placement).collect();
        Layout::try_new(&geometry, placements)
            .map_err(|error| format!("its instances are no legal layout: {error}"))?;
        let pending = &gpu.pending_mig_mode.0;
        let frozen = (!pending.is_empty() && !pending.eq_ignore_ascii_case("enabled"))
            .then(|| (Reason::PolicyForbids, "its MIG mode changes at the next reset".to_owned()));
        Ok(Some(GpuDraft {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            product: gpu.model.clone(),
            geometry,
            instances,
            last_changed: gpu.last_changed.0,
            frozen,
        }))
    }
}

/// Where the report and what the node advertises disagree; both must agree before anything is changed.
fn contradiction(node: &Node, draft: &NodeDraft, reported_gpus: usize) -> Option<String> {
    let label = node.label(PRODUCT_LABEL).unwrap_or_default();
    let base = label.split("-MIG-").next().unwrap_or_default().trim_end_matches("-SHARED");
    if !base.is_empty() && !draft.gpus.is_empty() && draft.gpus.iter().all(|gpu| dashed(&gpu.product) != dashed(base)) {
        return Some(format!("the label nvidia.com/gpu.product says {label}, the agent {}", draft.gpus[0].product));
    }
    if draft.strategy == MigStrategy::Single || draft.gpus.len() < reported_gpus {
        return None;
    }
    for (name, advertised) in &draft.advertised {
        let count: usize = draft
            .gpus
            .iter()
            .filter_map(|gpu| Some((gpu, gpu.geometry.find(name)?)))
            .map(|(gpu, id)| gpu.instances.iter().filter(|instance| instance.placement.profile() == id).count())
            .sum();
        if count != advertised.instances as usize {
            let told = advertised.instances;
            return Some(format!("it advertises {told} instances of {name}, the agent sees {count}"));
        }
    }
    None
}

/// A product name as labels spell it.
pub(crate) fn dashed(product: &str) -> String {
    product.replace(' ', "-")
}

fn product_label(node: &Node) -> Result<&str, String> {
    node.label(PRODUCT_LABEL)
        .filter(|product| !product.is_empty())
        .ok_or_else(|| format!("the label nvidia.com/gpu.product is missing, so its board is unknown; {REMEDY}"))
}

fn count_label(node: &Node) -> Result<u64, String> {
    let text = node
        .label("nvidia.com/gpu.count")
        .ok_or_else(|| format!("the label nvidia.com/gpu.count is missing; {REMEDY}"))?;
    let most = if node.label(STRATEGY_LABEL) == Some("single") { MAX_GPUS * 8 } else { MAX_GPUS };
    text.parse()
        .ok()
        .filter(|&count| count <= most)
        .ok_or_else(|| format!("the label nvidia.com/gpu.count is `{text}`; {REMEDY}"))
}

fn memory_label(node: &Node) -> Option<u64> {
    node.label("nvidia.com/gpu.memory").and_then(|text| text.parse().ok())
}

fn inferred_draft(
    node: &Node,
    strategy: MigStrategy,
    geometry: &Arc<Geometry>,
    layouts: Vec<Vec<Placement>>,
    advertised: BTreeMap<String, Advertised>,
) -> NodeDraft {
    let label = node.label(PRODUCT_LABEL).unwrap_or_default();
    let base = label.split("-MIG-").next().unwrap_or_default().trim_end_matches("-SHARED");
    let named = geometry.board().product_names.iter().find(|name| dashed(name) == base);
    let product = named.cloned().unwrap_or_else(|| base.to_owned());
    let gpus = layouts.into_iter().zip(0..).map(|(placements, index)| {
        let mut instances: Vec<InstanceDraft> = placements
            .into_iter()
            .map(|placement| InstanceDraft { placement, uuid: None, holder: Holder::Free })
            .collect();
        instances.sort_by_key(|instance| instance.placement.start());
        GpuDraft {
            index,
            uuid: String::new(),
            product: product.clone(),
            geometry: Arc::clone(geometry),
            instances,
            last_changed: None,
            frozen: None,
        }
    });
    NodeDraft {
        name: node.metadata.name.clone(),
        strategy,
        gpus: gpus.collect(),
        advertised,
        reported_names: BTreeSet::new(),
        assumed: true,
    }
}
