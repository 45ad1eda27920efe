//! What the tests of this module share.

use std::sync::Arc;

use crate::model::{Catalogue, Geometry};

/// A board of the catalogue.
pub(crate) fn board(product: &str) -> Arc<Geometry> {
    Arc::clone(Catalogue::embedded().find_by_product(product, None).expect("a board of the catalogue"))
}
