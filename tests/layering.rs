//! The layers hold: every module uses only what lies below it, only the command line prints, and the core depends on no clock, no
//! environment, no chance and no hashing order.
//!
//! Reads the source text: each `crate::…`, `super::…` and dependency path of production code, test modules left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module of the library; modules of the library, and external crates, that it may use.
type Layer = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Lower modules first.
const LAYERS: &[Layer] = &[
    ("model", &[], &["serde", "serde_json", "schemars", "thiserror"]),
    ("plan", &["model"], &["serde", "serde_json", "schemars", "thiserror", "petgraph", "sha2"]),
    ("planner", &["model", "plan"], &["retile_solver", "thiserror", "petgraph"]),
    ("savings", &["model", "plan", "planner"], &["serde", "serde_json", "thiserror"]),
    ("exec", &["model", "plan"], &["serde", "serde_json", "thiserror"]),
    (
        "telemetry",
        &["model", "plan"],
        &[
            "axum",
            "hyper",
            "hyper_util",
            "prometheus_client",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio_rustls",
            "tracing",
            "tracing_subscriber",
        ],
    ),
    ("nvml", &["model", "plan", "exec"], &["nvml_wrapper", "nvml_wrapper_sys", "serde", "thiserror"]),
    ("podresources", &[], &["hyper_util", "prost", "thiserror", "tokio", "tonic", "tonic_prost", "tower"]),
    ("occupancy", &["model", "exec", "nvml", "podresources"], &[]),
    (
        "host",
        &["model", "plan", "exec", "nvml", "podresources", "occupancy"],
        &["serde", "serde_json", "thiserror", "tokio", "tracing"],
    ),
    ("controller", &["model", "plan", "planner", "exec", "savings"], &["serde", "thiserror"]),
    (
        "kube",
        &["model", "plan", "exec", "telemetry"],
        &[
            "futures",
            "http",
            "jiff",
            "k8s_openapi",
            "kube",
            "schemars",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "serde_saphyr",
            "sha2",
            "thiserror",
            "tokio",
            "tower",
            "tracing",
        ],
    ),
    ("agent", &["model", "plan", "exec"], &["serde", "thiserror"]),
    (
        "sim",
        &["model", "plan", "exec", "controller", "savings"],
        &["csv", "rand", "rand_distr", "rand_pcg", "serde", "serde_json", "thiserror"],
    ),
    (
        "cli",
        &[
            "model",
            "plan",
            "planner",
            "savings",
            "exec",
            "controller",
            "sim",
            "kube",
            "nvml",
            "podresources",
            "occupancy",
            "host",
        ],
        &[
            "anstream",
            "anstyle",
            "clap",
            "clap_complete",
            "crossterm",
            "indicatif",
            "jiff",
            "retile_solver",
            "serde",
            "serde_json",
            "serde_saphyr",
            "strsim",
            "thiserror",
            "tokio",
        ],
    ),
];
/// Where a loop meets its adapters (`run.rs`, or a folder `run`): what such files may use beside what their module may.
const WIRING: &[Layer] = &[
    ("controller", &["kube", "telemetry"], &["anyhow", "clap", "futures", "jiff", "serde_json", "tokio", "tracing"]),
    (
        "agent",
        &["host", "kube", "nvml", "occupancy", "podresources", "telemetry"],
        &["anyhow", "clap", "futures", "jiff", "tokio", "tracing"],
    ),
];
/// What the solver, which knows neither GPUs nor Kubernetes, may use.
const SOLVER: &[&str] = &["good_lp", "microlp", "petgraph", "thiserror"];
/// Modules whose result depends on their arguments alone.
const CORE: [&str; 7] = ["model", "plan", "planner", "solver", "savings", "exec", "controller"];
/// What such modules may not name.
const UNSTEADY: [&str; 9] = [
    "HashMap",
    "HashSet",
    "RandomState",
    "SystemTime",
    "Instant",
    "std::env",
    "thread_rng",
    "rand::",
    "Timestamp::now",
];
const PRINTING: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The source files of production code.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the source folder can be read") {
            let path = entry.expect("the source folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    // Files that only tests compile: `tests.rs`, `…_tests.rs`, and what lies in a folder `tests`.
    files.retain(|path| {
        let inside = path.strip_prefix(root()).expect("found there").with_extension("");
        let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        !(name.ends_with("_tests") || inside.iter().any(|part| part == "tests"))
    });
    files.sort();
    files
}

