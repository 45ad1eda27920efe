//! Clusters for the tests of this module.
