//! The rules by name, and how a breach of one is told.

use std::fmt;

macro_rules! rules {
    ($($name:ident: $text:literal),+ $(,)?) => {
        /// A rule that holds at every moment (`S`), or in the end (`L`). The numbers are those of the list of failures and invariants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Invariant {
            $(#[doc = $text] $name),+
        }

        impl Invariant {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The rule in words.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text),+
                }
            }
        }
    };
}

rules! {
    S1: "no instance is destroyed while a container that was given it may run",
    S2: "no instance outside the operation is touched, and an operation is not widened",
    S3: "boards change only by the node's agent, with intent, taint, phase, epoch, node and boot as they must be",
    S4: "at most one operation per node, and one agent at work on it",
    S5: "operations under way stay within the budget of nodes",
    S6: "pods go only by evictions of planned victims, pinned by UID, from a node with the operation's taint",
    S7: "nobody is evicted for no gain",
    S8: "an operation loses no running pods and, given up, no capacity",
    S9: "no disruption budget is exceeded",
    S10: "protected pods are not evicted",
    S11: "of a node only our own taint is written, and marks that are on record there, and removed only by the operation that set it",
    S12: "the taint goes only when node, device plugin, device nodes and board agree, and no client is paused",
    S13: "writing the same again changes nothing",
    S14: "writes of the outdated have no effect",
    S16: "MIG mode is never changed",
    S17: "an instance is created only where no former holder is left",
    S18: "the layout is legal at every moment",
    S19: "after an error nothing is done without another look",
    S21: "records stay small",
    L1: "in the end nothing is left that would pay",
    L2: "in the end no node keeps our taint, unless it is degraded, and no client is paused",
    L3: "in the end no operation is left, unless it is degraded",
    L4: "a bad node does not stop the others",
    L7: "waiting times start anew after success and stay bounded",
    L8: "GPUs rest after a change, and work is not evicted again and again",
    L10: "a node that was repaired is taken up again",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A breach of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When, in milliseconds.
    pub at: u64,
    /// Which rule.
    pub invariant: Invariant,
    /// Where: a node, GPU, pod or operation.
    pub place: String,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, invariant, place, what } = self;
        write!(f, "{invariant} ({}) at {at} ms, {place}: {what}", invariant.text())
    }
}
