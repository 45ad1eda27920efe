use std::fmt::Write as _;
use std::io;

use clap::Parser as _;

use super::*;
use crate::cli::args::{Args, Verb};

const EXCERPT: &str = "testdata/traces/openb-excerpt.csv";

fn parsed(arguments: &[&str]) -> Result<Box<SimulateArgs>, clap::Error> {
    let Verb::Simulate(args) = Args::try_parse_from(["retile", "simulate"].iter().chain(arguments))?.verb else {
        panic!("`simulate` was asked for");
    };
    Ok(args)
}

/// Runs the verb and returns its exit status or error, and what it printed.
fn ran(arguments: &[&str], input: &str) -> (Result<u8, CliError>, String) {
    let mut data = Vec::new();
    let result = simulate(
        &parsed(arguments).expect("arguments that clap takes"),
        &mut Streams {
            input: &mut io::Cursor::new(input.as_bytes()),
            data: &mut data,
            notes: &mut io::sink(),
            input_is_terminal: false,
            notes_are_terminal: false,
            data_is_terminal: false,
        },
    );
    (result, String::from_utf8(data).expect("output is UTF-8"))
}

fn answer(arguments: &[&str], input: &str) -> String {
    let (result, data) = ran(arguments, input);
    result.unwrap_or_else(|error| panic!("{arguments:?}: {}", error.render()));
    data
}

fn refused(arguments: &[&str], input: &str) -> String {
    let (result, data) = ran(arguments, input);
    assert_eq!(data, "", "nothing is printed half-done");
    result.expect_err("a refusal").render()
}

const SMALL: [&str; 5] = ["--instant", "--gpus", "2xA100-80GB", "--hours", "6"];

