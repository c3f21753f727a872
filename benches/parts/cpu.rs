//! What threads ran, whatever else the machine did meanwhile. Linux tells it.

use std::time::Duration;

/// What this thread ran so far.
pub fn thread_ran() -> Duration {
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanos = ran.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds come first"))
}

/// What all threads of this process ran so far, in steps of ten milliseconds.
pub fn process_ran() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let fields = stat.rsplit(") ").next().expect("fields follow the name").split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
