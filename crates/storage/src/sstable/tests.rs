//! Whole files: written, read back, damaged, copied.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use silt_codec::{
    KeyBuffer, KeyCodec, KeyOrder, RowBuffer, Schemas, TreeColumn, TreeSchema, Value, ValueRef,
    array_of,
};

use super::{BlockCache, CopyOutcome, CopySeq, EntryBatch, Sketch, SsTableReader, SsTableWriter};
use crate::key::key_hash;
use crate::version::FileMeta;
use crate::vfs::{Env, ManualClock, SeededRandom, StrictVfs, Vfs};
use crate::{ErrorKind, OpKind, Options, Result, SeqNo};

mod point;

const UUID: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

/// An entry as the model has it: key values, number, kind, other values.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Vec<Value>,
    seq: SeqNo,
    kind: OpKind,
    values: Vec<Value>,
}

/// A disk, a schema and a cache.
struct Bench {
    vfs: StrictVfs,
    env: Env,
    schema: Arc<TreeSchema>,
    schemas: Schemas,
    codec: KeyCodec,
    cache: Arc<BlockCache>,
    options: Options,
}

impl Bench {
    fn new(schema: TreeSchema, options: Options) -> Self {
        let vfs = StrictVfs::new();
        let env = Env {
            vfs: Arc::new(vfs.clone()),
            clock: Arc::new(ManualClock::new(0)),
            random: Arc::new(SeededRandom::new(1)),
        };
        vfs.create_dir(Path::new("/sst")).unwrap();
        let schema = Arc::new(schema);
        Self {
            vfs,
            env,
            schemas: Schemas::new(Arc::clone(&schema)).unwrap(),
            codec: KeyCodec::new(&schema).unwrap(),
            schema,
            cache: Arc::new(BlockCache::new(64 << 20)),
            options,
        }
    }

    fn path(id: u64) -> PathBuf {
        Path::new("/sst").join(format!("{id:010}.sst"))
    }

    fn writer(&self, id: u64) -> SsTableWriter {
        let schema = Arc::clone(&self.schema);
        SsTableWriter::create(&self.env, &Self::path(id), id, UUID, schema, &self.options).unwrap()
    }

    fn write(&self, id: u64, entries: &[Entry]) -> FileMeta {
        let mut writer = self.writer(id);
        for part in entries.chunks(700) {
            writer.append(&self.batch(part)).unwrap();
        }
        writer.finish().unwrap()
    }

    fn open(&self, meta: &FileMeta) -> Result<SsTableReader> {
        self.open_with(meta, Arc::clone(&self.cache))
    }

    fn open_with(&self, meta: &FileMeta, cache: Arc<BlockCache>) -> Result<SsTableReader> {
        SsTableReader::open(&self.env, &Self::path(meta.id), meta, UUID, &self.schemas, cache)
    }

    fn key(&self, key: &[Value]) -> Vec<u8> {
        let values: Vec<ValueRef<'_>> = key.iter().map(Value::as_ref).collect();
        let mut bytes = Vec::new();
        self.codec.encode_values(&values, &mut bytes).unwrap();
        bytes
    }

    fn batch(&self, entries: &[Entry]) -> EntryBatch {
        let mut keys = KeyBuffer::new();
        for entry in entries {
            keys.push(&self.key(&entry.key));
        }
        let column = |(position, column): (usize, &TreeColumn)| {
            let value = |entry: &Entry| match position.checked_sub(self.schema.key_len()) {
                None => entry.key[position].clone(),
                Some(value) => entry.values[value].clone(),
            };
            let values: Vec<Value> = entries.iter().map(value).collect();
            array_of(&column.data_type, &values).unwrap()
        };
        EntryBatch {
            keys,
            columns: self.schema.columns.iter().enumerate().map(column).collect(),
            seqs: entries.iter().map(|entry| entry.seq).collect(),
            kinds: entries.iter().map(|entry| entry.kind).collect(),
        }
    }

    fn entries(&self, batch: &EntryBatch) -> Vec<Entry> {
        let value = |array: &ArrayRef, row| Value::from_array(array, row).unwrap();
        let (key, values) = batch.columns.split_at(self.schema.key_len());
        let entry = |row: usize| Entry {
            key: key.iter().map(|array| value(array, row)).collect(),
            seq: batch.seqs[row],
            kind: batch.kinds[row],
            values: values.iter().map(|array| value(array, row)).collect(),
        };
        (0..batch.len()).map(entry).collect()
    }

    /// Everything in a file, group by group.
    fn read_groups(&self, reader: &SsTableReader) -> Result<Vec<Vec<Entry>>> {
        let all: Vec<usize> = (0..self.schema.columns.len()).collect();
        let group = |group: usize| {
            let group = reader.group(group, &self.schema, &all)?;
            let batch = group.entries(&self.codec, 0..group.rows(), &all)?;
            for row in 0..batch.len() {
                let entry = &self.entries(&batch)[row..=row];
                assert_eq!(batch.keys.get(row), self.key(&entry[0].key));
                if row > 8 {
                    break;
                }
            }
            Ok(self.entries(&batch))
        };
        (0..reader.groups().len()).map(group).collect()
    }

