//! Whole exports through the entrance.

mod bad;
mod shipped;
