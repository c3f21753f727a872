//! Key-value stores as peers: the key in order-preserving bytes, the rest of the row as bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};

use super::{About, Peer, Reader, Task, Writer};
use crate::data::{Event, Key};
use crate::record::Answer;
use crate::scale::EVENTS_PER_AGENT;
use crate::steps::{Lookup, Range};
use crate::tables::{Dialect, Result, Table};

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);
/// Takes a key and its value; false for enough.
pub(super) type Take<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// One table, as it is read at one moment.
pub(super) trait Reading {
    /// Gives the value of a key to `take`; whether there is one.
    fn get(&self, key: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Gives pairs from `from` to before `to`, in order or backwards, until `take` has enough.
    fn scan(&self, from: &[u8], to: &[u8], backwards: bool, take: Take<'_>) -> Result<()>;
}

/// A store: cheap to clone, usable from many threads.
pub(super) trait Store: Clone + Send + Sized + 'static {
    fn about(&self) -> About;

    fn open(folder: &std::path::Path) -> Result<Self>;

    /// Makes a table.
    fn create(&self, table: &str) -> Result<()>;

    /// Writes all pairs, durable when this returns; gives their number.
    fn load(&self, table: &str, pairs: &mut dyn Iterator<Item = Result<Pair>>) -> Result<u64>;

    /// Writes pairs in one synced transaction.
    fn write(&self, table: &str, pairs: &[Pair]) -> Result<()>;

    /// Removes keys in one synced transaction.
    fn remove(&self, table: &str, keys: &[Vec<u8>]) -> Result<()>;

    /// Reads a table as it is now.
    fn read(&self, table: &str, work: &mut dyn FnMut(&dyn Reading) -> Result<()>) -> Result<()>;

    fn count(&self, table: &str) -> Result<u64>;
}

/// A store as a peer.
pub(super) struct KeyValue<S> {
    folder: PathBuf,
    store: Option<S>,
}

impl<S: Store> KeyValue<S> {
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        let store = Some(S::open(&folder)?);
        Ok(Self { folder, store })
    }

    fn store(&self) -> Result<&S> {
        Ok(self.store.as_ref().ok_or("the database is closed")?)
    }
}

impl<S: Store> Peer for KeyValue<S> {
    fn about(&self) -> Result<About> {
        Ok(self.store()?.about())
    }

    fn dialect(&self) -> Option<Dialect> {
        None
    }

