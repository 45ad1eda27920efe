//! The reference of metrics is what the code registers. `RETILE_BLESS=1` writes it.

use std::fmt::Write as _;

use retile::telemetry::{AgentMetrics, Book, ControllerMetrics};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");

const HEAD: &str = "\
# Metrics

Both programs serve OpenMetrics on `/metrics`. Names, kinds and labels below are generated from the code; a name that stands here is not
changed, only joined by others. Labels never hold names of pods or namespaces: they are enumerated, or bounded by the hardware. Counters
that are enumerated start at 0. The controller's figures about the cluster come from the replica that leads (`retile_leader` is 1); sum or
filter accordingly.

`retile_instance_info` carries the keys of NVIDIA's DCGM exporter, so that its series can be joined with layouts:

    DCGM_FI_PROF_GR_ENGINE_ACTIVE * on (UUID, GPU_I_ID) group_left (start, mig_uuid) retile_instance_info
";

fn table(page: &mut String, title: &str, book: &Book) {
    let _ = write!(page, "\n## {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in book.families() {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ =
            writeln!(page, "| `{}` | {} | {} | {} |", family.name, family.kind.name(), labels.join(", "), family.help);
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let mut page = HEAD.to_owned();
    table(&mut page, "Controller", &ControllerMetrics::new(&[]).1);
    table(&mut page, "Agent", &AgentMetrics::new().1);
    #[allow(clippy::disallowed_methods, reason = "a wish of whoever runs the tests")]
    if std::env::var_os("RETILE_BLESS").is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(written, page, "run RETILE_BLESS=1 cargo test --test metrics");
}