/// Production code without comments, strings and test modules.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let found = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                found
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            code.push(c);
            c.len_utf8()
        };
        rest = &rest[skip..];
    }
    without_tests(&code)
}

/// Code without the items that only tests see.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept += &rest[..at];
        let item = &rest[at..];
        let Some(open) = item.find([';', '{']) else { return kept };
        let mut depth = 0_usize;
        let end = item[open..].find(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        });
        rest = end.map_or("", |end| &item[open + end + 1..]);
    }
    kept + rest
}

/// The first names behind `prefix`, which is a path such as `crate::`: one, or those of a group in braces.
fn names_behind(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
            continue;
        }
        let behind = &code[at + prefix.len()..];
        let identifier =
            |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
        if behind.starts_with('{') {
            let mut depth = 0;
            let mut fresh = false;
            for (position, c) in behind.char_indices() {
                match c {
                    '{' => (depth, fresh) = (depth + 1, depth == 0),
                    '}' => depth -= 1,
                    ',' => fresh = depth == 1,
                    c if fresh && !c.is_whitespace() => {
                        names.insert(identifier(&behind[position..]));
                        fresh = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            names.insert(identifier(behind));
        }
    }
    names.remove("");
    names
}

/// Modules of the library that a file names, by `crate::` or by enough `super::` to reach the root.
fn modules_named(code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = names_behind(code, "crate::");
    // At depth n (the root is 0) a path needs n `super::` to reach the root; inline modules may need more.
    for supers in depth..depth + 3 {
        if supers > 0 {
            let found = names_behind(code, &"super::".repeat(supers));
            names.extend(found.into_iter().filter(|name| LAYERS.iter().any(|(module, ..)| module == name)));
        }
    }
    names
}

fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(manifest).expect("the manifest can be read");
    let section = text.split("\n[dependencies]\n").nth(1).expect("the manifest has dependencies");
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split(['=', '.']).next())
        .map(|name| name.trim().replace('-', "_"))
        .filter(|name| !name.is_empty())
        .collect()
}

fn crates_named(code: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let names = |prefix: &str| !names_behind(code, prefix).is_empty();
    known.iter().filter(|name| names(&format!("{name}::")) || names(&format!("::{name}::"))).cloned().collect()
}

/// Files of the library by top module, with the depth of the module that each file is.
fn library() -> Vec<(PathBuf, String, usize)> {
    let source = root().join("src");
    rust_files(&source)
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&source).expect("found there").with_extension("");
            let parts: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if parts == ["lib"] || parts[0] == "bin" {
                return None;
            }
            let depth = parts.len() - usize::from(parts.last().is_some_and(|name| name == "mod"));
            Some((path.clone(), parts[0].clone(), depth))
        })
        .collect()
}

/// Whether a file wires a loop to its adapters.
fn is_wiring(path: &Path) -> bool {
    path.with_extension("").iter().any(|part| part == "run")
}

