//! [`Visibility`]: of each key of one source, the newest entry at or below the snapshot.
//!
//! This is the first half of rule 24: what a source hides of itself. Nothing here looks at
//! values (RULES.md 22).

use silt_codec::KeyBuffer;

use crate::{OpKind, SeqNo};

/// Which entries of one source a snapshot sees, batch by batch in key order.
#[derive(Debug)]
pub(crate) struct Visibility {
    snapshot: SeqNo,
    /// Whether a visible delete counts: it does where it hides older sources' rows.
    keeps_deletes: bool,
    /// The last key of the batch before, and whether an entry of it was at or below the snapshot.
    last_key: Vec<u8>,
    has_last: bool,
    decided: bool,
}

impl Visibility {
    pub(crate) fn new(snapshot: SeqNo, keeps_deletes: bool) -> Self {
        Self { snapshot, keeps_deletes, last_key: Vec::new(), has_last: false, decided: false }
    }

    /// Adds to `out` the rows seen of a batch in which every key stands once, and which shares no
    /// key with the batches before.
    pub(crate) fn select_unique(&self, seqs: &[SeqNo], kinds: &[OpKind], out: &mut Vec<u32>) {
        for (row, (seq, kind)) in (0u32..).zip(seqs.iter().zip(kinds)) {
            if *seq <= self.snapshot && (self.keeps_deletes || *kind == OpKind::Put) {
                out.push(row);
            }
        }
    }

    /// Adds to `out` the rows seen of a batch: keys ascending, numbers of a key descending.
    pub(crate) fn select(
        &mut self,
        keys: &KeyBuffer,
        seqs: &[SeqNo],
        kinds: &[OpKind],
        out: &mut Vec<u32>,
    ) {
        for (row, (seq, kind)) in (0u32..).zip(seqs.iter().zip(kinds)) {
            let index = row as usize;
            let same_key = match index.checked_sub(1) {
                Some(before) => keys.get(before) == keys.get(index),
                None => self.has_last && self.last_key == keys.get(index),
            };
            if !same_key {
                self.decided = false;
            }
            if self.decided || *seq > self.snapshot {
                continue;
            }
            self.decided = true;
            if self.keeps_deletes || *kind == OpKind::Put {
                out.push(row);
            }
        }
        if let Some(last) = keys.len().checked_sub(1) {
            self.last_key.clear();
            self.last_key.extend_from_slice(keys.get(last));
            self.has_last = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OpKind::{Delete, Put};

    fn select(
        snapshot: SeqNo,
        deletes: bool,
        batches: &[&[(&str, SeqNo, OpKind)]],
    ) -> Vec<Vec<u32>> {
        let mut visibility = Visibility::new(snapshot, deletes);
        let mut selected = Vec::new();
        for batch in batches {
            let mut keys = KeyBuffer::new();
            batch.iter().for_each(|(key, ..)| keys.push(key.as_bytes()));
            let seqs: Vec<_> = batch.iter().map(|entry| entry.1).collect();
            let kinds: Vec<_> = batch.iter().map(|entry| entry.2).collect();
            let mut out = Vec::new();
            visibility.select(&keys, &seqs, &kinds, &mut out);
            selected.push(out);
        }
        selected
    }

    #[test]
    fn newest_entry_at_the_snapshot_is_seen() {
        let entries = [("a", 9, Put), ("a", 5, Put), ("a", 2, Put), ("b", 7, Put), ("c", 1, Put)];
        assert_eq!(select(9, false, &[&entries]), [[0, 3, 4]]);
        assert_eq!(select(6, false, &[&entries]), [[1, 4]]);
        assert_eq!(select(0, false, &[&entries]), [[0u32; 0]]);
    }

    #[test]
    fn delete_hides_older_versions_and_is_seen_only_where_it_counts() {
        let entries = [("a", 9, Delete), ("a", 5, Put), ("b", 4, Put)];
        assert_eq!(select(9, false, &[&entries]), [[2]]);
        assert_eq!(select(9, true, &[&entries]), [[0, 2]]);
        assert_eq!(select(8, false, &[&entries]), [[1, 2]]);
    }

    #[test]
    fn versions_of_a_key_may_go_on_in_the_next_batch() {
        let first = [("a", 9, Put), ("b", 8, Put)];
        let second = [("b", 6, Put), ("b", 4, Put), ("c", 3, Put)];
        assert_eq!(select(9, false, &[&first, &second]), [vec![0, 1], vec![2]]);
        assert_eq!(select(7, false, &[&first, &second]), [vec![], vec![0, 2]]);
        assert_eq!(select(5, false, &[&first, &second]), [vec![], vec![1, 2]]);
    }

    #[test]
    fn unique_keys_are_decided_without_their_bytes() {
        let mut out = Vec::new();
        Visibility::new(5, false).select_unique(&[5, 6, 1], &[Put, Put, Delete], &mut out);
        assert_eq!(out, [0]);
    }
}
