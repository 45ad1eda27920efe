//! What a machine has seen of something in this round.

/// Not looked at yet, looked at and not there, or there.
#[derive(Debug, Default)]
pub(super) enum Seen<T> {
    /// Not looked at yet.
    #[default]
    NotYet,
    /// It is not there, or cannot be read.
    Absent,
    /// It is there.
    There(T),
}
