//! The W3C test suites of the RDF 1.1 syntaxes, as their manifests list them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use silt_ingest::{Format, Options, Source, open};

use crate::{all, test_data};

const MF: &str = "http://www.w3.org/2001/sw/DataAccess/tests/test-manifest#";
const TYPE: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type";
const BASE: &str = "https://w3c.github.io/rdf-tests/rdf/rdf11/";

/// Tests that fail and why. The list may only become shorter: one that passes has to leave it.
const EXCEPTIONS: [(&str, &str); 2] =
    [("rdf-xml#xml-canon-test001", IN_SCOPE), ("rdf-xml#xml-canon-test002", IN_SCOPE)];
const IN_SCOPE: &str =
    "the parser declares all namespaces in scope in XML literals, not only those they use";

/// Statements of a file: subject, predicate, object, kind, datatype, lang, graph.
fn statements(path: &Path, format: Format, base: &str) -> Result<Vec<[String; 7]>, String> {
    let options =
        Options { format: Some(format), base_iri: Some(base.to_owned()), ..Options::default() };
    let reader =
        open(Source::Path(path.to_owned()), &options).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let columns: Vec<_> = batch.columns().iter().map(|column| crate::texts(column)).collect();
        let row = |row: usize| std::array::from_fn(|column| columns[column][row].clone());
        out.extend((0..batch.num_rows()).map(row));
    }
    Ok(out)
}

fn format_of(path: &str) -> Format {
    Format::from_path(Path::new(path)).unwrap()
}

/// What a test expects, and whether it is so.
fn run(
    suite: &Path,
    suite_base: &str,
    kind: &str,
    action: &str,
    result: Option<&str>,
) -> Result<(), String> {
    let file = |iri: &str| suite.join(iri.strip_prefix(suite_base).unwrap());
    let read = statements(&file(action), format_of(action), action);
    if kind.contains("Negative") {
        return match read {
            Ok(_) => Err("accepted".to_owned()),
            Err(_) => Ok(()),
        };
    }
    let read = read?;
    let Some(result) = result else { return Ok(()) };
    let expected = statements(&file(result), format_of(result), result)?;
    if isomorphic(read.clone(), expected.clone()) {
        return Ok(());
    }
    Err(format!("other statements: {read:?} where {expected:?} are expected"))
}

/// Equal up to the names of blank nodes: colours by neighbourhood, refined until they stand still,
/// then one bijection after the other among those still alike.
fn isomorphic(left: Vec<[String; 7]>, right: Vec<[String; 7]>) -> bool {
    let set = |rows: Vec<[String; 7]>| rows.into_iter().collect::<BTreeSet<_>>();
    let (left, right) = (set(left), set(right));
    left.len() == right.len() && matches(&left, &right, &mut BTreeMap::new())
}

fn is_blank(row: &[String; 7], column: usize) -> bool {
    match column {
        0 | 6 => row[column].starts_with("_:"),
        2 => row[3] == "blank",
        _ => false,
    }
}

fn colours(
    rows: &BTreeSet<[String; 7]>,
    fixed: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut colours: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        for column in [0, 2, 6].into_iter().filter(|column| is_blank(row, *column)) {
            let colour = fixed.get(&row[column]).cloned().unwrap_or_default();
            colours.insert(row[column].clone(), colour);
        }
    }
    for _ in 0..colours.len().min(8) {
        let mut next: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in rows {
            let shown: Vec<String> = (0..7)
                .map(|column| match is_blank(row, column) {
                    true => format!("blank {}", colours[&row[column]]),
                    false => row[column].clone(),
                })
                .collect();
            for column in [0, 2, 6].into_iter().filter(|column| is_blank(row, *column)) {
                next.entry(row[column].clone()).or_default().push(format!("{column} {shown:?}"));
            }
        }
        for (name, mut seen) in next {
            seen.sort();
            let mut hasher = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&(&colours[&name], seen), &mut hasher);
            colours.insert(name, format!("{:x}", std::hash::Hasher::finish(&hasher)));
        }
    }
    colours
}

