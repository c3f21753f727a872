//! [`BlockCache`]: row groups in memory, as encoded as they are on disk.

/// Row groups with those of their chunks that were read, within a byte budget.
#[derive(Debug)]
pub(crate) struct BlockCache {}

impl BlockCache {
    /// A cache that holds at most `bytes_max` bytes of encoded data.
    pub(crate) fn new(_bytes_max: u64) -> Self {
        Self {}
    }

    /// Encoded bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        todo!()
    }

    /// Row groups held.
    pub(crate) fn len(&self) -> usize {
        todo!()
    }
}
