use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use silt_ingest::{Format, Matching, OnError, Options, Target};

use crate::{all, columns, options, reader, with_rejects};

fn json() -> Options {
    options(Format::Json)
}

const LINES: &str = r#"{"id": 1, "name": "Ada", "tags": ["a", "b"], "at": "2024-01-02T03:04:05Z"}

{"id": 2, "score": 1.5, "name": "A\u00e9\n", "deep": {"x": {"y": 1}}, "ok": true}
{"score": 2, "id": null, "name": 7}
"#;

#[test]
fn keys_become_columns_and_nested_values_text() {
    let reader = reader(LINES, &json()).unwrap();
    assert_eq!(
        columns(&reader),
        [
            "id Int64",
            "name Utf8View",
            "tags Utf8View",
            "at Timestamp(µs, \"UTC\")",
            "score Float64",
            "deep Utf8View",
            "ok Boolean"
        ]
    );
    assert_eq!(
        all(reader).unwrap(),
        [
            "1|Ada|[\"a\", \"b\"]|2024-01-02T03:04:05|NULL|NULL|NULL",
            "2|Aé\n|NULL|NULL|1.5|{\"x\": {\"y\": 1}}|true",
            "NULL|7|NULL|NULL|2.0|NULL|NULL"
        ]
    );
}

#[test]
fn an_array_of_objects_is_read_like_lines() {
    let text =
        "\n[ {\"a\": 1, \"b\": \"]}\\\"\"},\n\n {\"a\":\n 2,\n \"c\": [{}, 1]}\n, {\"a\": 3}]\n";
    let reader = reader(text, &json()).unwrap();
    assert_eq!(all(reader).unwrap(), ["1|]}\"|NULL", "2|NULL|[{}, 1]", "3|NULL|NULL"]);
}

#[test]
fn an_array_that_is_no_array_of_objects_is_refused_with_its_line() {
    let stopped = |text: &str| {
        let target = Target {
            schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)])),
            matching: Matching::Name,
        };
        let options = Options { target: Some(target), on_error: OnError::Skip, ..json() };
        all(reader(text, &options).unwrap()).unwrap_err().to_string()
    };
    assert_eq!(
        stopped("[{\"a\": 1},\n2]"),
        "input, line 2: an element of the array is not an object"
    );
    assert_eq!(stopped("[{\"a\": 1},\n"), "input, line 2: the array is not closed");
    assert_eq!(stopped("[\n{\"a\": 1"), "input, line 2: the object is not closed");
    assert_eq!(stopped("[{\"a\": 1}]\n\n{}"), "input, line 3: text behind the end of the array");
}

#[test]
fn malformed_lines_are_refused_with_their_reason() {
    let text = "{\"a\": 1}\n{\"a\": }\n[1]\n{\"a\": 1} x\n{\"a\": 2}\n";
    let (rows, rejects) = with_rejects(text, &Options { on_error: OnError::Skip, ..json() });
    assert_eq!(rows, ["1", "2"]);
    assert_eq!(
        rejects,
        [
            "2: expected value at byte 7: {\"a\": }",
            "3: invalid type: sequence, expected a JSON object at byte 0: [1]",
            "4: trailing characters at byte 10: {\"a\": 1} x",
        ]
    );
    let mut options = json();
    options.sample_rows = 1;
    let error = all(reader("{\"a\": 1}\n{\"a\": 1, \"b\": 2}\n", &options).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input, line 2: key \"b\" is none of the columns (columns were inferred from the first 1 rows)"
    );
    assert_eq!(
        reader("\n\n", &json()).unwrap_err().to_string(),
        "input: there is no JSON object in the sample to infer columns from"
    );
}

#[test]
fn a_targets_columns_are_found_by_key() {
    let fields =
        vec![Field::new("id", DataType::Int32, false), Field::new("t", DataType::Utf8View, true)];
    let target = Target { schema: Arc::new(Schema::new(fields)), matching: Matching::Name };
    let options = Options { target: Some(target), on_error: OnError::Skip, ..json() };
    let text = "{\"ID\": 1, \"t\": 1e400}\n{\"t\": \"x\"}\n{\"id\": 3000000000}\n{\"id\": \"4\"}\n";
    let (rows, rejects) = with_rejects(text, &options);
    assert_eq!(rows, ["1|1e400", "4|NULL"]);
    assert_eq!(
        rejects,
        [
            "2: column \"id\" is NULL but must not be: {\"t\": \"x\"}",
            "3: column \"id\": \"3000000000\" is not a INTEGER: {\"id\": 3000000000}",
        ]
    );
}

#[test]
fn keys_that_differ_in_case_alone_are_two_columns() {
    let reader = reader("{\"a\": 1, \"A\": 2}\n", &json()).unwrap();
    assert_eq!(columns(&reader), ["a Int64", "A_2 Int64"]);
    assert_eq!(all(reader).unwrap(), ["1|2"]);
}
