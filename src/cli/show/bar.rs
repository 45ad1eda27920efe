//! A bar of slots: one GPU as a row of boxes on its placement axis.
//!
//! Readable without colour: a box is filled with `#` where a pod holds the instance and with `+` where the plan creates it; a free
//! instance is an empty box, and slots that no instance covers are dots.

use anstyle::{AnsiColor, Style};

/// How to read a bar.
pub(crate) const LEGEND: &str = "In bars: ### held by a pod, +++ created by the plan, empty box free, dots uncut.";

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Stays as it is.
    Kept,
    /// Stands before the change only.
    Destroyed,
    /// Stands after the change only.
    Created,
}

/// One instance in a bar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tile {
    /// First slot.
    pub start: u8,
    /// Slots covered.
    pub size: u8,
    /// Profile as `nvidia-smi mig` spells it.
    pub profile: String,
    /// Whether a pod holds it.
    pub held: bool,
    /// What the plan does with it.
    pub fate: Fate,
    /// A word that is shown where there is room for it.
    pub word: &'static str,
}

/// Columns that one slot takes, so that every board fits 80 columns beside its label.
pub(crate) fn slot_width(axis: u8) -> usize {
    match axis {
        0..=4 => 14,
        5..=8 => 7,
        9..=12 => 5,
        _ => 4,
    }
}

/// The numbers of the slots, each above the first column of its slot.
pub(crate) fn ruler(axis: u8) -> String {
    let width = slot_width(axis);
    let slots: Vec<String> = (0..axis).map(|slot| format!("{slot:<width$}")).collect();
    slots.concat().trim_end().to_owned()
}

/// Draws tiles on an axis, coloured; slots without a tile are dots.
pub(crate) fn draw(axis: u8, tiles: &[Tile]) -> String {
    let width = slot_width(axis);
    let uncut = format!("{:^width$}", ".");
    let mut text = String::new();
    let mut slot = 0;
    for tile in tiles {
        while slot < tile.start {
            text += &uncut;
            slot += 1;
        }
        let style = style(tile);
        text += &paint(style, &boxed(tile, usize::from(tile.size) * width));
        slot = tile.start.saturating_add(tile.size).max(slot);
    }
    while slot < axis {
        text += &uncut;
        slot += 1;
    }
    text.trim_end().to_owned()
}

/// Text in a style; a sink that takes no colours strips them.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn style(tile: &Tile) -> Style {
    let colour = match (tile.fate, tile.held) {
        (Fate::Created, _) => Some(AnsiColor::Green),
        (Fate::Destroyed, _) => Some(AnsiColor::Red),
        (Fate::Kept, true) => Some(AnsiColor::Cyan),
        (Fate::Kept, false) => None,
    };
    Style::new().fg_color(colour.map(Into::into))
}

/// `[3g.40gb busy ######]`, shortened to what fits into `width` columns.
fn boxed(tile: &Tile, width: usize) -> String {
    let inside = width.saturating_sub(2);
    let label = label(&tile.profile, inside);
    let fill = match (tile.fate, tile.held) {
        (Fate::Created, _) => '+',
        (Fate::Kept | Fate::Destroyed, true) => '#',
        (Fate::Kept | Fate::Destroyed, false) => ' ',
    };
    let worded = format!("{label} {}", tile.word);
    let label = if !tile.word.is_empty() && worded.len() <= inside && label == tile.profile { worded } else { label };
    let rest = inside.saturating_sub(label.len());
    let filling: String = if rest >= 2 {
        std::iter::once(' ').chain(std::iter::repeat_n(fill, rest - 1)).collect()
    } else {
        " ".repeat(rest)
    };
    format!("[{label}{filling}]")
}

/// The longest form of a profile's name that fits: whole, without the memory, or cut off.
pub(crate) fn label(profile: &str, room: usize) -> String {
    if profile.len() <= room {
        return profile.to_owned();
    }
    let (slices, rest) = profile.split_once('.').unwrap_or((profile, ""));
    let suffix = rest.find(['+', '-']).map_or("", |at| &rest[at..]);
    let short = format!("{slices}{suffix}");
    short.chars().take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(start: u8, size: u8, profile: &str, held: bool, fate: Fate, word: &'static str) -> Tile {
        Tile { start, size, profile: profile.into(), held, fate, word }
    }

    fn plain(axis: u8, tiles: &[Tile]) -> String {
        anstream::adapter::strip_str(&draw(axis, tiles)).to_string()
    }

    #[test]
    fn boxes_stand_over_their_slots() {
        let tiles = [
            tile(0, 1, "1g.10gb", true, Fate::Kept, "busy"),
            tile(2, 2, "2g.20gb", false, Fate::Destroyed, "free"),
            tile(4, 4, "3g.40gb", true, Fate::Created, "new"),
        ];
        assert_eq!(ruler(8), "0      1      2      3      4      5      6      7");
        assert_eq!(plain(8, &tiles), "[1g ##]   .   [2g.20gb free][3g.40gb new ++++++++++++++]");
    }

    #[test]
    fn every_axis_fits_beside_a_label_in_eighty_columns() {
        for axis in [4, 8, 12] {
            let full = [tile(0, axis, "7g.80gb", true, Fate::Kept, "busy")];
            assert!(plain(axis, &full).len() <= 66, "axis of {axis}");
            assert_eq!(plain(axis, &full).len(), usize::from(axis) * slot_width(axis));
        }
    }

    #[test]
    fn names_shorten_without_losing_what_tells_them_apart() {
        assert_eq!(label("1g.10gb", 7), "1g.10gb");
        assert_eq!(label("1g.10gb+me", 5), "1g+me");
        assert_eq!(label("1g.24gb-me", 5), "1g-me");
        assert_eq!(label("1g.24gb+me.all", 5), "1g+me");
        assert_eq!(label("weird", 2), "we");
    }

    #[test]
    fn an_instance_beyond_the_axis_or_out_of_order_does_not_panic() {
        let tiles = [tile(250, 20, "1g", false, Fate::Kept, ""), tile(0, 1, "1g", false, Fate::Kept, "")];
        assert!(!draw(8, &tiles).is_empty());
    }
}
