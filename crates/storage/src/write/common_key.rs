//! [`common_key`]: a key that two bulk files both touch, if there is one.
//!
//! Two loads into one tree at a time are nothing unusual, and their ranges often meet; they
//! conflict only where they wrote the same key. Both sides are walked by key, group by group where
//! they overlap, each side leaping over what lies before the other's next key.

use std::sync::Arc;

use silt_codec::{KeyBuffer, KeyCodec, TreeSchema};

use crate::sstable::SsTableReader;
use crate::state::TreeState;
use crate::version::LiveFile;
use crate::{Error, Result};

/// The first key of `tree` that stands in both open files, whatever either says of it.
pub(super) fn common_key(
    tree: &TreeState,
    one: &LiveFile,
    other: &LiveFile,
) -> Result<Option<Vec<u8>>> {
    if one.largest < other.smallest || other.largest < one.smallest {
        return Ok(None);
    }
    let (mut one, mut other) = (Keys::of(tree, one)?, Keys::of(tree, other)?);
    while let (Some(mine), Some(others)) = (one.key(), other.key()) {
        match mine.cmp(others) {
            std::cmp::Ordering::Less => one.seek(others)?,
            std::cmp::Ordering::Greater => other.seek(mine)?,
            std::cmp::Ordering::Equal => return Ok(Some(mine.to_vec())),
        }
    }
    Ok(None)
}

/// The keys of a file, from one on.
struct Keys<'f> {
    reader: &'f SsTableReader,
    schema: Arc<TreeSchema>,
    codec: Arc<KeyCodec>,
    group: usize,
    /// Those of the group.
    keys: KeyBuffer,
    at: usize,
}

impl<'f> Keys<'f> {
    fn of(tree: &TreeState, file: &'f LiveFile) -> Result<Self> {
        let reader = file.reader(|_| Err(Error::internal("a bulk file that is not open")))?;
        let (schema, codec) = (tree.schema(), tree.key_codec());
        let mut keys = Self { reader, schema, codec, group: 0, keys: KeyBuffer::new(), at: 0 };
        keys.read_group()?;
        Ok(keys)
    }

    /// None at the end.
    fn key(&self) -> Option<&[u8]> {
        (self.at < self.keys.len()).then(|| self.keys.get(self.at))
    }

    /// Goes on to the first key that is not below `key`, which is above the present one.
    fn seek(&mut self, key: &[u8]) -> Result<()> {
        let groups = self.reader.groups();
        let skipped = groups[self.group..].partition_point(|entry| *entry.last_key < *key);
        if skipped > 0 {
            self.group += skipped;
            self.read_group()?;
        }
        let mut step = 1;
        while self.at + step < self.keys.len() && self.keys.get(self.at + step) < key {
            self.at += step;
            step *= 2;
        }
        let (mut low, mut high) = (self.at, self.keys.len().min(self.at + step));
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.keys.get(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.at = low;
        Ok(())
    }

    fn read_group(&mut self) -> Result<()> {
        self.at = 0;
        self.keys = KeyBuffer::new();
        if self.group < self.reader.groups().len() {
            let group = self.reader.group(self.group, &self.schema, &[])?;
            self.keys = group.keys(&self.codec, 0..group.rows())?;
        }
        Ok(())
    }
}
