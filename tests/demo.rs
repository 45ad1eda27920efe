//! `demo` and `savings` as people and scripts meet them.

use std::path::Path;

use assert_cmd::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("retile").expect("cargo builds the program for this test");
    let output =
        command.current_dir(root()).args(arguments).env_remove("NO_COLOR").output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().expect("the program ends by itself"), text(output.stdout), text(output.stderr))
}

#[allow(clippy::disallowed_methods, reason = "the one wish of a person who runs the tests")]
fn same_as_file(path: &str, text: &str) {
    let path = root().join(path);
    if std::env::var_os("RETILE_BLESS").is_some() {
        std::fs::write(&path, text).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, text, "after an intended change: RETILE_BLESS=1 cargo test --test demo");
}

#[test]
fn piped_it_is_plain_lines_and_the_same_bytes_for_the_same_seed() {
    let (status, text, notes) = run(&["demo", "--hours", "1", "--seed", "3"]);
    assert_eq!((status, notes.as_str()), (0, ""), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "no control codes");
    assert!(text.contains("is claimed for a change") && text.contains("GPUs not bought"), "{text}");
    assert_eq!(run(&["demo", "--hours", "1", "--seed", "3", "--speed", "max"]).1, text);
    assert_ne!(run(&["demo", "--hours", "1", "--seed", "4"]).1, text);
}

#[test]
fn the_story_is_also_a_history_for_savings() {
    let folder = std::env::temp_dir().join(format!("retile-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("history.jsonl");
    let path = file.to_str().expect("a path of text");
    let (status, demo, _) = run(&["demo", "--hours", "1", "--history", path]);
    assert_eq!(status, 0);
    let (status, text, notes) = run(&["savings", "-f", path, "-o", "json"]);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    assert_eq!(status, 0, "{notes}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let row = &report["models"][0]["counterfactuals"][1];
    let line = demo.lines().find(|line| line.contains("best fixed layouts in hindsight")).expect("a line");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers, [row["needed"].as_u64().expect("a count"), row["deferred"].as_u64().expect("a count")]);
}

#[test]
fn savings_are_a_table_and_refusals_say_where() {
    let history = "testdata/savings/three-hours.jsonl";
    let (status, text, _) = run(&["savings", "-f", history, "--prices", "testdata/savings/prices.yaml"]);
    assert_eq!(status, 0);
    same_as_file("tests/golden/savings.txt", &text);
    for (arguments, parts) in [
        (vec!["savings", "-f", "testdata/savings/prices.yaml"], vec!["at: testdata/savings/prices.yaml, line 1"]),
        (vec!["savings", "-f", history, "--prices", history], vec!["unknown field `format`", "line 1", "help: write"]),
        (vec!["demo", "--speed", "0"], vec!["such as 600, or `max`"]),
    ] {
        let (status, data, notes) = run(&arguments);
        assert_eq!((status, data.as_str()), (1, ""), "{notes}");
        for part in parts {
            assert!(notes.contains(part), "`{part}` is not in\n{notes}");
        }
    }
}
