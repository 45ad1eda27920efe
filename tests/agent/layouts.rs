//! Boards as the fake has them, and random changes of their layouts.

use std::collections::{BTreeMap, BTreeSet};

use fake_nvml::node::BoardState;
use retile::exec::GpuTarget;
use retile::model::{Catalogue, Enumeration, Geometry, Layout};
use retile::plan::{GpuChange, Place, PlannedInstance, Step, steps};

use crate::rng::Rng;

/// What stands on a board: place, with the UUID of the MIG device, if there is a compute instance.
pub(crate) type Standing = BTreeMap<Place, Option<String>>;

/// What stands on a board.
pub(crate) fn standing(board: &BoardState) -> Standing {
    let table = board.table();
    let place = |instance: &fake_nvml::node::GpuInstance| {
        let profile = table.profile(instance.profile).expect("a profile of the board");
        let (start, size) = (instance.span.start as u8, instance.span.size as u8);
        let place = Place { start, size, profile: board.profile_name(&profile.name).to_owned() };
        (place, instance.compute.first().map(|compute| compute.uuid.clone()))
    };
    board.instances.iter().map(place).collect()
}

/// All layouts of a kind of board.
pub(crate) struct Layouts {
    geometry: &'static Geometry,
    states: Vec<Layout>,
}

impl Layouts {
    pub(crate) fn of(key: &str) -> Self {
        let geometry = Catalogue::embedded().find_by_key(key).expect("a board of the catalogue");
        Self { geometry, states: Enumeration::of_all(geometry).states().to_vec() }
    }

    /// Any layout that has these instances.
    pub(crate) fn any(&self, rng: &mut Rng, with: &BTreeSet<Place>) -> Vec<Place> {
        let fitting = self.states.iter().map(|layout| self.places(layout));
        let fitting: Vec<Vec<Place>> =
            fitting.filter(|places| with.iter().all(|place| places.contains(place))).collect();
        rng.pick(&fitting).clone()
    }

    fn places(&self, layout: &Layout) -> Vec<Place> {
        let placements = layout.placements().iter();
        let mut places: Vec<Place> = placements
            .map(|placement| Place {
                start: placement.start(),
                size: placement.size(),
                profile: self.geometry.profile(placement.profile()).name.clone(),
            })
            .collect();
        places.sort();
        places
    }

    /// The way from one layout to another, as the planner's plans give it.
    pub(crate) fn steps(&self, target: &GpuTarget) -> Vec<Step> {
        let planned = |place: &Place| {
            let Place { start, size, profile } = place.clone();
            PlannedInstance { start, size, profile, pods: Vec::new(), occupancy_unknown: false }
        };
        let change = GpuChange {
            index: target.index,
            uuid: target.uuid.clone(),
            model: String::new(),
            before: target.base.iter().map(planned).collect(),
            after: target.target.iter().map(planned).collect(),
            destroy: target.destroyed().map(planned).collect(),
            create: target.created().map(planned).collect(),
            hand_over: Vec::new(),
        };
        steps(&change, self.geometry).expect("both layouts are legal")
    }
}
