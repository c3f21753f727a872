//! The rows that every peer gets: `events`, `triples` and sets of upserts, from their numbers alone.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};

use crate::scale::{CHUNK, EVENTS_PER_AGENT, Scale, TRIPLES_PER_SUBJECT};

/// Rows of a batch.
pub const BATCH: usize = 8_192;
/// When the first event happened, in microseconds: 2023-11-14 22:13:20.
pub const EPOCH_US: i64 = 1_700_000_000_000_000;
/// Kinds of events, and how many in a hundred are of each.
const KINDS: [(&str, u64); 8] = [
    ("session", 6),
    ("message", 25),
    ("tool_call", 25),
    ("tool_result", 20),
    ("memory", 8),
    ("reply", 10),
    ("error", 2),
    ("retry", 4),
];
const TOOLS: [&str; 6] = ["search", "browser", "shell", "editor", "calendar", "memory"];

/// SplitMix64.
pub fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that depends on all three.
pub fn mix(stream: u64, row: u64, what: u64) -> u64 {
    random(random(stream.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ row).wrapping_add(what))
}

/// The kind of number `index`, any number.
pub fn kind(index: u64) -> &'static str {
    KINDS[(index % 8) as usize].0
}

/// One row of `events`.
#[derive(Clone, Debug)]
pub struct Event {
    pub agent_id: i64,
    pub seq: i64,
    pub ts: i64,
    pub kind: &'static str,
    pub payload: String,
}

/// Kind and payload of row `row` of `stream`.
fn content(stream: u64, row: u64) -> (&'static str, String) {
    let mut percent = mix(stream, row, 1) % 100;
    let mut kind = KINDS[0].0;
    for (name, share) in KINDS {
        if percent < share {
            kind = name;
            break;
        }
        percent -= share;
    }
    let number = mix(stream, row, 2);
    let tool = TOOLS[(number % 6) as usize];
    let cost = number / 6 % 100_000;
    let tokens = number / 600_000 % 8_000 + 1;
    let flag = number >> 63 == 1;
    let digits = (3..6).map(|what| format!("{:016x}", mix(stream, row, what))).collect::<String>();
    let payload = format!(
        "{{\"tool\":\"{tool}\",\"cost\":0.{cost:05},\"tokens\":{tokens},\"flag\":{flag},\"trace\":\"{digits}\"}}"
    );
    (kind, payload)
}

impl Event {
    /// Row `row` of the table in the order of time: the agents take turns.
    pub fn of_table(agents: u64, row: u64) -> Self {
        let (kind, payload) = content(0, row);
        let jitter = (mix(0, row, 9) % 4_000) as i64;
        Self {
            agent_id: (row % agents) as i64,
            seq: (row / agents) as i64,
            ts: EPOCH_US + row as i64 * 5_000 + jitter,
            kind,
            payload,
        }
    }

    /// Row `row` of set `set` of upserts. No key comes twice within [`CHUNK`] rows.
    pub fn of_upserts(agents: u64, set: u64, row: u64) -> Self {
        let key = scattered(set, row, agents * EVENTS_PER_AGENT);
        let (kind, payload) = content(1 + set, row);
        Self {
            agent_id: (key % agents) as i64,
            seq: (key / agents) as i64,
            ts: EPOCH_US + 86_400_000_000 * (1 + set as i64) + row as i64 * 1_000,
            kind,
            payload,
        }
    }

    /// A row that no other of `writer` has the key of.
    pub fn fresh(writer: u64, row: u64) -> Self {
        let (kind, payload) = content(1_000 + writer, row);
        Self { agent_id: writer as i64, seq: row as i64, ts: EPOCH_US + row as i64, kind, payload }
    }
}

/// Row numbers in no order, each below `count`; `CHUNK` that follow one another from a multiple
/// of it differ: each lies in its own part of the table, in a part's order that changes.
fn scattered(set: u64, row: u64, count: u64) -> u64 {
    let chunk = CHUNK as u64;
    let part = (row % chunk * 617 + mix(set, row / chunk, 7) % chunk) % chunk;
    let width = count / chunk;
    part * width + mix(set, row, 8) % width
}

/// Events as a batch, in the table's order of columns.
pub fn event_batch(rows: &[Event]) -> RecordBatch {
    let column = |of: fn(&Event) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
    };
    RecordBatch::try_from_iter([
        ("agent_id", column(|row| row.agent_id)),
        ("seq", column(|row| row.seq)),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts))),
        ),
        ("kind", Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.kind)))),
        (
            "payload",
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &row.payload))),
        ),
    ])
    .expect("five columns of one length")
}

/// All of `events`, in the order of time.
pub fn events(agents: u64) -> impl Iterator<Item = RecordBatch> {
    in_batches(agents * EVENTS_PER_AGENT).map(move |range| {
        let rows: Vec<Event> = range.map(|row| Event::of_table(agents, row)).collect();
        event_batch(&rows)
    })
}

