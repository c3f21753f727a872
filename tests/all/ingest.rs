//! Real files into tables: one knowledge graph in five syntaxes, and a graph of air routes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use silt_ingest::{Options, Source};
use siltdb::{AppendMode, Database, Error, ErrorKind, IngestTarget, params};

/// The folder of real inputs, or none with a message.
fn test_data(folder: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root lies above");
    let data = std::env::var_os("SILT_TEST_DATA")
        .map_or_else(|| root.join("../shared/data"), PathBuf::from)
        .join(folder);
    if data.exists() {
        return Some(data);
    }
    eprintln!("skipped: no test data in {}", data.display());
    None
}

fn load(
    db: &Database,
    file: &Path,
    options: &Options,
    table: &str,
    key: &[&str],
    mode: AppendMode,
) -> u64 {
    let reader = silt_ingest::open(Source::Path(file.to_owned()), options).unwrap();
    let schema = std::sync::Arc::clone(reader.schema());
    let target = IngestTarget {
        table: table.to_owned(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        create_if_missing: true,
        on_conflict: mode,
        ..IngestTarget::default()
    };
    let mut batches =
        reader.map(|batch| batch.map_err(|e| Error::new(ErrorKind::Invalid, e.to_string())));
    db.ingest(schema, &mut batches, &target).unwrap().written
}

const TRIPLE: [&str; 7] =
    ["subject", "predicate", "object", "object_kind", "datatype", "lang", "graph"];

#[test]
fn five_syntaxes_of_one_graph_give_the_same_triples() {
    let Some(data) = test_data("kg") else { return };
    let db = Database::in_memory().unwrap();
    let syntaxes = ["nt", "ttl", "rdf", "jsonld", "nq"];
    for syntax in syntaxes {
        let file = data.join(format!("schemaorg-all-https.{syntax}"));
        load(&db, &file, &Options::default(), &format!("kg_{syntax}"), &TRIPLE, AppendMode::Ignore);
    }
    // The same count by other means: the distinct lines of the N-Triples.
    let text = std::fs::read_to_string(data.join("schemaorg-all-https.nt")).unwrap();
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let subjects: BTreeSet<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    let mut predicates: BTreeMap<&str, i64> = BTreeMap::new();
    for line in &lines {
        let predicate = line.split(' ').nth(1).unwrap();
        *predicates.entry(predicate.trim_matches(['<', '>'])).or_default() += 1;
    }
    assert_eq!(lines.len(), 18_061);
    let mut most: Vec<(i64, &str)> = predicates.into_iter().map(|(name, n)| (n, name)).collect();
    most.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    for syntax in syntaxes {
        let counts = format!("SELECT count(*), count(DISTINCT subject) FROM kg_{syntax}");
        let (count, distinct) = db
            .query_row(&counts, params![], |row| Ok((row.get::<usize>(0)?, row.get::<usize>(1)?)))
            .unwrap();
        assert_eq!((count, distinct), (lines.len(), subjects.len()), "{syntax}");
        let top = format!(
            "SELECT predicate, count(*) AS n FROM kg_{syntax} GROUP BY predicate ORDER BY n DESC, predicate LIMIT 10"
        );
        let top: Vec<(i64, String)> = db
            .query(&top, params![])
            .unwrap()
            .map(|row| row.and_then(|row| Ok((row.get("n")?, row.get("predicate")?))))
            .collect::<Result<_, _>>()
            .unwrap();
        let wanted: Vec<(i64, String)> =
            most.iter().take(10).map(|(n, name)| (*n, (*name).to_owned())).collect();
        assert_eq!(top, wanted, "{syntax}");
        let columns = "subject, predicate, object, object_kind, datatype, lang";
        let differences = format!(
            "SELECT count(*) FROM ((SELECT {columns} FROM kg_nt EXCEPT SELECT {columns} FROM kg_{syntax})
             UNION ALL (SELECT {columns} FROM kg_{syntax} EXCEPT SELECT {columns} FROM kg_nt))"
        );
        let differences: i64 = db.query_row(&differences, params![], |row| row.get(0)).unwrap();
        assert_eq!(differences, 0, "{syntax}");
    }
    let graphs: Vec<String> = db
        .query("SELECT DISTINCT graph FROM kg_nq", params![])
        .unwrap()
        .map(|row| row.and_then(|row| row.get(0)))
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(graphs.len() == 1 && !graphs[0].is_empty(), "{graphs:?}");
}

#[test]
fn air_routes_are_loaded_joined_and_walked_two_hops() {
    let Some(data) = test_data("openflights") else { return };
    let folder = tempfile::tempdir().unwrap();
    let db = Database::open(folder.path().join("world")).unwrap();
    let options =
        Options { header: false, nulls: vec!["\\N".into(), String::new()], ..Options::default() };
    let lines = |name: &str| {
        std::fs::read_to_string(data.join(name)).unwrap().lines().filter(|l| !l.is_empty()).count()
            as u64
    };
    for (name, key) in [
        ("airports", &["column1"][..]),
        ("airlines", &["column1"]),
        ("routes", &["column1", "column3", "column5"]),
    ] {
        let file = format!("{name}.csv");
        let written = load(&db, &data.join(&file), &options, name, key, AppendMode::Insert);
        assert_eq!(written, lines(&file), "{name}");
    }
    let text = std::fs::read_to_string(data.join("routes.csv")).unwrap();
    let mut from: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split(',').collect();
        from.entry(cells[2]).or_default().insert(cells[4]);
    }
    let direct = &from["AEY"];
    let two: BTreeSet<&str> =
        direct.iter().flat_map(|stop| from.get(stop).into_iter().flatten().copied()).collect();
    let found: usize = db
        .query_row(
            "SELECT count(DISTINCT b.column5) FROM routes a JOIN routes b ON b.column3 = a.column5
             WHERE a.column3 = 'AEY'",
            params![],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(found, two.len());
    let carrier: String = db
        .query_row(
            "SELECT l.column2 FROM routes r JOIN airlines l ON l.column1 = r.column2
             JOIN airports p ON p.column1 = r.column4
             WHERE r.column3 = 'KEF' AND p.column5 = 'KEF' AND r.column5 = 'JFK' AND r.column1 = 'FI'",
            params![],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(carrier, "Icelandair");
}
