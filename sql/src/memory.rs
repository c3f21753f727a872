//! [`Share`]: how much of the memory of all statements one session's may have.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::DataFusionError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;

/// A pool within the pool of all: what it gives is taken there, too.
#[derive(Debug)]
struct Share {
    all: Arc<dyn MemoryPool>,
    most: usize,
    used: AtomicUsize,
}

/// What statements of a session run in, of whose memory they may have `most` bytes together.
pub(crate) fn share(all: &Arc<RuntimeEnv>, most: usize) -> Arc<RuntimeEnv> {
    let mut runtime = RuntimeEnv::clone(all);
    let used = AtomicUsize::new(0);
    runtime.memory_pool = Arc::new(Share { all: Arc::clone(&all.memory_pool), most, used });
    Arc::new(runtime)
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "share"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> Result<(), DataFusionError> {
        let more = |used: usize| used.checked_add(additional).filter(|used| *used <= self.most);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if let Err(used) = taken {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "the statement uses {used} bytes of memory, wants {additional} more for {}, and \
                 may have {}",
                reservation.consumer().name(),
                self.most
            )));
        }
        self.all.try_grow(reservation, additional).inspect_err(|_| {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.most)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "share of {} bytes", self.most)
    }
}
