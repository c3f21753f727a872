//! What the parts of a file cost. Not a test of anything:
//! `cargo test --release -p silt-storage --lib -- --ignored --nocapture sstable::measure`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringViewArray};
use arrow_schema::DataType;
use silt_codec::{
    KeyBuffer, KeyCodec, KeyOrder, RowBuffer, Schemas, TreeColumn, TreeSchema, Value,
};

use super::{BlockCache, CopySeq, EntryBatch, SsTableReader, SsTableWriter, key_hash};
use crate::vfs::{Env, ManualClock, SeededRandom, StrictVfs, Vfs};
use crate::{OpKind, Options};

/// Time this thread was running: the machine has others.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

const ROWS: usize = 1_000_000;
const BATCH: usize = 8_192;

fn schema(types: &[DataType], key: usize) -> Arc<TreeSchema> {
    let column = |(id, data_type): (usize, &DataType)| TreeColumn {
        id: u32::try_from(id).unwrap(),
        data_type: data_type.clone(),
        nullable: false,
        frozen: Value::Null,
    };
    Arc::new(TreeSchema {
        version: 1,
        columns: types.iter().enumerate().map(column).collect(),
        key: vec![KeyOrder::default(); key],
    })
}

/// An integer key and fifteen columns as a table of orders has them.
fn orders(random: &SeededRandom, from: usize, rows: usize) -> Vec<ArrayRef> {
    let ids = (from..from + rows).map(|row| row as i64 * 3);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids))];
    for column in 0..15_u64 {
        let draw = |bound| random.below(bound);
        columns.push(match column % 5 {
            0 => Arc::new(Int64Array::from_iter_values((0..rows).map(|_| draw(200_000) as i64))),
            1 => Arc::new(Int32Array::from_iter_values((0..rows).map(|_| draw(2_500) as i32))),
            2 => {
                let cents = (0..rows).map(|_| draw(1_000_000) as f64 / 100.0);
                Arc::new(Float64Array::from_iter_values(cents))
            }
            3 => {
                let mode = |_| ["AIR", "RAIL", "SHIP", "TRUCK", "MAIL"][draw(5) as usize];
                Arc::new(StringViewArray::from_iter_values((0..rows).map(mode)))
            }
            _ => {
                let words = ["carefully ", "quickly ", "final ", "deposits ", "sleep ", "even "];
                let text = |_| (0..4).map(|_| words[draw(6) as usize]).collect::<String>();
                Arc::new(StringViewArray::from_iter_values((0..rows).map(text)))
            }
        });
    }
    columns
}

/// Three texts as the key, about ten rows a subject, a number and a time.
fn triples(random: &SeededRandom, from: usize, rows: usize) -> Vec<ArrayRef> {
    let row = from..from + rows;
    let subject = |row| format!("http://example.org/resource/entity/{:010}", row / 10);
    let predicate = |row| format!("http://example.org/ontology/property{:02}", (row % 10) / 2);
    let object =
        |row: usize| format!("http://example.org/resource/object/{:012}", row * 7_919 % 99_999_989);
    // Within a subject and predicate two objects, the lesser first.
    let objects = row.clone().map(|row| {
        let pair = [object(row & !1), object(row | 1)];
        let [low, high] = if pair[0] < pair[1] { pair } else { [pair[1].clone(), pair[0].clone()] };
        if row % 2 == 0 { low } else { high }
    });
    vec![
        Arc::new(StringViewArray::from_iter_values(row.clone().map(subject))),
        Arc::new(StringViewArray::from_iter_values(row.clone().map(predicate))),
        Arc::new(StringViewArray::from_iter_values(objects)),
        Arc::new(Float64Array::from_iter_values(
            (0..rows).map(|_| random.below(1_000) as f64 / 1_000.0),
        )),
        Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|_| 1_600_000_000_000_000 + random.below(1 << 44) as i64),
        )),
    ]
}

