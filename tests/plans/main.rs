//! Committed plans: the valid ones pass verification, each invalid one is rejected for exactly its own reason.
//!
//! The plans lie in `testdata/plans/{valid,invalid}`; `RETILE_BLESS=1 cargo test --test plans` writes them again from
//! [`cases`] after a change of the format or the fingerprint. Look at the difference before committing it.
#![allow(unreachable_pub, reason = "modules of a test binary, not a crate of its own")]

#[path = "../support/boards.rs"]
#[allow(dead_code, reason = "shared with other test binaries, which use all of it")]
mod boards;
mod cases;
mod document;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use retile::plan::{Plan, from_json, load, to_json, verify};

const BLESS: &str = "RETILE_BLESS";

#[allow(clippy::disallowed_methods, reason = "the one who runs the tests asks for it, not the program")]
fn blessed() -> bool {
    std::env::var_os(BLESS).is_some()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/plans").join(name)
}

/// The committed text of a case, after writing it when asked to.
fn committed(folder: &Path, name: &str, plan: &Plan) -> String {
    let path = folder.join(format!("{name}.json"));
    if blessed() {
        fs::create_dir_all(folder).expect("the tree can be written to");
        fs::write(&path, to_json(plan).expect("plans are plain data")).expect("the tree can be written to");
    }
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; `{BLESS}=1 cargo test --test plans` writes it", path.display()))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("the folder is there");
    files.map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn valid_plans_are_accepted() {
    let cases = cases::valid();
    for case in &cases {
        let text = committed(&folder("valid"), case.name, &case.plan);
        let plan = from_json(&text, case.name).expect("a plan");
        assert!(plan == case.plan, "{}: the file differs from the case; {BLESS}=1 writes it again", case.name);
        if let Err(rejection) = verify(plan, &case.input) {
            panic!("{}: {rejection}", case.name);
        }
    }
    let expected: BTreeSet<String> = cases.iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(names(&folder("valid")), expected);
}

#[test]
fn invalid_plans_are_rejected_each_for_its_own_reason() {
    let cases = cases::invalid();
    let mut wrong = Vec::new();
    for case in &cases {
        let text = committed(&folder("invalid"), case.name, &case.plan);
        let plan: Plan = serde_json::from_str(&text).expect("a plan in form");
        assert!(plan == case.plan, "{}: the file differs from the case; {BLESS}=1 writes it again", case.name);
        match verify(plan, &case.input) {
            Ok(_) => wrong.push(format!("{}: accepted", case.name)),
            Err(rejection) if rejection.violations.len() != 1 => wrong.push(format!("{}: {rejection}", case.name)),
            Err(rejection) if !(case.reason)(&rejection.violations[0]) => {
                wrong.push(format!("{}: another reason, {:?}", case.name, rejection.violations[0]));
            }
            Err(rejection) => {
                let said = rejection.to_string();
                assert!(said.contains(case.says), "{}: `{}` is not said in: {said}", case.name, case.says);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected: BTreeSet<String> = cases.iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(expected.len(), cases.len(), "two cases of one name");
    assert_eq!(names(&folder("invalid")), expected);
}

#[test]
fn every_rule_has_a_plan_that_breaks_it() {
    let rules: BTreeSet<String> = cases::invalid()
        .into_iter()
        .filter_map(|case| verify(case.plan, &case.input).err())
        .map(|rejection| format!("{:?}", rejection.violations[0]).split([' ', '{']).next().unwrap_or("").to_owned())
        .collect();
    let source = include_str!("../../src/plan/verify/violation.rs");
    let declared: BTreeSet<String> = source
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" },").or(line.trim_end().strip_suffix(" {")))
        .filter(|line| line.trim().starts_with(char::is_uppercase))
        .map(|line| line.trim().split(' ').next().unwrap_or("").to_owned())
        .collect();
    assert!(declared.len() > 40, "the list of rules was not found in the source: {declared:?}");
    assert_eq!(rules, declared);
}

#[test]
fn an_unknown_version_is_refused_on_reading() {
    let error = load(&folder("invalid").join("format-version.json")).expect_err("the version is unknown");
    assert!(error.to_string().contains("format_version is 2, this program reads 1"), "{error}");
}