/// One set of upserts, with the number of its chunk as a last column.
pub fn upserts(scale: Scale, set: u64) -> impl Iterator<Item = RecordBatch> {
    in_batches(scale.upserts).map(move |range| {
        let chunks = range.clone().map(|row| (row / CHUNK as u64) as i64);
        let chunks: ArrayRef = Arc::new(Int64Array::from_iter_values(chunks));
        let rows: Vec<Event> = range.map(|row| Event::of_upserts(scale.agents, set, row)).collect();
        let batch = event_batch(&rows);
        let names = ["agent_id", "seq", "ts", "kind", "payload", "chunk"];
        let columns = batch.columns().iter().cloned().chain([chunks]);
        RecordBatch::try_from_iter(names.into_iter().zip(columns)).expect("six columns")
    })
}

fn in_batches(rows: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..rows).step_by(BATCH).map(move |first| first..rows.min(first + BATCH as u64))
}

/// One row of `triples`.
#[derive(Clone, Debug, PartialEq)]
pub struct Triple {
    pub subject: String,
    pub predicate: String,
    pub object: String,
    pub ts: i64,
    pub confidence: f64,
}

/// The name of an entity.
pub fn entity(number: u64) -> String {
    format!("entity/{number:07}")
}

/// Predicate and object of the ten triples of a subject: no two are the same.
fn pairs_of(entities: u64, subject: u64) -> Vec<(u64, u64)> {
    let mut taken: Vec<(u64, u64)> = Vec::with_capacity(TRIPLES_PER_SUBJECT as usize);
    let mut attempt = 0;
    while (taken.len() as u64) < TRIPLES_PER_SUBJECT {
        let number = mix(500, subject, attempt);
        attempt += 1;
        let predicate = if number.is_multiple_of(5) { 0 } else { 1 + number / 5 % 49 };
        // Low numbers are met more often: the uniform u becomes u^1.5.
        let uniform = (number >> 11) as f64 / (1_u64 << 53) as f64;
        let object = ((uniform.powf(1.5) * entities as f64) as u64).min(entities - 1);
        if !taken.contains(&(predicate, object)) {
            taken.push((predicate, object));
        }
    }
    taken
}

fn triple(subject: u64, place: u64, (predicate, object): (u64, u64)) -> Triple {
    let number = mix(501, subject, place);
    Triple {
        subject: entity(subject),
        predicate: format!("p{predicate:02}"),
        object: entity(object),
        ts: EPOCH_US + (number % 31_536_000_000_000) as i64,
        confidence: (number >> 40) as f64 % 10_000.0 / 10_000.0,
    }
}

/// All of `triples`, in no order.
pub fn triples(entities: u64) -> impl Iterator<Item = RecordBatch> {
    let pairs: Vec<(u64, u64)> =
        (0..entities).flat_map(|subject| pairs_of(entities, subject)).collect();
    let mut order: Vec<u64> = (0..pairs.len() as u64).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, (random(last as u64) % (last as u64 + 1)) as usize);
    }
    in_batches(pairs.len() as u64).map(move |range| {
        let row = |row: u64| {
            let at = order[row as usize];
            triple(at / TRIPLES_PER_SUBJECT, at % TRIPLES_PER_SUBJECT, pairs[at as usize])
        };
        let rows: Vec<Triple> = range.map(row).collect();
        triple_batch(&rows)
    })
}

fn triple_batch(rows: &[Triple]) -> RecordBatch {
    let texts = |of: fn(&Triple) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(of)))
    };
    RecordBatch::try_from_iter([
        ("subject", texts(|row| &row.subject)),
        ("predicate", texts(|row| &row.predicate)),
        ("object", texts(|row| &row.object)),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.ts)))
                as ArrayRef,
        ),
        (
            "confidence",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.confidence))),
        ),
    ])
    .expect("five columns of one length")
}

/// A key that is looked up.
#[derive(Clone, Debug)]
pub enum Key {
    Event { agent_id: i64, seq: i64 },
    Triple { subject: String, predicate: String, object: String },
}

/// Keys of `events`, uniform; missing ones lie between those of two agents.
pub fn event_keys(scale: Scale, seed: u64, count: usize, hit: bool) -> Vec<Key> {
    let key = |number| {
        let agent_id = (mix(700 + seed, number, 0) % scale.agents) as i64;
        let seq = (mix(700 + seed, number, 1) % EVENTS_PER_AGENT) as i64;
        Key::Event { agent_id, seq: if hit { seq } else { seq + EVENTS_PER_AGENT as i64 } }
    };
    (0..count as u64).map(key).collect()
}

