//! The arrows between the crates, read off their manifests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors from the ground up; a crate may depend on crates of lower floors only.
const FLOORS: &[&[&str]] = &[
    &["silt-codec"],
    &["silt-storage", "silt-ingest"],
    &["silt-catalog"],
    &["silt-sql"],
    &["silt-server"],
    &["siltdb"],
    &["silt"],
    &["silt-tests", "silt-benches"],
];

/// The crates that may link DataFusion.
const SPEAK_DATAFUSION: &[&str] = &["silt-sql", "siltdb", "silt", "silt-server", "silt-benches"];

/// Arrows that are forbidden although they point down.
const NEVER: &[(&str, &str)] =
    &[("silt-storage", "silt-ingest"), ("silt-ingest", "silt-codec"), ("silt", "silt-storage")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the root").to_owned()
}

/// Each member's package name and what it names under `[dependencies]`.
fn manifests() -> BTreeMap<String, Vec<String>> {
    let read = |path: PathBuf| -> toml::Table {
        std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .parse()
            .unwrap()
    };
    let mut folders: Vec<PathBuf> =
        ["catalog", "sql", "tests", "benches"].iter().map(|f| root().join(f)).collect();
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        folders.push(entry.unwrap().path());
    }
    let manifest = |folder: PathBuf| {
        let table = read(folder.join("Cargo.toml"));
        let name = table["package"]["name"].as_str().unwrap().to_owned();
        let names = |key: &str| -> Vec<String> {
            table
                .get(key)
                .and_then(|v| v.as_table())
                .map_or(Vec::new(), |t| t.keys().cloned().collect())
        };
        (name, names("dependencies"))
    };
    folders.into_iter().map(manifest).collect()
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

#[test]
fn arrows_between_crates_point_down() {
    for (name, dependencies) in manifests() {
        let own = floor(&name).unwrap_or_else(|| panic!("{name} stands on no floor"));
        for dependency in dependencies {
            let Some(other) = floor(&dependency) else { continue };
            assert!(other < own, "{name} depends on {dependency}, which does not lie below it");
            assert!(
                !NEVER.contains(&(name.as_str(), dependency.as_str())),
                "{name} must not know {dependency}"
            );
        }
    }
}

#[test]
fn datafusion_is_linked_by_the_sql_floor_and_above_only() {
    for (name, dependencies) in manifests() {
        if dependencies.iter().any(|dependency| dependency.starts_with("datafusion")) {
            assert!(SPEAK_DATAFUSION.contains(&name.as_str()), "{name} links DataFusion");
        }
    }
}

#[test]
fn one_arrow_is_in_the_tree() {
    let lock: toml::Table =
        std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    for name in ["arrow-schema", "arrow-array", "parquet", "sqlparser", "object_store"] {
        let versions: Vec<&str> = lock["package"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|package| package["name"].as_str() == Some(name))
            .map(|package| package["version"].as_str().unwrap())
            .collect();
        assert_eq!(versions.len(), 1, "{name} is there as {versions:?}");
    }
}

#[test]
fn versions_stand_in_the_workspace_manifest_only() {
    for folder in ["catalog", "sql", "tests", "benches"].map(|f| root().join(f)) {
        check_versions(&folder);
    }
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        check_versions(&entry.unwrap().path());
    }
}

fn check_versions(folder: &Path) {
    let table: toml::Table =
        std::fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(entries) = table.get(section).and_then(|v| v.as_table()) else { continue };
        for (name, value) in entries {
            let inherits = value.get("workspace").and_then(|v| v.as_bool()) == Some(true);
            assert!(inherits, "{}: {name} has a version of its own", folder.display());
        }
    }
}
