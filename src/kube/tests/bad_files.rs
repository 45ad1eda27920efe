//! The files part of the bad-input catalogue: one clear error with the place and the remedy.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::*;

fn error(bytes: &[u8]) -> String {
    match read_bytes(bytes, &ReadOptions::default()) {
        Ok(_) => panic!("{} was read", String::from_utf8_lossy(&bytes[..bytes.len().min(80)])),
        Err(error) => error.to_string(),
    }
}

#[test]
fn truncated_json_names_the_place() {
    let text = serde_json::to_string_pretty(&list([node("n", 1), waiting("p")])).expect("JSON");
    for cut in [text.len() / 4, text.len() / 2, text.len() - 1] {
        let message = error(&text.as_bytes()[..cut]);
        assert!(message.contains("line ") && message.contains("cut off"), "{message}");
    }
}

#[test]
fn broken_json_names_the_place() {
    let message = error(b"\n\n{\"kind\": \"List\",\n \"items\": [}");
    assert!(message.contains("line 4, column"), "{message}");
}

#[test]
fn empty_and_foreign_files_say_what_to_do() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b" \n\t ", "empty"),
        (b"\xEF\xBB\xBF", "empty"),
        (b"\x1F\x8B\x08\x00....", "gunzip"),
        (b"\xFF\xFEk\x00i\x00", "UTF-16"),
        (b"PK\x03\x04....", "zip"),
        (b"\x7FELF\x02\x01", "binary"),
        (b"\x00\x01\x02\x03", "binary"),
        (b"hello world", "object"),
        (b"- 1\n- 2\n", "no Node"),
        (b"[]", "no Node"),
        (b"[1, \"x\", null]", "no Node"),
        (b"{}", "kind"),
        (b"{\"format_version\": 1, \"nodes\": []}", "kind"),
        (b"{\"kind\": \"List\", \"items\": 7}", "items"),
        (b"kind: List\nitems: []\n", "kubectl get nodes,pods"),
        (b"{\"kind\":\"Config\",\"apiVersion\":\"v1\",\"users\":[]}", "1 Config"),
        (b"kind: List\n\titems: []\n", "found a tab"),
        (b"a: b: c\n", "line 1"),
        (b"\"kind", ""),
    ] {
        let message = error(bytes);
        assert!(message.contains(word), "{:?}: {message}", String::from_utf8_lossy(bytes));
        assert!(message.starts_with("export"), "{message}");
    }
}

#[test]
fn pods_alone_are_no_export() {
    let message = error(list([waiting("p")]).to_string().as_bytes());
    assert!(message.contains("it holds 1 Pod"), "{message}");
}

#[test]
fn yaml_bombs_are_refused_quickly() {
    let mut bomb = String::from("kind: List\na: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, before) in "bcdefghijklmnop".chars().zip("abcdefghijklmno".chars()) {
        let aliases = vec![format!("*{before}"); 9].join(",");
        let _ = writeln!(bomb, "{name}: &{name} [{aliases}]");
    }
    error(bomb.as_bytes());
    error("[".repeat(100_000).as_bytes());
    error(format!("- {}", "[".repeat(100_000)).as_bytes());
    error(format!("{{\"a\":{}", "{\"a\":".repeat(100_000)).as_bytes());
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for length in 0..200 {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        error(&bytes);
    }
}

#[test]
fn paths_that_are_no_files_are_named() {
    let of = |path: &str| read(Source::File(Path::new(path)), &ReadOptions::default()).expect_err(path).to_string();
    let directory = of(env!("CARGO_MANIFEST_DIR"));
    assert!(directory.contains("is a directory"), "{directory}");
    let missing = of("no/such/file.json");
    assert!(missing.contains("no/such/file.json") && missing.contains('-'), "{missing}");
}

