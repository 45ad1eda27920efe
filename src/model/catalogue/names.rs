//! How boards are written in different places, brought to one form.
//!
//! Input: a key, a product name or a node label. Output: lower case with single dashes, without the vendor and without what GPU
//! feature discovery appends. Depends on nothing.

/// Near misses named in an error.
const SUGGESTIONS: usize = 3;

/// A product name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Product {
    /// Normal form of the board's own name, without the vendor.
    pub(super) name: String,
    /// Profile that the strategy `single` appends, e.g. `1g.10gb`.
    pub(super) profile: Option<String>,
}

impl Product {
    /// Takes apart `NVIDIA A100-SXM4-80GB`, `NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED` and their like.
    pub(super) fn parse(written: &str) -> Self {
        let whole = normal(written);
        let whole = whole.strip_prefix("nvidia-").unwrap_or(&whole);
        let whole = whole.strip_suffix("-shared").unwrap_or(whole);
        match whole.split_once("-mig-") {
            Some((name, "invalid")) => Self { name: name.to_owned(), profile: None },
            // A label value cannot hold the plus sign; it is written as a dot.
            Some((name, profile)) => {
                let profile = profile.replace(".me", "+me").replace(".gfx", "+gfx");
                Self { name: name.to_owned(), profile: Some(profile) }
            }
            None => Self { name: whole.to_owned(), profile: None },
        }
    }
}

/// Lower case; spaces, underscores and dashes become one dash.
pub(super) fn normal(written: &str) -> String {
    let lower = written.to_lowercase();
    let words = lower.split(|c: char| c.is_whitespace() || c == '-' || c == '_').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The parts of a normal form.
pub(super) fn tokens(normal: &str) -> Vec<&str> {
    normal.split('-').filter(|token| !token.is_empty()).collect()
}

/// Whether a board whose key says so many GB can report this much memory: what is reported lacks about half a percent that the
/// board reserves, while boards of one name differ by two percent and more.
pub(super) fn has_memory(key: &str, mib: u64) -> bool {
    let digits = |token: &str| token.strip_suffix("gb").and_then(|number| number.parse::<u64>().ok());
    let nominal = tokens(&normal(key)).into_iter().find_map(digits).map(|gb| gb * 1024);
    nominal.is_some_and(|nominal| nominal.abs_diff(mib) <= nominal / 64)
}

/// The candidates that look most like a name: those that begin alike or are few edits away, nearest first.
pub(super) fn near_misses<'n>(wanted: &str, candidates: impl Iterator<Item = &'n str>) -> Vec<String> {
    let mut near: Vec<(usize, &str)> = candidates
        .map(|candidate| {
            let written = Product::parse(candidate).name;
            let part = tokens(wanted).first().is_some_and(|first| tokens(&written).contains(first));
            let edits = edits(wanted, &written);
            (if part { edits.min(3) } else { edits }, candidate)
        })
        .filter(|&(edits, _)| edits <= 3)
        .collect();
    near.sort_by_key(|&(edits, _)| edits);
    let mut names: Vec<String> = near.into_iter().map(|(_, candidate)| candidate.to_owned()).collect();
    names.dedup();
    names.truncate(SUGGESTIONS);
    names
}

/// Least number of characters to insert, delete or change (Levenshtein).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, char) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for column in 0..to.len() {
            let changed = diagonal + usize::from(char != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
