//! Planning over [`crate::model`] through the crate `retile-solver`.

pub mod fit;