/// Keys of `triples`, uniform; missing ones have an object that does not exist.
pub fn triple_keys(scale: Scale, seed: u64, count: usize, hit: bool) -> Vec<Key> {
    let key = |number| {
        let subject = mix(800 + seed, number, 0) % scale.entities;
        let place = mix(800 + seed, number, 1) % TRIPLES_PER_SUBJECT;
        let pair = pairs_of(scale.entities, subject)[place as usize];
        let Triple { subject, predicate, object, .. } = triple(subject, place, pair);
        let object = if hit { object } else { format!("{object}x") };
        Key::Triple { subject, predicate, object }
    };
    (0..count as u64).map(key).collect()
}

/// A chunk of rows to write, in every form that a peer may want: made outside the clock.
#[derive(Debug)]
pub struct Chunk {
    pub rows: Vec<Event>,
    pub batch: RecordBatch,
    /// `(…), (…)`, as after VALUES.
    pub text: String,
}

/// One of the forms of a [`Chunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Rows,
    Batch,
    Text,
}

/// One for all chunks that have none: a batch of its own would take more memory than a row.
static NONE: LazyLock<RecordBatch> = LazyLock::new(|| event_batch(&[]));

impl Chunk {
    pub fn of(rows: Vec<Event>) -> Self {
        let batch = event_batch(&rows);
        let text = rows.iter().map(row_text).collect::<Vec<_>>().join(", ");
        Self { rows, batch, text }
    }

    /// Rows alone, for who asks for nothing else.
    pub fn plain(rows: Vec<Event>) -> Self {
        Self { rows, batch: NONE.clone(), text: String::new() }
    }

    /// The same rows in one form alone, where many chunks are held at a time.
    pub fn only(mut self, form: Form) -> Self {
        if form != Form::Rows {
            self.rows = Vec::new();
        }
        if form != Form::Batch {
            self.batch = NONE.clone();
        }
        if form != Form::Text {
            self.text = String::new();
        }
        self
    }

    /// The chunks of a set of upserts.
    pub fn upserts(scale: Scale, set: usize) -> impl Iterator<Item = Self> {
        (0..scale.upserts).step_by(CHUNK).map(move |first| {
            let range = first..scale.upserts.min(first + CHUNK as u64);
            let row = |row| Event::of_upserts(scale.agents, set as u64, row);
            Self::of(range.map(row).collect())
        })
    }
}

fn row_text(row: &Event) -> String {
    let Event { agent_id, seq, ts, kind, payload } = row;
    format!("({agent_id}, {seq}, '{}', '{kind}', '{payload}')", timestamp_text(*ts))
}

/// `2023-11-14 22:13:20.000000`
pub fn timestamp_text(us: i64) -> String {
    let (days, rest) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    // Howard Hinnant, chrono-compatible low-level date algorithms: civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{micros:06}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn triples_come_once_each_in_any_order() {
        let mut keys = HashSet::new();
        for batch in triples(200) {
            let texts = |at: usize| {
                let column = batch.column(at).as_any().downcast_ref::<StringViewArray>();
                column.expect("a column of texts").clone()
            };
            let (subjects, predicates, objects) = (texts(0), texts(1), texts(2));
            for row in 0..batch.num_rows() {
                let text = |column: &StringViewArray| column.value(row).to_owned();
                let key = (text(&subjects), text(&predicates), text(&objects));
                assert!(keys.insert(key), "row {row}");
            }
        }
        assert_eq!(keys.len() as u64, 200 * TRIPLES_PER_SUBJECT);
        for key in triple_keys(Scale { entities: 200, ..smoke() }, 3, 500, true) {
            let Key::Triple { subject, predicate, object } = key else { unreachable!() };
            assert!(keys.contains(&(subject, predicate, object)));
        }
    }

    fn smoke() -> Scale {
        Scale::named("smoke").expect("a scale")
    }

    #[test]
    fn no_key_comes_twice_in_a_chunk() {
        let scale = smoke();
        for chunk in Chunk::upserts(scale, 1) {
            let keys: HashSet<_> = chunk.rows.iter().map(|row| (row.agent_id, row.seq)).collect();
            assert_eq!(keys.len(), chunk.rows.len());
            let inside = |row: &Event| {
                row.agent_id < scale.agents as i64 && row.seq < EVENTS_PER_AGENT as i64
            };
            assert!(chunk.rows.iter().all(inside));
        }
    }

    #[test]
    fn times_are_written_as_sql_reads_them() {
        assert_eq!(timestamp_text(EPOCH_US), "2023-11-14 22:13:20.000000");
        assert_eq!(timestamp_text(0), "1970-01-01 00:00:00.000000");
        assert_eq!(timestamp_text(951_782_400_000_001), "2000-02-29 00:00:00.000001");
    }
}
