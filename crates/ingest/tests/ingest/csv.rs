use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};
use silt_ingest::{ErrorKind, Format, Matching, OnError, Options, Source, Target, open};

use crate::{all, columns, options, reader, rows, test_data, with_rejects};

fn csv() -> Options {
    options(Format::Csv)
}

fn target(fields: Vec<Field>, matching: Matching) -> Options {
    let schema = Arc::new(Schema::new(fields));
    Options { target: Some(Target { schema, matching }), ..csv() }
}

#[test]
fn types_are_the_narrowest_that_hold_the_sample() {
    let text = "i,d,b,day,at,zoned,t,zip,none,mixed\n\
                1,1,true,2024-01-02,2024-01-02 03:04:05,2024-01-02T03:04:05Z,x,08001,,1\n\
                -2,2.5,FALSE,2024-12-31,2024-01-02,2024-01-02T03:04:05+01:00,,10115,,a\n";
    let reader = reader(text, &csv()).unwrap();
    assert_eq!(
        columns(&reader),
        [
            "i Int64",
            "d Float64",
            "b Boolean",
            "day Date32",
            "at Timestamp(µs)",
            "zoned Timestamp(µs, \"UTC\")",
            "t Utf8View",
            "zip Utf8View",
            "none Utf8View",
            "mixed Utf8View"
        ]
    );
    assert_eq!(
        all(reader).unwrap(),
        [
            "1|1.0|true|2024-01-02|2024-01-02T03:04:05|2024-01-02T03:04:05|x|08001|NULL|1",
            "-2|2.5|false|2024-12-31|2024-01-02T00:00:00|2024-01-02T02:04:05|NULL|10115|NULL|a"
        ]
    );
}

#[test]
fn an_empty_field_is_null_and_an_empty_quoted_field_is_a_text() {
    let mut options = csv();
    assert_eq!(all(reader("a,b\n,\"\"\n\\N,x\n", &options).unwrap()).unwrap(), ["NULL|", "\\N|x"]);
    options.clear_nulls();
    options.set("null", "\\N").unwrap();
    let text = "a,b\n,\"\"\n\\N,\"\\N\"\n";
    assert_eq!(all(reader(text, &options).unwrap()).unwrap(), ["|", "NULL|\\N"]);
}

#[test]
fn without_a_header_columns_are_numbered() {
    let options = Options { header: false, ..csv() };
    let reader = reader("1;x\n", &Options { delimiter: Some(b';'), ..options }).unwrap();
    assert_eq!(columns(&reader), ["column1 Int64", "column2 Utf8View"]);
    assert_eq!(all(reader).unwrap(), ["1|x"]);
}

#[test]
fn tsv_is_separated_by_tabs_and_a_byte_order_mark_is_no_text() {
    let reader = reader("\u{feff}a\tb\n1\tx,y\n", &options(Format::Tsv)).unwrap();
    assert_eq!(columns(&reader), ["a Int64", "b Utf8View"]);
    assert_eq!(all(reader).unwrap(), ["1|x,y"]);
}

#[test]
fn a_malformed_line_stops_with_file_line_and_reason() {
    let stopped = |text: &[u8]| {
        let error = all(reader(text, &csv()).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.file(), Some("input"));
        error.to_string()
    };
    assert_eq!(stopped(b"a,b\n1,2\n3\n"), "input, line 3: 1 fields where 2 are expected");
    assert_eq!(
        stopped(b"a,b\n1,\"2\n"),
        "input, line 2: the quote that opens field 2 is never closed"
    );
    assert_eq!(stopped(b"a,b\n1,x\xff\n"), "input, line 2: not UTF-8 from byte 4 of the line on");
    let mut options = csv();
    options.sample_rows = 1;
    let error = all(reader("a,b\n1,2\n2,2\nx,2\n", &options).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input, line 4: column \"a\": \"x\" is not a BIGINT (the column's type was inferred from the first 1 rows)"
    );
}

