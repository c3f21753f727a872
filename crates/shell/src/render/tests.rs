use std::sync::Arc;

use siltdb::arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use siltdb::arrow::datatypes::{DataType, Field, Int64Type};

use super::*;

fn shown(mode: Mode, audience: Audience, batches: &[RecordBatch]) -> String {
    let mut out = Vec::new();
    let mut renderer = renderer(mode, &batches[0].schema(), audience);
    for batch in batches {
        renderer.batch(&mut out, batch).unwrap();
    }
    renderer.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const PIPE: Audience = Audience { terminal: false, width: None };

fn terminal(width: usize) -> Audience {
    Audience { terminal: true, width: Some(width) }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn people() -> RecordBatch {
    batch(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), None, Some(-300)]))),
        ("name", Arc::new(StringArray::from(vec![Some("Ada"), Some(""), None]))),
    ])
}

#[test]
fn a_box_has_numbers_at_the_right_and_says_null() {
    assert_eq!(
        shown(Mode::Box, PIPE, &[people(), people().slice(0, 1)]),
        "┌──────┬──────┐\n\
         │ id   │ name │\n\
         ├──────┼──────┤\n\
         │    1 │ Ada  │\n\
         │ NULL │      │\n\
         │ -300 │ NULL │\n\
         │    1 │ Ada  │\n\
         └──────┴──────┘\n"
    );
    assert!(shown(Mode::Box, terminal(80), &[people()]).ends_with("┘\n3 rows\n"));
    assert_eq!(
        shown(Mode::Box, PIPE, &[people().slice(0, 0)]),
        "┌────┬──────┐\n│ id │ name │\n├────┼──────┤\n└────┴──────┘\n"
    );
}

#[test]
fn a_box_is_no_wider_than_the_terminal() {
    let long: Vec<String> =
        (0..3).map(|row| format!("{row} {}", "世界 text ".repeat(20))).collect();
    let columns = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        ("first", Arc::new(StringArray::from(long.clone()))),
        ("second", Arc::new(StringArray::from(long))),
    ];
    for columns_wide in [30, 41, 79, 80, 200] {
        let text = shown(Mode::Box, terminal(columns_wide), &[batch(columns.clone())]);
        for line in text.lines() {
            assert!(width(line) <= columns_wide, "{} in {columns_wide}: {line}", width(line));
        }
        assert_eq!(width(text.lines().next().unwrap()), columns_wide, "all of it is used");
    }
    let many: Vec<(String, ArrayRef)> = (0..30)
        .map(|column| (format!("column{column}"), Arc::new(Int64Array::from(vec![1])) as ArrayRef))
        .collect();
    let many = batch(many.iter().map(|(name, array)| (name.as_str(), array.clone())).collect());
    let text = shown(Mode::Box, terminal(80), &[many]);
    assert!(text.lines().all(|line| width(line) <= 80));
    assert!(text.ends_with("1 row, 8 of 30 columns shown\n"), "{text}");
}

#[test]
fn a_long_result_streams_and_loses_nothing_in_a_pipe() {
    let texts = (0..2_000).map(|row| if row < 1_500 { "x".to_owned() } else { "y".repeat(40) });
    let batch = batch(vec![("t", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)]);
    let text = shown(Mode::Box, PIPE, std::slice::from_ref(&batch));
    assert_eq!(text.matches(&"y".repeat(40)).count(), 500);
    let text = shown(Mode::Box, terminal(80), &[batch]);
    assert_eq!(text.lines().count(), 2_000 + 4 + 1);
    assert_eq!(text.matches('…').count(), 500);
}

#[test]
fn value_of_several_lines_is_a_row_of_as_many_in_a_box() {
    let plans = StringArray::from(vec!["Sort\n  Scan\t\n", "x"]);
    let batch = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("plan", Arc::new(plans)),
    ]);
    assert_eq!(
        shown(Mode::Box, PIPE, &[batch]),
        "┌───┬──────────┐\n\
         │ n │ plan     │\n\
         ├───┼──────────┤\n\
         │ 1 │ Sort     │\n\
         │   │   Scan\\t │\n\
         │ 2 │ x        │\n\
         └───┴──────────┘\n"
    );
}

