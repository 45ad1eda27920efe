//! Collects what is wrong or doubtful in an export, object by object.

/// Findings as (object, message), in the order of discovery.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<(String, String)>);

impl Findings {
    /// Notes something about a node.
    pub(crate) fn node(&mut self, name: &str, message: impl Into<String>) {
        self.0.push((format!("Node {name}"), message.into()));
    }

    /// Notes something about the agent's report of a node.
    pub(crate) fn mig_node(&mut self, name: &str, message: impl Into<String>) {
        self.0.push((format!("MigNode {name}"), message.into()));
    }

    /// Notes something about a pod.
    pub(crate) fn pod(&mut self, pod: impl std::fmt::Display, message: impl Into<String>) {
        self.0.push((format!("Pod {pod}"), message.into()));
    }

    /// Notes something about any object.
    pub(crate) fn object(&mut self, object: impl Into<String>, message: impl Into<String>) {
        self.0.push((object.into(), message.into()));
    }

    /// The findings.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }
}
