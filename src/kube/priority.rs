//! Priorities of pods: what the pod says, else its class, else the cluster's default.

use std::collections::BTreeMap;

use super::objects::{Pod, PriorityClass};

/// The highest priority that users may set; only the system's own pods may have more.
const USER_CEILING: i64 = 1_000_000_000;

/// A pod's priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) value: i32,
    /// Whether pods of lower priority may give way to it.
    pub(crate) preempts: bool,
    /// Whether the pod claims more than it may have.
    pub(crate) lowered: bool,
}

/// Priority classes by name.
pub(crate) struct Priorities<'a> {
    classes: BTreeMap<&'a str, &'a PriorityClass>,
    default: Option<&'a PriorityClass>,
}

impl<'a> Priorities<'a> {
    pub(crate) fn new(classes: &'a [PriorityClass]) -> Self {
        let by_name = classes.iter().map(|class| (class.metadata.name.as_str(), class)).collect();
        // Of several defaults the API server takes the lowest.
        let default = classes.iter().filter(|class| class.global_default).min_by_key(|class| class.value);
        Self { classes: by_name, default }
    }

    /// Priority of a pod.
    pub(crate) fn of(&self, pod: &Pod) -> Priority {
        let spec = &pod.spec;
        let class = if spec.priority_class_name.is_empty() {
            self.default
        } else {
            self.classes.get(spec.priority_class_name.as_str()).copied()
        };
        let claimed = spec.priority.or(class.map(|class| class.value)).unwrap_or(0);
        let ceiling = if pod.metadata.namespace == "kube-system" { i64::from(i32::MAX) } else { USER_CEILING };
        let value = claimed.clamp(i64::from(i32::MIN), ceiling);
        let policy = match spec.preemption_policy.as_str() {
            "" => class.map_or("", |class| class.preemption_policy.as_str()),
            policy => policy,
        };
        Priority { value: value as i32, preempts: policy != "Never", lowered: claimed > ceiling }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_wins_over_its_class_and_the_ceiling_over_both() {
        let classes: Vec<PriorityClass> = serde_json::from_str(
            r#"[{"metadata":{"name":"low"},"value":-5,"preemptionPolicy":"Never"},
                {"metadata":{"name":"base"},"value":7,"globalDefault":true}]"#,
        )
        .expect("classes");
        let priorities = Priorities::new(&classes);
        let of = |meta: &str, spec: &str| {
            let pod = serde_json::from_str(&format!(r#"{{"metadata":{meta},"spec":{spec}}}"#)).expect("a pod");
            let Priority { value, preempts, lowered } = priorities.of(&pod);
            (value, preempts, lowered)
        };
        assert_eq!(of("{}", r#"{"priority":3}"#), (3, true, false));
        assert_eq!(of("{}", r#"{"priorityClassName":"low"}"#), (-5, false, false));
        assert_eq!(
            of("{}", r#"{"priorityClassName":"low","preemptionPolicy":"PreemptLowerPriority"}"#),
            (-5, true, false)
        );
        assert_eq!(of("{}", r#"{"priorityClassName":"unknown"}"#), (0, true, false));
        assert_eq!(of("{}", "{}"), (7, true, false));
        assert_eq!(of("{}", r#"{"priority":2147483647}"#), (1_000_000_000, true, true));
        assert_eq!(of("{}", r#"{"priority":9223372036854775807}"#), (1_000_000_000, true, true));
        assert_eq!(of(r#"{"namespace":"kube-system"}"#, r#"{"priority":2000000000}"#), (2_000_000_000, true, false));
    }
}
