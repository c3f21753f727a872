//! Inputs that are none: whatever the bytes, there is an answer or an error, and an end.

use proptest::collection::vec;
use proptest::prelude::*;
use silt_ingest::{Format, OnError, Options};

use crate::{options, reader};

const TEXT_FORMATS: [Format; 8] = [
    Format::Csv,
    Format::Tsv,
    Format::Json,
    Format::NTriples,
    Format::NQuads,
    Format::Turtle,
    Format::TriG,
    Format::RdfXml,
];

const SEEDS: [&str; 6] = [
    "id,name,born\n1,\"A \"\"x\"\"\",2000-01-01\n2,,\n\\N,\"a\nb\",1999-12-31\n",
    "{\"a\": 1, \"b\": [1, {\"c\": \"\\ud83d\\ude00\"}]}\n{\"a\": null, \"b\": \"x\"}\n",
    "[{\"a\": 1}, {\"b\": \"]\"}]",
    "<http://a/s> <http://a/p> \"x\\u00e9\"@en .\n_:b <http://a/p> \"1\"^^<http://a/t> .\n",
    "@prefix a: <http://a/> .\na:s a:p 1, true, \"x\" ; a:q (1 2 [ a:r <x> ]) .\n",
    "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY e \"x\">]><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"http://a/&e;\"/></rdf:RDF>",
];

/// Reads to the end and returns how many batches and errors there were.
fn drain(bytes: &[u8], options: &Options) {
    let Ok(reader) = reader(bytes, options) else { return };
    let schema = reader.schema().clone();
    for batch in reader {
        let Ok(batch) = batch.map_err(no_panic) else { return };
        assert_eq!(batch.schema(), schema);
        assert!(batch.num_rows() > 0);
    }
}

/// The reader turns panics of parsers into errors; ours are not to have any.
fn no_panic(error: silt_ingest::Error) {
    assert!(!error.reason().contains("panicked"), "{error}");
}

fn every_format(bytes: &[u8]) {
    for format in TEXT_FORMATS.into_iter().chain([Format::JsonLd, Format::Arrow]) {
        for on_error in [OnError::Stop, OnError::Skip] {
            drain(bytes, &Options { on_error, batch_rows: 3, ..options(format) });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        every_format(&bytes);
    }

    #[test]
    fn random_texts_of_telling_letters_never_panic(
        text in "[a-c,;\"'\\\\\n\r\t {}\\[\\]:<>_@^.#&!?0-9eN-]{0,120}",
    ) {
        every_format(text.as_bytes());
    }

    #[test]
    fn mutated_files_never_panic(
        seed in 0..SEEDS.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (index, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        every_format(&bytes);
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow_of_the_stack() {
    for (format, open) in [
        (Format::Json, "{\"a\":"),
        (Format::Json, "["),
        (Format::JsonLd, "{\"http://a/p\":"),
        (Format::JsonLd, "["),
        (Format::Turtle, "["),
        (Format::Turtle, "("),
        (Format::TriG, "{"),
        (Format::RdfXml, "<a xmlns=\"http://a/\">"),
    ] {
        drain(open.repeat(100_000).as_bytes(), &options(format));
    }
}
