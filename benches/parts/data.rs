//! What the benches load: lineitem of TPC-H, and a table of triples.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use tpchgen::generators::LineItemGenerator;
use tpchgen_arrow::LineItemArrow;

/// Rows of a batch, and of a row group.
pub const GROUP: usize = 8_192;

/// Groups of a [`Table::part`]: half a million rows.
const PART_GROUPS: usize = 64;

/// A table: its name, how many of its columns form the key, its rows sorted by it.
pub struct Table {
    pub name: &'static str,
    #[allow(dead_code, reason = "chunks have no key")]
    pub key: usize,
    pub batches: Vec<RecordBatch>,
}

impl Table {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Its first rows, enough to measure by and few enough to do so several times.
    #[allow(dead_code, reason = "not every bench measures by parts")]
    pub fn part(&self) -> Self {
        let batches = self.batches.iter().take(PART_GROUPS).cloned().collect();
        Self { name: self.name, key: self.key, batches }
    }
}

/// `SILT_BENCH_SCALE` shrinks both tables; 1 is lineitem SF1 (6 M rows) and 10 M triples.
pub fn scale() -> f64 {
    std::env::var("SILT_BENCH_SCALE").map_or(1.0, |text| text.parse().expect("a number"))
}

/// Key (l_orderkey, l_linenumber) first, then the other 14 columns.
pub fn lineitem() -> Table {
    let generator = LineItemGenerator::new(scale(), 1, 1);
    let order = [0, 3, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    let batches = LineItemArrow::new(generator)
        .with_batch_size(GROUP)
        .map(|batch| batch.expect("generated").project(&order).expect("16 columns"))
        .collect();
    Table { name: "lineitem", key: 2, batches }
}

/// (subject, predicate, object) -> (ts, confidence), about ten rows a subject, long strings.
pub fn triples() -> Table {
    let rows = (10_000_000.0 * scale()) as u64;
    let batches = (0..rows)
        .step_by(GROUP)
        .map(|first| {
            let range = first..rows.min(first + GROUP as u64);
            let subject =
                |row: u64| format!("https://example.org/resource/entity/{:012}", row / 10);
            let predicate = |row: u64| format!("https://example.org/ontology/p{:02}", row % 10 * 5);
            let object = |row: u64| {
                format!(
                    "https://example.org/resource/entity/{:012}/{:x}",
                    random(row) % 500_000,
                    random(row * 3) % 4_096
                )
            };
            let texts = |of: &dyn Fn(u64) -> String| {
                Arc::new(StringViewArray::from_iter_values(range.clone().map(of))) as ArrayRef
            };
            RecordBatch::try_from_iter([
                ("subject", texts(&subject)),
                ("predicate", texts(&predicate)),
                ("object", texts(&object)),
                (
                    "ts",
                    Arc::new(TimestampMicrosecondArray::from_iter_values(range.clone().map(
                        |row| {
                            1_700_000_000_000_000
                                + (random(row / 10) % 1_000_000_000_000) as i64
                                + row as i64
                        },
                    ))) as ArrayRef,
                ),
                (
                    "confidence",
                    Arc::new(Float64Array::from_iter_values(
                        range.clone().map(|row| (random(row * 7) % 1_000) as f64 / 1_000.0),
                    )) as ArrayRef,
                ),
            ])
            .expect("five columns")
        })
        .collect();
    Table { name: "triples", key: 3, batches }
}

/// SplitMix64.
pub fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