fn small(more: &[&'static str]) -> Vec<&'static str> {
    [&SMALL[..], more].concat()
}

#[test]
fn a_table_has_a_row_for_each_planner_and_a_spread_over_seeds() {
    let table = answer(&small(&["--seeds", "2", "--compare"]), "");
    for rule in Rule::ALL {
        assert_eq!(
            table.lines().filter(|line| line.trim_start().starts_with(&format!("{} ", rule.name()))).count(),
            1,
            "{table}"
        );
    }
    assert!(
        table.starts_with("skew-small at load 0.9, 6 hours on 2 x A100-80GB: ") && table.contains(" ± "),
        "{table}"
    );
    assert!(!table.contains("NaN"));
    assert_eq!(table, answer(&small(&["--seeds", "2", "--compare", "--threads", "3"]), ""), "the same bytes each time");
}

#[test]
fn an_ablation_has_a_row_without_each_mechanism() {
    let table = answer(&small(&["--ablate"]), "");
    for rule in Rule::ABLATION {
        assert!(table.lines().any(|line| line.trim_start().starts_with(&format!("{} ", rule.name()))), "{table}");
    }
    assert!(parsed(&["--ablate", "--compare"]).is_err() && parsed(&["--soonest", "0s"]).is_err());
}

#[test]
fn every_table_says_how_little_could_go_elsewhere() {
    let document: serde_json::Value =
        serde_json::from_str(&answer(&small(&["--load", "2", "-o", "json", "--soonest", "30s"]), "")).expect("JSON");
    let group = &document["groups"][0];
    let least = group["least_elsewhere"]["mean"].as_f64().expect("a number");
    let pooled = group["pooled_elsewhere"]["mean"].as_f64().expect("a number");
    assert!(least <= pooled, "{least} {pooled}");
    assert_eq!(document["soonest_seconds"], 30);
    for planner in group["planners"].as_array().expect("planners") {
        let share = planner["figures"]["burst_share"]["mean"].as_f64().expect("a number");
        assert!(least > 0.0 && least <= share, "{least} {share}");
    }
    let table = answer(&small(&["--load", "2", "--planner", "static"]), "");
    assert!(table.contains(&format!("at least {:.2} % must go elsewhere", least * 100.0)), "{table}");
    assert!(table.contains(&format!("sends {:.2} % elsewhere", pooled * 100.0)), "{table}");
}

#[test]
fn without_instant_the_whole_cluster_is_replayed() {
    let whole = answer(&["--gpus", "1xA100-80GB", "--hours", "2", "-o", "json"], "");
    let document: serde_json::Value = serde_json::from_str(&whole).expect("JSON");
    assert_eq!(document["instant"], false);
    let planned = &document["groups"][0]["planners"][1]["figures"];
    assert!(
        planned["arrived"]["mean"].as_f64() > Some(0.0) && planned["failed_operations"]["mean"] == 0.0,
        "{planned}"
    );
}

#[test]
fn mixes_and_loads_are_crossed() {
    let table = answer(&small(&["--mix", "uniform,bimodal", "--load", "0.7,1.1", "--planner", "static"]), "");
    let titles: Vec<&str> =
        table.lines().filter_map(|line| line.split(", 6 hours").next().filter(|it| it.contains("load"))).collect();
    assert_eq!(titles, ["uniform at load 0.7", "uniform at load 1.1", "bimodal at load 0.7", "bimodal at load 1.1"]);
}

#[test]
fn json_has_every_figure_by_seed_and_over_all() {
    let text = answer(&small(&["--seeds", "2", "-o", "json", "--needed", "--price", "2"]), "");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["format_version"], 1);
    assert_eq!((&document["gpus"], &document["model"]), (&2.into(), &"A100-80GB".into()));
    let planners = document["groups"][0]["planners"].as_array().expect("planners");
    assert_eq!(planners.iter().map(|it| it["name"].as_str()).collect::<Vec<_>>(), [Some("static"), Some("retile")]);
    for planner in planners {
        let runs = planner["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), 2);
        let mean =
            |name: &str| runs.iter().map(|it| it["figures"][name].as_f64().expect("a number")).sum::<f64>() / 2.0;
        for name in ["burst_share", "total_wait_mean_minutes", "stranded_memory_slice_hours"] {
            let told = planner["figures"][name]["mean"].as_f64().expect("a number");
            assert!((told - mean(name)).abs() < 1e-9, "{name}");
        }
        assert!(planner["cost_elsewhere"]["mean"].is_number());
    }
    assert!(planners[0]["gpus_needed"].as_u64().is_some_and(|gpus| gpus <= 2), "static is as good as itself");
}

#[test]
fn openb_is_shown_under_all_mappings_with_what_was_left_out() {
    let of = |more: &[&'static str]| {
        answer(
            &[
                &[
                    "--trace",
                    EXCERPT,
                    "--gpus",
                    "8xA100-80GB",
                    "--gpus-per-node",
                    "8",
                    "--planner",
                    "static",
                    "--instant",
                ],
                more,
            ]
            .concat(),
            "",
        )
    };
    let table = of(&[]);
    for mapping in ["M1", "M2", "M3", "M4"] {
        assert!(table.contains(&format!("openb under {mapping} (")), "{table}");
    }
    assert!(table.contains("left out: 5 pods without GPU, 6 with a GPU that were never scheduled"), "{table}");
    assert!(table.contains("running times from scheduling to deletion"));
    let one = of(&["--mapping", "m3", "--residence", "created"]);
    assert!(one.contains("under M3") && !one.contains("under M1") && one.contains("from creation to deletion"));
}

#[test]
fn a_trace_of_our_own_is_read_from_standard_input_and_cut_to_a_part() {
    let trace = "{\"format\":\"retile-trace\",\"version\":1}\n\
        {\"at_ms\":0,\"name\":\"a\",\"instances\":{\"7g.80gb\":1},\"runs_ms\":3600000}\n\
        {\"at_ms\":7200000,\"name\":\"b\",\"instances\":{\"1g.10gb\":2},\"runs_ms\":3600000}\n";
    let table =
        answer(&["--trace", "-", "--gpus", "1xA100-80GB", "--planner", "retile", "--skip", "1h", "--instant"], trace);
    assert!(table.contains("the trace on 1 x A100-80GB: 1 pod\n  1 pod outside the chosen part"), "{table}");
    let error = refused(&["--trace", "-", "--gpus", "1xA30-24GB"], trace);
    assert!(
        error.contains("`a` asks for `7g.80gb`, which A30-24GB does not have") && error.contains("1g.6gb"),
        "{error}"
    );
    let error = refused(&["--trace", "-"], "{\"format\":\"retile-trace\",\"version\":1}\n{\"at_ms\":1}\n");
    assert!(error.contains("standard input, line 2, field `name`"), "{error}");
    let error = refused(&["--trace", "-", "--skip", "9d"], trace);
    assert!(error.contains("no work arrives") && error.contains("--skip"), "{error}");
    let error = refused(&["--trace", "no/such/file"], "");
    assert!(error.contains("cannot read no/such/file"), "{error}");
}

const TRACE: &str = "{\"format\":\"retile-trace\",\"version\":1}\n\
    {\"at_ms\":0,\"name\":\"small\",\"instances\":{\"1g.10gb\":1},\"runs_ms\":3600000}\n\
    {\"at_ms\":0,\"name\":\"wide\",\"instances\":{\"7g.80gb\":2},\"runs_ms\":3600000}\n";

#[test]
fn pods_that_no_node_can_hold_are_told_once_and_are_in_no_figure() {
    let page = std::env::temp_dir().join(format!("retile-unheld-{}.html", std::process::id()));
    let page_text = page.to_str().expect("a path in UTF-8");
    let of = |more: &[&str]| {
        answer(&[&["--trace", "-", "--gpus", "2xA100-80GB", "--gpus-per-node", "1", "--instant"], more].concat(), TRACE)
    };
    let told = "left out: 1 pod that no node can hold: 2 x 7g.80gb (1 pod) needs 2 GPUs of one node, which has 1; their 16.0 \
                memory-slice-hours, 94.1 % of all that is asked for, are in no figure below; give one node so many with \
                --gpus-per-node 2";
    let table = of(&["--report", page_text]);
    assert_eq!(table.matches(told).count(), 1, "{table}");
    assert!(table.starts_with("the trace on 2 x A100-80GB: 1 pod\n") && !table.contains(" waiting  "), "{table}");
    let report = std::fs::read_to_string(&page).expect("the report was written");
    std::fs::remove_file(&page).expect("the report is there");
    assert_eq!(report.matches(told).count(), 1);
    let document: serde_json::Value = serde_json::from_str(&of(&["-o", "json"])).expect("JSON");
    let group = &document["groups"][0];
    let unheld = &group["unheld"];
    assert_eq!((&unheld["pods"], &unheld["memory_slice_hours"]), (&1.into(), &16.0.into()));
    let request = &unheld["requests"][0];
    assert_eq!((&request["instances"]["7g.80gb"], &request["gpus_of_one_node"]), (&2.into(), &2.into()));
    for planner in group["planners"].as_array().expect("planners") {
        let mean = |name: &str| planner["figures"][name]["mean"].as_f64().expect("a number");
        assert_eq!((mean("arrived"), mean("requested_memory_slice_hours")), (1.0, 1.0));
    }
    // What the remedy says holds all of it.
    let held = answer(
        &["--trace", "-", "--gpus", "2xA100-80GB", "--gpus-per-node", "2", "--instant", "--planner", "retile"],
        TRACE,
    );
    assert!(held.contains(": 2 pods\n") && !held.contains("left out"), "{held}");
}

#[test]
fn a_trace_of_which_no_node_holds_a_pod_is_refused_with_the_remedy() {
    let lines: Vec<&str> = TRACE.lines().collect();
    let wide = [lines[0], lines[2]].join("\n");
    let error = refused(&["--trace", "-", "--gpus", "1xA100-80GB"], &wide);
    assert!(error.contains("2 x 7g.80gb (1 pod) needs 2 GPUs of one node, which has 1"), "{error}");
    assert!(error.contains("--gpus 2xA100-80GB --gpus-per-node 2"), "{error}");
    let many = wide.replace("\"7g.80gb\":2", "\"7g.80gb\":17");
    let error = refused(&["--trace", "-", "--gpus", "32xA100-80GB"], &many);
    assert!(error.contains("needs 17 GPUs of one node, which has 4") && error.contains("larger model"), "{error}");
}

#[test]
fn pods_that_wait_for_ever_have_a_column_of_their_own() {
    // The fixed layouts have a place for the whole GPU's pod, and so none for the sixty-one small ones.
    let whole = r#"{"at_ms":0,"name":"whole","instances":{"7g.80gb":1},"runs_ms":1}"#;
    let header = TRACE.lines().next().expect("a header");
    let mut trace = format!("{header}\n{whole}\n");
    for index in 0..61 {
        let _ = writeln!(
            trace,
            "{{\"at_ms\":0,\"name\":\"s{index}\",\"instances\":{{\"1g.10gb\":1}},\"runs_ms\":3600000}}"
        );
    }
    let table = answer(&["--trace", "-", "--gpus", "1xA100-80GB", "--instant"], &trace);
    let first_cells = |of: &str, most: usize| -> Vec<&str> {
        let row = table.lines().find(|line| line.trim_start().starts_with(of)).expect("a row");
        row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).take(most).collect()
    };
    assert_eq!(first_cells("planner ", 4), ["planner", "elsewhere %", "served", "waiting"], "{table}");
    assert_eq!(first_cells("static ", 4), ["static", "0.00", "1", "61"], "{table}");
    assert_eq!(first_cells("retile ", 4), ["retile", "0.00", "62", "0"], "{table}");
    assert!(table.contains("  waiting      pods that still wait at the end"), "{table}");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_remedy() {
    let error = refused(&["--trace", "-"], "name,cpu_milli,memory_mib\na,1,2\n");
    assert!(error.contains("missing here: num_gpu, gpu_milli") && error.contains("line 1"), "{error}");
    let error = refused(&["--trace", "-"], "{\"format\":\"retile-trace\",\"version\":1}\n");
    assert!(error.contains("no work arrives") && !error.contains("--skip"), "{error}");
    let error = refused(&["--hours", "100000", "--seeds", "1000", "--load", "10"], "");
    assert!(error.contains("5000000 pods") && error.contains("fewer hours"), "{error}");
    for (gpus, word) in [
        ("8", "8xA100-80GB"),
        ("1000000000xA100-80GB", "100000"),
        ("8xA1000", "retile layouts"),
        ("1xrtx-pro-5000", "catalogue"),
    ] {
        let error = refused(&["--gpus", gpus], "");
        assert!(error.contains(word) && error.contains("--gpus"), "{error}");
    }
    for wrong in [
        &["--mapping", "m1"][..],
        &["--trace", "x", "--mix", "uniform"],
        &["--period", "0s"],
        &["--seeds", "0"],
        &["--load", "0"],
        &["--planner", "magic"],
        &["--compare", "--planner", "static"],
    ] {
        assert!(parsed(wrong).is_err(), "{wrong:?}");
    }
}

/// Asserts that every element that is opened is closed, in order.
fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        if tag.starts_with('!') {
            continue;
        }
        let name = tag.split([' ', '/', '\n']).find(|it| !it.is_empty()).expect("a tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "…<{tag}>");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn the_report_is_well_formed_and_needs_nothing_else() {
    let folder = std::env::temp_dir().join(format!("retile-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("report.html");
    let path_text = path.to_str().expect("a path in UTF-8");
    let arguments = [
        &small(&["--seeds", "2", "--price", "3.5", "--compare", "--needed", "-o", "json"])[..],
        &["--report", path_text],
    ]
    .concat();
    let document: serde_json::Value = serde_json::from_str(&answer(&arguments, "")).expect("JSON");
    let page = std::fs::read_to_string(&path).expect("the report was written");
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    well_formed(&page);
    for foreign in ["<script", "<link", "href=", "src=", "url(", "@import", "://", "NaN", "inf"] {
        assert!(!page.replace("information", "").contains(foreign), "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme:dark"));
    for planner in document["groups"][0]["planners"].as_array().expect("planners") {
        let name = planner["name"].as_str().expect("a name");
        let spread = |of: &serde_json::Value, times: f64, decimals: usize| {
            let number = |key: &str| of[key].as_f64().expect("a number") * times;
            format!("{:.decimals$} ± {:.decimals$}", number("mean"), number("deviation"))
        };
        let figures = &planner["figures"];
        let row = page.split("<tr>").find(|row| row.starts_with(&format!("<td>{name}</td>"))).expect("a row");
        let cells: Vec<&str> = row.split("</td>").filter_map(|cell| cell.strip_prefix("<td>")).collect();
        assert_eq!(cells[1], spread(&figures["burst_share"], 100.0, 2), "{name}");
        assert_eq!(cells[2], spread(&figures["served"], 1.0, 0), "{name}");
        assert_eq!(cells[3], spread(&figures["total_wait_mean_minutes"], 1.0, 1), "{name}");
        assert_eq!(
            cells[13],
            format!("{:.2}", planner["cost_elsewhere"]["mean"].as_f64().expect("a number")),
            "{name}"
        );
        assert_eq!(
            cells[14],
            planner["gpus_needed"].as_u64().map_or("too many".into(), |gpus| gpus.to_string()),
            "{name}"
        );
        // The bars say the same.
        assert!(page.contains(&format!(">{} %</text>", spread(&figures["burst_share"], 100.0, 2))), "{name}");
        assert!(
            page.contains(&format!(">{} min</text>", spread(&figures["total_wait_p95_minutes"], 1.0, 2))),
            "{name}"
        );
    }
    for text in [
        "GPUs under retile",
        "GPUs under static",
        "Work that went elsewhere",
        "Pods that wait",
        "GPUs needed",
        "Cost of the work",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let arguments = [&small(&[])[..], &["--report", "no/such/folder/report.html"]].concat();
    assert!(refused(&arguments, "").contains("cannot write no/such/folder/report.html"));
}