    fn read(&self, reader: &SsTableReader) -> Result<Vec<Entry>> {
        Ok(self.read_groups(reader)?.concat())
    }

    /// The newest version of `key` at or below `snapshot`, the way a get finds it.
    fn get(&self, reader: &SsTableReader, key: &[Value], snapshot: SeqNo) -> Option<Entry> {
        let bytes = self.key(key);
        if !reader.may_contain(key_hash(&bytes)).unwrap() {
            return None;
        }
        let mut values = RowBuffer::new();
        self.codec.decode(&bytes, &mut values).unwrap();
        for number in reader.chain(reader.find_group(&bytes)?) {
            let group = reader.group(number, &self.schema, &[]).unwrap();
            let rows = group.find(&values).unwrap();
            let Some(row) = group.visible(rows, snapshot).unwrap() else { continue };
            let mut out = RowBuffer::new();
            for column in self.schema.key_len()..self.schema.columns.len() {
                group.value(column, row, &mut out).unwrap();
            }
            return Some(Entry {
                key: key.to_vec(),
                seq: group.seq(row).unwrap(),
                kind: group.kind(row).unwrap(),
                values: out.iter().map(|value| value.to_value()).collect(),
            });
        }
        None
    }
}

fn schema(types: &[(DataType, bool)], key: &[bool]) -> TreeSchema {
    let column = |(id, (data_type, nullable)): (usize, &(DataType, bool))| TreeColumn {
        id: u32::try_from(id).unwrap() + 1,
        data_type: data_type.clone(),
        nullable: *nullable,
        frozen: Value::Null,
    };
    TreeSchema {
        version: 1,
        columns: types.iter().enumerate().map(column).collect(),
        key: key.iter().map(|&descending| KeyOrder { descending }).collect(),
    }
}

fn ints() -> TreeSchema {
    let types = [
        (DataType::Int64, false),
        (DataType::Utf8View, true),
        (DataType::Int32, true),
        (DataType::Float64, true),
    ];
    schema(&types, &[false])
}

/// Two texts and a descending number as the key.
fn triples() -> TreeSchema {
    let types = [
        (DataType::Utf8View, false),
        (DataType::Utf8View, false),
        (DataType::Int64, true),
        (DataType::Utf8View, true),
    ];
    schema(&types, &[false, false, true])
}

fn small_groups() -> Options {
    Options { group_rows: 100, ..Options::default() }
}

fn put(key: i64, seq: SeqNo) -> Entry {
    let values = vec![
        Value::Text(format!("text of {key} at {seq}, long enough to stand outside a view")),
        if key % 7 == 0 { Value::Null } else { Value::Int(key % 1_000) },
        Value::Float(key as f64 / 4.0),
    ];
    Entry { key: vec![Value::Int(key)], seq, kind: OpKind::Put, values }
}

fn delete(key: i64, seq: SeqNo) -> Entry {
    let values = vec![Value::Null; 3];
    Entry { key: vec![Value::Int(key)], seq, kind: OpKind::Delete, values }
}

/// Random entries, some keys with several versions and deletes, in order.
fn random_ints(random: &SeededRandom, keys: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut key = -500;
    for _ in 0..keys {
        key += 1 + i64::try_from(random.below(5)).unwrap();
        let versions = if random.chance(10) { 1 + random.below(4) } else { 1 };
        let mut seq = 1_000_000;
        for _ in 0..versions {
            seq -= 1 + random.below(1_000);
            entries.push(if random.chance(10) { delete(key, seq) } else { put(key, seq) });
        }
    }
    entries
}

fn random_triples(bench: &Bench, random: &SeededRandom, count: u64) -> Vec<Entry> {
    let mut by_key = BTreeMap::new();
    for _ in 0..count {
        let number = match random.below(10) {
            0 => Value::Null,
            n => Value::Int(i64::try_from(n).unwrap() - 5),
        };
        let key = vec![
            Value::Text(format!("http://example.org/subject/{}", random.below(count / 4 + 1))),
            Value::Text(["is a", "knows", "", "likes\0zero"][random.below(4) as usize].into()),
            number,
        ];
        let text = Value::Text("x".repeat(random.below(40) as usize));
        let kind = if random.chance(5) { OpKind::Delete } else { OpKind::Put };
        let values = vec![if kind == OpKind::Put { text } else { Value::Null }];
        by_key.insert(bench.key(&key), Entry { key, seq: random.below(1 << 30), kind, values });
    }
    by_key.into_values().collect()
}

#[test]
fn entries_come_back_as_they_were_written() {
    for seed in 0..6 {
        println!("seed {seed}");
        let random = SeededRandom::new(seed);
        let bench = Bench::new(ints(), small_groups());
        let entries = random_ints(&random, 3_000);
        let meta = bench.write(7, &entries);
        let reader = bench.open(&meta).unwrap();
        assert_eq!(bench.read(&reader).unwrap(), entries);
        reader.verify(&bench.schema, &bench.codec).unwrap();

        let bench = Bench::new(triples(), small_groups());
        let entries = random_triples(&bench, &random, 3_000);
        let meta = bench.write(7, &entries);
        let reader = bench.open(&meta).unwrap();
        assert_eq!(bench.read(&reader).unwrap(), entries);
        reader.verify(&bench.schema, &bench.codec).unwrap();
    }
}

