use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use proptest::collection::vec;
use proptest::prelude::*;
use silt_ingest::{ErrorKind, Format, Options, Reader, Source, open};

use crate::{all, columns, options, reader};

const ROWS: usize = 10_000;

fn batch() -> RecordBatch {
    let texts = || (0..ROWS).map(|row| (row % 7 != 0).then(|| format!("text number {row}")));
    let dictionary: DictionaryArray<Int32Type> =
        (0..ROWS).map(|row| if row % 2 == 0 { "even" } else { "odd" }).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64)) as ArrayRef, false),
        ("text", Arc::new(texts().collect::<StringArray>()), true),
        ("large", Arc::new(texts().collect::<LargeStringArray>()), true),
        ("parity", Arc::new(dictionary), true),
    ])
    .unwrap()
}

fn check(reader: Reader) {
    assert_eq!(
        columns(&reader),
        ["id Int64", "text Utf8View", "large Utf8View", "parity Utf8View"]
    );
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [8_192, ROWS - 8_192]);
    let rows = crate::rows(&batches);
    assert_eq!(rows[7], "7|NULL|NULL|odd");
    assert_eq!(rows[ROWS - 1], "9999|text number 9999|text number 9999|odd");
}

fn parquet_file() -> Vec<u8> {
    let batch = batch();
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow_stream(ipc: IpcWriteOptions) -> Vec<u8> {
    let batch = batch();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), ipc).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

#[test]
fn parquet_is_read_batch_by_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let bytes = parquet_file();
    std::fs::write(&path, &bytes).unwrap();
    let reader = open(Source::Path(path.clone()), &Options::default()).unwrap();
    let progress = reader.progress();
    check(reader);
    assert_eq!(Some(progress.bytes()), progress.bytes_total());

    let error = reader_of(bytes.clone(), Format::Parquet).unwrap_err();
    assert_eq!(error.to_string(), "input: parquet is read from its end, so it must be a file");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = open(Source::Path(path), &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(error.to_string().contains("not readable as parquet"), "{error}");
}

fn reader_of(bytes: Vec<u8>, format: Format) -> Result<Reader, silt_ingest::Error> {
    reader(bytes, &options(format))
}

#[test]
fn arrow_files_and_streams_are_read_plain_and_compressed() {
    let batch = batch();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let ipc = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut file = Vec::new();
        let mut writer =
            FileWriter::try_new_with_options(&mut file, &batch.schema(), ipc.clone()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        check(reader_of(file.clone(), Format::Arrow).unwrap());
        check(reader_of(zstd::encode_all(&file[..], 1).unwrap(), Format::Arrow).unwrap());

        let stream = arrow_stream(ipc);
        check(reader_of(stream.clone(), Format::Arrow).unwrap());

        let cut = reader_of(stream[..stream.len() / 2].to_vec(), Format::Arrow).unwrap();
        assert_eq!(all(cut).unwrap_err().kind(), ErrorKind::Malformed);
    }
    assert!(
        reader_of(b"FEA1....".to_vec(), Format::Arrow)
            .unwrap_err()
            .to_string()
            .contains("version 1")
    );
    assert_eq!(reader_of(Vec::new(), Format::Arrow).unwrap_err().kind(), ErrorKind::Malformed);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    /// The libraries may panic on such bytes; what matters is that it ends, and in an error.
    #[test]
    fn damaged_files_end_in_rows_or_an_error(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        compressed: bool,
    ) {
        let compression = compressed.then_some(CompressionType::LZ4_FRAME);
        let ipc = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let damaged = |mut bytes: Vec<u8>| {
            // Half of the changes go to the ends, where headers and footers are.
            for (number, (index, byte)) in changes.iter().enumerate() {
                let length = bytes.len();
                let at = match number % 3 {
                    0 => index.index(length),
                    1 => index.index(length.min(800)),
                    _ => length - 1 - index.index(length.min(800)),
                };
                bytes[at] = *byte;
            }
            bytes
        };
        let drain = |reader: Result<Reader, silt_ingest::Error>| {
            if let Ok(reader) = reader {
                reader.for_each(drop);
            }
        };
        drain(reader_of(damaged(arrow_stream(ipc)), Format::Arrow));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        std::fs::write(&path, damaged(parquet_file())).unwrap();
        drain(open(Source::Path(path), &Options::default()));
    }
}