#[test]
fn malformed_lines_are_skipped_and_given_to_the_sink() {
    let text =
        "id,born\n1,2000-01-01\n2\n3,2000-02-30\r\n,2000-01-01\n5,\"2000-01-01\" \n6,2000-01-01\n";
    let fields =
        vec![Field::new("id", DataType::Int32, false), Field::new("born", DataType::Date32, true)];
    let options = Options { on_error: OnError::Skip, ..target(fields, Matching::Name) };
    let (rows, rejects) = with_rejects(text, &options);
    assert_eq!(rows, ["1|2000-01-01", "6|2000-01-01"]);
    assert_eq!(
        rejects,
        [
            "3: 1 fields where 2 are expected: 2",
            "4: column \"born\": \"2000-02-30\" is not a DATE (YYYY-MM-DD): 3,2000-02-30",
            "5: column \"id\" is NULL but must not be: ,2000-01-01",
            "6: text behind the closing quote of field 2: 5,\"2000-01-01\" ",
        ]
    );
}

#[test]
fn refused_lines_can_be_ingested_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rejects.csv");
    let mut options = Options { on_error: OnError::Skip, ..csv() };
    options.sample_rows = 1;
    let mut source = reader("a,b\n1,2\n\"x,\"\"y\",3\n", &options).unwrap();
    let file = silt_ingest::RejectsFile::create(&path).unwrap();
    let file = Arc::new(std::sync::Mutex::new(Some(file)));
    let sink = Arc::clone(&file);
    source.on_reject(Box::new(move |reject| {
        sink.lock().unwrap().as_mut().map_or(Ok(()), |file| file.write(reject))
    }));
    assert_eq!(all(source).unwrap(), ["1|2"]);
    file.lock().unwrap().take().unwrap().finish().unwrap();
    let again = open(Source::Path(path), &Options::default()).unwrap();
    assert_eq!(
        columns(&again),
        ["file Utf8View", "line Int64", "reason Utf8View", "text Utf8View"]
    );
    let again = all(again).unwrap();
    assert!(again[0].starts_with("input|3|column \"a\""), "{again:?}");
    assert!(again[0].ends_with("|\"x,\"\"y\",3"), "{again:?}");
}

#[test]
fn a_targets_columns_are_found_by_name_or_by_position() {
    let fields = || {
        vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
            Field::new("c", DataType::Decimal128(10, 2), true),
        ]
    };
    let by_name = reader("C,a\n1.5,7\n", &target(fields(), Matching::Name)).unwrap();
    assert_eq!(columns(&by_name), ["a Int64", "c Decimal128(10, 2)"]);
    assert_eq!(all(by_name).unwrap(), ["7|1.50"]);

    let by_position = reader("x,y,z\n1,2,3\n", &target(fields(), Matching::Position)).unwrap();
    assert_eq!(columns(&by_position), ["a Int64", "b Utf8View", "c Decimal128(10, 2)"]);
    assert_eq!(all(by_position).unwrap(), ["1|2|3.00"]);

    let headless = Options { header: false, ..target(fields(), Matching::Name) };
    assert_eq!(all(reader("1,2,3\n", &headless).unwrap()).unwrap(), ["1|2|3.00"]);
    assert_eq!(all(reader("", &headless).unwrap()).unwrap(), Vec::<String>::new());

    let error = reader("a,d\n", &target(fields(), Matching::Name)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input: the file's column \"d\" is none of the target's: a, b, c"
    );
    let error = reader("a,b\n", &target(fields(), Matching::Position)).unwrap_err();
    assert_eq!(error.to_string(), "input: the file has 2 columns where 3 are expected");
}