#[test]
fn get_finds_the_version_that_the_snapshot_sees() {
    let seed = 11;
    println!("seed {seed}");
    let random = SeededRandom::new(seed);
    let bench = Bench::new(ints(), small_groups());
    let entries = random_ints(&random, 2_000);
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let model = |key: &[Value], snapshot: SeqNo| {
        entries.iter().find(|entry| entry.key == key && entry.seq <= snapshot).cloned()
    };
    for entry in &entries {
        for snapshot in [entry.seq - 1, entry.seq, SeqNo::MAX >> 1] {
            assert_eq!(bench.get(&reader, &entry.key, snapshot), model(&entry.key, snapshot));
        }
    }
    for key in -600..600 {
        let key = [Value::Int(key)];
        assert_eq!(bench.get(&reader, &key, SeqNo::MAX >> 1), model(&key, SeqNo::MAX >> 1));
    }
}

#[test]
fn get_finds_keys_of_several_columns_in_either_direction() {
    let seed = 12;
    println!("seed {seed}");
    let random = SeededRandom::new(seed);
    let bench = Bench::new(triples(), small_groups());
    let entries = random_triples(&bench, &random, 4_000);
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    for entry in &entries {
        assert_eq!(bench.get(&reader, &entry.key, SeqNo::MAX >> 1).as_ref(), Some(entry));
        let mut other = entry.key.clone();
        other[2] = Value::Int(77);
        assert_eq!(bench.get(&reader, &other, SeqNo::MAX >> 1), None);
    }
}

#[test]
fn bounds_within_a_group_are_those_of_the_key_bytes() {
    let seed = 13;
    println!("seed {seed}");
    let random = SeededRandom::new(seed);
    let bench = Bench::new(triples(), Options { group_rows: 1_000, ..Options::default() });
    let entries = random_triples(&bench, &random, 4_000);
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let keys: Vec<Vec<u8>> = entries.iter().map(|entry| bench.key(&entry.key)).collect();
    let mut first_row = 0;
    for number in 0..reader.groups().len() {
        let group = reader.group(number, &bench.schema, &[0, 1, 2]).unwrap();
        let here = &keys[first_row..first_row + group.rows()];
        for _ in 0..300 {
            let mut bound = keys[random.below(keys.len() as u64) as usize].clone();
            match random.below(4) {
                0 => bound.truncate(random.below(bound.len() as u64 + 1) as usize),
                1 => {
                    let at = random.below(bound.len() as u64) as usize;
                    bound[at] = bound[at].wrapping_add(1);
                }
                2 => bound.truncate(bench.codec.prefix_len(&bound, 2).unwrap()),
                _ => {}
            }
            let expected = here.partition_point(|key| *key < bound);
            assert_eq!(group.lower_bound_bytes(&bench.codec, &bound).unwrap(), expected);

            let whole = &entries[random.below(entries.len() as u64) as usize].key;
            let columns = 1 + random.below(3) as usize;
            let mut values = RowBuffer::new();
            whole[..columns].iter().for_each(|value| values.push(value.as_ref()));
            let prefix = bench.key(&whole[..columns]);
            let start = here.partition_point(|key| *key < prefix);
            let len = here[start..].iter().take_while(|key| key.starts_with(&prefix)).count();
            assert_eq!(group.find(&values).unwrap(), start..start + len);
        }
        first_row += group.rows();
    }
}

#[test]
fn filters_pass_every_key_and_few_others() {
    let bench = Bench::new(triples(), Options::default());
    let random = SeededRandom::new(3);
    let entries = random_triples(&bench, &random, 20_000);
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let mut passed = 0;
    for entry in &entries {
        let key = bench.key(&entry.key);
        assert!(reader.may_contain(key_hash(&key)).unwrap());
        let prefix = bench.key(&entry.key[..1]);
        assert!(reader.may_contain_prefix(key_hash(&prefix)).unwrap());
        let mut absent = entry.key.clone();
        absent[0] = Value::Text("http://example.org/none".into());
        passed +=
            usize::from(reader.may_contain_prefix(key_hash(&bench.key(&absent[..1]))).unwrap());
        absent[2] = Value::Int(entry.seq as i64);
        passed += usize::from(reader.may_contain(key_hash(&bench.key(&absent))).unwrap());
    }
    assert!(passed * 100 < entries.len() * 2, "{passed} of {}", entries.len() * 2);
}

