//! The generator of large fleets: legal layouts, the load that was asked for, real fragmentation.

mod support;

use retile::model::Occupancy;
use support::fleet::{self, Fleet, Mix};

#[test]
fn fleets_are_legal_loaded_and_fragmented() {
    for mix in [Mix::SkewSmall, Mix::Uniform, Mix::Bimodal] {
        let drawn = fleet::draw(Fleet { mix, ..Fleet::mixed(160) });
        drawn.check();
        let input = drawn.input();
        let held = |occupancy: &Occupancy| matches!(occupancy, Occupancy::Busy(_));
        let instances = || input.gpus().iter().flat_map(|gpu| &gpu.instances);
        let slices: u32 = instances().filter(|i| held(&i.occupancy)).map(|i| u32::from(i.placement.size())).sum();
        assert!((160 * 8 * 80 / 100..=160 * 8 * 86 / 100).contains(&slices), "{mix:?}: {slices} slices are held");
        assert!(instances().any(|instance| instance.occupancy == Occupancy::Free), "{mix:?}: no idle instance is left");
        let broken = input.gpus().iter().filter(|gpu| {
            let busy = gpu.instances.iter().filter(|i| held(&i.occupancy));
            let taken: u32 = busy.map(|i| u32::from(i.placement.size())).sum();
            taken > 0 && taken < 7
        });
        assert!(broken.count() > 16, "{mix:?}: hardly a GPU with a hole");
        assert!(input.nodes().len() == 20 && input.node_sets().len() == 3);
    }
}

#[test]
fn the_same_seed_gives_the_same_fleet() {
    let shown = |seed| format!("{:?}", fleet::draw(Fleet { seed, ..Fleet::evict(40) }).input());
    assert_eq!(shown(3), shown(3));
    assert_ne!(shown(3), shown(4));
}
