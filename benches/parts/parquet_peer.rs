//! Parquet beside us: the same batches, in memory, in the same process.

use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::data::{GROUP, Table};

/// The compressions measured, by name.
pub fn compressions() -> [(&'static str, Compression); 2] {
    let level = ZstdLevel::try_new(1).expect("level 1 exists");
    [("parquet snappy", Compression::SNAPPY), ("parquet zstd1", Compression::ZSTD(level))]
}

pub fn write(table: &Table, compression: Compression) -> Bytes {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(131_072))
        .set_data_page_row_count_limit(1_024)
        .build();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, table.batches[0].schema(), Some(properties))
        .expect("a writer");
    for batch in &table.batches {
        writer.write(batch).expect("a batch is written");
    }
    writer.close().expect("the file is closed");
    file.into()
}

pub fn read_all(file: &Bytes) -> usize {
    ParquetRecordBatchReaderBuilder::try_new(file.clone())
        .expect("a reader")
        .with_batch_size(GROUP)
        .build()
        .expect("a reader")
        .map(|batch| batch.expect("a batch").num_rows())
        .sum()
}

/// Reads one row whose number is known: the page index spares all other pages.
pub fn get(
    file: &Bytes,
    metadata: &parquet::arrow::arrow_reader::ArrowReaderMetadata,
    row: usize,
) -> usize {
    let builder =
        ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
    let selection = RowSelection::from(vec![RowSelector::skip(row), RowSelector::select(1)]);
    builder
        .with_row_selection(selection)
        .build()
        .expect("a reader")
        .map(|batch| batch.expect("a batch").num_rows())
        .sum()
}

pub fn metadata(file: &Bytes) -> parquet::arrow::arrow_reader::ArrowReaderMetadata {
    let options = ArrowReaderOptions::new()
        .with_page_index_policy(parquet::file::metadata::PageIndexPolicy::Required);
    parquet::arrow::arrow_reader::ArrowReaderMetadata::load(file, options).expect("metadata")
}
