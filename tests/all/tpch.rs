//! The 22 TPC-H queries over tables with primary keys, against plain DataFusion over the same
//! batches in memory; at scale factor 1 (`SILT_TPCH_SF=1`) also against the published answers.

use std::sync::Arc;

use siltdb::arrow::array::RecordBatch;
use siltdb::arrow::datatypes::SchemaRef;
use siltdb::arrow::util::display::{ArrayFormatter, FormatOptions};
use siltdb::datafusion::datasource::MemTable;
use siltdb::datafusion::prelude::SessionContext;
use siltdb::{Database, IngestTarget, params};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen::q_and_a::QueryAndAnswer;
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

/// One table: its name, its key, its rows.
struct Table {
    name: &'static str,
    key: &'static [&'static str],
    batches: Vec<RecordBatch>,
}

fn tables(scale: f64) -> Vec<Table> {
    macro_rules! table {
        ($name:literal, [$($key:literal),+], $generator:ident, $arrow:ident) => {
            Table {
                name: $name,
                key: &[$($key),+],
                batches: $arrow::new($generator::new(scale, 1, 1))
                    .with_batch_size(8_192)
                    .collect::<Result<_, _>>()
                    .unwrap(),
            }
        };
    }
    vec![
        table!("region", ["r_regionkey"], RegionGenerator, RegionArrow),
        table!("nation", ["n_nationkey"], NationGenerator, NationArrow),
        table!("part", ["p_partkey"], PartGenerator, PartArrow),
        table!("supplier", ["s_suppkey"], SupplierGenerator, SupplierArrow),
        table!("partsupp", ["ps_partkey", "ps_suppkey"], PartSuppGenerator, PartSuppArrow),
        table!("customer", ["c_custkey"], CustomerGenerator, CustomerArrow),
        table!("orders", ["o_orderkey"], OrderGenerator, OrderArrow),
        table!("lineitem", ["l_orderkey", "l_linenumber"], LineItemGenerator, LineItemArrow),
    ]
}

fn load(db: &Database, tables: &[Table]) {
    for table in tables {
        let target = IngestTarget {
            table: table.name.to_owned(),
            key: table.key.iter().map(|&column| column.to_owned()).collect(),
            create_if_missing: true,
            ..IngestTarget::default()
        };
        let rows: usize = table.batches.iter().map(RecordBatch::num_rows).sum();
        let mut batches = table.batches.iter().cloned().map(Ok);
        let counts = db.ingest(table.batches[0].schema(), &mut batches, &target).unwrap();
        assert_eq!(counts.written, rows as u64, "{}", table.name);
    }
}

fn in_memory(tables: &[Table]) -> SessionContext {
    let context = SessionContext::new();
    for table in tables {
        let memory =
            MemTable::try_new(table.batches[0].schema(), vec![table.batches.clone()]).unwrap();
        context.register_table(table.name, Arc::new(memory)).unwrap();
    }
    context
}

/// The values that the specification substitutes in each query to validate it.
const PARAMETERS: [&[&str]; 22] = [
    &["90"],
    &["15", "BRASS", "EUROPE"],
    &["BUILDING", "1995-03-15"],
    &["1993-07-01"],
    &["ASIA", "1994-01-01"],
    &["1994-01-01", "0.06", "24"],
    &["FRANCE", "GERMANY"],
    &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"],
    &["green"],
    &["1993-10-01"],
    &["GERMANY", "0.0001"],
    &["MAIL", "SHIP", "1994-01-01"],
    &["special", "requests"],
    &["1995-09-01"],
    &["1996-01-01"],
    &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"],
    &["Brand#23", "MED BOX"],
    &["300"],
    &["Brand#12", "Brand#23", "Brand#34", "1", "10", "20"],
    &["forest", "1994-01-01", "CANADA"],
    &["SAUDI ARABIA"],
    &["13", "31", "23", "29", "30", "18", "17"],
];

