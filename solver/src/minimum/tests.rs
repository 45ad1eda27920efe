//! The closed forms against what is published, against a dynamic programme, and against the complete proof.

use proptest::prelude::*;

use super::*;

/// A part type of a test machine: where it may start, how long it is, how many fit, and what it takes of a shared engine.
struct Part {
    starts: &'static [u8],
    size: u8,
    most: u64,
    engine: Engine,
}

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Unused,
    Shared,
    One,
    All,
}

const fn part(starts: &'static [u8], size: u8, most: u64, engine: Engine) -> Part {
    Part { starts, size, most, engine }
}

const SEVEN: &[u8] = &[0, 1, 2, 3, 4, 5, 6];

/// The seven-slice machine: 1, 1 with the engine, 1 with double memory, 2, 3, 4, 7.
const SEVEN_SLICES: &[Part] = &[
    part(SEVEN, 1, 7, Engine::Shared),
    part(SEVEN, 1, 1, Engine::One),
    part(&[0, 2, 4, 6], 2, 4, Engine::Shared),
    part(&[0, 2, 4], 2, 3, Engine::Shared),
    part(&[0, 4], 4, 2, Engine::Shared),
    part(&[0], 4, 1, Engine::Shared),
    part(&[0], 8, 1, Engine::Shared),
];

/// The four-slice machine: 1, 1 with the engine, 2, 2 with the engine, 4.
const FOUR_SLICES: &[Part] = &[
    part(&[0, 1, 2, 3], 1, 4, Engine::Shared),
    part(&[0, 1, 2, 3], 1, 1, Engine::One),
    part(&[0, 2], 2, 2, Engine::Shared),
    part(&[0, 2], 2, 1, Engine::One),
    part(&[0], 4, 1, Engine::Shared),
];

/// The four-slice machine with every variant of its parts: 1, +me, +gfx, +me.all, -me, 2, +gfx, +me.all, -me, 4, +gfx.
const VARIANTS: &[Part] = &[
    part(&[0, 3, 6, 9], 3, 4, Engine::Shared),
    part(&[0, 3, 6, 9], 3, 1, Engine::One),
    part(&[0, 3, 6, 9], 3, 4, Engine::Shared),
    part(&[0, 3, 6, 9], 3, 1, Engine::All),
    part(&[0, 3, 6, 9], 3, 4, Engine::Unused),
    part(&[0, 6], 6, 2, Engine::Shared),
    part(&[0, 6], 6, 2, Engine::Shared),
    part(&[0, 6], 6, 1, Engine::All),
    part(&[0, 6], 6, 2, Engine::Unused),
    part(&[0], 12, 1, Engine::Shared),
    part(&[0], 12, 1, Engine::Shared),
];

/// The patterns of a machine, by trying all placements.
fn patterns(parts: &[Part]) -> Patterns {
    fn walk(parts: &[Part], used: u64, from: (usize, usize), counts: &mut Vec<u64>, found: &mut Vec<Vec<u64>>) {
        found.push(counts.clone());
        let engine = |wanted: Engine| {
            parts.iter().zip(counts.iter()).filter(|(part, _)| part.engine == wanted).map(|(_, count)| count).sum::<u64>()
        };
        let (shared, one, all) = (engine(Engine::Shared), engine(Engine::One), engine(Engine::All));
        for kind in from.0..parts.len() {
            let part = &parts[kind];
            let free = match part.engine {
                Engine::Unused => true,
                Engine::Shared => all == 0,
                Engine::One => one + all == 0,
                Engine::All => shared + one + all == 0,
            };
            let first = if kind == from.0 { from.1 } else { 0 };
            for (index, &start) in part.starts.iter().enumerate().skip(first) {
                let mask = ((1_u64 << part.size) - 1) << start;
                if free && used & mask == 0 && counts[kind] < part.most {
                    counts[kind] += 1;
                    walk(parts, used | mask, (kind, index + 1), counts, found);
                    counts[kind] -= 1;
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(parts, 0, (0, 0), &mut vec![0; parts.len()], &mut found);
    Patterns::try_new(parts.len(), found).expect("test machines are well formed")
}

#[test]
fn scratch() {
    for (name, parts) in [("7", SEVEN_SLICES), ("4", FOUR_SLICES), ("v", VARIANTS)] {
        let patterns = patterns(parts);
        eprintln!("{name}: {} patterns", patterns.as_slice().len());
        let t = std::time::Instant::now();
        let form = ClosedForm::derive(&patterns);
        eprintln!("derive {:?}", t.elapsed());
        let Some(form) = form else { continue };
        for facet in form.facets() {
            eprintln!("{:?} / {}", facet.weights, facet.divisor);
        }
        {
            let t = std::time::Instant::now();
            eprintln!("gap {:?} {:?}", form.gap(&patterns), t.elapsed());
        }
    }
}
