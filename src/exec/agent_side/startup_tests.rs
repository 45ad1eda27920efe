//! All 2,592 rows of the decision, as they stand in `testdata/protocol/startup.txt`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;

const GOLDEN: &str = include_str!("../../../testdata/protocol/startup.txt");
const RECORDED: [Recorded; 3] = [Recorded::None, Recorded::Same, Recorded::Other];
const BOARDS: [BoardIs; 4] = [BoardIs::Base, BoardIs::Target, BoardIs::Between, BoardIs::Other];
const HELD: [Held; 3] = [Held::Nothing, Held::Outside, Held::Inside];
const BOTH: [bool; 2] = [false, true];

fn rows() -> impl Iterator<Item = Row> {
    let heads = BOTH.into_iter().flat_map(|mig_mode| BOTH.into_iter().map(move |intent| (!mig_mode, intent)));
    heads.flat_map(|(mig_mode, intent)| {
        RECORDED.into_iter().flat_map(move |recorded| {
            AgentPhase::ALL.into_iter().flat_map(move |phase| {
                BOARDS.into_iter().flat_map(move |board| {
                    BOTH.into_iter().flat_map(move |rebooted| {
                        HELD.into_iter().map(move |held| Row {
                            intent,
                            recorded,
                            phase,
                            board,
                            held,
                            rebooted,
                            mig_mode,
                        })
                    })
                })
            })
        })
    })
}

fn letter(action: Action) -> char {
    match action {
        Action::Serve => '.',
        Action::Report => 'r',
        Action::Drift => 'd',
        Action::Consider => 'c',
        Action::Finish => '=',
        Action::Forward => '>',
        Action::Backward => '<',
        Action::Restore => '^',
        Action::Verify => 'v',
        Action::Forget => 'x',
    }
}

fn table() -> String {
    let mut lines = BTreeMap::<usize, String>::new();
    for (number, row) in rows().enumerate() {
        let line = lines.entry(number / 24).or_insert_with(|| {
            let intent = if row.intent { "intent" } else { "-" };
            let (recorded, phase) = (format!("{:?}", row.recorded), format!("{:?}", row.phase));
            format!("{:<4}{intent:<7}{recorded:<6}{phase:<14}", if row.mig_mode { "on" } else { "off" })
        });
        if number % 6 == 0 {
            line.push_str("  ");
        } else if number % 3 == 0 {
            line.push('|');
        }
        line.push(letter(decide(row)));
    }
    let mut text = String::new();
    for line in lines.values() {
        writeln!(text, "{line}").expect("a string takes everything");
    }
    text
}

#[test]
fn every_row_is_as_recorded() {
    assert_eq!(rows().count(), 2592);
    let recorded: String = GOLDEN.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let table = table();
    assert!(table == recorded, "the decisions have changed; if that is meant, this is the table:\n{table}");
}

#[test]
fn the_defaults_hold_in_every_row() {
    for row in rows() {
        let action = decide(row);
        if row.held == Held::Inside || !row.mig_mode {
            assert!(!action.changes_instances(), "{row:?}: {action:?}");
        }
        if row.board == BoardIs::Other && row.mig_mode {
            assert_eq!(action, Action::Drift, "{row:?}");
        }
        if row.rebooted {
            assert!(!matches!(action, Action::Forward | Action::Verify | Action::Consider), "{row:?}: {action:?}");
            assert!(row.held == Held::Nothing || !action.changes_instances(), "{row:?}: {action:?}");
        }
        if action == Action::Forward {
            assert_eq!(row.recorded, Recorded::Same, "{row:?}");
        }
        if !row.intent && row.recorded == Recorded::None {
            assert!(!matches!(action, Action::Forward | Action::Backward), "{row:?}: {action:?}");
        }
    }
}