#[test]
fn statistics_say_what_the_file_holds() {
    let bench = Bench::new(ints(), small_groups());
    let mut entries: Vec<Entry> = (0..250).map(|key| put(key, 5)).collect();
    entries.insert(3, delete(2, 4));
    entries[100] = delete(99, 9);
    let meta = bench.write(7, &entries);
    assert_eq!((meta.rows, meta.deletes, meta.groups), (251, 2, 3));
    assert_eq!((meta.min_seq, meta.max_seq, meta.one_version), (4, 9, false));
    assert_eq!(*meta.smallest, bench.key(&[Value::Int(0)]));
    assert_eq!(*meta.largest, bench.key(&[Value::Int(249)]));
    assert_eq!(meta.file_seq, None);
    let zone = |id: u32| &meta.columns.iter().find(|(column, _)| *column == id).unwrap().1;
    assert_eq!((&zone(1).min, &zone(1).max), (&Value::Int(0), &Value::Int(249)));
    assert_eq!((&zone(3).min, &zone(3).max), (&Value::Int(1), &Value::Int(249)));
    assert_eq!(zone(1).null_count, 0);
    assert_eq!(zone(4).null_count, 2, "deletes are NULL behind the key");

    let reader = bench.open(&meta).unwrap();
    let second = &reader.groups()[1];
    assert_eq!((second.rows, second.deletes, second.one_version), (100, 1, true));
    assert_eq!((second.min_seq, second.max_seq), (5, 9));
    let zone = reader.zone_map(1, &bench.schema, 0).unwrap().unwrap();
    assert_eq!((&zone.min, &zone.max), (&Value::Int(99), &Value::Int(198)));
}

#[test]
fn groups_are_cut_between_keys() {
    let bench = Bench::new(ints(), small_groups());
    let mut entries = Vec::new();
    for key in 0..99 {
        entries.push(put(key, 7));
    }
    entries.push(put(99, 9));
    entries.push(put(99, 8));
    entries.push(put(100, 7));
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let rows: Vec<u32> = reader.groups().iter().map(|group| group.rows).collect();
    assert_eq!(rows, [99, 3], "both versions of key 99 stand in the second group");
    assert_eq!(bench.read(&reader).unwrap(), entries);
}

#[test]
fn versions_beyond_a_group_fill_groups_of_their_own() {
    let bench = Bench::new(ints(), small_groups());
    let mut entries: Vec<Entry> = (0..50).map(|key| put(key, 7)).collect();
    entries.extend((0..350).map(|age| put(50, 10_000 - age)));
    entries.extend((51..120).map(|key| put(key, 7)));
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let groups: Vec<(u32, bool)> =
        reader.groups().iter().map(|group| (group.rows, group.continued)).collect();
    let expected = [(50, false), (100, false), (100, true), (100, true), (50, true), (69, false)];
    assert_eq!(groups, expected);
    assert_eq!(bench.read(&reader).unwrap(), entries);
    for age in 0..350 {
        let found = bench.get(&reader, &[Value::Int(50)], 10_000 - age).unwrap();
        assert_eq!(found.seq, 10_000 - age);
    }
    assert_eq!(bench.get(&reader, &[Value::Int(50)], 9_000), None);
}

#[test]
fn group_ends_early_when_its_rows_are_large() {
    let options = Options { group_bytes: 10_000, ..Options::default() };
    let bench = Bench::new(ints(), options);
    let entries: Vec<Entry> = (0..40)
        .map(|key| {
            let mut entry = put(key, 1);
            entry.values[0] = Value::Text("x".repeat(if key == 20 { 50_000 } else { 900 }));
            entry
        })
        .collect();
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    let rows: Vec<u32> = reader.groups().iter().map(|group| group.rows).collect();
    assert_eq!(rows, [10, 10, 1, 10, 9]);
    assert_eq!(bench.read(&reader).unwrap(), entries);
}

