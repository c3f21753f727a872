//! [`GroupIndex`]: the row groups of a file and the search for a key's.

use std::ops::Range;

use silt_codec::{Error, Result};

use super::ALIGNMENT;
use super::footer::HEADER_LEN;
use super::input::Input;
use crate::SeqNo;

/// What the index says of one row group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupEntry {
    /// The user key of its first entry.
    pub(crate) first_key: Box<[u8]>,
    /// The user key of its last entry.
    pub(crate) last_key: Box<[u8]>,
    /// Where it starts in the file.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) length: u32,
    /// Its header's bytes.
    pub(crate) header_length: u32,
    /// Where its key and hidden chunks end, from its start.
    pub(crate) key_end: u32,
    /// Entries, deletes included.
    pub(crate) rows: u32,
    /// Entries that are deletes.
    pub(crate) deletes: u32,
    /// The schema version it was encoded under.
    pub(crate) schema_version: u32,
    /// The lowest number; the file's own number in a bulk file.
    pub(crate) min_seq: SeqNo,
    /// The highest number.
    pub(crate) max_seq: SeqNo,
    /// No key has two entries in it.
    pub(crate) one_version: bool,
    /// It goes on with versions of the key that the group before ends with (RULES.md 18).
    pub(crate) continued: bool,
}

const ONE_VERSION: u32 = 1;
const CONTINUED: u32 = 2;

/// The bytes of an entry without its keys.
const ENTRY_LEN: usize = 60;

impl GroupEntry {
    /// ```text
    /// offset 8 | min seq 8 | max seq 8 | length 4 | header length 4 | key end 4 | rows 4
    /// | deletes 4 | schema version 4 | flags 4 | first key's length 4 | last key's length 4 | keys
    /// ```
    fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.one_version {
            flags |= ONE_VERSION;
        }
        if self.continued {
            flags |= CONTINUED;
        }
        let len = |key: &[u8]| u32::try_from(key.len()).expect("keys are limited to 64 KiB");
        for number in [self.offset, self.min_seq, self.max_seq] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.length,
            self.header_length,
            self.key_end,
            self.rows,
            self.deletes,
            self.schema_version,
            flags,
            len(&self.first_key),
            len(&self.last_key),
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.first_key);
        out.extend_from_slice(&self.last_key);
    }

    fn decode(input: &mut Input<'_>) -> Result<Self> {
        let [offset, min_seq, max_seq] = [input.u64()?, input.u64()?, input.u64()?];
        let [length, header_length, key_end] = [input.u32()?, input.u32()?, input.u32()?];
        let [rows, deletes, schema_version] = [input.u32()?, input.u32()?, input.u32()?];
        let flags = input.u32()?;
        let [first_len, last_len] = [input.u32()? as usize, input.u32()? as usize];
        Ok(Self {
            first_key: input.take(first_len)?.into(),
            last_key: input.take(last_len)?.into(),
            offset,
            length,
            header_length,
            key_end,
            rows,
            deletes,
            schema_version,
            min_seq,
            max_seq,
            one_version: flags & ONE_VERSION != 0,
            continued: flags & CONTINUED != 0,
        })
    }

    /// Where it ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    /// The number that all its entries have, if it is one.
    pub(crate) fn constant_seq(&self) -> Option<SeqNo> {
        (self.min_seq == self.max_seq).then_some(self.min_seq)
    }

    fn check(&self) -> Result<()> {
        let parts = self.header_length <= self.key_end && self.key_end <= self.length;
        let rows = self.rows > 0 && self.deletes <= self.rows;
        let aligned = self.offset.is_multiple_of(ALIGNMENT as u64);
        if !parts || !rows || !aligned || self.min_seq > self.max_seq {
            return Err(Error::corrupt(format!("an impossible row group: {self:?}")));
        }
        if self.first_key > self.last_key {
            return Err(Error::corrupt(format!(
                "the row group at {} ends before it starts",
                self.offset
            )));
        }
        Ok(())
    }
}

