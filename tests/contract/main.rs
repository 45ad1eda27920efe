//! The contract between retile and a cluster: what the answers of the port to the API server mean, case by case.
//!
//! The cases are written once, over [`cluster::Cluster`]. Here they are held against the simulator; `tests/adapter` holds the same cases against a
//! real API server, through the adapter that production uses. A case that holds on one of them only is a defect of the simulator, or a belief
//! about Kubernetes that is wrong.

#![cfg(feature = "cli")]

#[macro_use]
mod cases;
mod cluster;
mod simulated;

use simulated::Simulated;

macro_rules! on_the_simulator {
    ($($part:ident: [$($case:ident),* $(,)?])*) => {$(
        mod $part {
            $(#[tokio::test]
            async fn $case() {
                crate::cases::$part::$case(&mut crate::Simulated::new()).await;
            })*
        }
    )*};
}

every_case!(on_the_simulator);

#[tokio::test]
async fn the_cache_misses_nothing_when_its_watches_expire() {
    cases::observation::the_cache_misses_nothing_when_its_watches_expire(&mut Simulated::new()).await;
}