#[test]
fn every_module_uses_only_what_lies_below_it() {
    let layers: BTreeMap<&str, (&[&str], &[&str])> =
        LAYERS.iter().map(|&(name, modules, crates)| (name, (modules, crates))).collect();
    let none: (&[&str], &[&str]) = (&[], &[]);
    let known = dependencies(&root().join("Cargo.toml"));
    assert!(known.contains("retile_solver"), "{known:?}");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, module, depth) in library() {
        let code = code_of(&std::fs::read_to_string(&path).expect("found there"));
        let (modules, crates) =
            layers.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no place in the layers"));
        seen.insert(module.clone());
        let wiring = WIRING.iter().find(|(name, ..)| *name == module && is_wiring(&path));
        let (more_modules, more_crates) = wiring.map_or(none, |&(_, modules, crates)| (modules, crates));
        let may = |allowed: &[&str], more: &[&str], name: &str| allowed.contains(&name) || more.contains(&name);
        for name in modules_named(&code, depth) {
            if name != module && !may(modules, more_modules, &name) {
                wrong.push(format!("{}: `{module}` may not use `crate::{name}`", path.display()));
            }
        }
        for name in crates_named(&code, &known) {
            if !may(crates, more_crates, &name) {
                wrong.push(format!("{}: `{module}` may not use the crate `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen.contains("model") && seen.contains("cli"), "{seen:?}");
}

#[test]
fn the_solver_knows_neither_gpus_nor_kubernetes() {
    let known = dependencies(&root().join("Cargo.toml"));
    let allowed: BTreeSet<&str> = SOLVER.iter().copied().collect();
    let declared = dependencies(&root().join("solver/Cargo.toml"));
    assert!(declared.iter().all(|name| allowed.contains(name.as_str())), "{declared:?}");
    for path in rust_files(&root().join("solver/src")) {
        let code = code_of(&std::fs::read_to_string(&path).expect("found there"));
        let named = crates_named(&code, &known);
        assert!(named.iter().all(|name| allowed.contains(name.as_str())), "{}: {named:?}", path.display());
        assert!(names_behind(&code, "retile::").is_empty(), "{}: the solver may not use retile", path.display());
        for word in ["nvidia", "kubernetes", "gpu_"] {
            assert!(!code.to_lowercase().contains(word), "{}: the solver speaks of {word}", path.display());
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for path in rust_files(&root().join("src")).into_iter().chain(rust_files(&root().join("solver/src"))) {
        let inside = path.strip_prefix(root()).expect("found there");
        if inside.starts_with("src/cli") || inside.starts_with("src/bin") {
            continue;
        }
        let code = code_of(&std::fs::read_to_string(&path).expect("found there"));
        for word in PRINTING {
            let found = code
                .match_indices(word)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            assert!(!found, "{} uses {word}", inside.display());
        }
    }
}

#[test]
fn the_core_depends_on_its_arguments_alone() {
    for folder in CORE {
        let path = if folder == "solver" { root().join("solver/src") } else { root().join("src").join(folder) };
        for path in rust_files(&path).into_iter().filter(|path| !is_wiring(path)) {
            let code = code_of(&std::fs::read_to_string(&path).expect("found there"));
            for word in UNSTEADY {
                let found = code
                    .match_indices(word)
                    .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
                assert!(!found, "{} uses {word}", path.display());
            }
        }
    }
}

/// The only file with unsafe code; each use of it says why it is sound.
const UNSAFE: &str = "src/nvml/raw.rs";

#[test]
fn unsafe_code_is_in_one_file_and_argued_for() {
    let mut files = rust_files(&root().join("src"));
    files.extend(rust_files(&root().join("solver/src")));
    let mut seen = false;
    for path in files {
        let inside = path.strip_prefix(root()).expect("found there");
        let text = std::fs::read_to_string(&path).expect("found there");
        let code = code_of(&text);
        let uses = whole_words(&code, "unsafe");
        if inside == Path::new(UNSAFE) {
            seen = uses > 0;
            let argued = text.matches("// SAFETY: ").count();
            assert_eq!(uses, argued, "{UNSAFE}: each use of unsafe code has its argument");
            continue;
        }
        assert_eq!(uses, 0, "{}: unsafe code belongs in {UNSAFE}", inside.display());
        let allows = whole_words(&code, "unsafe_code");
        let declares = usize::from(inside == Path::new("src/nvml/mod.rs"));
        assert_eq!(allows, declares, "{}: unsafe code is allowed in {UNSAFE} only", inside.display());
    }
    assert!(seen, "{UNSAFE} has none, so the rule can be stricter");
    for manifest in ["Cargo.toml", "solver/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).expect("the manifest can be read");
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest} does not have the lints of the workspace");
    }
}

/// How often a word stands alone.
fn whole_words(code: &str, word: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |at: usize| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part);
    code.match_indices(word).filter(|&(at, _)| alone(at)).count()
}

/// The scanner itself: what it would overlook, the tests above would not forbid.
#[test]
fn the_scanner_sees_each_way_to_name_a_module() {
    let code = code_of(
        r#"
        use crate::{model::Gpu, kube::{a, b}, plan};
        fn f() { crate::planner::plan(); super::super::cli::main(); ::csv::read(); other_crate::solver::x(); mycrate::y(); }
        // crate::comment
        const S: &str = "crate::string \" crate::still_string"; const C: char = '"';
        use serde_json::Value;
        #[cfg(test)]
        mod tests { use crate::in_tests; fn f() { crate::in_tests::g() } }
        #[cfg(test)]
        mod more_tests;
        fn after_tests() { crate::sim::run() }
        "#,
    );
    let expected = ["cli", "kube", "model", "plan", "planner", "sim"].map(String::from);
    assert_eq!(modules_named(&code, 2), BTreeSet::from(expected));
    let known = ["csv", "serde", "serde_json"].map(String::from);
    let named = crates_named(&code, &BTreeSet::from(known));
    assert_eq!(named, BTreeSet::from(["csv", "serde_json"].map(String::from)));
}
