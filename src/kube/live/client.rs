//! One exchange with the API server at a time: method, path, body, time limit, and what comes back.

use std::fmt::Write as _;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::refusal::{Question, Refusal};
use crate::exec::port::ClusterError;

/// Whether anything may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// As asked.
    Allowed,
    /// Nothing leaves this process but reads, whoever asks.
    Refused,
}

/// A way to the API server.
#[derive(Clone)]
pub struct Server {
    client: Client,
    manager: &'static str,
    timeout: Duration,
    writes: Writes,
    /// How long a busy API server is asked again.
    patience: Duration,
}

/// Rest before a busy API server is asked again, where it names none.
const REST: Duration = Duration::from_secs(1);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    /// Nothing.
    None,
    /// An object.
    Object(&'a Value),
    /// A JSON patch.
    Patch(&'a Value),
    /// A JSON merge patch.
    Merge(&'a Value),
}

/// A request of one exchange.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path with its query, from the root of the server.
    pub(super) path: String,
    pub(super) content: Content<'a>,
    pub(super) question: Question,
}

impl Server {
    /// A way through an existing client, which must not repeat requests by itself. `manager` names who owns the fields that are written.
    pub fn new(client: Client, manager: &'static str, timeout: Duration, writes: Writes) -> Self {
        Self { client, manager, timeout, writes, patience: Duration::ZERO }
    }

    /// The same for somebody who asks once and waits for the answer: a busy API server (429, which carries nothing out) is asked again for so long,
    /// at the moments that it names. Whoever has a loop of its own tries again there.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The client, for watches.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether anything may be written.
    pub fn writes(&self) -> Writes {
        self.writes
    }

    /// Reads an object or a list.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: String) -> Result<T, ClusterError> {
        let call = Call { method: Method::GET, path, content: Content::None, question: Question::Plain };
        parse(&self.exchange(&call).await?)
    }

    /// Writes, and reads what there is afterwards. The path gets the parameters of each write.
    pub(super) async fn write<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, ClusterError> {
        parse(&self.exchange(call).await?)
    }

    /// Writes, and cares for nothing but that it was accepted.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<(), ClusterError> {
        self.exchange(call).await.map(drop)
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Vec<u8>, ClusterError> {
        let mut left = self.patience;
        loop {
            match self.exchange_once(call).await {
                Err(ClusterError::Throttled { retry_after }) if !left.is_zero() => {
                    let rest = retry_after.unwrap_or(REST).clamp(REST, left.max(REST));
                    left = left.saturating_sub(rest);
                    tokio::time::sleep(rest).await;
                }
                other => return other,
            }
        }
    }

    async fn exchange_once(&self, call: &Call<'_>) -> Result<Vec<u8>, ClusterError> {
        if self.writes == Writes::Refused && call.method != Method::GET && !is_review(&call.path) {
            return Err(ClusterError::Forbidden("this program was started so that it writes nothing".to_owned()));
        }
        let request = self.request(call)?;
        let answer = async {
            let response = self.client.send(request).await.map_err(|error| unknown(&error))?;
            let (head, body) = response.into_parts();
            let body = body.collect_bytes().await.map_err(|error| unknown(&error))?;
            Ok::<_, ClusterError>((head, body.to_vec()))
        };
        let (head, body) = tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| ClusterError::Unknown(format!("no answer within {} s", self.timeout.as_secs())))??;
        if head.status.is_success() {
            return Ok(body);
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let refusal = Refusal { code: head.status.as_u16(), retry_after, body: &body, question: call.question };
        Err(refusal.error())
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Body>, ClusterError> {
        let (kind, body) = match call.content {
            Content::None => ("application/json", None),
            Content::Object(body) => ("application/json", Some(body)),
            Content::Patch(body) => ("application/json-patch+json", Some(body)),
            Content::Merge(body) => ("application/merge-patch+json", Some(body)),
        };
        let mut path = call.path.clone();
        if call.method != Method::GET && call.method != Method::DELETE {
            let sign = if path.contains('?') { '&' } else { '?' };
            // A field that the server does not know is an error, not dropped.
            let _ = write!(path, "{sign}fieldManager={}&fieldValidation=Strict", self.manager);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes()));
        Request::builder()
            .method(call.method.clone())
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, kind)
            .body(body)
            .map_err(|error| ClusterError::Invalid(format!("no such request can be made: {error}")))
    }
}

/// Whether a request only asks about rights or identities: it is posted, and nothing is kept.
fn is_review(path: &str) -> bool {
    let groups = ["/apis/authorization.k8s.io/v1/", "/apis/authentication.k8s.io/v1/"];
    groups
        .iter()
        .any(|group| path.strip_prefix(group).is_some_and(|kind| kind.ends_with("reviews") && !kind.contains('/')))
}

fn unknown(error: &kube::Error) -> ClusterError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    ClusterError::Unknown(text)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClusterError> {
    // It was carried out, but what there is now is not known.
    serde_json::from_slice(body).map_err(|error| ClusterError::Unknown(format!("the answer cannot be read: {error}")))
}

/// A name as a part of a path. Names of Kubernetes objects need no escapes; whatever would is no such name.
pub(super) fn name(text: &str) -> Result<&str, ClusterError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) || text.starts_with('.') {
        return Err(ClusterError::Invalid(format!("`{text}` is no name of an object")));
    }
    Ok(text)
}