fn measure(
    name: &str,
    schema: Arc<TreeSchema>,
    generate: fn(&SeededRandom, usize, usize) -> Vec<ArrayRef>,
) {
    let vfs = StrictVfs::new();
    vfs.create_dir(Path::new("/sst")).unwrap();
    let env = Env {
        vfs: Arc::new(vfs),
        clock: Arc::new(ManualClock::new(0)),
        random: Arc::new(SeededRandom::new(1)),
    };
    let codec = KeyCodec::new(&schema).unwrap();
    let random = SeededRandom::new(7);
    let batches: Vec<EntryBatch> = (0..ROWS)
        .step_by(BATCH)
        .map(|from| {
            let rows = BATCH.min(ROWS - from);
            let columns = generate(&random, from, rows);
            let mut keys = KeyBuffer::new();
            codec.encode_columns(&columns[..schema.key_len()], &mut keys).unwrap();
            EntryBatch { keys, columns, seqs: vec![5; rows], kinds: vec![OpKind::Put; rows] }
        })
        .collect();
    let per_second = |rows: usize, time: Duration| rows as f64 / time.as_secs_f64() / 1e6;
    let options = Options::default();
    let create = |id| {
        let path = format!("/sst/{id}");
        SsTableWriter::create(&env, Path::new(&path), id, 1, Arc::clone(&schema), &options).unwrap()
    };

    let start = cpu_time();
    let mut writer = create(1);
    for batch in &batches {
        writer.append(batch).unwrap();
    }
    let meta = writer.finish().unwrap();
    let time = cpu_time() - start;
    println!("{name}: {} MB, write {:.1} M rows/s", meta.size / 1_000_000, per_second(ROWS, time));

    let cache = Arc::new(BlockCache::new(1 << 30));
    let schemas = Schemas::new(Arc::clone(&schema)).unwrap();
    let open = || {
        let cache = Arc::clone(&cache);
        SsTableReader::open(&env, Path::new("/sst/1"), &meta, 1, &schemas, cache).unwrap()
    };
    let start = cpu_time();
    let reader = open();
    println!("  open {:?}, {} groups", cpu_time() - start, reader.groups().len());
    let all: Vec<usize> = (0..schema.columns.len()).collect();
    for round in ["cold", "warm"] {
        let start = cpu_time();
        for group in 0..reader.groups().len() {
            let group = reader.group(group, &schema, &all).unwrap();
            for &column in &all {
                std::hint::black_box(group.decode(column, 0..group.rows()).unwrap());
            }
        }
        let time = cpu_time() - start;
        println!("  decode all columns, {round}: {:.1} M rows/s", per_second(ROWS, time));
    }
    let start = cpu_time();
    let mut copy = create(2);
    for group in 0..reader.groups().len() {
        let _ = copy.copy_group(&reader, group, CopySeq::Keep).unwrap();
    }
    copy.finish().unwrap();
    println!("  copy groups: {:.1} M rows/s", per_second(ROWS, cpu_time() - start));

    let keys: Vec<Vec<u8>> = (0..200_000)
        .map(|_| {
            let at = random.below(ROWS as u64) as usize;
            batches[at / BATCH].keys.get(at % BATCH).to_vec()
        })
        .collect();
    let last = schema.columns.len() - 1;
    for (what, projection) in [("last column", vec![last]), ("all columns", all)] {
        let mut values = RowBuffer::new();
        let mut out = RowBuffer::new();
        for round in 0..3 {
            let start = cpu_time();
            for key in &keys {
                values.clear();
                assert!(reader.may_contain(key_hash(key)).unwrap());
                codec.decode(key, &mut values).unwrap();
                let group = reader.find_group(key).unwrap();
                let group = reader.group(group, &schema, &projection).unwrap();
                let rows = group.find(&values).unwrap();
                std::hint::black_box(group.visible(rows, 9).unwrap().unwrap());
            }
            let find = cpu_time() - start;
            let start = cpu_time();
            for key in &keys {
                values.clear();
                out.clear();
                assert!(reader.may_contain(key_hash(key)).unwrap());
                codec.decode(key, &mut values).unwrap();
                let group = reader.find_group(key).unwrap();
                let group = reader.group(group, &schema, &projection).unwrap();
                let rows = group.find(&values).unwrap();
                let row = group.visible(rows, 9).unwrap().unwrap();
                for &column in &projection {
                    group.value(column, row, &mut out).unwrap();
                }
                std::hint::black_box(&out);
            }
            let time = cpu_time() - start;
            if round == 2 {
                let each = |time: Duration| time.as_nanos() as f64 / keys.len() as f64;
                println!("  get {what}: {:.0} ns, of it find {:.0} ns", each(time), each(find));
            }
        }
    }
}

#[test]
#[ignore = "measures, asserts nothing"]
fn integer_key() {
    use DataType::{Float64, Int32, Int64, Utf8View};
    let mut types = vec![Int64];
    for _ in 0..3 {
        types.extend([Int64, Int32, Float64, Utf8View, Utf8View]);
    }
    measure("integer key, 16 columns", schema(&types, 1), orders);
}

#[test]
#[ignore = "measures, asserts nothing"]
fn three_text_key() {
    use DataType::{Float64, Int64, Utf8View};
    let types = [Utf8View, Utf8View, Utf8View, Float64, Int64];
    measure("key of three texts, 5 columns", schema(&types, 3), triples);
}
