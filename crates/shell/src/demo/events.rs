//! A log of agents at work: made up, the same each time.

use std::sync::Arc;

use siltdb::Result;
use siltdb::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};

/// Agents that write in turn.
pub(super) const AGENTS: u64 = 2_000;

const KINDS: [(&str, u64); 8] = [
    ("tool_call", 25),
    ("tool_result", 25),
    ("message", 20),
    ("thought", 10),
    ("plan", 8),
    ("start", 6),
    ("error", 4),
    ("stop", 2),
];
const TOOLS: [&str; 6] = ["search", "read", "write", "shell", "browse", "ask"];
const ROWS_PER_BATCH: u64 = 8_192;
/// 2026-01-01, and the microseconds between two events.
const FIRST_TS: i64 = 1_767_225_600_000_000;
const STEP: u64 = 5_000;

/// `count` events in the order they arrive: by time, not by key.
pub(super) fn generate(count: usize) -> Result<Vec<RecordBatch>> {
    let count = count as u64;
    (0..count).step_by(8_192).map(|first| batch(first..count.min(first + ROWS_PER_BATCH))).collect()
}

fn batch(rows: std::ops::Range<u64>) -> Result<RecordBatch> {
    let int = |value: u64| i64::try_from(value).expect("counts stay far below 2^63");
    let kind = |row: u64| {
        let mut at = random(row, 1) % 100;
        for (kind, share) in KINDS {
            if at < share {
                return kind;
            }
            at -= share;
        }
        KINDS[0].0
    };
    let rows = || rows.clone();
    let ints = |value: fn(u64) -> u64| {
        Arc::new(Int64Array::from_iter_values(rows().map(|row| int(value(row))))) as ArrayRef
    };
    #[expect(clippy::cast_precision_loss, reason = "below a million")]
    let cost = |row: u64| (random(row, 3) % 500_000) as f64 / 1e5;
    let tool = |row: u64| TOOLS[usize::try_from(random(row, 2) % 6).expect("below 6")];
    let ts = |row: u64| FIRST_TS + int(row * STEP + random(row, 4) % STEP);
    Ok(RecordBatch::try_from_iter([
        ("agent_id", ints(|row| row % AGENTS)),
        ("seq", ints(|row| row / AGENTS)),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(rows().map(ts))) as ArrayRef),
        ("kind", Arc::new(StringViewArray::from_iter_values(rows().map(kind))) as ArrayRef),
        ("tool", Arc::new(StringViewArray::from_iter_values(rows().map(tool))) as ArrayRef),
        ("cost", Arc::new(Float64Array::from_iter_values(rows().map(cost))) as ArrayRef),
        ("tokens", ints(|row| random(row, 5) % 4_000)),
        (
            "ok",
            Arc::new(BooleanArray::from_iter(
                rows().map(|row| Some(!random(row, 6).is_multiple_of(50))),
            )) as ArrayRef,
        ),
    ])?)
}

/// SplitMix64 (Steele, Lea, Flood 2014) of the row and the purpose.
fn random(row: u64, purpose: u64) -> u64 {
    let mut z = (row * 16 + purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
