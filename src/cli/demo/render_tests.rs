//! Frames against pictures that were looked at.

use std::path::Path;

use super::*;
use crate::cli::show::bar::{Fate, Tile};

const MINUTE: u64 = 60_000;

fn tile(start: u8, size: u8, profile: &str, held: bool, fate: Fate) -> Tile {
    Tile { start, size, profile: profile.into(), held, fate, word: "" }
}

fn frame(waiting: usize) -> Frame {
    let gpu = |index: u32| GpuFrame {
        index,
        axis: 8,
        tiles: vec![
            tile(0, 4, "3g.40gb", index.is_multiple_of(2), Fate::Kept),
            tile(4, 2, "2g.20gb", true, Fate::Kept),
            tile(6, 1, "1g.10gb", false, Fate::Created),
        ],
    };
    let node = |name: &str, operation: Option<&str>| NodeFrame {
        name: name.into(),
        operation: operation.map(Into::into),
        gpus: (0..4).map(gpu).collect(),
    };
    let event = |at: u64, node: &str, text: &str| Event { at: at * MINUTE, node: node.into(), text: text.into() };
    Frame {
        at: 204 * MINUTE,
        end: 480 * MINUTE,
        retile: Counters { waiting: waiting as u64, running: 24, served: 113, elsewhere: 1, moved: 3, changes: 12 },
        fixed: Counters { waiting: 11, running: 18, served: 80, elsewhere: 25, moved: 0, changes: 0 },
        nodes: vec![node("gpu-000", Some("draining: waits for 2 pods to leave")), node("gpu-001", None)],
        waiting: (0..waiting)
            .map(|number| WaitingFrame {
                work: format!("notebook-{number:03}"),
                wants: "1g.10gb".into(),
                waited: 90_u64.saturating_sub(number as u64) * MINUTE,
            })
            .collect(),
        last: vec![
            event(203, "gpu-000", "is claimed for a change; to move: search-013, chat-017"),
            event(180, "gpu-001", "GPU 1: 3g.40gb -> 2g.20gb + 2 x 1g.10gb; GPU 2: free slots -> 3g.40gb"),
            event(175, "", "lab-004 has waited long enough and goes elsewhere"),
        ],
    }
}

fn plain(lines: &[String]) -> String {
    lines.iter().map(|line| anstream::adapter::strip_str(line).to_string() + "\n").collect()
}

#[allow(clippy::disallowed_methods, reason = "the one wish of a person who runs the tests")]
fn same_as_file(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("RETILE_BLESS").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, text, "after an intended change: RETILE_BLESS=1 cargo test --lib demo");
}

#[test]
fn a_frame_of_eighty_columns() {
    same_as_file("demo-80x24.txt", &plain(&render(&frame(7), 80, 24)));
}

#[test]
fn a_frame_of_a_hundred_and_twenty_columns() {
    same_as_file("demo-120x30.txt", &plain(&render(&frame(7), 120, 30)));
}

#[test]
fn no_line_is_too_wide_and_none_too_many() {
    for width in NARROWEST..=130 {
        for (height, waiting) in [(LOWEST, 0), (24, 1), (25, 60), (60, 300)] {
            let lines = render(&frame(waiting), width, height);
            assert!(lines.len() <= height, "{width} x {height}");
            for line in &lines {
                assert!(columns(line) <= width, "{width}: {line}");
            }
        }
    }
}