#[test]
fn entries_out_of_order_are_refused() {
    let bench = Bench::new(ints(), small_groups());
    for wrong in [[put(2, 5), put(1, 5)], [put(1, 4), put(1, 5)], [put(1, 5), put(1, 5)]] {
        let error = bench.writer(7).append(&bench.batch(&wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
    let mut writer = bench.writer(7);
    writer.append(&bench.batch(&[put(5, 1)])).unwrap();
    writer.append(&bench.batch(&[put(4, 1)])).unwrap_err();
}

#[test]
fn unfinished_file_is_removed() {
    let bench = Bench::new(ints(), small_groups());
    let mut writer = bench.writer(7);
    writer.append(&bench.batch(&[put(1, 1)])).unwrap();
    assert!(bench.vfs.exists(&Bench::path(7)).unwrap());
    writer.abandon();
    assert!(!bench.vfs.exists(&Bench::path(7)).unwrap());
    bench.writer(7).finish().unwrap_err();
    assert!(!bench.vfs.exists(&Bench::path(7)).unwrap(), "a file without entries");
}

#[test]
fn bulk_file_takes_its_number_from_the_manifest() {
    let bench = Bench::new(ints(), small_groups());
    let entries: Vec<Entry> = (0..250).map(|key| put(key, 0)).collect();
    let mut meta = bench.write(7, &entries);
    meta.file_seq = Some(42);
    let reader = bench.open(&meta).unwrap();
    assert!(bench.read(&reader).unwrap().iter().all(|entry| entry.seq == 42));
    assert_eq!(bench.get(&reader, &[Value::Int(3)], 41), None);
    assert_eq!(bench.get(&reader, &[Value::Int(3)], 42).unwrap().seq, 42);

    // A copied group carries the number in its index entry.
    let mut writer = bench.writer(8);
    for group in 0..3 {
        let outcome = writer.copy_group(&reader, group, CopySeq::Keep).unwrap();
        assert_eq!(outcome, CopyOutcome::Copied);
    }
    let copy = writer.finish().unwrap();
    assert_eq!((copy.min_seq, copy.max_seq, copy.file_seq), (42, 42, None));
    let copy = bench.open(&copy).unwrap();
    assert!(bench.read(&copy).unwrap().iter().all(|entry| entry.seq == 42));

    let mut settled = bench.writer(9);
    let outcome = settled.copy_group(&reader, 0, CopySeq::Zero).unwrap();
    assert_eq!(outcome, CopyOutcome::Copied);
    assert_eq!(settled.finish().unwrap().max_seq, 0);
}

#[test]
fn copied_groups_equal_their_source() {
    let seed = 21;
    println!("seed {seed}");
    let random = SeededRandom::new(seed);
    let bench = Bench::new(triples(), small_groups());
    let entries = random_triples(&bench, &random, 3_000);
    let source = bench.open(&bench.write(7, &entries)).unwrap();
    let mut writer = bench.writer(8);
    // Every third group is decoded and appended instead.
    let all: Vec<usize> = (0..4).collect();
    for group in 0..source.groups().len() {
        if group % 3 == 2 {
            let group = source.group(group, &bench.schema, &all).unwrap();
            let rows = 0..group.rows();
            writer.append(&group.entries(&bench.codec, rows, &all).unwrap()).unwrap();
        } else {
            let outcome = writer.copy_group(&source, group, CopySeq::Keep).unwrap();
            assert_eq!(outcome, CopyOutcome::Copied);
        }
    }
    let meta = writer.finish().unwrap();
    let copy = bench.open(&meta).unwrap();
    assert_eq!(bench.read(&copy).unwrap(), entries);
    copy.verify(&bench.schema, &bench.codec).unwrap();
    for entry in &entries {
        assert_eq!(bench.get(&copy, &entry.key, SeqNo::MAX >> 1).as_ref(), Some(entry));
    }
    for group in 0..source.groups().len() {
        for column in 0..4 {
            let zone = |reader: &SsTableReader| {
                reader.zone_map(group, &bench.schema, column).unwrap().unwrap().into_owned()
            };
            assert_eq!(zone(&copy), zone(&source));
        }
    }
}

#[test]
fn sketches_count_the_values_of_a_file_and_of_groups_copied_into_it() {
    let bench = Bench::new(ints(), small_groups());
    let entries: Vec<Entry> = (0..450).map(|key| put(key, 5)).collect();
    let source = bench.open(&bench.write(7, &entries)).unwrap();
    let count = |reader: &SsTableReader, id| {
        reader.sketches().unwrap().and_then(|sketches| sketches.column(id)).map(Sketch::count)
    };
    let keys = count(&source, 1).unwrap();
    assert!((420..480).contains(&keys), "{keys} of 450");
    let mut writer = bench.writer(8);
    for group in 0..source.groups().len() {
        let copied = writer.copy_group(&source, group, CopySeq::Keep).unwrap();
        assert_eq!(copied, CopyOutcome::Copied);
    }
    let more: Vec<Entry> = (450..900).map(|key| put(key, 5)).collect();
    writer.append(&bench.batch(&more)).unwrap();
    let copy = bench.open(&writer.finish().unwrap()).unwrap();
    let keys = count(&copy, 1).unwrap();
    assert!((840..960).contains(&keys), "{keys} of 900");
    assert!(count(&copy, 99).is_none());
}

#[test]
fn file_written_without_sketches_says_nothing_of_its_values() {
    let options = Options { paths: crate::FastPaths::none(), ..small_groups() };
    let bench = Bench::new(ints(), options);
    let entries: Vec<Entry> = (0..450).map(|key| put(key, 5)).collect();
    let reader = bench.open(&bench.write(7, &entries)).unwrap();
    assert_eq!(bench.read(&reader).unwrap(), entries);
    let sketches = reader.sketches().unwrap();
    assert!(sketches.is_none_or(|sketches| sketches.column(1).is_none()));
}

#[test]
fn file_of_an_earlier_release_has_no_sketches_and_all_its_rows() {
    let bench = Bench::new(ints(), small_groups());
    let entries: Vec<Entry> = (0..450).map(|key| put(key, 5)).collect();
    let mut meta = bench.write(7, &entries);
    // Its footer had zeros where the sketches' place is.
    let mixer = super::checksum::Mixer { uuid: UUID, file: 7 };
    bench
        .vfs
        .damage(&Bench::path(7), |bytes| {
            let footer = bytes.len() - super::footer::FOOTER_LEN;
            let end = bytes.len() - 8;
            bytes[end - 24..end].fill(0);
            let sealed = mixer.seal(footer as u64, &bytes[footer..end]);
            bytes[end..].copy_from_slice(&sealed.to_le_bytes());
            meta.footer_checksum = sealed;
        })
        .unwrap();
    let old = bench.open(&meta).unwrap();
    assert!(old.sketches().unwrap().is_none());
    assert_eq!(bench.read(&old).unwrap(), entries);
    old.verify(&bench.schema, &bench.codec).unwrap();
    // Nor has a file that a group was copied into.
    let mut writer = bench.writer(8);
    assert_eq!(writer.copy_group(&old, 0, CopySeq::Keep).unwrap(), CopyOutcome::Copied);
    let copy = bench.open(&writer.finish().unwrap()).unwrap();
    assert!(copy.sketches().unwrap().is_some_and(|sketches| sketches.column(1).is_none()));
}

#[test]
fn copy_of_a_continued_key_needs_all_its_groups_in_order() {
    let bench = Bench::new(ints(), small_groups());
    let mut entries: Vec<Entry> = (0..250).map(|age| put(50, 10_000 - age)).collect();
    entries.push(put(51, 3));
    let source = bench.open(&bench.write(7, &entries)).unwrap();
    let mut writer = bench.writer(8);
    for group in 0..source.groups().len() {
        let _ = writer.copy_group(&source, group, CopySeq::Keep).unwrap();
    }
    let copy = bench.open(&writer.finish().unwrap()).unwrap();
    assert_eq!(bench.read(&copy).unwrap(), entries);

    let mut writer = bench.writer(9);
    writer.copy_group(&source, 1, CopySeq::Keep).unwrap_err();
    writer.append(&bench.batch(&[put(60, 1)])).unwrap();
    writer.copy_group(&source, 0, CopySeq::Keep).unwrap_err();
}

#[test]
fn group_of_another_schema_is_not_copied() {
    let mut bench = Bench::new(ints(), small_groups());
    let entries: Vec<Entry> = (0..50).map(|key| put(key, 3)).collect();
    let meta = bench.write(7, &entries);
    let mut wider = TreeSchema::clone(&bench.schema);
    wider.version = 2;
    wider.columns.remove(1);
    wider.columns.push(TreeColumn {
        id: 9,
        data_type: DataType::Utf8View,
        nullable: false,
        frozen: Value::Text("as it always was".into()),
    });
    bench.schemas = bench.schemas.with(Arc::new(wider)).unwrap();
    bench.schema = Arc::clone(bench.schemas.current());
    let reader = bench.open(&meta).unwrap();
    let outcome = bench.writer(8).copy_group(&reader, 0, CopySeq::Keep).unwrap();
    assert_eq!(outcome, CopyOutcome::OtherSchema);

    // Its columns are matched by id; one it lacks has its frozen value, in its zone map too.
    let read = bench.read(&reader).unwrap();
    for (read, written) in read.iter().zip(&entries) {
        let [_, number, float] = &written.values[..] else { unreachable!() };
        let expected = [number.clone(), float.clone(), Value::Text("as it always was".into())];
        assert_eq!(read.values, expected);
    }
    let zone = reader.zone_map(0, &bench.schema, 3).unwrap().unwrap();
    assert_eq!(zone.min, Value::Text("as it always was".into()));
    assert_eq!((zone.min == zone.max, zone.null_count), (true, 0));
}

#[test]
fn get_reads_only_the_chunks_it_needs_and_a_second_one_reads_nothing() {
    let bench = Bench::new(ints(), Options { group_rows: 8_192, ..Options::default() });
    let entries: Vec<Entry> = (0..20_000).map(|key| put(key, 5)).collect();
    let meta = bench.write(7, &entries);
    let reader = bench.open(&meta).unwrap();
    let key = bench.key(&[Value::Int(9_000)]);
    let mut values = RowBuffer::new();
    bench.codec.decode(&key, &mut values).unwrap();
    let get = || {
        let group = reader.find_group(&key).unwrap();
        let group = reader.group(group, &bench.schema, &[0, 2]).unwrap();
        let rows = group.find(&values).unwrap();
        let row = group.visible(rows, 5).unwrap().unwrap();
        let mut out = RowBuffer::new();
        group.value(2, row, &mut out).unwrap();
        assert_eq!(out.get(0), ValueRef::Int(0));
    };
    let (reads, bytes) = (bench.cache.file_reads(), bench.cache.file_bytes());
    get();
    assert_eq!(bench.cache.file_reads() - reads, 2, "header with keys, then one column");
    let read = bench.cache.file_bytes() - bytes;
    let group = u64::from(reader.groups()[1].length);
    assert!(read < group / 2, "{read} of {group} bytes");
    assert_eq!(bench.cache.bytes(), read);
    get();
    assert_eq!(bench.cache.file_reads() - reads, 2);
    assert_eq!(bench.cache.len(), 1);

    drop(reader);
    assert_eq!((bench.cache.len(), bench.cache.bytes()), (0, 0), "the file's groups went with it");
}

#[test]
fn cache_keeps_its_budget() {
    let bench = Bench::new(ints(), Options { group_rows: 1_000, ..Options::default() });
    let entries: Vec<Entry> = (0..50_000).map(|key| put(key, 5)).collect();
    let meta = bench.write(7, &entries);
    let budget = meta.size / 5;
    let cache = Arc::new(BlockCache::new(budget));
    let reader = bench.open_with(&meta, Arc::clone(&cache)).unwrap();
    let random = SeededRandom::new(5);
    for _ in 0..2_000 {
        let number = random.below(reader.groups().len() as u64) as usize;
        let group = reader.group(number, &bench.schema, &[0]).unwrap();
        let column = random.below(4) as usize;
        let array = group.decode(column, 0..group.rows()).unwrap();
        assert_eq!(array.len(), group.rows());
        assert!(cache.bytes() <= budget, "{} of {budget}", cache.bytes());
    }
    assert!(cache.bytes() > budget / 2, "{} of {budget}", cache.bytes());
}

/// What reading everything gives, or the error.
fn read_all(bench: &Bench, meta: &FileMeta) -> Result<(Vec<Entry>, Vec<bool>)> {
    let cache = Arc::new(BlockCache::new(1 << 20));
    let reader = bench.open_with(meta, cache)?;
    let entries = bench.read(&reader)?;
    let probes = (0..200).map(|key| reader.may_contain(key_hash(&bench.key(&[Value::Int(key)]))));
    let probes = probes.collect::<Result<_>>()?;
    for column in 0..4 {
        reader.zone_map(0, &bench.schema, column)?;
    }
    Ok((entries, probes))
}

fn small_file(bench: &Bench) -> (FileMeta, Vec<Entry>) {
    let mut entries: Vec<Entry> = (0..60).map(|key| put(key, 5)).collect();
    entries.insert(4, put(3, 2));
    entries[30] = delete(29, 7);
    (bench.write(7, &entries), entries)
}

#[test]
fn every_flipped_byte_is_found_or_means_nothing() {
    let bench = Bench::new(ints(), Options { group_rows: 25, ..Options::default() });
    let (meta, _) = small_file(&bench);
    let path = Bench::path(7);
    let intact = read_all(&bench, &meta).unwrap();
    let mut found = 0;
    for at in 0..usize::try_from(meta.size).unwrap() {
        for flip in [0x01, 0xff] {
            bench.vfs.damage(&path, |bytes| bytes[at] ^= flip).unwrap();
            match read_all(&bench, &meta) {
                Ok(read) => assert_eq!(read, intact, "byte {at}"),
                Err(error) => {
                    found += 1;
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
                    let message = error.to_string();
                    assert!(message.starts_with("/sst/0000000007.sst at offset "), "{message}");
                }
            }
            bench.vfs.damage(&path, |bytes| bytes[at] ^= flip).unwrap();
        }
    }
    let flips = meta.size * 2;
    assert!(found * 10 > flips * 9, "{found} of {flips} flips were found");
    assert_eq!(read_all(&bench, &meta).unwrap(), intact);
}

#[test]
fn every_truncation_is_found() {
    let bench = Bench::new(ints(), Options { group_rows: 25, ..Options::default() });
    let (meta, _) = small_file(&bench);
    let path = Bench::path(7);
    let whole = bench.vfs.files()[&path].clone();
    for len in 0..whole.len() {
        bench.vfs.damage(&path, |bytes| bytes.truncate(len)).unwrap();
        let error = bench.open(&meta).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{len} bytes: {error}");
        bench.vfs.damage(&path, |bytes| *bytes = whole.clone()).unwrap();
    }
}

#[test]
fn blocks_of_another_place_or_file_are_refused() {
    let bench = Bench::new(ints(), Options { group_rows: 25, ..Options::default() });
    // Groups of the same shape, so that one fits exactly where another stood.
    let entries = |seq| (0..50).map(|key| put(key, seq)).collect::<Vec<_>>();
    let (meta, other) = (bench.write(7, &entries(5)), bench.write(8, &entries(5)));
    let path = Bench::path(7);
    let whole = bench.vfs.files()[&path].clone();
    let reader = bench.open(&meta).unwrap();
    let spans: Vec<(usize, usize)> = reader
        .groups()
        .iter()
        .map(|group| (group.offset as usize, group.length as usize))
        .collect();
    drop(reader);
    let refused = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        bench.vfs.damage(&path, |bytes| change(bytes)).unwrap();
        let error = read_all(&bench, &meta).map(|_| ()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        bench.vfs.damage(&path, |bytes| *bytes = whole.clone()).unwrap();
    };
    let twin = bench.vfs.files()[&Bench::path(8)].clone();
    let (start, len) = spans[0];
    refused(
        &|bytes| bytes[start..start + len].copy_from_slice(&twin[start..start + len]),
        "the same group of another file",
    );
    let (second, second_len) = spans[1];
    let len = len.min(second_len);
    refused(&|bytes| bytes.copy_within(second..second + len, start), "another group");
    refused(&|bytes| bytes.clone_from(&twin), "another file");
    refused(&|bytes| bytes.fill(0), "zeroes");

    // The same bytes under another database's number.
    let error = SsTableReader::open(
        &bench.env,
        &path,
        &meta,
        UUID + 1,
        &bench.schemas,
        Arc::clone(&bench.cache),
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Corrupt);
    let stale = FileMeta { footer_checksum: other.footer_checksum, ..meta.clone() };
    assert_eq!(bench.open(&stale).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Random bytes with right checksums: what a writer gone wrong, or a hostile one, could leave.
#[test]
fn damaged_bytes_with_right_checksums_never_panic() {
    use super::checksum::{Mixer, checksum};
    use super::footer::FOOTER_LEN;
    use super::group_header::GroupHeader;

    let bench = Bench::new(ints(), Options { group_rows: 25, ..Options::default() });
    let (mut meta, _) = small_file(&bench);
    let path = Bench::path(7);
    let whole = bench.vfs.files()[&path].clone();
    let mixer = Mixer { uuid: UUID, file: 7 };
    let reader = bench.open(&meta).unwrap();
    let groups = reader.groups().to_vec();
    drop(reader);
    let footer_at = whole.len() - FOOTER_LEN;
    let seed = 99;
    println!("seed {seed}");
    let random = SeededRandom::new(seed);
    for round in 0..4_000 {
        let mut bytes = whole.clone();
        let group = &groups[random.below(groups.len() as u64) as usize];
        let start = group.offset as usize;
        let header_len = group.header_length as usize;
        let header = GroupHeader::decode(
            &bytes[start..start + header_len],
            &mixer,
            group.offset,
            group.length,
        )
        .unwrap();
        let change = |bytes: &mut [u8]| {
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = match random.below(3) {
                    0 => 0xff,
                    1 => bytes[at] ^ (1 << random.below(8)),
                    _ => random.below(256) as u8,
                };
            }
        };
        match round % 3 {
            // A chunk, with its checksum in the header.
            0 => {
                let slot = random.below(header.chunks.len() as u64) as usize;
                let chunk = &header.chunks[slot];
                let span = start + chunk.offset as usize..;
                change(&mut bytes[span.start..span.start + chunk.length as usize]);
                let computed = checksum(&bytes[span.start..span.start + chunk.length as usize]);
                let field = start + 24 + slot * 24 + 16;
                bytes[field..field + 8].copy_from_slice(&computed.to_le_bytes());
                GroupHeader::remix(&mut bytes[start..], header_len, &mixer, group.offset);
            }
            // A group's header.
            1 => {
                change(&mut bytes[start..start + header_len - 8]);
                GroupHeader::remix(&mut bytes[start..], header_len, &mixer, group.offset);
            }
            // A block, with its checksum in the footer and the footer's in the manifest.
            _ => {
                let handle = footer_at + 56 + random.below(8) as usize * 24;
                let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                let (offset, length) = (number(handle), number(handle + 8));
                if length == 0 {
                    continue;
                }
                let span = offset as usize..(offset + length) as usize;
                change(&mut bytes[span.clone()]);
                let sealed = mixer.seal(offset, &bytes[span]);
                bytes[handle + 16..handle + 24].copy_from_slice(&sealed.to_le_bytes());
            }
        }
        let end = bytes.len() - 8;
        let sealed = mixer.seal(footer_at as u64, &bytes[footer_at..end]);
        bytes[end..].copy_from_slice(&sealed.to_le_bytes());
        meta.footer_checksum = sealed;
        bench.vfs.damage(&path, |file| *file = bytes).unwrap();
        // Any answer or a typed error will do: no checksum can tell.
        let _ = read_all(&bench, &meta);
    }
}

/// Sizes that the codec decides are left out.
#[test]
fn structure_of_a_small_file() {
    let bench = Bench::new(ints(), Options { group_rows: 25, ..Options::default() });
    let (meta, _) = small_file(&bench);
    let reader = bench.open(&meta).unwrap();
    let mut text = String::new();
    for (number, group) in reader.groups().iter().enumerate() {
        let (_, header) = reader.raw_group(number).unwrap();
        let names = header.chunks.iter().map(|chunk| match chunk.column {
            super::group_header::SEQ_COLUMN => "_seq".to_owned(),
            super::group_header::KIND_COLUMN => "_kind".to_owned(),
            id => id.to_string(),
        });
        let versions = if group.one_version { ", one version a key" } else { "" };
        writeln!(
            text,
            "group: {} rows, {} deletes, numbers {}..={}{versions}\n  header of {} bytes, chunks {}",
            group.rows,
            group.deletes,
            group.min_seq,
            group.max_seq,
            group.header_length,
            names.collect::<Vec<_>>().join(" "),
        )
        .unwrap();
    }
    let decided_here = ["key filter", "prefix filter", "row-group index"];
    for (name, handle) in reader.blocks() {
        match handle.length {
            0 => writeln!(text, "{name}: absent").unwrap(),
            length if decided_here.contains(&name) => {
                writeln!(text, "{name}: {length} bytes").unwrap();
            }
            _ => writeln!(text, "{name}").unwrap(),
        }
    }
    let expected = "\
group: 25 rows, 0 deletes, numbers 2..=5
  header of 152 bytes, chunks 1 _seq 2 3 4
group: 25 rows, 1 deletes, numbers 5..=7, one version a key
  header of 176 bytes, chunks 1 _seq _kind 2 3 4
group: 11 rows, 0 deletes, numbers 5..=5, one version a key
  header of 128 bytes, chunks 1 2 3 4
symbol tables: absent
range deletes: absent
key filter: 96 bytes
prefix filter: absent
row-group index: 232 bytes
statistics
schema
sketches
";
    assert_eq!(text, expected);
}
