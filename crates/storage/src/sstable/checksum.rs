//! Checksums: XXH3-64 of the bytes, mixed with where they belong.

use twox_hash::XxHash3_64;

/// The number of this algorithm in file header and footer. Persistent.
pub(super) const ALGORITHM: u8 = 1;

/// The checksum of bytes wherever they stand.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Mixes checksums with database, file and offset, so that a block of another file or place is
/// not taken for the one that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixer {
    pub(super) uuid: u128,
    pub(super) file: u64,
}

impl Mixer {
    /// What is stored for a block at `offset` whose bytes have this checksum.
    pub(super) fn mix(&self, offset: u64, checksum: u64) -> u64 {
        let mut place = [0; 32];
        place[..16].copy_from_slice(&self.uuid.to_le_bytes());
        place[16..24].copy_from_slice(&self.file.to_le_bytes());
        place[24..].copy_from_slice(&offset.to_le_bytes());
        checksum ^ XxHash3_64::oneshot(&place)
    }

    /// What is stored for these bytes at `offset`.
    pub(super) fn seal(&self, offset: u64, bytes: &[u8]) -> u64 {
        self.mix(offset, checksum(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seal_tells_database_file_and_offset_apart() {
        let mixer = Mixer { uuid: 1, file: 2 };
        let sealed = mixer.seal(64, b"block");
        assert_eq!(sealed, Mixer { uuid: 1, file: 2 }.seal(64, b"block"));
        assert_ne!(sealed, Mixer { uuid: 3, file: 2 }.seal(64, b"block"));
        assert_ne!(sealed, Mixer { uuid: 1, file: 3 }.seal(64, b"block"));
        assert_ne!(sealed, mixer.seal(72, b"block"));
        assert_ne!(sealed, mixer.seal(64, b"blocks"));
    }
}
