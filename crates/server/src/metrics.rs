//! What the server counts, for Prometheus.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

/// Labels: a name and a value each.
type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];

/// Bounds of the times of calls, in seconds.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// What became of a login.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Login {
    Accepted,
    Refused,
    TooMany,
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turned {
    TooMany,
    Tls,
    Late,
    Strikes,
}

/// Counters and gauges of one server.
pub(crate) struct Metrics {
    registry: Registry,
    connections: Gauge,
    turned: Family<One, Counter>,
    waited: Counter,
    sessions: Gauge,
    logins: Family<One, Counter>,
    running: Family<One, Gauge>,
    calls: Family<Two, Counter>,
    seconds: Family<One, Histogram, fn() -> Histogram>,
    slow: Counter,
    sent_bytes: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("silt");
        let metrics = Self {
            connections: Gauge::default(),
            turned: Family::default(),
            waited: Counter::default(),
            sessions: Gauge::default(),
            logins: Family::default(),
            running: Family::default(),
            calls: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            slow: Counter::default(),
            sent_bytes: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "connections_turned_away",
            "Connections closed before a call was let in, or after too many that came to nothing",
            metrics.turned.clone(),
        );
        registry.register(
            "connections_waited",
            "Connections that waited because their address makes too many",
            metrics.waited.clone(),
        );
        registry.register("sessions", "Sessions of clients", metrics.sessions.clone());
        registry.register("logins", "Logins by what became of them", metrics.logins.clone());
        registry.register("calls_running", "Calls that have not ended", metrics.running.clone());
        registry.register("calls", "Calls that ended, by code", metrics.calls.clone());
        registry.register_with_unit(
            "call",
            "How long calls took, their streams included",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("slow_calls", "Calls that were logged as slow", metrics.slow.clone());
        registry.register_with_unit(
            "sent",
            "Rows sent to clients, as Arrow",
            Unit::Bytes,
            metrics.sent_bytes.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// As Prometheus reads them.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub(crate) fn connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(crate) fn sessions(&self, alive: usize) {
        self.sessions.set(i64::try_from(alive).unwrap_or(i64::MAX));
    }

    pub(crate) fn connection_waited(&self) {
        self.waited.inc();
    }

    pub(crate) fn turned(&self, why: Turned) {
        let why = match why {
            Turned::TooMany => "too_many",
            Turned::Tls => "tls",
            Turned::Late => "late",
            Turned::Strikes => "strikes",
        };
        self.turned.get_or_create(&[("reason", why)]).inc();
    }

    pub(crate) fn login(&self, login: Login) {
        let result = match login {
            Login::Accepted => "accepted",
            Login::Refused => "refused",
            Login::TooMany => "too_many",
        };
        self.logins.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn began(&self, call: &'static str) {
        self.running.get_or_create(&[("call", call)]).inc();
    }

    pub(crate) fn ended(&self, call: &'static str, code: Code, took: Duration) {
        self.running.get_or_create(&[("call", call)]).dec();
        self.calls.get_or_create(&[("call", call), ("code", name(code))]).inc();
        self.seconds.get_or_create(&[("call", call)]).observe(took.as_secs_f64());
    }

    pub(crate) fn slow(&self) {
        self.slow.inc();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

/// The code's name in the protocol's spelling.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_can_be_read() {
        let metrics = Metrics::default();
        metrics.connections(3);
        metrics.turned(Turned::Late);
        metrics.began("DoGet");
        metrics.ended("DoGet", Code::Aborted, Duration::from_millis(3));
        let text = metrics.text();
        for line in [
            "silt_connections 3",
            "silt_connections_turned_away_total{reason=\"late\"} 1",
            "silt_calls_running{call=\"DoGet\"} 0",
            "silt_calls_total{call=\"DoGet\",code=\"ABORTED\"} 1",
            "silt_call_seconds_bucket{le=\"0.005\",call=\"DoGet\"} 1",
            "silt_call_seconds_count{call=\"DoGet\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
    }
}
