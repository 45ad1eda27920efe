//! What people read of plans does not depend on an API server that answers at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use retile::controller::run::{Clerk, Counted, Cycle, requests};
use retile::controller::{CycleReport, Planned};
use retile::exec::{OperationId, Outcome};
use retile::kube::crd::{MigPlan, PlanPhase};
use retile::kube::live::ControllerCluster;
use retile::model::Mode;
use retile::plan::Plan;
use retile::telemetry::ControllerMetrics;
use tokio::sync::mpsc::channel;

use super::control_plane::{ControlPlane, eventually};
use super::scene::{controller, install};

fn cycle(plan: Option<Plan>, report: CycleReport) -> Cycle {
    Cycle {
        report: Box::new(report),
        plan: plan.map(Arc::new),
        mode: Mode::Act,
        savings: Counted::default(),
        waiting: BTreeMap::new(),
    }
}

/// A cycle with a plan that this operation carries out.
fn begins(plan: Plan, operation: &str) -> Cycle {
    let planned = Planned { operations: vec![OperationId(operation.to_owned())], ..Planned::default() };
    cycle(Some(plan), CycleReport { planned: Some(planned), ..CycleReport::default() })
}

fn ends(operation: &str) -> Cycle {
    let ended = ("a".to_owned(), OperationId(operation.to_owned()), Some(Outcome::Done), String::new());
    cycle(None, CycleReport { ended: vec![ended], ..CycleReport::default() })
}

fn plan(text: &str) -> Plan {
    retile::plan::from_json(text, "the test's plan").expect("a plan")
}

/// Phase, words and operations of each plan, oldest first.
async fn told(api: &kube::Api<MigPlan>) -> Option<Vec<(Option<PlanPhase>, String, Vec<String>)>> {
    let mut plans = api.list(&kube::api::ListParams::default()).await.ok()?.items;
    plans.sort_by_key(|plan| plan.status.as_ref().map(|status| status.operations.clone()));
    let status = plans.into_iter().filter_map(|plan| plan.status);
    Some(status.map(|status| (status.phase, status.detail, status.operations)).collect())
}

#[tokio::test]
async fn plans_made_while_the_api_server_is_away_are_told_of_once_it_is_back() {
    let Some(plane) = ControlPlane::start().await else { return };
    install(&plane).await;
    let namespace = plane.namespace("clerk").await;
    let cluster = Arc::new(controller(&plane, &namespace).await);
    let (metrics, _book) = ControllerMetrics::new(&requests());
    let clerk = Clerk::new(Arc::clone(&cluster), "test", metrics, |_, _| ());
    let (send, receive) = channel(16);
    let works = tokio::spawn(clerk.run(receive));
    let api: kube::Api<MigPlan> = kube::Api::all(plane.administrator().await);

    let moves = plan(include_str!("../../testdata/plans/valid/moves.json"));
    let displaces = plan(include_str!("../../testdata/plans/valid/displaces.json"));
    plane.kill_api_server();
    for cycle in [begins(moves, "op-1"), ends("op-1"), begins(displaces, "op-2")] {
        send.send(cycle).await.expect("it listens");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    plane.start_api_server().await;
    let expected = [
        (Some(PlanPhase::Finished), "all its operations are over: 1 done".to_owned(), vec!["op-1".to_owned()]),
        (Some(PlanPhase::Executing), "operations: op-2".to_owned(), vec!["op-2".to_owned()]),
    ];
    eventually("both plans are told of", async || (told(&api).await? == expected).then_some(())).await;
    send.send(ends("op-2")).await.expect("it listens");
    eventually("the second is finished", async || {
        told(&api).await?.iter().all(|(phase, ..)| *phase == Some(PlanPhase::Finished)).then_some(())
    })
    .await;
    drop(send);
    works.await.expect("it ends when nobody can be heard any more");
    what_is_not_to_be_changed_any_more_is_not_proposed(&cluster, &api).await;
}

/// A plan that nobody has carried out is put aside once nothing is to be changed, also by the next leader.
async fn what_is_not_to_be_changed_any_more_is_not_proposed(
    cluster: &Arc<ControllerCluster>,
    api: &kube::Api<MigPlan>,
) {
    let single = plan(include_str!("../../testdata/plans/valid/single-strategy.json"));
    let empty = plan(include_str!("../../testdata/plans/valid/nothing-changes.json"));
    let proposes = |plan: &Plan| Cycle { mode: Mode::Recommend, ..cycle(Some(plan.clone()), CycleReport::default()) };
    let phases = async || {
        let plans = api.list(&kube::api::ListParams::default()).await.ok()?.items;
        let status = plans.into_iter().filter_map(|plan| plan.status);
        Some(status.map(|status| (status.phase, status.detail)).collect::<Vec<_>>())
    };
    let leaders = [
        // A node that is away for a moment empties one plan; the same is proposed as before.
        ("second", vec![proposes(&single), proposes(&empty), proposes(&single)], PlanPhase::Proposed),
        ("third", vec![proposes(&empty), proposes(&empty)], PlanPhase::Superseded),
    ];
    for (leader, cycles, wanted) in leaders {
        let (metrics, _book) = ControllerMetrics::new(&requests());
        let clerk = Clerk::new(Arc::clone(cluster), leader, metrics, |_, _| ());
        let (send, receive) = channel(16);
        let works = tokio::spawn(clerk.run(receive));
        for cycle in cycles {
            send.send(cycle).await.expect("it listens");
        }
        eventually(&format!("the {leader} leader's cycle is told"), async || {
            let phases = phases().await?;
            phases.iter().any(|(phase, _)| *phase == Some(wanted)).then_some(())
        })
        .await;
        drop(send);
        works.await.expect("it ends when nobody can be heard any more");
        let phases = phases().await.expect("they are there");
        let proposed = phases.iter().filter(|(phase, _)| *phase == Some(PlanPhase::Proposed)).count();
        let aside = phases.iter().filter(|(phase, _)| *phase == Some(PlanPhase::Superseded)).count();
        assert_eq!(
            (proposed, aside),
            if wanted == PlanPhase::Proposed { (1, 0) } else { (0, 1) },
            "{leader}: {phases:?}"
        );
    }
    let phases = phases().await.expect("they are there");
    assert!(
        phases.contains(&(Some(PlanPhase::Superseded), "nothing is to be changed any more".to_owned())),
        "{phases:?}"
    );
}