fn matches(
    left: &BTreeSet<[String; 7]>,
    right: &BTreeSet<[String; 7]>,
    pairs: &mut BTreeMap<String, String>,
) -> bool {
    let fixed = |right: bool| -> BTreeMap<String, String> {
        let pairs = pairs.iter().enumerate();
        let pairs =
            pairs.map(|(number, (l, r))| (if right { r } else { l }.clone(), format!("={number}")));
        pairs.collect()
    };
    let (left_colours, right_colours) =
        (colours(left, &fixed(false)), colours(right, &fixed(true)));
    let Some((name, colour)) = left_colours.iter().find(|(name, _)| !pairs.contains_key(*name))
    else {
        let renamed: BTreeSet<[String; 7]> = left
            .iter()
            .map(|row| {
                std::array::from_fn(|column| match is_blank(row, column) {
                    true => pairs[&row[column]].clone(),
                    false => row[column].clone(),
                })
            })
            .collect();
        return renamed == *right;
    };
    let taken: BTreeSet<String> = pairs.values().cloned().collect();
    for (other, other_colour) in &right_colours {
        if other_colour == colour && !taken.contains(other) {
            pairs.insert(name.clone(), other.clone());
            if matches(left, right, pairs) {
                return true;
            }
            pairs.remove(name);
        }
    }
    false
}

#[test]
fn every_case_of_the_manifests_is_accepted_or_refused_as_it_should_be() {
    let Some(data) = test_data() else { return };
    let mut failures = BTreeMap::new();
    let mut count = 0;
    for suite in ["rdf-n-triples", "rdf-n-quads", "rdf-turtle", "rdf-trig", "rdf-xml"] {
        let folder = data.join("rdf-tests").join(suite);
        let base = format!("{BASE}{suite}/");
        let manifest = folder.join("manifest.ttl");
        let manifest =
            statements(&manifest, Format::Turtle, &format!("{base}manifest.ttl")).unwrap();
        let mut cases: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for [subject, predicate, object, ..] in &manifest {
            cases.entry(subject).or_default().insert(predicate, object);
        }
        for (name, facts) in cases {
            let kind = facts.get(TYPE).copied().unwrap_or_default();
            let Some(action) = facts.get(format!("{MF}action").as_str()) else { continue };
            let result = facts.get(format!("{MF}result").as_str()).copied();
            count += 1;
            if let Err(reason) = run(&folder, &base, kind, action, result) {
                let name = name.rsplit('#').next().unwrap_or(name);
                failures.insert(format!("{suite}#{name}"), reason);
            }
        }
    }
    assert!(count > 900, "only {count} cases were found");
    let known: BTreeMap<&str, &str> = EXCEPTIONS.into();
    let unexpected: Vec<_> =
        failures.iter().filter(|(name, _)| !known.contains_key(name.as_str())).collect();
    assert!(unexpected.is_empty(), "{} of {count}: {unexpected:#?}", unexpected.len());
    let mended: Vec<_> = known.keys().filter(|name| !failures.contains_key(**name)).collect();
    assert!(mended.is_empty(), "no exceptions any more: {mended:?}");
}

#[test]
fn isomorphism_is_told_from_its_absence() {
    let row = |subject: &str, object: &str| -> [String; 7] {
        [subject, "p", object, "blank", "", "", ""].map(str::to_owned)
    };
    let square =
        |a: &str, b: &str, c: &str, d: &str| vec![row(a, b), row(b, c), row(c, d), row(d, a)];
    let two = vec![row("_:a", "_:b"), row("_:b", "_:a"), row("_:c", "_:d"), row("_:d", "_:c")];
    assert!(isomorphic(square("_:a", "_:b", "_:c", "_:d"), square("_:3", "_:1", "_:4", "_:2")));
    assert!(!isomorphic(square("_:a", "_:b", "_:c", "_:d"), two));
}

#[test]
fn a_file_of_the_suites_is_read_at_all() {
    let Some(data) = test_data() else { return };
    let path = data.join("rdf-tests/rdf-turtle/IRI_subject.ttl");
    assert_eq!(all(open(Source::Path(path), &Options::default()).unwrap()).unwrap().len(), 1);
}