#[test]
fn values_of_every_type_are_read() {
    let micros = TimeUnit::Microsecond;
    let types = [
        (DataType::Boolean, "yes", "true"),
        (DataType::Int8, "-128", "-128"),
        (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
        (DataType::Float32, "1.5", "1.5"),
        (DataType::Float64, "-inf", "-inf"),
        (
            DataType::Decimal128(38, 0),
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
        (DataType::Time64(micros), "12:34:56.7", "12:34:56.700"),
        (
            DataType::Timestamp(micros, Some("UTC".into())),
            "2024-01-01 00:00",
            "2024-01-01T00:00:00",
        ),
        (DataType::Binary, "\\x00ff", "00ff"),
        (
            DataType::FixedSizeBinary(16),
            "00112233-4455-6677-8899-aabbccddeeff",
            "00112233445566778899aabbccddeeff",
        ),
    ];
    for (data_type, text, expected) in types {
        let fields = vec![Field::new("a", data_type.clone(), true)];
        let reader = reader(format!("a\n{text}\n"), &target(fields, Matching::Name)).unwrap();
        assert_eq!(all(reader).unwrap(), [expected], "{data_type}");
    }
    let nested = DataType::new_list(DataType::Int64, true);
    let error =
        reader("a\n1\n", &target(vec![Field::new("a", nested, true)], Matching::Name)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn batches_end_at_their_rows_and_at_their_bytes() {
    let mut text = "a\n".to_owned();
    for row in 0..20_000 {
        text.push_str(&format!("{row}\n"));
    }
    let sizes: Vec<usize> =
        reader(text, &csv()).unwrap().map(|batch| batch.unwrap().num_rows()).collect();
    assert_eq!(sizes, [8_192, 8_192, 3_616]);

    let line = "x".repeat(1 << 20) + "\n";
    let text = "a\n".to_owned() + &line.repeat(40);
    let sizes: Vec<usize> =
        reader(text, &csv()).unwrap().map(|batch| batch.unwrap().num_rows()).collect();
    assert_eq!(sizes, [16, 16, 8]);
}

#[test]
fn blank_lines_count_and_are_passed_over_where_there_are_several_columns() {
    let error = all(reader("\na,b\n\n1,2\n\n3\n", &csv()).unwrap()).unwrap_err();
    assert_eq!(error.line(), Some(6));
    assert_eq!(all(reader("a\n1\n\n2\n", &csv()).unwrap()).unwrap(), ["1", "NULL", "2"]);
}

#[test]
fn progress_counts_bytes_lines_and_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    std::fs::write(&path, "a\n1\n2\n").unwrap();
    let reader = open(Source::Path(path), &Options::default()).unwrap();
    let progress = reader.progress();
    assert_eq!(progress.bytes_total(), Some(6));
    reader.for_each(|batch| drop(batch.unwrap()));
    assert_eq!((progress.bytes(), progress.lines(), progress.rows()), (6, 3, 2));
}

#[test]
fn a_source_that_is_not_there_or_has_no_format_is_named() {
    let missing = open(Source::Path("no/such.csv".into()), &Options::default()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.to_string().starts_with("no/such.csv: "), "{missing}");
    let unknown = open(Source::Path("a.xlsx".into()), &Options::default()).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid);
    let folder = open(Source::Path(".".into()), &csv()).unwrap_err();
    assert_eq!(folder.to_string(), ".: this is a folder, not a file");
    let error = Options::default().set("header", "maybe").unwrap_err();
    assert_eq!(error.to_string(), "option header is \"maybe\" where true or false is expected");
    assert!(reader("", &csv()).unwrap_err().to_string().starts_with("input: the file is empty"));
}

#[test]
fn openflights_files_are_read_whole() {
    let Some(data) = test_data() else { return };
    let mut options = Options { header: false, ..Options::default() };
    options.nulls.push("\\N".to_owned());
    let read = |name: &str| {
        let path = data.join("openflights").join(name);
        let reader = open(Source::Path(path), &options).unwrap();
        let columns = columns(&reader);
        let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
        (columns, rows(&batches))
    };
    let (columns, airports) = read("airports.csv");
    assert_eq!(airports.len(), 7_698);
    assert_eq!(columns.len(), 14);
    assert_eq!(columns[0], "column1 Int64");
    assert_eq!(columns[6], "column7 Float64");
    let airport = airports.iter().find(|row| row.starts_with("1382|")).unwrap();
    assert!(airport.contains("|Paris|France|CDG|LFPG|49.012798"), "{airport}");
    let (_, airlines) = read("airlines.csv");
    assert_eq!(airlines.len(), 6_162);
    assert_eq!(airlines[1], "1|Private flight|NULL|-|N/A|||Y");
    let (columns, routes) = read("routes.csv");
    assert_eq!(routes.len(), 67_663);
    assert_eq!(routes[0], "2B|410|AER|2965|KZN|2990|NULL|0|CR2");
    assert_eq!(columns[7], "column8 Int64");
}