#[test]
fn every_layout_of_objects_is_read() {
    let (n, p) = (node("n", 1), waiting("p"));
    let pods = {
        let mut bare = p.clone();
        bare.as_object_mut().expect("an object").retain(|key, _| key != "kind" && key != "apiVersion");
        bare
    };
    let yaml = |value: &Value| serde_saphyr::to_string(value).expect("YAML");
    let nested = list([list([n.clone()]), json!({"kind": "PodList", "apiVersion": "v1", "items": [pods.clone()]})]);
    for text in [
        list([n.clone(), p.clone()]).to_string(),
        json!([n, p]).to_string(),
        format!("{}{}", list([n.clone()]), list([p.clone()])),
        format!("{n}\n{p}\n"),
        format!("\u{FEFF}{n}{p}"),
        json!({"items": [n, p], "kind": "List"}).to_string(),
        nested.to_string(),
        format!("{n}{}", json!({"apiVersion": "v1", "items": [pods], "kind": "PodList", "metadata": {}})),
        yaml(&list([n.clone(), p.clone()])),
        format!("---\n{}---\n{}", yaml(&n), yaml(&p)),
        format!("# exported\n---\n{}---\n---\n{}...\n", yaml(&list([n.clone()])), yaml(&list([p.clone()]))),
        yaml(&json!([n, p])),
    ] {
        let input =
            read_bytes(text.as_bytes(), &ReadOptions::default()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert!(is_pending(&input, "p"), "{text}");
        assert_eq!(input.gpus().len(), 1);
    }
}

#[test]
fn a_bad_policy_stops_everything() {
    let export = list([node("n", 1)]).to_string();
    let options = ReadOptions {
        policy: Some(PolicyFile {
            name: "policy.yaml".to_owned(),
            text: "kind: MigPolicy\nspec: {mood: Act}".to_owned(),
        }),
        ..ReadOptions::default()
    };
    let message = read_bytes(export.as_bytes(), &options).expect_err("a bad policy").to_string();
    assert!(message.starts_with("policy.yaml: line 2") && message.contains("mood"), "{message}");
    let exported = json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": "default"},
                          "spec": {"budgets": {"nodes": "150%"}}});
    let message = error(list([node("n", 1), exported]).to_string().as_bytes());
    assert!(message.contains("MigPolicy default") && message.contains("budgets.nodes"), "{message}");
}

#[test]
fn policies_of_the_export_count_unless_one_is_given() {
    let policy = |name: &str, level: &str| {
        json!({"apiVersion": "retile.dev/v1alpha1", "kind": "MigPolicy", "metadata": {"name": name},
               "spec": {"disruption": {"level": level}}})
    };
    let exported = input([node("n", 1), policy("only", "Aggressive")]);
    assert!(exported.policy_given());
    assert_eq!(exported.policy().disruption, crate::model::DisruptionLevel::Aggressive);
    let given = under_policy([node("n", 1), policy("only", "Aggressive")], "{disruption: {level: Balanced}}");
    assert_eq!(given.policy().disruption, crate::model::DisruptionLevel::Balanced);
    let two = [node("n", 1), policy("default", "Balanced"), policy("other", "Aggressive")];
    let two = input(two);
    assert_eq!(two.policy().disruption, crate::model::DisruptionLevel::Balanced);
    assert!(finding(&two, "MigPolicy default").contains("the other 1"));
    let unclear = list([node("n", 1), policy("a", "Balanced"), policy("b", "Aggressive")]).to_string();
    assert!(error(unclear.as_bytes()).contains("--policy"));
    let level = ReadOptions { disruption: Some(crate::model::DisruptionLevel::IdleOnly), ..ReadOptions::default() };
    let overridden = read_bytes(list([node("n", 1)]).to_string().as_bytes(), &level).expect("an export");
    assert!(!overridden.policy_given());
    assert_eq!(overridden.policy().disruption, crate::model::DisruptionLevel::IdleOnly);
}

#[test]
fn what_an_export_does_not_show_is_said() {
    let input = input([node("n", 1), waiting("p")]);
    assert!(finding(&input, "Export").contains("PodDisruptionBudget"));
    let without_pods = super::input([node("n", 1)]);
    assert_eq!(occupancy(&without_pods), (0, 0, 7), "nobody knows who holds what");
}

#[test]
fn now_is_the_newest_moment_unless_given() {
    let mut later = waiting("p");
    later["metadata"]["managedFields"] = json!([{"time": "2026-01-01T00:02:00Z", "fieldsV1": {"f:spec": {}}}]);
    let items = [node("n", 1), later];
    assert_eq!(input(items.clone()).now(), crate::kube::time::parse_moment("2026-01-01T00:02:00Z").expect("a moment"));
    let options = ReadOptions { now: Some(7), ..ReadOptions::default() };
    assert_eq!(read_bytes(list(items).to_string().as_bytes(), &options).expect("an export").now(), 7);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = read_bytes(&bytes, &ReadOptions::default());
    }

    #[test]
    fn any_change_of_one_byte_is_survived(at in 0_usize..2000, byte in proptest::num::u8::ANY) {
        let mut bytes = list([node("n", 1), waiting("p"), running("r", "n")]).to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = read_bytes(&bytes, &ReadOptions::default());
    }
}
