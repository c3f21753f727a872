//! The `Cargo.lock` that this program was built with, as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use siltdb::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
use siltdb::{Error, Result};

const LOCK: &str = include_str!("../../../../Cargo.lock");

/// One row a package, one row a dependency, one row a statement about either.
pub(super) struct Graph {
    pub(super) packages: RecordBatch,
    pub(super) dependencies: RecordBatch,
    pub(super) triples: RecordBatch,
}

/// Reads the graph. Edges join packages by name: where two versions of one are in the tree, they
/// are one node.
pub(super) fn read() -> Result<Graph> {
    let lock: toml::Table =
        LOCK.parse().map_err(|e| Error::internal(format!("Cargo.lock: {e}")))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages.ok_or_else(|| Error::internal("Cargo.lock names no packages"))?;
    let text = |package: &toml::Value, key: &str| {
        package.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let mut versions = BTreeMap::new();
    let mut edges = BTreeSet::new();
    let mut triples = BTreeSet::new();
    for package in packages {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let ours = package.get("source").is_none();
        triples.insert((name.clone(), "has_version", version.clone()));
        let kind = if ours { "workspace_member" } else { "registry_package" };
        triples.insert((name.clone(), "is_a", kind.to_owned()));
        let needs = package.get("dependencies").and_then(toml::Value::as_array);
        for needed in needs.into_iter().flatten().filter_map(toml::Value::as_str) {
            // "name", or "name version" where more than one version is in the tree.
            let needed = needed.split(' ').next().unwrap_or(needed);
            edges.insert((name.clone(), needed.to_owned()));
            triples.insert((name.clone(), "depends_on", needed.to_owned()));
        }
        versions.insert((name, version), ours);
    }
    let column = |values: Vec<&str>| Arc::new(StringViewArray::from(values)) as ArrayRef;
    Ok(Graph {
        packages: RecordBatch::try_from_iter([
            ("name", column(versions.keys().map(|(name, _)| name.as_str()).collect())),
            ("version", column(versions.keys().map(|(_, version)| version.as_str()).collect())),
            (
                "ours",
                Arc::new(BooleanArray::from_iter(versions.values().map(|ours| Some(*ours))))
                    as ArrayRef,
            ),
        ])?,
        dependencies: RecordBatch::try_from_iter([
            ("package", column(edges.iter().map(|(package, _)| package.as_str()).collect())),
            ("needs", column(edges.iter().map(|(_, needs)| needs.as_str()).collect())),
        ])?,
        triples: RecordBatch::try_from_iter([
            ("subject", column(triples.iter().map(|(subject, ..)| subject.as_str()).collect())),
            ("predicate", column(triples.iter().map(|(_, predicate, _)| *predicate).collect())),
            ("object", column(triples.iter().map(|(.., object)| object.as_str()).collect())),
        ])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_file_holds_this_program_and_its_engine() {
        let graph = read().unwrap();
        assert!(graph.packages.num_rows() > 100);
        assert!(graph.dependencies.num_rows() > graph.packages.num_rows());
        let names = graph.dependencies.column_by_name("package").unwrap();
        let names: &StringViewArray = names.as_any().downcast_ref().unwrap();
        assert!(names.iter().flatten().any(|name| name == "silt-storage"));
    }
}
