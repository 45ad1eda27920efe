//! Which policy is in force.
//!
//! The only one there is, or the one named `default`; without any, what holds where nobody has written one (observe only). Where it cannot be
//! read, or it is unclear which counts, the last good one stays, and the fault is told until it is mended.

use std::sync::Arc;

use super::slim::{Kind, PolicyText};
use crate::kube::policy::{PolicyDocument, PolicyError, parse_policy_document};
use crate::kube::stream::BadObject;

/// Name of the policy that counts among several.
const DEFAULT: &str = "default";

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PolicyInForce {
    /// What it says.
    pub document: Arc<PolicyDocument>,
    /// Name of its object; none where nobody has written one.
    pub name: Option<String>,
    /// Why what is written now is not in force.
    pub fault: Option<String>,
}

impl PolicyInForce {
    /// The policy in force where these are the only ones there are and have ever been.
    pub fn of(policies: &[serde_json::Value]) -> Self {
        let (mut good, mut bad) = (Vec::new(), None);
        for policy in policies {
            match serde_json::from_str::<PolicyText>(&policy.to_string()) {
                Ok(text) => good.push(Arc::new(text)),
                Err(error) => {
                    let name = policy.pointer("/metadata/name").and_then(serde_json::Value::as_str);
                    bad = Some(BadObject {
                        kind: PolicyText::KIND.to_owned(),
                        namespace: String::new(),
                        name: name.unwrap_or_default().to_owned(),
                        node: String::new(),
                        message: error.to_string(),
                    });
                }
            }
        }
        let mut keeper = Keeper::default();
        let _ = keeper.take(good.iter(), bad.as_ref());
        keeper.in_force()
    }
}

/// Keeps the last good policy.
#[derive(Debug, Default)]
pub(super) struct Keeper(PolicyInForce);

impl Keeper {
    /// The policy in force.
    pub(super) fn in_force(&self) -> PolicyInForce {
        self.0.clone()
    }

    /// Reads the policies anew; tells a fault that is new.
    pub(super) fn take<'a>(
        &mut self,
        policies: impl Iterator<Item = &'a Arc<PolicyText>>,
        bad: Option<&BadObject>,
    ) -> Option<String> {
        match choose(&policies.collect::<Vec<_>>(), bad) {
            Ok(chosen) => {
                let (name, document) = chosen.map_or_else(Default::default, |(name, document)| (Some(name), document));
                self.0 = PolicyInForce { document: Arc::new(document), name, fault: None };
                None
            }
            Err(fault) => {
                let new = self.0.fault.as_ref() != Some(&fault);
                self.0.fault = Some(fault.clone());
                new.then_some(fault)
            }
        }
    }
}

type Chosen = Option<(String, PolicyDocument)>;

fn choose(policies: &[&Arc<PolicyText>], bad: Option<&BadObject>) -> Result<Chosen, String> {
    if let Some(bad) = bad {
        return Err(format!("MigPolicy {}: {}", bad.name, bad.message));
    }
    let policy = match policies {
        [] => return Ok(None),
        [only] => only,
        several => several.iter().find(|policy| policy.meta().name == DEFAULT).ok_or_else(|| {
            format!("there are {} MigPolicies and none is named `{DEFAULT}`; keep one, or name it so", several.len())
        })?,
    };
    let name = policy.meta().name.clone();
    let read = parse_policy_document(&policy.text);
    // The text is one line of JSON: a place in it helps nobody.
    let document = read.map_err(|error| format!("MigPolicy {name}: {}", PolicyError { place: None, ..error }))?;
    Ok(Some((name, document)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;

    fn policy(name: &str, mode: &str) -> Arc<PolicyText> {
        let text = format!(
            r#"{{"apiVersion":"retile.dev/v1alpha1","kind":"MigPolicy","metadata":{{"name":"{name}"}},"spec":{{"mode":"{mode}"}}}}"#
        );
        Arc::new(serde_json::from_str(&text).expect("a policy"))
    }

    #[test]
    fn the_last_good_one_stays_until_the_fault_is_mended() {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.in_force().document.policy.mode, Mode::Observe);
        assert_eq!(keeper.take([policy("a", "Act")].iter(), None), None);
        let bad = [policy("a", "Acts")];
        assert!(keeper.take(bad.iter(), None).is_some_and(|fault| fault.contains("MigPolicy a")));
        assert_eq!(keeper.take(bad.iter(), None), None, "told once");
        let kept = keeper.in_force();
        assert_eq!((kept.document.policy.mode, kept.fault.is_some()), (Mode::Act, true));
        assert_eq!(keeper.take([policy("a", "Recommend")].iter(), None), None);
        assert_eq!((keeper.in_force().document.policy.mode, keeper.in_force().fault), (Mode::Recommend, None));
        assert_eq!(keeper.take([].iter(), None), None);
        assert_eq!(keeper.in_force(), PolicyInForce::default());
    }

    #[test]
    fn of_several_the_default_counts() {
        let mut keeper = Keeper::default();
        assert!(keeper.take([policy("a", "Act"), policy("b", "Act")].iter(), None).is_some());
        assert_eq!(keeper.take([policy("a", "Act"), policy("default", "Recommend")].iter(), None), None);
        assert_eq!(keeper.in_force().name.as_deref(), Some("default"));
    }
}
