//! A board that was partitioned before anybody looked.

use super::{Node, Span};
use crate::Code;

impl Node {
    /// Creates GPU instances of these profiles at these starts, each with the compute instance that fills it, as if a client had done so
    /// before the story begins.
    ///
    /// # Errors
    /// The board has no such profile, or the instances do not fit; those before stay.
    pub fn partition(&mut self, place: usize, instances: &[(&str, u32)]) -> Result<(), Code> {
        for &(name, start) in instances {
            let table = self.board(place)?.table();
            let profile = table.profiles.iter().find(|profile| profile.name == name).ok_or(Code::NotFound)?;
            let span = Span { start, size: profile.size };
            let made = self.create_gpu_instance(place, profile, Some(span))?.serial;
            let fills = |node: &Self, id: u32| {
                let offered = node.compute_profile(place, made, id).ok();
                offered.filter(|offered| {
                    offered.slices == profile.slices && offered.multiprocessors == profile.multiprocessors
                })
            };
            let id = (0..8).find(|&id| fills(self, id).is_some()).ok_or(Code::NotSupported)?;
            self.create_compute_instance(place, made, id, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn a_partitioned_board_has_a_device_for_every_instance() {
        let mut node = Node::new(Config::of(&["H100-80GB-SXM5"])).expect("a known board");
        node.partition(0, &[("3g.40gb", 0), ("1g.20gb", 4), ("1g.10gb", 6)]).expect("there is room");
        let starts: Vec<u32> = node.boards[0].mig_devices().map(|(gpu, _)| gpu.span.start).collect();
        assert_eq!(starts.len(), 3);
        assert!([0, 4, 6].iter().all(|start| starts.contains(start)), "{starts:?}");
        assert_eq!(node.partition(0, &[("4g.40gb", 0)]), Err(Code::InsufficientResources));
        assert_eq!(node.partition(0, &[("9g.90gb", 0)]), Err(Code::NotFound));
    }
}
