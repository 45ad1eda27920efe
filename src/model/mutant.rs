//! Defects that can be switched on, one at a time, to see whether the tests notice. Each is a defect that a real system has had.
//!
//! Without the feature `mutants` [`on`] is always false and leaves no trace in the program.

/// A defect, by its number in the list of `docs/design/faults.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutant(pub u8);

#[cfg(feature = "mutants")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<u8>> = const { std::cell::Cell::new(None) };
}

/// Whether the defect is switched on in this thread.
#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    ACTIVE.with(|active| active.get() == Some(mutant.0))
}

/// Whether the defect is switched on in this thread: never.
#[cfg(not(feature = "mutants"))]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Switches a defect on, or all off, in this thread.
#[cfg(feature = "mutants")]
pub fn switch(mutant: Option<Mutant>) {
    ACTIVE.with(|active| active.set(mutant.map(|mutant| mutant.0)));
}
