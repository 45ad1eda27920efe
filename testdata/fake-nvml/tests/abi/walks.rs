//! Property: whatever a client asks for, the board holds a layout of retile's model, and what the model allows is granted.

use std::collections::BTreeMap;

use fake_nvml::Config;
use fake_nvml::boards::Board;
use nvml_wrapper_sys::bindings::nvmlGpuInstance_t;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use retile::model::{Layout, Placement};

use crate::support::{INSUFFICIENT_RESOURCES, isolated};

#[test]
fn the_boards_accept_exactly_the_layouts_of_the_model() {
    let keys: Vec<&str> = Board::keys().collect();
    let name = "walks::the_boards_accept_exactly_the_layouts_of_the_model";
    isolated(name, Config::of(&keys), |client| {
        let mut runner = TestRunner::new_with_rng(
            Runs { cases: 24, failure_persistence: None, ..Runs::default() },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let steps = (0..keys.len(), prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..40));
        let walk = |(board, steps): (usize, Vec<(prop::sample::Index, bool)>)| {
            let table = Board::find(keys[board]).expect("its own key");
            let device = client.gpu(board as u32);
            let every: Vec<Placement> = table.geometry.placements().collect();
            let mut standing: BTreeMap<Placement, nvmlGpuInstance_t> = BTreeMap::new();
            for (pick, create) in steps {
                if !create && let Some(gone) = standing.keys().nth(pick.index(standing.len().max(1))).copied() {
                    let instance = standing.remove(&gone).expect("just seen");
                    prop_assert_eq!(client.destroy(instance), Ok(()));
                    continue;
                }
                let wanted = every[pick.index(every.len())];
                let profile = &table.profiles[wanted.profile().index()];
                let with: Vec<Placement> = standing.keys().copied().chain([wanted]).collect();
                let legal = !standing.contains_key(&wanted) && Layout::try_new(&table.geometry, with).is_ok();
                let answer = client.create(device, profile.id, wanted.start().into(), wanted.size().into());
                prop_assert_eq!(answer.err(), (!legal).then_some(INSUFFICIENT_RESOURCES));
                if let Ok(instance) = answer {
                    standing.insert(wanted, instance);
                }
            }
            prop_assert_eq!(client.instances(device).len(), standing.len());
            for instance in standing.into_values() {
                prop_assert_eq!(client.destroy(instance), Ok(()));
            }
            Ok(())
        };
        runner.run(&steps, walk).expect("the board and the model agree");
    });
}
