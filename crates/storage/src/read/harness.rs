//! A tree for the tests of reading and compaction: commits go through the engine, while flushes
//! and compactions are stepped here, so that a test decides what lies where. Beside it stands a
//! `BTreeMap` of versions that knows every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use silt_codec::{BatchBuilder, KeyOrder, RowBuffer, TreeColumn, TreeSchema, Value, ValueRef};

use super::{KeyRange, ReadCounters, ScanOrder, ScanRequest};
use crate::compaction::{self, Compaction, Finished, Job};
use crate::sstable::{EntryBatch, SsTableWriter};
use crate::state::TreeState;
use crate::version::{LiveFile, TreeVersion};
use crate::vfs::{Env, ManualClock, SeededRandom, StrictVfs};
use crate::{Engine, OpKind, Options, Result, SeqNo, Snapshot, Tree, TreeId, WriteBatch};

/// A row: key columns `a` ascending and `b` descending, then `v` and `t`.
pub(crate) type Row = (i64, i32, i64, Option<String>);

/// A key's `a` and `b`, and the `v` and `t` put there, or a delete.
pub(crate) type Op<'a> = (i64, i32, Option<(i64, Option<&'a str>)>);

/// All versions of each key, oldest first; `None` is a delete.
type Model = BTreeMap<Vec<u8>, Vec<(SeqNo, Option<Row>)>>;

pub(crate) struct Harness {
    pub(crate) engine: Engine,
    pub(crate) id: TreeId,
    pub(crate) tree: Tree,
    pub(crate) model: Model,
    next_file: AtomicU64,
    /// What compactions did so far.
    pub(crate) copied: u64,
    pub(crate) decoded: u64,
    pub(crate) moved: u64,
}

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;
pub(crate) const V: usize = 2;
pub(crate) const T: usize = 3;
pub(crate) const ALL: [usize; 4] = [A, B, V, T];

/// Small groups and files, so that little data fills many.
pub(crate) fn small_options() -> Options {
    Options {
        background: false,
        memtable_bytes: 64 << 10,
        file_bytes: 16 << 10,
        group_rows: 64,
        ..Options::default()
    }
}

fn schema() -> TreeSchema {
    let column =
        |id, data_type, nullable| TreeColumn { id, data_type, nullable, frozen: Value::Null };
    TreeSchema {
        version: 1,
        columns: vec![
            column(1, DataType::Int64, false),
            column(2, DataType::Int32, false),
            column(3, DataType::Int64, false),
            column(4, DataType::Utf8View, true),
        ],
        key: vec![KeyOrder::default(), KeyOrder { descending: true }],
    }
}

impl Harness {
    pub(crate) fn new(options: Options) -> Self {
        let env = Env {
            vfs: Arc::new(StrictVfs::new()),
            clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
            random: Arc::new(SeededRandom::new(1)),
        };
        let dir = Path::new("/db");
        let engine = Engine::open(env.clone(), dir, options).unwrap();
        env.vfs.create_dir(&dir.join("sst")).unwrap();
        let id = engine.create_tree(schema()).unwrap();
        let tree = engine.tree(id).unwrap();
        Self {
            engine,
            id,
            tree,
            model: Model::new(),
            next_file: AtomicU64::new(1_000),
            copied: 0,
            decoded: 0,
            moved: 0,
        }
    }

    pub(crate) fn state(&self) -> &TreeState {
        self.tree.state()
    }

    pub(crate) fn key(&self, a: i64, b: i32) -> Vec<u8> {
        let mut key = Vec::new();
        let values = [ValueRef::Int(a), ValueRef::Int(i64::from(b))];
        self.tree.key_codec().encode_values(&values, &mut key).unwrap();
        key
    }

    /// The key bytes of all keys with this `a`.
    pub(crate) fn prefix(&self, a: i64) -> Vec<u8> {
        let mut key = Vec::new();
        self.tree.key_codec().encode_values(&[ValueRef::Int(a)], &mut key).unwrap();
        key
    }

