//! What the rows of a memtable are like, by a sample of them ([`MemSummary`]).

use std::sync::Arc;

use arrow_array::Array;
use silt_codec::{BatchBuilder, RowBuffer, Schemas, Value, ValueRef, ZoneMap};

use crate::Result;
use crate::memtable::{ColumnSummary, MemSummary, Sample, TreeMemtable};
use crate::sstable::hash_values;

/// About so many rows are looked at.
const ROWS_SAMPLED: usize = 4_096;

/// About what `memtable` holds, worked out anew where it has grown much.
pub(super) fn summary(memtable: &TreeMemtable, schemas: &Schemas) -> Arc<MemSummary> {
    memtable.summary(ROWS_SAMPLED, |sample| summarize(&sample, schemas))
}

fn summarize(sample: &Sample, schemas: &Schemas) -> Result<MemSummary> {
    let schema = schemas.current();
    let all: Vec<usize> = (0..schema.columns.len()).collect();
    let mut builder = BatchBuilder::new(schemas, &all, sample.taken.len());
    for entry in &sample.taken {
        builder.push(entry.key(), Some(entry.row()))?;
    }
    let mut columns = Vec::with_capacity(all.len());
    for (column, array) in schema.columns.iter().zip(builder.finish()?) {
        let mut hashes = Vec::with_capacity(array.len());
        let counts = hash_values(&array, |hash| hashes.push(hash));
        let distinct = counts.then(|| distinct(hashes, sample));
        columns.push(ColumnSummary { id: column.id, zone: zone(&*array)?, distinct });
    }
    Ok(MemSummary { entries: sample.entries, rows: sample.rows, columns })
}

/// About how many values a column has of whose values these are some: by how many of them were met
/// only once (Haas and Stokes, "Estimating the number of classes in a finite population", 1998; the
/// estimator that PostgreSQL uses).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn distinct(mut hashes: Vec<u64>, sample: &Sample) -> u64 {
    hashes.sort_unstable();
    let (mut values, mut once) = (0.0, 0.0);
    for same in hashes.chunk_by(|a, b| a == b) {
        values += 1.0;
        once += f64::from(u8::from(same.len() == 1));
    }
    let met = hashes.len() as f64;
    let part = (sample.taken.len() as f64 / sample.rows.max(1) as f64).min(1.0);
    let missed = met - once + once * part;
    if missed <= 0.0 { 0 } else { (met * values / missed).round() as u64 }
}

/// The least and greatest of a column's values, and how many there are.
fn zone(array: &dyn Array) -> Result<ZoneMap> {
    let mut cells = RowBuffer::new();
    let (mut min, mut max) = (Value::Null, Value::Null);
    let mut nulls = 0;
    for row in 0..array.len() {
        cells.clear();
        cells.push_from_array(array, row)?;
        let value = cells.get(0);
        if value.is_null() {
            nulls += 1;
        } else if !is_ordered(&value) {
            continue;
        } else if min.is_null() {
            (min, max) = (value.to_value(), value.to_value());
        } else if value.compare(&min.as_ref()).is_lt() {
            min = value.to_value();
        } else if value.compare(&max.as_ref()).is_gt() {
            max = value.to_value();
        }
    }
    Ok(ZoneMap {
        min,
        max,
        min_exact: false,
        max_exact: false,
        null_count: nulls,
        value_count: u32::try_from(array.len()).unwrap_or(u32::MAX) - nulls,
    })
}

/// Whether files have bounds of such values.
fn is_ordered(value: &ValueRef<'_>) -> bool {
    !matches!(value, ValueRef::Nested(_) | ValueRef::Interval(_))
}

#[cfg(test)]
mod tests {
    use crate::options::{FastPaths, Options};
    use crate::read::harness::{A, B, Harness, T, V, small_options};
    use silt_codec::Value;

    fn large() -> Options {
        Options { memtable_bytes: 64 << 20, ..small_options() }
    }

