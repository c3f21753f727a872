//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// What is logged without being asked.
const DEFAULT: &str = "info";
/// The environment variable that says what is logged, such as `debug` or `silt_server=trace`.
pub const LOG_VARIABLE: &str = "SILT_LOG";

/// Writes the log of this process to standard error, a line an event: as text, or as JSON. A
/// process that has a log already keeps it.
pub fn log_to_stderr(json: bool) {
    let asked = EnvFilter::try_from_env(LOG_VARIABLE);
    let filter = asked.unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match json {
        true => log.json().try_init(),
        false => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
    drop(set);
}