    /// Commits puts and deletes (rows that are `None`) together.
    pub(crate) fn commit(&mut self, ops: &[Op<'_>]) -> SeqNo {
        let mut batch = WriteBatch::new();
        let mut rows = BTreeMap::new();
        for (a, b, row) in ops {
            let key = self.key(*a, *b);
            match row {
                Some((v, t)) => {
                    let mut bytes = Vec::new();
                    let text = t.map_or(ValueRef::Null, ValueRef::Text);
                    let codec = self.tree.row_codec();
                    codec.encode_values(&[ValueRef::Int(*v), text], &mut bytes).unwrap();
                    batch.put(self.id, &key, &bytes);
                    rows.insert(key, Some((*a, *b, *v, t.map(str::to_owned))));
                }
                None => {
                    batch.delete(self.id, &key);
                    rows.insert(key, None);
                }
            }
        }
        let seq = self.engine.commit(batch).unwrap();
        for (key, row) in rows {
            self.model.entry(key).or_default().push((seq, row));
        }
        seq
    }

    /// Commits rows with `a` from `keys`, `b` 0, `v` from `value` and a text of it.
    pub(crate) fn put_all(&mut self, keys: impl IntoIterator<Item = i64>, value: i64) -> SeqNo {
        let text = format!("text {value}");
        let ops: Vec<_> =
            keys.into_iter().map(|a| (a, 0, Some((value, Some(text.as_str()))))).collect();
        self.commit(&ops)
    }

    pub(crate) fn delete_all(&mut self, keys: impl IntoIterator<Item = i64>) -> SeqNo {
        let ops: Vec<_> = keys.into_iter().map(|a| (a, 0, None)).collect();
        self.commit(&ops)
    }

    /// Moves all memtables into one file of level 0.
    pub(crate) fn flush(&mut self) {
        self.flush_to(0);
    }

    /// Moves all memtables into one file of `level`.
    pub(crate) fn flush_to(&mut self, level: usize) {
        let tree = Arc::clone(self.tree.state());
        let context = Arc::clone(tree.context());
        let view = tree.read_view();
        let mut entries = BTreeMap::new();
        for memtable in &view.memtables {
            memtable.visit((Bound::Unbounded, Bound::Unbounded), false, |entry| {
                let place = (entry.key.to_vec(), std::cmp::Reverse(entry.seq));
                entries.insert(place, (entry.kind, entry.row.to_vec()));
                ControlFlow::Continue(())
            });
        }
        if entries.is_empty() {
            return;
        }
        let id = self.next_file.fetch_add(1, Ordering::Relaxed);
        let schemas = tree.schemas();
        let mut writer = SsTableWriter::create(
            &context.env,
            &context.sst_path(id),
            id,
            context.uuid,
            tree.schema(),
            &context.options,
        )
        .unwrap();
        let mut builder = BatchBuilder::new(&schemas, &ALL, entries.len());
        let mut batch = EntryBatch::default();
        for ((key, seq), (kind, row)) in &entries {
            builder.push(key, (*kind == OpKind::Put).then_some(row)).unwrap();
            batch.keys.push(key);
            batch.seqs.push(seq.0);
            batch.kinds.push(*kind);
        }
        batch.columns = builder.finish().unwrap();
        writer.append(&batch).unwrap();
        let meta = writer.finish().unwrap();
        let file = Arc::new(LiveFile::new(meta, Arc::clone(&context.sweep)));
        let active = {
            let gauge = Arc::clone(&context.memtable_bytes);
            crate::memtable::TreeMemtable::new(context.options.memtable_kind, gauge)
        };
        tree.change_view(|view| {
            let mut version = TreeVersion::clone(&view.version);
            version.levels[level].insert(0, file);
            version.levels[level].sort_by(|a, b| match level {
                0 => b.max_seq.cmp(&a.max_seq),
                _ => a.smallest.cmp(&b.smallest),
            });
            view.version = Arc::new(version);
            view.memtables = vec![Arc::new(active)];
        });
    }

    /// Does the compaction that is due, if one is.
    pub(crate) fn compact_once(&mut self) -> bool {
        let view = self.state().read_view();
        let context = self.state().context();
        let floor = context.snapshots.floor();
        let picked = compaction::pick(&view.version, &context.options, floor, &BTreeSet::new());
        let Some(picked) = picked else { return false };
        self.run(&picked).unwrap();
        true
    }

    /// Compacts everything into the last level.
    pub(crate) fn compact_all(&mut self) {
        let view = self.state().read_view();
        if let Some(all) = compaction::pick_all(&view.version) {
            self.run(&all).unwrap();
        }
    }

    pub(crate) fn try_run(&self, picked: &Compaction) -> Result<Finished> {
        let context = self.state().context();
        let job = Job {
            context,
            tree: self.id,
            schemas: &self.tree.schemas(),
            floor: context.snapshots.floor(),
            next_file_id: &|| self.next_file.fetch_add(1, Ordering::Relaxed),
            go_on: &|| Ok(()),
        };
        compaction::run(&job, picked)
    }

    pub(crate) fn run(&mut self, picked: &Compaction) -> Result<()> {
        let finished = self.try_run(picked)?;
        self.copied += finished.groups_copied;
        self.decoded += finished.groups_decoded;
        self.moved += finished.files_moved;
        let sweep = Arc::clone(&self.state().context().sweep);
        self.state().change_view(|view| {
            let mut version = TreeVersion::clone(&view.version);
            let mut removed = BTreeMap::new();
            for gone in &finished.edit.removed {
                let level = &mut version.levels[gone.level];
                let at = level.iter().position(|file| file.id == gone.id).unwrap();
                removed.insert(gone.id, level.remove(at));
            }
            for added in finished.edit.added {
                let file = removed.remove(&added.meta.id).unwrap_or_else(|| {
                    Arc::new(LiveFile::new(added.meta.clone(), Arc::clone(&sweep)))
                });
                version.levels[added.level].push(file);
                version.levels[added.level].sort_by(|a, b| a.smallest.cmp(&b.smallest));
            }
            view.version = Arc::new(version);
        });
        self.check_levels();
        Ok(())
    }

    /// Below level 0 files ascend and share no key.
    fn check_levels(&self) {
        let view = self.state().read_view();
        for files in &view.version.levels[1..] {
            for pair in files.windows(2) {
                assert!(pair[0].largest < pair[1].smallest, "{pair:?} share keys");
            }
        }
    }

    pub(crate) fn files(&self) -> Vec<usize> {
        self.state().read_view().version.levels.iter().map(Vec::len).collect()
    }

    /// What the model holds in `range` at `seq`, in key order.
    pub(crate) fn expected(&self, range: &KeyRange, seq: SeqNo) -> Vec<Row> {
        let visible = |versions: &Vec<(SeqNo, Option<Row>)>| {
            versions.iter().rfind(|(at, _)| *at <= seq).and_then(|(_, row)| row.clone())
        };
        let rows = self.model.iter().filter(|(key, _)| range.contains(key));
        rows.filter_map(|(_, versions)| visible(versions)).collect()
    }

    pub(crate) fn request(range: KeyRange, order: ScanOrder) -> ScanRequest {
        ScanRequest { order, ..ScanRequest::new(range, ALL.to_vec()) }
    }

    pub(crate) fn scan(&self, request: &ScanRequest, snapshot: &Snapshot) -> Vec<Row> {
        let mut all = Vec::new();
        for batch in self.tree.scan(request, snapshot).unwrap() {
            let batch = batch.unwrap();
            assert!((1..=request.batch_rows).contains(&batch.num_rows()));
            all.extend(rows(&batch));
        }
        all
    }

    /// All rows at `snapshot`, in key order.
    pub(crate) fn scan_all(&self, snapshot: &Snapshot) -> Vec<Row> {
        self.scan(&Self::request(KeyRange::all(), ScanOrder::Forward), snapshot)
    }

    pub(crate) fn get(&self, a: i64, b: i32, snapshot: &Snapshot) -> Option<Row> {
        self.get_counted(a, b, snapshot, &ReadCounters::new())
    }

    pub(crate) fn get_counted(
        &self,
        a: i64,
        b: i32,
        snapshot: &Snapshot,
        counters: &ReadCounters,
    ) -> Option<Row> {
        let mut row = RowBuffer::new();
        let key = self.key(a, b);
        if !self.tree.get(&key, &ALL, snapshot, counters, &mut row).unwrap() {
            return None;
        }
        let int = |index| match row.get(index) {
            ValueRef::Int(value) => value,
            other => panic!("an integer, not {other:?}"),
        };
        let text = match row.get(T) {
            ValueRef::Text(text) => Some(text.to_owned()),
            ValueRef::Null => None,
            other => panic!("a text, not {other:?}"),
        };
        Some((int(A), i32::try_from(int(B)).unwrap(), int(V), text))
    }

    /// Every answer that the tree gives at `snapshot` is the model's.
    pub(crate) fn check(&self, snapshot: &Snapshot, note: &str) {
        let expected = self.expected(&KeyRange::all(), snapshot.seq());
        assert_eq!(self.scan_all(snapshot), expected, "{note}");
        for (a, b, ..) in &expected {
            let row = expected.iter().find(|row| (row.0, row.1) == (*a, *b)).cloned();
            assert_eq!(self.get(*a, *b, snapshot), row, "{note}");
        }
    }
}

/// The rows of a batch of all columns.
pub(crate) fn rows(batch: &RecordBatch) -> Vec<Row> {
    let a = batch.column(A).as_primitive::<Int64Type>();
    let b = batch.column(B).as_primitive::<Int32Type>();
    let v = batch.column(V).as_primitive::<Int64Type>();
    let t = batch.column(T).as_string_view();
    let text = |row: usize| (!t.is_null(row)).then(|| t.value(row).to_owned());
    (0..batch.num_rows()).map(|row| (a.value(row), b.value(row), v.value(row), text(row))).collect()
}