/// One query, its parameters filled in. Q15 makes a view first, which stands as a CTE here.
fn query(number: i32) -> String {
    if number == 15 {
        return "with revenue0 (supplier_no, total_revenue) as (
            select l_suppkey, sum(l_extendedprice * (1 - l_discount)) from lineitem
            where l_shipdate >= date '1996-01-01'
              and l_shipdate < date '1996-01-01' + interval '3' month
            group by l_suppkey)
         select s_suppkey, s_name, s_address, s_phone, total_revenue from supplier, revenue0
         where s_suppkey = supplier_no
           and total_revenue = (select max(total_revenue) from revenue0)
         order by s_suppkey"
            .to_owned();
    }
    let mut text = QueryAndAnswer::new(number, 1.0).unwrap().query().trim().to_owned();
    // Backwards, for `:1` begins `:10`.
    let values = PARAMETERS[usize::try_from(number).unwrap() - 1];
    for (index, value) in values.iter().enumerate().rev() {
        text = text.replace(&format!(":{}", index + 1), value);
    }
    // DataFusion plans no interval with a precision.
    let text = text.replace("day (3)", "day");
    let limit = match number {
        2 | 18 | 21 => " limit 100",
        3 => " limit 10",
        10 => " limit 20",
        _ => "",
    };
    format!("{}{limit}", text.trim_end_matches(';'))
}

/// Rows as text, cells apart.
fn cells(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(
                columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>(),
            );
        }
    }
    assert!(rows.iter().all(|row| row.len() == schema.fields().len()));
    rows
}

/// Equal as text, or as numbers within the last printed digit.
fn same_cell(ours: &str, wanted: &str) -> bool {
    let (ours, wanted) = (ours.trim(), wanted.trim());
    if ours == wanted {
        return true;
    }
    match (ours.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(a), Ok(b)) => {
            let digits = wanted.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            let last_digit = (0..digits).fold(1.0, |unit, _| unit / 10.0);
            (a - b).abs() <= last_digit * 1.01 || (a - b).abs() <= b.abs() * 1e-9
        }
        _ => false,
    }
}

fn assert_same(number: i32, ours: &[Vec<String>], wanted: &[Vec<String>], what: &str) {
    assert_eq!(ours.len(), wanted.len(), "Q{number}: rows beside {what}");
    for (row, (a, b)) in ours.iter().zip(wanted).enumerate() {
        let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_cell(a, b));
        assert!(same, "Q{number} row {row}: {a:?}, {what} says {b:?}");
    }
}

#[test]
fn all_queries_answer_as_plain_datafusion_does() {
    let scale: f64 = std::env::var("SILT_TPCH_SF").map_or(0.1, |text| text.parse().unwrap());
    let tables = tables(scale);
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path().join("tpch")).unwrap();
    load(&db, &tables);
    let memory = in_memory(&tables);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for number in 1..=22 {
        let sql = query(number);
        let rows = db.query_arrow(&sql, params![]).unwrap();
        let schema = Arc::clone(rows.schema());
        let batches: Vec<RecordBatch> =
            rows.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("Q{number}: {error}"));
        let ours = cells(&schema, &batches);
        let wanted = runtime.block_on(async {
            let frame = memory.sql(&sql).await.unwrap();
            let schema: SchemaRef = Arc::new(frame.schema().as_arrow().clone());
            cells(&schema, &frame.collect().await.unwrap())
        });
        assert_same(number, &ours, &wanted, "DataFusion");
        // The published Q17 is 348406.02; the specification's own answer is 348406.05, as is ours.
        if scale == 1.0 && number != 17 {
            let answer = QueryAndAnswer::new(number, 1.0).unwrap();
            let mut published: Vec<Vec<String>> = answer
                .answer()
                .lines()
                .filter(|line| !line.trim().is_empty())
                .skip(1)
                .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
                .collect();
            let mut ours: Vec<Vec<String>> = ours
                .iter()
                .map(|row| row.iter().map(|cell| cell.trim().to_owned()).collect())
                .collect();
            if number == 11 {
                // The published keys are cut to four characters.
                for row in ours.iter_mut().chain(&mut published) {
                    row.remove(0);
                }
            }
            // Ties of ORDER BY stand in any order.
            published.sort();
            ours.sort();
            assert_same(number, &ours, &published, "the published answer");
        }
    }
}