    /// So many rows: ten an `a`, `v` of 25 values, `t` of as many as there are rows, or NULL.
    fn fill(tree: &mut Harness, rows: i64) {
        let texts: Vec<String> = (0..rows).map(|row| format!("text {row}")).collect();
        for (chunk, first) in texts.chunks(5_000).zip((0..rows).step_by(5_000)) {
            let ops: Vec<_> = (first..)
                .zip(chunk)
                .map(|(at, text)| {
                    let text = (at % 4 != 0).then_some(text.as_str());
                    (at / 10, i32::try_from(at % 10).unwrap(), Some((at % 25, text)))
                })
                .collect();
            tree.commit(&ops);
        }
    }

    fn assert_near(found: Option<u64>, wanted: u64, what: &str) {
        let found = found.unwrap_or_else(|| panic!("nothing is known of {what}"));
        assert!(found.abs_diff(wanted) * 6 <= wanted, "{what}: {found} instead of {wanted}");
    }

    #[test]
    fn statistics_of_a_memtable_are_near_the_truth_from_few_rows_to_many() {
        for rows in [1, 50, 1_000, 40_000_u64] {
            let mut tree = Harness::new(large());
            fill(&mut tree, i64::try_from(rows).unwrap());
            let known = tree.tree.statistics(&tree.engine.snapshot());
            assert_eq!((known.rows, known.rows_exact, known.columns_cover), (rows, false, false));
            assert_near(known.distinct[A], rows.div_ceil(10), "the key's first column");
            assert_near(known.distinct[B], rows.min(10), "its second");
            assert_near(known.distinct[V], rows.min(25), "few values");
            assert_near(known.distinct[T].map(|few| few + 1), rows - rows.div_ceil(4) + 1, "texts");
            let zone = known.columns[V].as_ref().unwrap();
            assert!(zone.value_count > 0 && !zone.min_exact && !zone.max_exact);
            let Value::Int(max) = zone.max else { panic!("{zone:?}") };
            assert_eq!(
                (&zone.min, max),
                (&Value::Int(0), i64::try_from(rows.min(25)).unwrap() - 1)
            );
            let nulls = known.columns[T].as_ref().unwrap();
            let share =
                f64::from(nulls.null_count) / f64::from(nulls.null_count + nulls.value_count);
            assert!(rows == 1 || (0.2..0.3).contains(&share), "{share} of the texts are NULL");
        }
    }

    #[test]
    fn versions_of_a_key_are_one_row_and_deleted_ones_none() {
        let mut tree = Harness::new(large());
        for value in 0..50 {
            tree.put_all(0..100, value);
        }
        tree.delete_all(90..100);
        let known = tree.tree.statistics(&tree.engine.snapshot());
        assert_eq!((known.rows, known.rows_exact), (90, false));
        assert_eq!((known.distinct[A], known.distinct[V]), (Some(90), Some(1)));
        assert_eq!(known.columns[A].as_ref().unwrap().max, Value::Int(89));
    }

    #[test]
    fn what_most_rows_are_like_counts_beside_files() {
        let mut tree = Harness::new(large());
        tree.put_all(0..100, 7);
        tree.flush();
        tree.put_all(5_000..5_010, 8);
        let files = tree.tree.statistics(&tree.engine.snapshot());
        assert_eq!(files.distinct[V], Some(1), "the memtable holds too little to be looked at");
        assert_eq!(files.columns[A].as_ref().unwrap().max, Value::Int(99));
        fill(&mut tree, 3_000);
        let known = tree.tree.statistics(&tree.engine.snapshot());
        assert_near(known.distinct[V], 25, "values in the memtable");
        let bounds = known.columns[A].as_ref().unwrap();
        assert_eq!((&bounds.min, &bounds.max), (&Value::Int(0), &Value::Int(5_009)));
    }

    #[test]
    fn nothing_is_known_of_memtables_without_their_statistics() {
        let paths = FastPaths { memtable_statistics: false, ..FastPaths::default() };
        let mut tree = Harness::new(Options { paths, ..large() });
        fill(&mut tree, 100);
        let known = tree.tree.statistics(&tree.engine.snapshot());
        assert_eq!(known.rows, 100);
        assert!(known.distinct.iter().all(Option::is_none));
        assert!(known.columns.iter().all(Option::is_none));
    }
}
