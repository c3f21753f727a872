//! The tables as Parquet files, made once for each scale: every peer reads its rows from the same
//! files, so that none holds the data in memory while its own is measured.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::data::{self, BATCH};
use crate::rewrites;
use crate::scale::{Scale, UPSERT_SETS};

/// What can go wrong here: all of it ends the peer's run.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A table: its name, the columns of its key.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub name: &'static str,
    pub key: &'static [&'static str],
    /// Which tables it comes with: one of [`GROUPS`].
    pub group: &'static str,
}

/// What `--tables` may name.
pub const GROUPS: [&str; 3] = ["events", "triples", "tpch"];

const fn table(name: &'static str, key: &'static [&'static str], group: &'static str) -> Table {
    Table { name, key, group }
}

/// All tables, in the order of loading.
pub const TABLES: [Table; 10] = [
    table("events", &["agent_id", "seq"], "events"),
    table("triples", &["subject", "predicate", "object"], "triples"),
    table("lineitem", &["l_orderkey", "l_linenumber"], "tpch"),
    table("region", &["r_regionkey"], "tpch"),
    table("nation", &["n_nationkey"], "tpch"),
    table("part", &["p_partkey"], "tpch"),
    table("supplier", &["s_suppkey"], "tpch"),
    table("partsupp", &["ps_partkey", "ps_suppkey"], "tpch"),
    table("customer", &["c_custkey"], "tpch"),
    table("orders", &["o_orderkey"], "tpch"),
];

/// The file of rows that W3 upserts into `lineitem`.
pub const REWRITES: &str = "rewrites";

/// The folder of a scale's files.
#[derive(Clone, Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Makes what is missing.
    pub fn make(cache: &Path, scale: Scale, groups: &[String]) -> Result<Self> {
        let files = Self::open(cache, scale);
        std::fs::create_dir_all(&files.folder)?;
        let wanted = |group: &str| groups.iter().any(|wanted| wanted == group);
        for table in TABLES.iter().filter(|table| wanted(table.group)) {
            files.write(table.name, || rows(table.name, scale))?;
        }
        if wanted("tpch") {
            files.write(REWRITES, || Box::new(rewrites::of(scale, rows("lineitem", scale))))?;
        }
        if wanted("events") {
            for set in 0..UPSERT_SETS {
                let rows = || -> Rows { Box::new(data::upserts(scale, set as u64)) };
                files.write(&format!("upserts{set}"), rows)?;
            }
        }
        Ok(files)
    }

    /// The folder, filled before.
    pub fn open(cache: &Path, scale: Scale) -> Self {
        // The number changes with the generators.
        Self { folder: cache.join(format!("data1-{}-{}", scale.name, scale.agents)) }
    }

    /// Removes them.
    pub fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }

    /// The file of a table.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.parquet"))
    }

    /// The rows of a table, read as they are asked for.
    pub fn read(
        &self,
        name: &str,
    ) -> Result<(SchemaRef, impl Iterator<Item = RecordBatch> + 'static)> {
        self.read_by(BATCH, name)
    }

    /// As [`read`](Self::read), in batches of so many rows.
    pub fn read_by(
        &self,
        rows: usize,
        name: &str,
    ) -> Result<(SchemaRef, impl Iterator<Item = RecordBatch> + 'static)> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(self.path(name))?)?;
        let schema = builder.schema().clone();
        let batches = builder.with_batch_size(rows).build()?;
        Ok((schema, batches.map(|batch| batch.expect("a file that was just written is sound"))))
    }

    /// Columns and types of a table.
    pub fn schema(&self, name: &str) -> Result<SchemaRef> {
        Ok(self.read(name)?.0)
    }

    fn write(&self, name: &str, rows: impl Fn() -> Rows) -> Result<()> {
        let path = self.path(name);
        if path.exists() {
            return Ok(());
        }
        eprintln!("  making {}", path.display());
        let part = path.with_extension("part");
        let mut rows = rows().peekable();
        let schema = rows.peek().ok_or("no table is empty")?.schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_max_row_group_row_count(Some(131_072))
            .build();
        let mut writer = ArrowWriter::try_new(File::create(&part)?, schema, Some(properties))?;
        for batch in rows {
            writer.write(&batch)?;
        }
        writer.close()?;
        std::fs::rename(part, path)?;
        Ok(())
    }
}

type Rows = Box<dyn Iterator<Item = RecordBatch>>;

fn rows(name: &str, scale: Scale) -> Rows {
    macro_rules! tpch {
        ($generator:ident, $arrow:ident) => {
            Box::new(
                $arrow::new($generator::new(scale.tpch, 1, 1))
                    .with_batch_size(BATCH)
                    .map(|batch| batch.expect("rows are generated")),
            )
        };
    }
    match name {
        "events" => Box::new(data::events(scale.agents)),
        "triples" => Box::new(data::triples(scale.entities)),
        "lineitem" => tpch!(LineItemGenerator, LineItemArrow),
        "region" => tpch!(RegionGenerator, RegionArrow),
        "nation" => tpch!(NationGenerator, NationArrow),
        "part" => tpch!(PartGenerator, PartArrow),
        "supplier" => tpch!(SupplierGenerator, SupplierArrow),
        "partsupp" => tpch!(PartSuppGenerator, PartSuppArrow),
        "customer" => tpch!(CustomerGenerator, CustomerArrow),
        "orders" => tpch!(OrderGenerator, OrderArrow),
        other => unreachable!("there is no table {other}"),
    }
}

/// How a peer writes its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Silt,
    Sqlite,
    DuckDb,
}

/// CREATE TABLE with its key, under another name if asked.
pub fn create(dialect: Dialect, table: &Table, name: &str, schema: &SchemaRef) -> String {
    let mut text = format!("CREATE TABLE {name} (");
    for field in schema.fields() {
        let sql_type = match (dialect, field.data_type()) {
            (Dialect::Sqlite, DataType::Float64 | DataType::Decimal128(..)) => "REAL".to_owned(),
            (Dialect::Sqlite, DataType::Utf8 | DataType::Utf8View) => "TEXT".to_owned(),
            (Dialect::Sqlite, _) => "INTEGER".to_owned(),
            (_, DataType::Int64) => "BIGINT".to_owned(),
            (_, DataType::Int32) => "INTEGER".to_owned(),
            (_, DataType::Float64) => "DOUBLE".to_owned(),
            (_, DataType::Decimal128(precision, digits)) => {
                format!("DECIMAL({precision}, {digits})")
            }
            (_, DataType::Date32) => "DATE".to_owned(),
            (_, DataType::Timestamp(..)) => "TIMESTAMP".to_owned(),
            (_, DataType::Utf8 | DataType::Utf8View) => "TEXT".to_owned(),
            (_, other) => unreachable!("no table has a column of {other}"),
        };
        write!(text, "{} {sql_type}, ", field.name()).expect("a String takes all");
    }
    write!(text, "PRIMARY KEY ({}))", table.key.join(", ")).expect("a String takes all");
    if dialect == Dialect::Sqlite {
        // The key is the tree, not an index beside it: SQLite's fastest lookups by it.
        text.push_str(" WITHOUT ROWID");
    }
    text
}
