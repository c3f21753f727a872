//! [`Bloom`]: which keys are certainly not in a file.
//!
//! A split-block Bloom filter as Parquet has it (Putze, Sanders and Singler, "Cache-, Hash- and
//! Space-Efficient Bloom Filters"): a hash picks one block of 256 bits and one bit in each of its
//! eight words, so that a probe touches one cache line and needs no branch.

use silt_codec::{Error, Result};

const WORDS: usize = 8;
const BLOCK_BYTES: usize = WORDS * 4;

/// Odd numbers, one a word, as in Parquet's specification. Persistent.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A filter over key hashes. An empty one lets every key pass.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bloom {
    blocks: Box<[[u32; WORDS]]>,
}

impl Bloom {
    /// A filter of these hashes, with `bits` bits for each.
    pub(super) fn build(hashes: &[u64], bits: u32) -> Self {
        let blocks = (hashes.len() * bits as usize).div_ceil(BLOCK_BYTES * 8);
        let mut filter = Self { blocks: vec![[0; WORDS]; blocks].into() };
        for &hash in hashes {
            filter.insert(hash);
        }
        filter
    }

    fn insert(&mut self, hash: u64) {
        if self.blocks.is_empty() {
            return;
        }
        let block = &mut self.blocks[block_of(hash, self.blocks.len())];
        for (word, bit) in block.iter_mut().zip(bits_of(hash)) {
            *word |= bit;
        }
    }

    /// Whether a key of this hash may be in. False is certain.
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        if self.blocks.is_empty() {
            return true;
        }
        let block = &self.blocks[block_of(hash, self.blocks.len())];
        let missing = block.iter().zip(bits_of(hash)).fold(0, |m, (word, bit)| m | (bit & !word));
        missing == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        if !rest.is_empty() {
            return Err(Error::corrupt(format!("a filter of {} bytes", bytes.len())));
        }
        let block = |bytes: &[u8; BLOCK_BYTES]| {
            let (words, _) = bytes.as_chunks::<4>();
            std::array::from_fn(|word| u32::from_le_bytes(words[word]))
        };
        Ok(Self { blocks: blocks.iter().map(block).collect() })
    }
}

/// The upper half of the hash picks the block: scaled, not divided.
fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The lower half picks a bit in each word.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn bits_of(hash: u64) -> [u32; WORDS] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::key_hash;

    fn hashes(keys: std::ops::Range<u64>) -> Vec<u64> {
        keys.map(|key| key_hash(&key.to_be_bytes())).collect()
    }

    #[test]
    fn filter_of_twelve_bits_passes_every_key_and_under_one_percent_of_others() {
        let present = hashes(0..100_000);
        let filter = Bloom::build(&present, 12);
        assert_eq!(filter.bytes(), 150_016, "12 bits a key, in whole blocks");
        assert!(present.iter().all(|&hash| filter.may_contain(hash)));

        let absent = hashes(1_000_000..1_200_000);
        let passed = absent.iter().filter(|&&hash| filter.may_contain(hash)).count();
        assert!(passed < 2_000, "{passed} of 200,000 absent keys pass");
    }

    #[test]
    fn filter_survives_the_disk() {
        let filter = Bloom::build(&hashes(0..1_000), 12);
        assert_eq!(Bloom::decode(&filter.encode()).unwrap(), filter);
        assert!(Bloom::decode(&filter.encode()[1..]).is_err());
    }

    #[test]
    fn absent_filter_lets_every_key_pass() {
        let filter = Bloom::decode(&[]).unwrap();
        assert!(filter.may_contain(key_hash(b"any")));
        assert!(Bloom::build(&[], 12).may_contain(1));
        assert!(Bloom::build(&[1], 0).may_contain(2));
    }
}
