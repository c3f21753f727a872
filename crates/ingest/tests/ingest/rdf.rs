use std::collections::{BTreeSet, HashMap};

use silt_ingest::{ErrorKind, Format, OnError, Options, Source, open};

use crate::{all, options, reader, test_data, with_rejects};

#[test]
fn statements_become_rows_without_nulls() {
    let text = "<http://a/s> <http://a/p> <http://a/o> <http://a/g> .\n\
                _:b <http://a/p> _:c .\n\
                # a comment\n\
                _:b <http://a/p> \"plain\" .\n\
                _:b <http://a/p> \"same\"^^<http://www.w3.org/2001/XMLSchema#string> .\n\
                _:b <http://a/p> \"1\"^^<http://www.w3.org/2001/XMLSchema#integer> _:g .\n\
                _:b <http://a/p> \"Gr\\u00FC\\u00DFe\"@de-CH .\n";
    let reader = reader(text, &options(Format::NQuads)).unwrap();
    let names: Vec<_> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        names,
        ["subject", "predicate", "object", "object_kind", "datatype", "lang", "graph"]
    );
    assert!(reader.schema().fields().iter().all(|field| !field.is_nullable()));
    assert_eq!(
        all(reader).unwrap(),
        [
            "http://a/s|http://a/p|http://a/o|iri|||http://a/g",
            "_:b|http://a/p|_:c|blank|||",
            "_:b|http://a/p|plain|literal|||",
            "_:b|http://a/p|same|literal|||",
            "_:b|http://a/p|1|literal|http://www.w3.org/2001/XMLSchema#integer||_:g",
            "_:b|http://a/p|Grüße|literal||de-ch|",
        ]
    );
}

#[test]
fn a_malformed_line_of_n_triples_stops_or_is_skipped_whole() {
    let good = "<http://a/s> <http://a/p> \"1\" .\n";
    let text = format!(
        "{good}<http://a/s> <http://a/p> \"x\n{good}<http://a/s> <http://a/p> \"2\" . more\n{good}"
    );
    let error = all(reader(text.as_str(), &options(Format::NTriples)).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.line()), (ErrorKind::Malformed, Some(2)));
    let options = Options { on_error: OnError::Skip, ..options(Format::NTriples) };
    let (rows, rejects) = with_rejects(&text, &options);
    assert_eq!(rows, ["http://a/s|http://a/p|1|literal|||"; 3]);
    assert_eq!(rejects.len(), 2, "{rejects:?}");
    assert!(
        rejects[0].starts_with("2: ") && rejects[0].ends_with(": <http://a/s> <http://a/p> \"x")
    );
    assert!(rejects[1].starts_with("4: ") && rejects[1].ends_with(". more"), "{rejects:?}");
}

#[test]
fn lines_are_counted_across_blocks() {
    let good = "<http://a/s> <http://a/p> \"a literal of some length to fill the blocks\" .\n";
    let text = good.repeat(20_000) + "bad\n" + good;
    let options = Options { on_error: OnError::Skip, ..options(Format::NTriples) };
    let (rows, rejects) = with_rejects(&text, &options);
    assert_eq!(rows.len(), 20_001);
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].starts_with("20001: "), "{rejects:?}");
}

#[test]
fn turtle_goes_on_behind_an_error() {
    let text = "@prefix a: <http://a/> .\na:s a:p 1 .\na:s a:p ~ .\na:s a:p 2 .\n";
    let error = all(reader(text, &options(Format::Turtle)).unwrap()).unwrap_err();
    assert_eq!((error.kind(), error.line()), (ErrorKind::Malformed, Some(3)));
    let options = Options { on_error: OnError::Skip, ..options(Format::Turtle) };
    let (rows, rejects) = with_rejects(text, &options);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rejects.iter().all(|reject| reject.starts_with("3: ")), "{rejects:?}");
}

#[test]
fn xml_and_json_ld_cannot_be_resumed() {
    for (format, text) in
        [(Format::RdfXml, "<rdf:RDF><unclosed>"), (Format::JsonLd, "{\"@id\": [}")]
    {
        let options = Options { on_error: OnError::Skip, ..options(format) };
        let error = all(reader(text, &options).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
}

#[test]
fn relative_iris_are_resolved_against_the_file_or_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b.ttl");
    std::fs::write(&path, "<#x> <y> <> .\n").unwrap();
    let base = format!("file://{}/", folder.path().display());
    let rows = all(open(Source::Path(path.clone()), &Options::default()).unwrap()).unwrap();
    assert_eq!(rows, [format!("{base}a%20b.ttl#x|{base}y|{base}a%20b.ttl|iri|||")]);
    let options = Options { base_iri: Some("http://a/b/c".into()), ..Options::default() };
    let rows = all(open(Source::Path(path.clone()), &options).unwrap()).unwrap();
    assert_eq!(rows, ["http://a/b/c#x|http://a/b/y|http://a/b/c|iri|||"]);
    let options = Options { base_iri: Some("no iri".into()), ..Options::default() };
    assert_eq!(open(Source::Path(path), &options).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn entities_that_explode_are_refused() {
    let mut text =
        "<?xml version=\"1.0\"?><!DOCTYPE rdf:RDF [<!ENTITY a0 \"aaaaaaaaaa\">".to_owned();
    for level in 1..12 {
        let below = format!("&a{};", level - 1).repeat(10);
        text.push_str(&format!("<!ENTITY a{level} \"{below}\">"));
    }
    text.push_str("]><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"/>");
    let error = all(reader(text, &options(Format::RdfXml)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("entity a2 expands to"), "{error}");
}

#[test]
fn the_five_syntaxes_of_one_graph_give_the_same_statements() {
    let Some(data) = test_data() else { return };
    let statements = |extension: &str| -> BTreeSet<String> {
        let path = data.join(format!("kg/schemaorg-all-https.{extension}"));
        all(open(Source::Path(path), &Options::default()).unwrap()).unwrap().into_iter().collect()
    };
    let expected = statements("nt");
    assert_eq!(expected.len(), 18_061);
    for extension in ["ttl", "rdf", "jsonld"] {
        let found = statements(extension);
        let difference: Vec<_> = expected.symmetric_difference(&found).take(3).collect();
        assert!(difference.is_empty(), "{extension}: {difference:?}");
    }
    let quads = statements("nq");
    let graphs: BTreeSet<&str> = quads.iter().filter_map(|row| row.rsplit('|').next()).collect();
    assert_eq!(graphs.len(), 1, "{graphs:?}");
    let graph = graphs.first().unwrap();
    assert!(!graph.is_empty());
    let without: BTreeSet<String> =
        quads.iter().map(|row| row.strip_suffix(graph).unwrap().to_owned()).collect();
    assert_eq!(without, expected);

    let mut predicates: HashMap<&str, usize> = HashMap::new();
    for row in &expected {
        *predicates.entry(row.split('|').nth(1).unwrap()).or_default() += 1;
    }
    // grep -oP '^<[^>]*> <\K[^>]*' on `sort -u` of the N-Triples, `sort | uniq -c`.
    assert_eq!(predicates["http://www.w3.org/2000/01/rdf-schema#label"], 3_003);
}
