//! The pages as a scraper and the kubelet see them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::agent::{Call, InstanceLabels};
use super::controller::{ByMode, ByModel, Otherwise};
use super::*;
use crate::model::Mode;

/// Serves pages on a free port; returns the port.
async fn served(pages: Vec<Page>) -> u16 {
    let server = Server::bind(([127, 0, 0, 1], 0).into(), pages, None).await.expect("a free port");
    let port = server.address().expect("it listens").port();
    tokio::spawn(server.serve(std::future::pending()));
    port
}

/// The whole answer, head and body.
async fn ask(port: u16, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    answer
}

#[tokio::test]
async fn metrics_are_open_metrics_and_health_is_what_the_handles_say() {
    let (metrics, book) = ControllerMetrics::new(&["observe"]);
    metrics.evictions.add(controller::ByResult { result: "accepted" }, 3);
    let health = Health::new();
    health.not_ready("lease", "nobody leads");
    let port = served(vec![Page::Metrics { book, token: None }, Page::Health(health.clone())]).await;
    let page = ask(port, "/metrics", "").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{page}");
    assert!(page.contains("\nretile_evictions_total{result=\"accepted\"} 3\n"), "{page}");
    assert!(page.contains("\nretile_invariant_violations_total{id=\"plan_refused\"} 0\n"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
    assert!(ask(port, "/healthz", "").await.starts_with("HTTP/1.1 200"));
    let unready = ask(port, "/readyz", "").await;
    assert!(unready.starts_with("HTTP/1.1 503") && unready.ends_with("lease: nobody leads\n"), "{unready}");
    health.ready("lease");
    assert!(ask(port, "/readyz", "").await.starts_with("HTTP/1.1 200"));
    assert!(ask(port, "/debug", "").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one() {
    let (_, book) = AgentMetrics::new();
    let port = served(vec![Page::Metrics { book, token: Some("secret".to_owned()) }]).await;
    for header in
        ["", "authorization: Bearer secreT\r\n", "authorization: Bearer secret2\r\n", "authorization: secret\r\n"]
    {
        let page = ask(port, "/metrics", header).await;
        assert!(page.starts_with("HTTP/1.1 401") && !page.contains("retile_"), "{header}: {page}");
    }
    assert!(ask(port, "/metrics", "authorization: Bearer secret\r\n").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn clients_that_say_nothing_hold_up_nobody() {
    let port = served(vec![Page::Health(Health::new())]).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.expect("it listens"));
    }
    let answer = tokio::time::timeout(Duration::from_mins(1), ask(port, "/healthz", "")).await.expect("in time");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_table_that_is_set_anew_forgets_and_what_is_enumerated_stays() {
    let (metrics, book) = ControllerMetrics::new(&[]);
    let models =
        |names: &[&str]| names.iter().map(|name| (ByModel { model: (*name).to_owned() }, 2.0)).collect::<Vec<_>>();
    metrics.gpus.replace(models(&["a", "b"]));
    metrics.gpus.replace(models(&["b"]));
    metrics.in_mode(Mode::Act);
    metrics.in_mode(Mode::Recommend);
    let text = book.encode().expect("it can be written");
    assert!(text.contains("retile_gpus{model=\"b\"} 2.0\n") && !text.contains("model=\"a\""), "{text}");
    assert!(text.contains("retile_mode{mode=\"Act\"} 0.0\n"), "{text}");
    assert!(text.contains("retile_mode{mode=\"Recommend\"} 1.0\n"), "{text}");
}

#[test]
fn sums_never_fall() {
    let (metrics, book) = ControllerMetrics::new(&[]);
    let labels = Otherwise { model: "m".to_owned(), counterfactual: "whole_gpu" };
    metrics.deferred_gpu_seconds.raise_to(labels.clone(), 7.5);
    metrics.deferred_gpu_seconds.raise_to(labels, 3.0);
    let text = book.encode().expect("it can be written");
    assert!(
        text.contains("retile_deferred_gpu_seconds_total{model=\"m\",counterfactual=\"whole_gpu\"} 7.5\n"),
        "{text}"
    );
}

/// Names of labels in a line `name{a="…",b="…"} 1`; values hold no quotes here.
fn label_names(line: &str) -> Vec<String> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    let names = inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

/// What the documentation says of labels is what is scraped.
#[test]
fn the_documented_labels_are_those_of_the_page() {
    let (metrics, controller) = ControllerMetrics::new(&["observe"]);
    metrics.mode.put(ByMode { mode: "Observe" }, 1.0);
    let (metrics, agent) = AgentMetrics::new();
    metrics.nvml_call_seconds.note(Call { call: "create" }, 0.2);
    let mut seen = BTreeSet::new();
    for book in [controller, agent] {
        let text = book.encode().expect("it can be written");
        for family in book.families() {
            let samples = text.lines().filter(|line| {
                let name = line.split(['{', ' ']).next().unwrap_or("");
                name == family.name || (family.kind == Kind::Histogram && name == format!("{}_count", family.name))
            });
            for line in samples {
                assert_eq!(label_names(line), family.labels, "{line}");
                seen.insert(family.name.clone());
            }
        }
    }
    for name in ["retile_operations_total", "retile_nvml_call_seconds", "retile_mode", "retile_build_info"] {
        assert!(seen.contains(name), "{name}: {seen:?}");
    }
}

/// Names come from hardware and from people: whatever they hold, the page stays readable.
#[test]
fn hostile_values_are_escaped() {
    let (metrics, book) = AgentMetrics::new();
    let hostile = "a\"b\\c\nretile_fake 1";
    metrics.instance_info.replace([(
        InstanceLabels {
            uuid: hostile.to_owned(),
            gpu_i_id: "1".to_owned(),
            profile: String::new(),
            start: 0,
            mig_uuid: String::new(),
        },
        1.0,
    )]);
    let text = book.encode().expect("it can be written");
    let line = text.lines().find(|line| line.starts_with("retile_instance_info{")).expect("it is there");
    assert_eq!(
        line,
        r#"retile_instance_info{UUID="a\"b\\c\nretile_fake 1",GPU_I_ID="1",GPU_I_PROFILE="",start="0",mig_uuid=""} 1.0"#
    );
    assert!(!text.lines().any(|line| line.starts_with("retile_fake")), "{text}");
}
