//! The requests of the protocol as exchanges with the API server, one function each.

mod lease;
mod nodes;
mod pods;
mod records;

pub(super) use lease::{LEASE, LeaseObject};
pub(super) use records::{read_record, write_spec, write_status};

use std::fmt::Write as _;

use super::client::{Content, Server};
use super::slim::{Kind, Slim, collection};
use crate::exec::port::ClusterError;

/// Objects of one page of a list: a few megabytes of pods.
const PAGE: usize = 1000;

#[derive(serde::Deserialize)]
struct Page<K: Kind> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default = "Vec::new", bound(deserialize = ""))]
    items: Vec<Slim<K>>,
}

#[derive(serde::Deserialize, Default)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    rest: String,
}

/// All objects of a kind as they are now, by a quorum read, page by page.
pub(super) async fn list<K: Kind>(server: &Server, path: &str, selector: &str) -> Result<Vec<Slim<K>>, ClusterError> {
    list_some(server, path, selector, |_| true).await
}

/// Those of the objects that are to be kept; the others are dropped page by page.
pub(super) async fn list_some<K: Kind>(
    server: &Server,
    path: &str,
    selector: &str,
    keep: impl Fn(&Slim<K>) -> bool,
) -> Result<Vec<Slim<K>>, ClusterError> {
    let mut all = Vec::new();
    let mut rest = String::new();
    loop {
        let page: Page<K> = server.read(page_of(path, selector, &rest)).await?;
        all.extend(page.items.into_iter().filter(&keep));
        if page.metadata.rest.is_empty() {
            return Ok(all);
        }
        rest = page.metadata.rest;
    }
}

/// All objects of a kind in all namespaces.
pub(super) async fn list_all<K: Kind>(server: &Server) -> Result<Vec<Slim<K>>, ClusterError> {
    list(server, &collection::<K>(), "").await
}

/// The path of a page of a list: of those that a field selector selects, if it is not empty, from where the last page has ended.
pub(super) fn page_of(path: &str, selector: &str, rest: &str) -> String {
    let mut query = format!("{path}?limit={PAGE}");
    if !selector.is_empty() {
        let _ = write!(query, "&fieldSelector={}", escaped(selector));
    }
    if !rest.is_empty() {
        let _ = write!(query, "&continue={}", escaped(rest));
    }
    query
}

/// A text as a part of a query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_query_is_escaped() {
        assert_eq!(escaped("spec.nodeName=a-1"), "spec.nodeName%3Da-1");
        assert_eq!(escaped("a&b +ä"), "a%26b%20%2B%C3%A4");
    }
}
