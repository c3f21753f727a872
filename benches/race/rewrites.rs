//! What W3 upserts into `lineitem`: some of its rows in no order, their quantities, prices,
//! discounts and taxes changed, so that the queries of TPC-H mean afterwards what they meant before.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use siltdb::arrow::compute::{concat_batches, take_record_batch};

use crate::data::mix;
use crate::scale::Scale;

/// Of so many rows of the table one may be chosen: a tenth more than are wanted.
const ONE_OF: u64 = 55;

/// The rewritten rows, given the table's.
pub fn of(
    scale: Scale,
    table: impl Iterator<Item = RecordBatch>,
) -> impl Iterator<Item = RecordBatch> {
    let mut first = 0;
    let chosen: Vec<RecordBatch> = table
        .map(|batch| {
            let rows = batch.num_rows() as u64;
            let here = (0..rows).filter(|row| mix(900, first + row, 0).is_multiple_of(ONE_OF));
            let chosen = rewritten(&taken(&batch, here), first);
            first += rows;
            chosen
        })
        .collect();
    let all = concat_batches(chosen[0].schema_ref(), &chosen).expect("batches of one table");
    let mut order: Vec<u64> = (0..all.num_rows() as u64).collect();
    order.sort_by_key(|&row| mix(901, row, 0));
    order.truncate(scale.rewrites() as usize);
    std::iter::once(taken(&all, order.into_iter()))
}

fn taken(batch: &RecordBatch, rows: impl Iterator<Item = u64>) -> RecordBatch {
    take_record_batch(batch, &UInt64Array::from_iter_values(rows)).expect("rows of the batch")
}

/// Another quantity at the same price of a piece; another discount and tax.
fn rewritten(batch: &RecordBatch, stream: u64) -> RecordBatch {
    let decimals = |name: &str| {
        let column = batch.column_by_name(name).expect("a column of lineitem");
        column.as_primitive::<Decimal128Type>()
    };
    let (quantities, prices) = (decimals("l_quantity"), decimals("l_extendedprice"));
    let new =
        |row: usize, what: u64, most: u64| i128::from(mix(902 + stream, row as u64, what) % most);
    let quantity = |row: usize| 1 + new(row, 0, 50);
    let value = |name: &str, row: usize| match name {
        "l_quantity" => Some(quantity(row) * 100),
        "l_extendedprice" => Some(prices.value(row) * 100 / quantities.value(row) * quantity(row)),
        "l_discount" => Some(new(row, 1, 11)),
        "l_tax" => Some(new(row, 2, 9)),
        _ => None,
    };
    let column = |(field, column): (&Arc<arrow_schema::Field>, &ArrayRef)| -> ArrayRef {
        let values = (0..batch.num_rows()).map(|row| value(field.name(), row));
        match values.collect::<Option<Vec<i128>>>() {
            Some(values) if !values.is_empty() => {
                let values = arrow_array::Decimal128Array::from(values);
                Arc::new(values.with_data_type(field.data_type().clone()))
            }
            _ => Arc::clone(column),
        }
    };
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(column).collect();
    RecordBatch::try_new(schema.clone(), columns).expect("columns of their types")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow_array::types::Int64Type;
    use tpchgen::generators::LineItemGenerator;
    use tpchgen_arrow::LineItemArrow;

    use super::*;

    #[test]
    fn rows_of_the_table_come_once_each_with_other_prices() {
        let scale = Scale::named("smoke").expect("a scale");
        let table = || {
            LineItemArrow::new(LineItemGenerator::new(scale.tpch, 1, 1))
                .map(|batch| batch.expect("rows are generated"))
        };
        let batches: Vec<RecordBatch> = of(scale, table()).collect();
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64,
            scale.rewrites()
        );
        let keys = |batch: &RecordBatch| -> Vec<(i64, i32)> {
            let orders = batch.column(0).as_primitive::<Int64Type>().values();
            let lines = batch.column(3).as_primitive::<arrow_array::types::Int32Type>().values();
            orders.iter().copied().zip(lines.iter().copied()).collect()
        };
        let known: HashSet<(i64, i32)> = table().flat_map(|batch| keys(&batch)).collect();
        let written: Vec<(i64, i32)> = batches.iter().flat_map(&keys).collect();
        assert!(written.iter().all(|key| known.contains(key)));
        assert_eq!(written.iter().collect::<HashSet<_>>().len(), written.len());
        assert!(!written.is_sorted(), "they come in no order");
        for batch in &batches {
            let column = |name: &str| {
                batch.column_by_name(name).expect("a column").as_primitive::<Decimal128Type>()
            };
            for row in 0..batch.num_rows() {
                assert!((100..=5_000).contains(&column("l_quantity").value(row)));
                assert!((0..=10).contains(&column("l_discount").value(row)));
                assert!(column("l_extendedprice").value(row) > 0);
            }
        }
    }
}