    fn doors(&self, _task: Task) -> &'static [&'static str] {
        &[""]
    }

    fn create(&mut self, _table: &Table, name: &str, _schema: &SchemaRef) -> Result<()> {
        self.store()?.create(name)
    }

    fn load(
        &mut self,
        table: &Table,
        schema: &SchemaRef,
        batches: &mut dyn Iterator<Item = RecordBatch>,
    ) -> Result<u64> {
        let key = key_columns(table, schema)?;
        let mut pairs = batches.flat_map(|batch| {
            let key = key.clone();
            (0..batch.num_rows()).map(move |row| pair_of(&batch, &key, row))
        });
        self.store()?.load(table.name, &mut pairs)
    }

    fn writer(&self, _door: &str, _task: Task, table: &str, _rows: usize) -> Result<Writer> {
        let (store, table) = (self.store()?.clone(), table.to_owned());
        Ok(Box::new(move |work| {
            work(&mut |chunk| {
                let pairs: Vec<Pair> = chunk.rows.iter().map(pair_of_event).collect();
                store.write(&table, &pairs)
            })
        }))
    }

    fn rewrite(&mut self, table: &Table, batches: &[RecordBatch]) -> Result<()> {
        for batch in batches {
            let key = key_columns(table, &batch.schema())?;
            let pairs = (0..batch.num_rows()).map(|row| pair_of(batch, &key, row));
            self.store()?.write(table.name, &pairs.collect::<Result<Vec<Pair>>>()?)?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Reader> {
        let store = self.store()?.clone();
        Ok(Box::new(move || group(&store)))
    }

    fn gets(&mut self, _door: &str, lookup: Lookup, keys: &[Key]) -> Result<Answer> {
        let mut answer = Answer::default();
        let table = if lookup == Lookup::TripleAll { "triples" } else { "events" };
        self.store()?.read(table, &mut |reading| {
            let mut bytes = Vec::new();
            for key in keys {
                bytes.clear();
                encode_key(key, &mut bytes);
                reading.get(&bytes, &mut |value| add(&mut answer, lookup, key, value))?;
            }
            Ok(())
        })?;
        Ok(answer)
    }

    fn ranges(&mut self, _door: &str, range: Range, keys: &[Key]) -> Result<Answer> {
        let mut answer = Answer::default();
        let (table, backwards, most) = match range {
            Range::TriplesOfSubject => ("triples", false, usize::MAX),
            Range::NewestOfAgent => ("events", true, 100),
        };
        self.store()?.read(table, &mut |reading| {
            for key in keys {
                let mut from = Vec::new();
                match key {
                    Key::Event { agent_id, .. } => integer(*agent_id, &mut from),
                    Key::Triple { subject, .. } => text(subject, &mut from),
                }
                let mut to = from.clone();
                to.resize(from.len() + 16, 0xff);
                let mut left = most;
                reading.scan(&from, &to, backwards, &mut |key, value| {
                    match range {
                        Range::NewestOfAgent => add_event(&mut answer, key, value),
                        Range::TriplesOfSubject => add_triple(&mut answer, key, value),
                    }
                    left -= 1;
                    left > 0
                })?;
            }
            Ok(())
        })?;
        Ok(answer)
    }

    fn ask(&mut self, _sql: &str) -> Result<Answer> {
        Err("a key-value store answers no questions".into())
    }

    fn count(&mut self, table: &str) -> Result<u64> {
        self.store()?.count(table)
    }

    fn delete_half(&mut self) -> Result<u64> {
        let mut keys = Vec::new();
        let rest = (EVENTS_PER_AGENT % 2) as i64;
        self.store()?.read("events", &mut |reading| {
            reading.scan(&[], &[0xff; 17], false, &mut |key, _| {
                if integer_at(key, 8) % 2 == rest {
                    keys.push(key.to_owned());
                }
                true
            })
        })?;
        self.store()?.remove("events", &keys)?;
        Ok(keys.len() as u64)
    }

    fn close(&mut self) -> Result<()> {
        self.store = None;
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        self.store = Some(S::open(&self.folder)?);
        Ok(())
    }
}

/// Rows and sums by kind, from every row.
fn group(store: &impl Store) -> Result<Answer> {
    let mut groups: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    store.read("events", &mut |reading| {
        reading.scan(&[], &[0xff; 17], false, &mut |key, value| {
            let mut value = Fields(&value[8..]);
            let kind = value.text();
            if !groups.contains_key(kind) {
                groups.insert(kind.to_owned(), (0, 0));
            }
            if let Some((count, sum)) = groups.get_mut(kind) {
                *count += 1;
                *sum += integer_at(key, 8);
            }
            true
        })
    })?;
    let mut answer = Answer { rows: groups.len() as u64, ..Answer::default() };
    for (kind, (count, sum)) in groups {
        answer.text(&kind);
        answer.integer(count);
        answer.integer(sum);
    }
    Ok(answer)
}

/// Big-endian, the sign turned: bytes in the order of numbers.
fn integer(value: i64, bytes: &mut Vec<u8>) {
    bytes.extend((value ^ i64::MIN).to_be_bytes());
}

fn integer_at(bytes: &[u8], at: usize) -> i64 {
    let bytes = bytes[at..at + 8].try_into().expect("eight bytes");
    i64::from_be_bytes(bytes) ^ i64::MIN
}

/// With a zero byte behind it: bytes in the order of texts, of which none holds one.
fn text(value: &str, bytes: &mut Vec<u8>) {
    bytes.extend(value.as_bytes());
    bytes.push(0);
}

fn encode_key(key: &Key, bytes: &mut Vec<u8>) {
    match key {
        Key::Event { agent_id, seq } => {
            integer(*agent_id, bytes);
            integer(*seq, bytes);
        }
        Key::Triple { subject, predicate, object } => {
            [subject, predicate, object].into_iter().for_each(|part| text(part, bytes));
        }
    }
}

fn pair_of_event(row: &Event) -> Pair {
    let Event { agent_id, seq, ts, kind, payload } = row;
    let mut key = Vec::with_capacity(16);
    integer(*agent_id, &mut key);
    integer(*seq, &mut key);
    let mut value = Vec::with_capacity(12 + kind.len() + payload.len());
    value.extend(ts.to_le_bytes());
    field(kind, &mut value);
    field(payload, &mut value);
    (key, value)
}

/// A text within a value: its length before it.
fn field(text: &str, value: &mut Vec<u8>) {
    value.extend((text.len() as u16).to_le_bytes());
    value.extend(text.as_bytes());
}

/// The places of the key's columns.
fn key_columns(table: &Table, schema: &SchemaRef) -> Result<Vec<usize>> {
    let columns = table.key.iter().map(|name| schema.index_of(name));
    Ok(columns.collect::<std::result::Result<Vec<usize>, _>>()?)
}

fn pair_of(batch: &RecordBatch, key_columns: &[usize], row: usize) -> Result<Pair> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for &column in key_columns {
        let column = batch.column(column);
        match whole(column, row) {
            Some(number) => integer(number, &mut key),
            None => text(text_of(column, row)?, &mut key),
        }
    }
    for (index, column) in batch.columns().iter().enumerate() {
        if key_columns.contains(&index) {
            continue;
        }
        match (whole(column, row), column.data_type()) {
            (Some(number), _) => value.extend(number.to_le_bytes()),
            (None, DataType::Float64) => {
                value.extend(column.as_primitive::<Float64Type>().value(row).to_le_bytes());
            }
            (None, _) => field(text_of(column, row)?, &mut value),
        }
    }
    Ok((key, value))
}

