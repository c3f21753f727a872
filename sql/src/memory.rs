//! [`Share`]: how much of the memory of all statements a session's may have, or one of them.

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
    whose: Whose,
    most: usize,
    used: AtomicUsize,
}

/// Who has a share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose {
    Session,
    Statement,
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Statement => "statement",
        }
    }
}

/// What a session or a statement runs in, of whose memory it may have `most` bytes.
pub(crate) fn share(all: &Arc<RuntimeEnv>, most: usize, whose: Whose) -> Arc<RuntimeEnv> {
    let mut runtime = RuntimeEnv::clone(all);
    let used = AtomicUsize::new(0);
    runtime.memory_pool = Arc::new(Share { all: Arc::clone(&all.memory_pool), whose, most, used });
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
                "the {} uses {used} bytes of memory, wants {additional} more for {}, and may have {}",
                self.whose.name(),
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
        write!(f, "{}'s share of {} bytes", self.whose.name(), self.most)
    }
}
