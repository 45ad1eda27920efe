//! The JSON schema of the plan document, for programs that read plans.
//!
//! Output: JSON Schema (draft 2020-12), derived from the types in [`super::document`]; a copy is kept in
//! `docs/reference/plan.schema.json`.

use super::document::Plan;

/// The schema of [`Plan`] as pretty-printed JSON with a final newline.
pub fn schema() -> String {
    let schema = schemars::schema_for!(Plan);
    format!("{:#}\n", schema.as_value())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Set it to anything to write the file instead of comparing it.
    const BLESS: &str = "RETILE_BLESS";

    #[allow(clippy::disallowed_methods, reason = "the one who runs the tests asks for it, not the program")]
    fn blessed() -> bool {
        std::env::var_os(BLESS).is_some()
    }

    #[test]
    fn the_published_schema_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/plan.schema.json");
        if blessed() {
            std::fs::create_dir_all(path.parent().expect("the path has a folder")).expect("the tree can be written to");
            std::fs::write(&path, schema()).expect("the tree can be written to");
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            published,
            schema(),
            "docs/reference/plan.schema.json is out of date; `{BLESS}=1 cargo test --lib schema` writes it again"
        );
    }

    #[test]
    fn unknown_fields_are_refused_at_every_depth() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).expect("JSON");
        let closed = |object: &serde_json::Value| object["additionalProperties"] == serde_json::Value::Bool(false);
        assert!(closed(&schema));
        let objects = schema["$defs"].as_object().expect("definitions");
        for (name, object) in objects.iter().filter(|(_, object)| object["type"] == "object") {
            assert!(closed(object), "{name} takes fields that no reader knows");
        }
        assert!(objects.contains_key("Step") && objects.contains_key("GpuChange"));
    }
}
