//! [`KeyFilter`]: which keys certainly have no entry in a memtable.
//!
//! Most gets find their key in a file, and ask every memtable before; its leaves take as long to
//! say no as to say yes, some misses of the cache. A Bloom filter says no with one to three.
//! It grows in layers, since nobody knows how many entries will come: a key is in the layer that
//! was being filled when it came, and a probe looks at all of them. A key's bits stand in one word,
//! so that threads insert side by side with one atomic operation a key.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys of the first layer.
const FIRST_KEYS: usize = 1 << 13;
/// How many times larger each layer is than the one before.
const GROWTH: usize = 8;
/// More than fit in memory.
const LAYERS: usize = 8;
/// Sixteen bits a key.
const KEYS_PER_WORD: usize = 4;

/// A filter that only grows. Empty until something is added.
#[derive(Debug, Default)]
pub(super) struct KeyFilter {
    layers: [OnceLock<Box<[AtomicU64]>>; LAYERS],
}

impl KeyFilter {
    /// Adds a key of this hash as the `count`-th, or about so.
    pub(super) fn insert(&self, count: usize, hash: u64) {
        let (mut layer, mut keys, mut before) = (0, FIRST_KEYS, FIRST_KEYS);
        while count >= before && layer + 1 < LAYERS {
            layer += 1;
            keys *= GROWTH;
            before += keys;
        }
        let words = self.layers[layer]
            .get_or_init(|| (0..keys / KEYS_PER_WORD).map(|_| AtomicU64::new(0)).collect());
        let (word, bits) = (&words[word_of(hash, words.len())], bits_of(hash));
        // Readers of a number that was published see what was done before.
        if word.load(Ordering::Relaxed) & bits != bits {
            word.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Whether a key of this hash may have been added. False is certain.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let bits = bits_of(hash);
        // Side by side, so that the layers' memory is waited for once. Commits side by side count
        // from where they began, and may leave a layer out.
        let mut any = false;
        for words in self.layers.iter().filter_map(OnceLock::get) {
            any |= words[word_of(hash, words.len())].load(Ordering::Relaxed) & bits == bits;
        }
        any
    }
}

/// The upper half of the hash picks the word: scaled, not divided.
fn word_of(hash: u64, words: usize) -> usize {
    (((hash >> 32) * words as u64) >> 32) as usize
}

/// The lower half picks four bits of it.
fn bits_of(hash: u64) -> u64 {
    [0, 6, 12, 18].into_iter().fold(0, |bits, shift| bits | 1 << (hash >> shift & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::key_hash;

    fn hash(number: usize) -> u64 {
        key_hash(&number.to_be_bytes())
    }

    #[test]
    fn filter_passes_every_key_and_few_others_however_far_it_grew() {
        let filter = KeyFilter::default();
        assert!(!filter.may_contain(hash(1)));
        let mut added = 0;
        for (keys, passed_max) in [(1_000, 100), (8_192, 200), (70_000, 300), (300_000, 400)] {
            (added..keys).for_each(|number| filter.insert(number, hash(number)));
            added = keys;
            assert!((0..keys).all(|number| filter.may_contain(hash(number))));
            let passed = (1 << 40..(1 << 40) + 10_000).filter(|&key| filter.may_contain(hash(key)));
            let passed = passed.count();
            assert!(passed < passed_max, "{passed} of 10,000 others pass beside {keys}");
        }
    }

    #[test]
    fn layer_that_is_left_out_hides_none_behind_it() {
        let filter = KeyFilter::default();
        filter.insert(0, hash(1));
        filter.insert(100_000, hash(2));
        assert!(filter.layers[1].get().is_none() && filter.layers[2].get().is_some());
        assert!(filter.may_contain(hash(1)) && filter.may_contain(hash(2)));
    }

    #[test]
    fn threads_lose_no_key_of_one_another() {
        let filter = KeyFilter::default();
        let filter = &filter;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    (0..20_000).for_each(|n| filter.insert(4 * n, hash(4 * n + thread)));
                });
            }
        });
        assert!((0..80_000).all(|number| filter.may_contain(hash(number))));
    }
}
