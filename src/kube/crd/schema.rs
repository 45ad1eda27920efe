//! The definitions of the custom resources as they are installed.

use kube::CustomResourceExt;
use serde_json::Value;

use super::{MigNode, MigPlan, MigPolicy};

/// A `CustomResourceDefinition`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name of the file that it is kept in: the plural with the ending `.yaml`.
    pub file: String,
    /// YAML.
    pub yaml: String,
}

/// All definitions, ordered by name.
///
/// # Errors
/// Never for the types of this module; the format's writer can refuse in principle.
pub fn definitions() -> Result<Vec<Definition>, String> {
    [MigNode::crd(), MigPlan::crd(), MigPolicy::crd()]
        .into_iter()
        .map(|definition| {
            let file = format!("{}.yaml", definition.spec.names.plural);
            let mut json = serde_json::to_value(&definition).map_err(|error| error.to_string())?;
            tidy(&mut json);
            let yaml = serde_saphyr::to_string(&json).map_err(|error| error.to_string())?;
            Ok(Definition { file, yaml })
        })
        .collect()
}

/// Takes out formats that the API server does not know and would warn about, and writes whole bounds as whole numbers.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                members.remove("format");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0) {
                *value = Value::from(whole as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
