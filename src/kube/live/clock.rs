//! The moment, for ages of pods and for what people read. Never compared with a moment that another process took of its own clock to decide
//! who may act: leases count renewals, heartbeats count reports.

/// Now.
#[allow(clippy::disallowed_methods, reason = "the edge: here the moment becomes part of the input")]
pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The moment as Kubernetes writes it.
pub(super) fn text(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The moment with microseconds, as leases have it.
pub(super) fn micros(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// This moment as Kubernetes writes it, for what people read.
pub fn moment() -> String {
    text(now())
}
