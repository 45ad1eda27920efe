//! What the API server was asked, by whom.

use serde_json::Value;

use super::ControlPlane;

/// One request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The resource with its subresource, as in `pods/eviction`; empty for a path that is none.
    pub resource: String,
    /// Its namespace; empty where there is none.
    pub namespace: String,
    /// Its name; empty where there is none.
    pub name: String,
    /// The whole path with its query.
    pub path: String,
    /// Code of the answer.
    pub code: u16,
}

impl Audited {
    /// Whether it could have changed something.
    pub fn writes(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch") && !self.path.contains("dryRun=All")
    }

    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let subresource = text("/objectRef/subresource");
        let mut resource = text("/objectRef/resource");
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        let user = event.pointer("/impersonatedUser/username").and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            user: user.unwrap_or_else(|| text("/user/username")),
            verb: text("/verb"),
            resource,
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            path: text("/requestURI"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default() as u16,
        })
    }
}

impl ControlPlane {
    /// All requests so far, in the order in which they ended.
    pub fn audited(&self) -> Vec<Audited> {
        let text = std::fs::read_to_string(self.folder().join("audit.jsonl")).unwrap_or_default();
        text.lines().filter_map(Audited::parse).collect()
    }

    /// The requests of one user.
    pub fn audited_of(&self, user: &str) -> Vec<Audited> {
        self.audited().into_iter().filter(|event| event.user == user).collect()
    }
}
