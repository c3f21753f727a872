//! [`BlockCache`]: row groups in memory, as encoded as they are on disk.
//!
//! One entry is one row group with those of its chunks that were read, opened and verified once.
//! So a warm get takes one lock and one hash lookup, however many columns it wants. The weight of
//! an entry is the bytes read for it; when a chunk joins, the entry is weighed again.
//!
//! Replacement is quick_cache's, a Clock-PRO with S3-FIFO's queues: groups seen once, as by a scan,
//! leave through a small queue and do not displace those that are used again and again. What a
//! scan adds to a group that stays, stays with it; the group's weight says so.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use super::file::IoCounters;
use super::group::GroupBlock;

/// A shard holds the largest row group there is, which is 16 MiB before it is encoded.
const SHARD_BYTES_MIN: u64 = 32 << 20;

/// What a row group of an ordinary table weighs, for the size of the cache's own tables.
const GROUP_BYTES_USUAL: u64 = 128 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    file: u64,
    group: usize,
}

/// An entry's weight stands beside the block, not in it: it must not change under the cache.
#[derive(Clone)]
struct Resident {
    block: Arc<GroupBlock>,
    bytes: u64,
}

#[derive(Clone)]
struct EncodedBytes;

impl Weighter<GroupKey, Resident> for EncodedBytes {
    fn weight(&self, _key: &GroupKey, resident: &Resident) -> u64 {
        resident.bytes
    }
}

/// Two small numbers need no better: multiply and fold, as in wyhash.
#[derive(Default)]
struct GroupKeyHasher(u64);

impl Hasher for GroupKeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves are meant")]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xa076_1d64_78bd_642f_u64);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type GroupCache = Cache<
    GroupKey,
    Resident,
    EncodedBytes,
    BuildHasherDefault<GroupKeyHasher>,
    DefaultLifecycle<GroupKey, Resident>,
>;

/// Row groups with those of their chunks that were read, within a byte budget. Shared by the
/// readers of a database.
pub(crate) struct BlockCache {
    groups: GroupCache,
    counters: Arc<IoCounters>,
}

impl BlockCache {
    /// A cache that holds at most `bytes_max` bytes of encoded data.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let shards = usize::try_from((bytes_max / SHARD_BYTES_MIN).clamp(1, 64)).unwrap_or(1);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let items = usize::try_from(bytes_max / GROUP_BYTES_USUAL).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(items.clamp(64, 1 << 20))
            .weight_capacity(bytes_max)
            .build()
            .expect("both capacities are set");
        let groups = Cache::with_options(
            options,
            EncodedBytes,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        Self { groups, counters: Arc::new(IoCounters::default()) }
    }

    /// Encoded bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups.weight()
    }

    /// The budget.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.groups.capacity()
    }

    /// Row groups held.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Reads from files so far, of blocks of every kind.
    pub(crate) fn file_reads(&self) -> u64 {
        self.counters.reads.load(Ordering::Relaxed)
    }

    /// Bytes read from files so far.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.counters.bytes.load(Ordering::Relaxed)
    }

    /// Whether so many bytes more leave a quarter of the budget free: a cache that is nearly full
    /// takes in a chunk by throwing another out.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.bytes().saturating_add(bytes) <= self.bytes_max() / 4 * 3
    }

    pub(super) fn counters(&self) -> &Arc<IoCounters> {
        &self.counters
    }

    pub(super) fn get(&self, file: u64, group: usize) -> Option<Arc<GroupBlock>> {
        self.groups.get(&GroupKey { file, group }).map(|resident| resident.block)
    }

    /// Takes a block in, or weighs it again.
    pub(super) fn put(&self, file: u64, group: usize, block: Arc<GroupBlock>, bytes: u64) {
        let key = GroupKey { file, group };
        let resident = Resident { block, bytes };
        // `replace` leaves the entry as hot as it was; it fails if there is none any more.
        if let Err((key, resident)) = self.groups.replace(key, resident, true) {
            self.groups.insert(key, resident);
        }
    }

    /// Forgets the groups of a file that nobody reads any more.
    pub(super) fn forget(&self, file: u64, groups: Range<usize>) {
        for group in groups {
            self.groups.remove(&GroupKey { file, group });
        }
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} groups, {} of {} B", self.len(), self.bytes(), self.bytes_max())
    }
}
