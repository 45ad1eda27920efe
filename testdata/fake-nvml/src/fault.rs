//! Scripted faults: what a call does instead of, before or after its work.

use serde::{Deserialize, Serialize};

use crate::Code;

/// When a fault kills the calling process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kill {
    /// Before the call has changed anything.
    Before,
    /// After the call's work, before the caller hears of it.
    After,
}

/// One fault. It waits until its call has been made `skip` times, then strikes `times` times, then is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The symbol, e.g. `nvmlGpuInstanceDestroy`.
    pub call: String,
    /// Only calls about this board (its place in the configuration); any when absent.
    pub board: Option<usize>,
    /// Matching calls to let pass first.
    pub skip: u32,
    /// How often it strikes.
    pub times: u32,
    /// What the call answers; its own answer when absent.
    pub answer: Option<Code>,
    /// Whether the call does its work although it answers with `answer`.
    pub applied: bool,
    /// Milliseconds to wait first.
    pub delay_ms: u64,
    /// Whether the call never returns. With `applied` it does its work first.
    pub hang: bool,
    /// Whether the calling process is killed (SIGKILL).
    pub kill: Option<Kill>,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            call: String::new(),
            board: None,
            skip: 0,
            times: 1,
            answer: None,
            applied: false,
            delay_ms: 0,
            hang: false,
            kill: None,
        }
    }
}

impl Fault {
    /// A fault that lets `call` do nothing and answer `code`, once.
    pub fn answer(call: &str, code: Code) -> Self {
        Self { call: call.to_owned(), answer: Some(code), ..Self::default() }
    }

    /// A fault that kills the process that makes `call`.
    pub fn kill(call: &str, when: Kill) -> Self {
        Self { call: call.to_owned(), kill: Some(when), ..Self::default() }
    }
}

/// Takes what strikes this call out of a script: the first fault that is due; counts the call for all that wait.
pub(crate) fn strike(script: &mut Vec<Fault>, call: &str, board: Option<usize>) -> Option<Fault> {
    let mut due = None;
    for fault in script.iter_mut() {
        let meant = fault.call == call && (fault.board.is_none() || fault.board == board) && fault.times > 0;
        if meant && fault.skip > 0 {
            fault.skip -= 1;
        } else if meant && due.is_none() {
            fault.times -= 1;
            due = Some(fault.clone());
        }
    }
    script.retain(|fault| fault.times > 0);
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_strikes_and_is_spent() {
        let mut script =
            vec![Fault { skip: 1, times: 2, board: Some(0), ..Fault::answer("nvmlGpuInstanceDestroy", Code::InUse) }];
        let mut made = |call, board| strike(&mut script, call, board).is_some();
        assert!(!made("nvmlGpuInstanceDestroy", Some(0)), "skipped");
        assert!(!made("nvmlGpuInstanceDestroy", Some(1)), "another board");
        assert!(!made("nvmlComputeInstanceDestroy", Some(0)), "another call");
        assert!(made("nvmlGpuInstanceDestroy", Some(0)));
        assert!(made("nvmlGpuInstanceDestroy", Some(0)));
        assert!(!made("nvmlGpuInstanceDestroy", Some(0)), "spent");
        assert!(script.is_empty());
    }
}
