//! The leader's lease: one winner, and never made anew by its holder.

use retile::exec::Version;
use retile::exec::port::{ClusterError, ClusterRequest, Lease};

use crate::cluster::{Cluster, lease_of, refused};

fn wanted(holder: &str, renewals: u64) -> Lease {
    Lease { holder: holder.to_owned(), renewals, transitions: 1 }
}

fn write(version: Option<Version>, holder: &str, renewals: u64) -> ClusterRequest {
    ClusterRequest::WriteLease { version, lease: wanted(holder, renewals) }
}

pub(crate) async fn the_lease_is_taken_by_one_and_never_made_anew_by_its_holder(cluster: &mut impl Cluster) {
    assert_eq!(refused(cluster.ask(&ClusterRequest::GetLease).await), ClusterError::NotFound);
    assert_eq!(refused(cluster.ask(&write(Some(Version(1)), "a", 1)).await), ClusterError::NotFound);
    let (first, made) = lease_of(cluster.ask(&write(None, "a", 1)).await);
    assert_eq!(made, wanted("a", 1));
    assert_eq!(refused(cluster.ask(&write(None, "b", 1)).await), ClusterError::Conflict);
    let (second, _) = lease_of(cluster.ask(&write(Some(first), "a", 2)).await);
    assert!(second > first);
    assert_eq!(refused(cluster.ask(&write(Some(first), "b", 1)).await), ClusterError::Conflict);
    assert_eq!(lease_of(cluster.ask(&ClusterRequest::GetLease).await), (second, wanted("a", 2)));
    let (third, back) = lease_of(cluster.ask(&write(Some(second), "", 3)).await);
    assert_eq!(back.holder, "", "handed back");
    cluster.remove_lease().await;
    assert_eq!(refused(cluster.ask(&write(Some(third), "a", 4)).await), ClusterError::NotFound);
    let gone = cluster.ask(&ClusterRequest::GetLease).await;
    assert_eq!(refused(gone), ClusterError::NotFound, "its epoch is lost, so it must be seen");
    let (again, _) = lease_of(cluster.ask(&write(None, "b", 1)).await);
    assert!(again > third);
}

pub(crate) async fn of_many_that_take_the_lease_one_succeeds(cluster: &mut impl Cluster) {
    let holders = ["a", "b", "c", "d", "e", "f"];
    let mut version = None;
    for round in 0..2 {
        let tries = holders.map(|holder| write(version, holder, round));
        let answers = cluster.ask_together(&tries).await;
        let won: Vec<_> = answers.iter().flatten().collect();
        let lost = answers.iter().filter(|answer| matches!(answer, Err(ClusterError::Conflict))).count();
        assert_eq!((won.len(), lost), (1, holders.len() - 1), "{answers:?}");
        let (now, held) = lease_of(cluster.ask(&ClusterRequest::GetLease).await);
        assert_eq!(lease_of(Ok(won[0].clone())), (now, held), "who was told so holds it");
        version = Some(now);
    }
}
