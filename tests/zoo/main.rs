//! The bug zoo: 37 defects that other systems have had, each switched on alone, each of which must be noticed.
//!
//! A case is a check that passes on the program as it is and fails, with the rule that is broken, once the defect is in it. The table in
//! `docs/design/faults.md` says whose each defect was. A defect that survives shows a hole in the checks, and that is what must be mended.

mod api;
mod board;
mod desk;
mod exports;
mod machines;
mod suite;

#[path = "../support/faults/mod.rs"]
mod faults;

use retile::exec::mutant::{self, Mutant};

/// What a check has found: the rule that is broken, and how.
pub(crate) struct Broken {
    rule: String,
    how: String,
}

/// The outcome of a check.
pub(crate) type Checked = Result<(), Broken>;

/// A rule is kept, or broken in this way.
pub(crate) fn keeps(rule: &str, kept: bool, how: impl FnOnce() -> String) -> Checked {
    if kept { Ok(()) } else { Err(Broken { rule: rule.to_owned(), how: how() }) }
}

/// A case: the check passes without the defect, and with it finds that this rule is broken.
pub(crate) fn kills(number: u8, rule: &str, check: impl Fn() -> Checked) {
    mutant::switch(None);
    if let Err(broken) = check() {
        panic!("without any defect, {} is broken: {}", broken.rule, broken.how);
    }
    mutant::switch(Some(Mutant(number)));
    let found = check();
    mutant::switch(None);
    match found {
        Ok(()) => panic!("defect {number} goes unnoticed"),
        Err(broken) if broken.rule == rule => println!("defect {number}: {rule}, {}", broken.how),
        Err(broken) => panic!("defect {number} breaks {} and not {rule}: {}", broken.rule, broken.how),
    }
}
