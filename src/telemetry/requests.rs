//! The families about requests to the API server, which every program has under the same names and with the same labels.

use super::book::Draft;
use super::labels::labels;
use super::series::{Count, Spread};

/// Seconds of a request.
const SECONDS: &[f64] = &[0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How a request ends: `ok`, or the kind of refusal.
pub const RESULTS: [&str; 10] = [
    "ok",
    "conflict",
    "not_found",
    "throttled",
    "blocked_by_budget",
    "several_budgets",
    "forbidden",
    "invalid",
    "expired",
    "unknown",
];

labels! {
    /// A kind of request to the API server.
    Request {
        /// Which.
        "request" => request: &'static str,
    }
    /// How a kind of request ended.
    RequestResult {
        /// Which.
        "request" => request: &'static str,
        /// `ok`, or the kind of refusal.
        "result" => result: &'static str,
    }
}

/// The families. `requests` are the kinds of requests that the program makes; they start at 0.
pub(super) fn families(book: &mut Draft, requests: &[&'static str]) -> (Spread<Request>, Count<RequestResult>) {
    let answers = requests.iter().flat_map(|&request| RESULTS.map(|result| RequestResult { request, result }));
    let each = requests.iter().map(|&request| Request { request });
    (
        book.spread("api_request_seconds", "Time of requests to the API server", SECONDS, each),
        book.count("api_requests", "Requests to the API server, by answer", answers),
    )
}
