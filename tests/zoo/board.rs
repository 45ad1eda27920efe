//! Defects at the driver.

use std::sync::Arc;

use retile::exec::IdleProof;
use retile::exec::port::{NodeAnswer, NodeRequest};
use retile::model::Catalogue;
use retile::sim::node::{NodeConfig, SimNode};

use crate::desk::place;
use crate::{keeps, kills};

#[test]
fn defect_28_mig_mode_is_switched_off_in_cleaning_up() {
    kills(28, "S16", || {
        let geometry = Catalogue::embedded().find_by_key("A100-80GB").expect("in the catalogue");
        let mut node = SimNode::new("n", "uid-n", &[Arc::clone(geometry)], NodeConfig::default());
        let there = place("7g.80gb", 0, 8);
        node.lay_out(0, std::slice::from_ref(&there)).expect("a place of the board");
        let proof =
            |node: &SimNode| IdleProof::establish(&node.states()[0], &there, &[], &[], &[]).expect("nobody holds it");
        let compute = NodeRequest::DestroyComputeInstance(proof(&node));
        assert_eq!(node.answer(&compute, None).reply, Ok(NodeAnswer::Done));
        let gpu = NodeRequest::DestroyGpuInstance(proof(&node));
        assert_eq!(node.answer(&gpu, None).reply, Ok(NodeAnswer::Done));
        keeps("S16", node.states()[0].mig_mode, || "MIG mode is off after the last instance went".to_owned())
    });
}