fn whole(column: &ArrayRef, row: usize) -> Option<i64> {
    match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => Some(column.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => {
            Some(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Decimal128(..) => Some(column.as_primitive::<Decimal128Type>().value(row) as i64),
        _ => None,
    }
}

fn text_of(column: &ArrayRef, row: usize) -> Result<&str> {
    match column.data_type() {
        DataType::Utf8 => Ok(column.as_string::<i32>().value(row)),
        DataType::Utf8View => Ok(column.as_string_view().value(row)),
        other => Err(format!("no column of {other} is known").into()),
    }
}

/// The fields of a value, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().expect("values are as they were written");
        self.0 = rest;
        *first
    }

    fn text(&mut self) -> &'a str {
        let length = u16::from_le_bytes(self.take());
        let (text, rest) = self.0.split_at(length.into());
        self.0 = rest;
        std::str::from_utf8(text).expect("texts are as they were written")
    }
}

fn add(answer: &mut Answer, lookup: Lookup, key: &Key, value: &[u8]) {
    answer.rows += 1;
    match key {
        Key::Event { agent_id, seq } => {
            answer.integer(*agent_id);
            answer.integer(*seq);
            event_value(answer, value, lookup == Lookup::EventAll);
        }
        Key::Triple { subject, predicate, object } => {
            [subject, predicate, object].into_iter().for_each(|part| answer.text(part));
            triple_value(answer, value);
        }
    }
}

fn add_event(answer: &mut Answer, key: &[u8], value: &[u8]) {
    answer.rows += 1;
    answer.integer(integer_at(key, 0));
    answer.integer(integer_at(key, 8));
    event_value(answer, value, true);
}

fn add_triple(answer: &mut Answer, key: &[u8], value: &[u8]) {
    answer.rows += 1;
    for part in key.split(|&byte| byte == 0).take(3) {
        answer.text(std::str::from_utf8(part).expect("texts are as they were written"));
    }
    triple_value(answer, value);
}

fn event_value(answer: &mut Answer, value: &[u8], all: bool) {
    let mut value = Fields(value);
    answer.integer(i64::from_le_bytes(value.take()));
    answer.text(value.text());
    if all {
        answer.text(value.text());
    }
}

fn triple_value(answer: &mut Answer, value: &[u8]) {
    let mut value = Fields(value);
    answer.integer(i64::from_le_bytes(value.take()));
    answer.float(f64::from_le_bytes(value.take()));
}