/// The row groups of a file in key order.
#[derive(Clone, Debug)]
pub(super) struct GroupIndex {
    groups: Vec<GroupEntry>,
    /// How many bytes all first keys begin with in common.
    common: usize,
    /// The eight bytes of each first key behind those, filled up with zeroes, as a number.
    prefixes: Vec<u64>,
}

impl GroupIndex {
    /// `groups` in key order.
    pub(super) fn new(groups: Vec<GroupEntry>) -> Self {
        let common = match (groups.first(), groups.last()) {
            (Some(first), Some(last)) => common_prefix(&first.first_key, &last.first_key),
            _ => 0,
        };
        let prefixes = groups.iter().map(|group| prefix_of(&group.first_key[common..])).collect();
        Self { groups, common, prefixes }
    }

    pub(super) fn groups(&self) -> &[GroupEntry] {
        &self.groups
    }

    /// See [`SsTableReader::find_group`](super::SsTableReader::find_group).
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let first = &self.groups.first()?.first_key;
        let common = &first[..self.common];
        let behind = match key.get(..self.common) {
            Some(start) if start == common => self.find_behind(key),
            _ if key < common => 0,
            _ => self.groups.len(),
        };
        let mut group = behind.checked_sub(1)?;
        while self.groups[group].continued {
            group -= 1;
        }
        Some(group)
    }

    /// The number of groups that start at or before `key`, which has the common prefix.
    fn find_behind(&self, key: &[u8]) -> usize {
        let prefix = prefix_of(&key[self.common..]);
        let start = self.prefixes.partition_point(|&other| other < prefix);
        let ties = self.prefixes[start..].partition_point(|&other| other == prefix);
        start + self.groups[start..start + ties].partition_point(|group| *group.first_key <= *key)
    }

    /// See [`SsTableReader::chain`](super::SsTableReader::chain).
    pub(super) fn chain(&self, group: usize) -> Range<usize> {
        let mut start = group;
        while start > 0 && self.groups[start].continued {
            start -= 1;
        }
        let rest = &self.groups[group + 1..];
        start..group + 1 + rest.iter().take_while(|group| group.continued).count()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let keys = |group: &GroupEntry| group.first_key.len() + group.last_key.len();
        self.groups.iter().map(|group| keys(group) + size_of::<GroupEntry>() + 8).sum()
    }

    pub(super) fn encode(groups: &[GroupEntry]) -> Vec<u8> {
        let mut out = Vec::new();
        let count = u32::try_from(groups.len()).expect("groups of a file");
        out.extend_from_slice(&count.to_le_bytes());
        for group in groups {
            group.encode(&mut out);
        }
        out
    }

    /// Reads the index of a file whose groups end at or before `data_end`.
    pub(super) fn decode(bytes: &[u8], data_end: u64) -> Result<Self> {
        let mut input = Input::new(bytes);
        let count = input.count(ENTRY_LEN)?;
        let mut groups: Vec<GroupEntry> = Vec::with_capacity(count);
        let mut end = HEADER_LEN as u64;
        for _ in 0..count {
            let group = GroupEntry::decode(&mut input)?;
            group.check()?;
            if group.offset < end || group.end() > data_end {
                return Err(Error::corrupt(format!(
                    "a row group at {}..{} where {end}..{data_end} is free",
                    group.offset,
                    group.end()
                )));
            }
            let follows = match groups.last() {
                None => !group.continued,
                Some(before) if group.continued => before.last_key == group.first_key,
                Some(before) => before.last_key < group.first_key,
            };
            if !follows {
                return Err(Error::corrupt(format!(
                    "the row group at {} does not follow the one before",
                    group.offset
                )));
            }
            end = group.end();
            groups.push(group);
        }
        input.end()?;
        Ok(Self::new(groups))
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Orders as the bytes do, ties aside.
fn prefix_of(bytes: &[u8]) -> u64 {
    let mut prefix = [0; 8];
    let len = bytes.len().min(8);
    prefix[..len].copy_from_slice(&bytes[..len]);
    u64::from_be_bytes(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: &[(&str, &str, bool)]) -> GroupIndex {
        let mut offset = 64;
        let mut entry = |&(first, last, continued): &(&str, &str, bool)| {
            offset += 80;
            GroupEntry {
                first_key: first.as_bytes().into(),
                last_key: last.as_bytes().into(),
                offset,
                length: 80,
                header_length: 56,
                key_end: 64,
                rows: 3,
                deletes: 1,
                schema_version: 1,
                min_seq: 4,
                max_seq: 9,
                one_version: false,
                continued,
            }
        };
        let groups: Vec<_> = keys.iter().map(&mut entry).collect();
        let bytes = GroupIndex::encode(&groups);
        let index = GroupIndex::decode(&bytes, 4_096).unwrap();
        assert_eq!(index.groups(), groups);
        index
    }

    #[test]
    fn last_group_that_starts_at_or_before_the_key_is_found() {
        let index = index(&[
            ("urn:a", "urn:aa", false),
            ("urn:ab", "urn:abc", false),
            ("urn:b\0", "urn:b\0\0x", false),
            ("urn:b0123456789", "urn:b0123456790", false),
            ("urn:b0123456799", "urn:c", false),
        ]);
        let found = |key: &str| index.find(key.as_bytes());
        assert_eq!(found(""), None);
        assert_eq!(found("urn"), None);
        assert_eq!(found("uql:z"), None);
        assert_eq!(found("urn:"), None);
        assert_eq!(found("urn:a"), Some(0));
        assert_eq!(found("urn:aa"), Some(0));
        assert_eq!(found("urn:ab"), Some(1));
        assert_eq!(found("urn:b"), Some(1));
        assert_eq!(found("urn:b\0"), Some(2));
        assert_eq!(found("urn:b0123456788"), Some(2));
        assert_eq!(found("urn:b0123456789"), Some(3));
        assert_eq!(found("urn:b0123456798"), Some(3));
        assert_eq!(found("urn:b0123456799"), Some(4));
        assert_eq!(found("urs"), Some(4));
    }

    #[test]
    fn groups_that_continue_one_another_are_found_by_their_first() {
        let index = index(&[
            ("a", "b", false),
            ("k", "k", false),
            ("k", "k", true),
            ("k", "k", true),
            ("m", "n", false),
        ]);
        assert_eq!(index.find(b"k"), Some(1));
        assert_eq!(index.find(b"l"), Some(1));
        assert_eq!(index.find(b"m"), Some(4));
        assert_eq!(index.chain(0), 0..1);
        for group in 1..4 {
            assert_eq!(index.chain(group), 1..4);
        }
        assert_eq!(index.chain(4), 4..5);
    }

    #[test]
    fn groups_out_of_order_are_corruption() {
        let entry = |first: &str, offset| GroupEntry {
            first_key: first.as_bytes().into(),
            last_key: first.as_bytes().into(),
            offset,
            length: 80,
            header_length: 56,
            key_end: 64,
            rows: 1,
            deletes: 0,
            schema_version: 1,
            min_seq: 0,
            max_seq: 0,
            one_version: true,
            continued: false,
        };
        let decode = |groups: &[GroupEntry]| {
            GroupIndex::decode(&GroupIndex::encode(groups), 1_024).map(|_| ())
        };
        decode(&[entry("a", 64), entry("b", 144)]).unwrap();
        decode(&[entry("b", 64), entry("a", 144)]).unwrap_err();
        decode(&[entry("a", 64), entry("b", 72)]).unwrap_err();
        decode(&[entry("a", 64), entry("b", 1_000)]).unwrap_err();
    }
}
