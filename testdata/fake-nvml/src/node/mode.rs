//! MIG mode, and what takes instances away all at once: reset, reload, reboot.

use super::{BoardState, Node};
use crate::Code;

impl BoardState {
    fn clear(&mut self) {
        self.instances.clear();
        self.clients.clear();
    }

    fn resetless(&self) -> bool {
        self.table().architecture.resetless()
    }
}

impl Node {
    /// Sets the MIG mode. The outer result is the call's, the inner one says whether the mode became active.
    pub(crate) fn set_mig_mode(&mut self, place: usize, on: bool) -> Result<Result<(), Code>, Code> {
        let board = self.board_mut(place)?;
        if board.config.vgpu_guest {
            return Err(Code::NotSupported);
        }
        if board.mig == on {
            board.mig_pending = on;
            return Ok(Ok(()));
        }
        if !board.instances.is_empty() {
            return Err(Code::InUse);
        }
        let idle = board.clients.is_empty();
        if board.resetless() && !idle {
            return Ok(Err(Code::InUse));
        }
        board.mig_pending = on;
        if board.resetless() || board.config.reset_in_place && idle {
            board.mig = on;
            self.announce(place, None, None);
            return Ok(Ok(()));
        }
        Ok(Err(if idle { Code::ResetRequired } else { Code::InUse }))
    }

    /// Resets one board: its instances are gone, a pending mode is active.
    pub fn reset(&mut self, place: usize) -> Result<(), Code> {
        let board = self.boards.get_mut(place).ok_or(Code::InvalidArgument)?;
        if !board.clients.is_empty() {
            return Err(Code::InUse);
        }
        board.clear();
        board.lost = false;
        board.mig = board.mig_pending;
        Ok(())
    }

    /// Loads the kernel module anew: instances and clients are gone; Ampere keeps its mode, later boards lose it.
    pub fn reload(&mut self) {
        for board in &mut self.boards {
            board.clear();
            board.lost = false;
            board.mig_pending &= !board.resetless();
            board.mig = board.mig_pending;
        }
    }

    /// Boots the node anew: as [`Self::reload`], and with a new boot number. With `rotate` the indices move by one.
    pub fn reboot(&mut self, rotate: bool) {
        self.reload();
        self.boot += 1;
        if rotate {
            self.order.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn node(key: &str) -> Node {
        Node::new(Config::of(&[key])).expect("a board of the fake")
    }

    #[test]
    fn a_reboot_takes_the_instances_and_from_hopper_on_the_mode() {
        for (key, kept) in [("A100-40GB", true), ("A30-24GB", true), ("H100-80GB-SXM5", false), ("B200-180GB", false)] {
            let mut node = node(key);
            let profile = &node.boards[0].table().profiles[0];
            node.create_gpu_instance(0, profile, None).expect("room");
            node.reboot(false);
            assert_eq!((node.boards[0].instances.len(), node.boards[0].mig, node.boot), (0, kept, 2), "{key}");
        }
    }

    #[test]
    fn ampere_waits_for_a_reset_and_hopper_does_not() {
        let mut ampere = node("A100-40GB");
        assert_eq!(ampere.set_mig_mode(0, false), Ok(Err(Code::ResetRequired)));
        assert_eq!((ampere.boards[0].mig, ampere.boards[0].mig_pending), (true, false));
        ampere.reset(0).expect("idle");
        assert!(!ampere.boards[0].mig);
        let mut hopper = node("H200-141GB");
        assert_eq!(hopper.set_mig_mode(0, false), Ok(Ok(())));
        assert!(!hopper.boards[0].mig);
    }
}
