//! How time is measured: by the wall, or as what this thread ran, where others share the machine.

use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Both in nanoseconds. `SILT_BENCH_CLOCK=thread` takes what the thread ran, as Linux counts it:
/// right to some milliseconds, which is enough for samples of a tenth of a second.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    Wall,
    Thread,
}

/// What all benches of this folder are run by.
pub fn criterion() -> Criterion<Clock> {
    let clock = match std::env::var("SILT_BENCH_CLOCK").as_deref() {
        Ok("thread") => Clock::Thread,
        _ => Clock::Wall,
    };
    Criterion::default()
        .with_measurement(clock)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .configure_from_args()
}

impl Clock {
    fn now(self) -> u64 {
        match self {
            Self::Wall => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.expect("a clock after 1970").as_nanos() as u64
            }
            Self::Thread => {
                let ran = std::fs::read_to_string("/proc/thread-self/schedstat");
                let ran = ran.expect("Linux tells what a thread ran");
                let nanos = ran.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
                nanos.expect("nanoseconds come first")
            }
        }
    }
}

impl Measurement for Clock {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        self.now()
    }

    fn end(&self, begin: u64) -> u64 {
        self.now().saturating_sub(begin)
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
