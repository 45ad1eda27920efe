//! placeholder

pub mod minimum;
