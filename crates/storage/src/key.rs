//! What orders the entries of a tree: user key ascending, then sequence number descending.

use std::fmt;

use twox_hash::XxHash3_64;

/// A commit's number. 0 means "older than every snapshot".
pub type SeqNo = u64;

/// The greatest sequence number.
pub const SEQ_MAX: SeqNo = u64::MAX >> 1;

/// A tree's number, never used again within its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub u32);

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The hash by which filters know a key, or the bytes of a key's first column. Persistent.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

/// What an entry does. Stored on disk: the numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// The key now has this row.
    Put = 0,
    /// The key has no row any more.
    Delete = 1,
}

impl OpKind {
    /// The kind of a stored number, if it is one.
    pub fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Put),
            1 => Some(Self::Delete),
            _ => None,
        }
    }
}