#[test]
fn control_characters_reach_no_terminal() {
    let evil = "a\x1b[2Jb\u{9b}31m\u{202e}c\nd";
    let batch = batch(vec![(evil, Arc::new(StringArray::from(vec![evil])) as ArrayRef)]);
    for mode in
        [Mode::Box, Mode::Csv, Mode::Tsv, Mode::Json, Mode::Jsonl, Mode::Markdown, Mode::Line]
    {
        let text = shown(mode, terminal(80), std::slice::from_ref(&batch));
        let bad = text.chars().find(|c| *c != '\n' && text::is_hidden(*c));
        assert_eq!(bad, None, "{mode:?}: {text:?}");
    }
    assert_eq!(escaped(evil), "a\\x1b[2Jb\\x9b31m\\u{202e}c\\nd");
    // A pipe gets what is stored.
    let text = shown(Mode::Csv, PIPE, &[batch]);
    assert!(text.contains(evil), "{text:?}");
}

#[test]
fn csv_tells_null_from_an_empty_text_and_quotes_what_it_must() {
    let texts = vec![Some("a,b"), Some("say \"x\""), Some("two\nlines"), Some(""), None];
    let batch = batch(vec![
        ("t,u", Arc::new(StringArray::from(texts)) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))),
    ]);
    assert_eq!(
        shown(Mode::Csv, PIPE, std::slice::from_ref(&batch)),
        "\"t,u\",n\n\"a,b\",1\n\"say \"\"x\"\"\",2\n\"two\nlines\",3\n\"\",4\n,5\n"
    );
    assert!(shown(Mode::Tsv, PIPE, std::slice::from_ref(&batch)).starts_with("t,u\tn\na,b\t1\n"));
    assert_eq!(shown(Mode::Csv, PIPE, &[batch.slice(0, 0)]), "\"t,u\",n\n");
}

#[test]
fn json_keeps_types_and_nesting() {
    let lists =
        ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
    let inner = Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN)])) as ArrayRef;
    let field = Arc::new(Field::new("x", DataType::Float64, true));
    let structs = StructArray::from(vec![(field, inner)]);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("k");
    maps.values().append_value("v");
    maps.append(true).unwrap();
    maps.append(true).unwrap();
    let decimals =
        Decimal128Array::from(vec![Some(12_345), None]).with_precision_and_scale(10, 2).unwrap();
    let times = TimestampMicrosecondArray::from(vec![0, 1_500_000]);
    let bytes = BinaryArray::from_vec(vec![b"\x00\xff", b""]);
    let schema_twice = RecordBatch::try_new(
        Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("a", DataType::Utf8, true),
        ])),
        vec![
            Arc::new(Int64Array::from(vec![i64::MIN])),
            Arc::new(StringArray::from(vec!["q\"\\\u{1}"])),
        ],
    )
    .unwrap();
    let batch = batch(vec![
        ("l", Arc::new(lists) as ArrayRef),
        ("s", Arc::new(structs)),
        ("m", Arc::new(maps.finish())),
        ("d", Arc::new(decimals)),
        ("t", Arc::new(times)),
        ("b", Arc::new(bytes)),
    ]);
    assert_eq!(
        shown(Mode::Jsonl, PIPE, std::slice::from_ref(&batch)),
        "{\"l\":[1,null],\"s\":{\"x\":1.5},\"m\":{\"k\":\"v\"},\"d\":123.45,\"t\":\"1970-01-01 00:00:00\",\"b\":\"\\\\x00ff\"}\n\
         {\"l\":null,\"s\":{\"x\":\"NaN\"},\"m\":{},\"d\":null,\"t\":\"1970-01-01 00:00:01.500\",\"b\":\"\\\\x\"}\n"
    );
    assert_eq!(
        shown(Mode::Json, PIPE, &[schema_twice.clone(), schema_twice]),
        "[{\"a\":-9223372036854775808,\"a_2\":\"q\\\"\\\\\\u0001\"},\n \
          {\"a\":-9223372036854775808,\"a_2\":\"q\\\"\\\\\\u0001\"}]\n"
    );
    assert_eq!(shown(Mode::Json, PIPE, &[people().slice(0, 0)]), "[]\n");
}

#[test]
fn markdown_and_lines_show_a_row_each_in_their_way() {
    let bars = batch(vec![("a|b", Arc::new(StringArray::from(vec!["x|y"])) as ArrayRef)]);
    assert_eq!(shown(Mode::Markdown, PIPE, &[bars]), "| a\\|b |\n|---|\n| x\\|y |\n");
    assert_eq!(
        shown(Mode::Markdown, PIPE, &[people().slice(0, 1)]),
        "| id | name |\n|---:|---|\n| 1 | Ada |\n"
    );
    assert_eq!(
        shown(Mode::Line, PIPE, &[people().slice(1, 2)]),
        "  id = NULL\nname = \n\n  id = -300\nname = NULL\n"
    );
}
