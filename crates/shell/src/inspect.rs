//! What a database is made of, as text: `silt inspect` and the shell's `.levels`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use siltdb::{Database, Description, Result, TreeDescription};

/// The levels of every table's tree, the memtables above them, the log and the counters.
pub(crate) fn levels(db: &Database) -> String {
    let names: BTreeMap<u32, String> =
        db.tables().into_iter().map(|(name, tree)| (tree, name)).collect();
    describe(&db.describe(), &names)
}

/// The files that the manifest of the database in `db` names, read without opening it.
pub(crate) fn files(db: &Path) -> Result<String> {
    siltdb::inspect::files(db).map(|listing| listing.to_string())
}

/// File `id` of the database in `db`: what the manifest says of it, its footer, its row groups.
/// A damaged row group is shown as such among the others.
pub(crate) fn file(db: &Path, id: u64) -> Result<String> {
    let file = siltdb::inspect::file(db, id)?;
    let mut text = file.to_string();
    match siltdb::inspect::files(db) {
        Ok(listing) => {
            let files = |tree: &siltdb::inspect::TreeListing| {
                let file = tree.files.iter().find(|listed| listed.id == id);
                file.map(|listed| (tree.id, listed.clone()))
            };
            match listing.trees.iter().find_map(files) {
                Some((tree, listed)) => {
                    let level = listed.level;
                    line(
                        &mut text,
                        format_args!("  manifest: tree {tree} level {level}, {listed}"),
                    );
                    if (listed.size, listed.footer_checksum)
                        != (file.size(), file.footer_checksum())
                    {
                        line(&mut text, format_args!("  damage: not the file that it names"));
                    }
                }
                None => line(&mut text, format_args!("  manifest: does not name it")),
            }
        }
        Err(error) => line(&mut text, format_args!("  manifest: {error}")),
    }
    for (number, group) in file.groups().enumerate() {
        match group {
            Ok(group) => line(&mut text, format_args!("{group}")),
            Err(error) => line(&mut text, format_args!("row group {number}: damage: {error}")),
        }
    }
    Ok(text)
}

/// The log of the database in `db`, a line a record: a log may be long, so they come one by one.
pub(crate) fn wal(db: &Path) -> Result<impl Iterator<Item = Result<String>>> {
    let entries = siltdb::inspect::wal(db)?;
    Ok(entries.map(|entry| entry.map(|entry| entry.to_string())))
}

/// The manifest of the database in `db`, edit by edit.
pub(crate) fn manifest(db: &Path) -> Result<String> {
    siltdb::inspect::manifest(db).map(|manifest| manifest.to_string())
}

fn describe(description: &Description, names: &BTreeMap<u32, String>) -> String {
    let mut text = String::new();
    for tree in &description.trees {
        let name = names.get(&tree.id.0).map_or("(catalog)", String::as_str);
        tree_lines(&mut text, name, tree);
    }
    let log: u64 = description.wal_segments.iter().map(|segment| segment.bytes).sum();
    let segments = description.wal_segments.len();
    line(&mut text, format_args!("log: {segments} segment{}, {}", plural(segments), bytes(log)));
    let counters = &description.counters;
    line(
        &mut text,
        format_args!(
            "since opening: {} commits in {} syncs, {} flushes, {} compactions, {} files moved, \
             row groups {} copied and {} decoded",
            counters.commits,
            counters.wal_syncs,
            counters.flushes,
            counters.compactions,
            counters.files_moved,
            counters.groups_copied,
            counters.groups_decoded,
        ),
    );
    if let Some(stalled) = &description.stalled {
        line(&mut text, format_args!("writing stands still: {stalled}"));
    }
    text
}

fn tree_lines(text: &mut String, name: &str, tree: &TreeDescription) {
    line(text, format_args!("{name} (tree {})", tree.id));
    let entries: u64 = tree.memtables.iter().map(|memtable| memtable.entries).sum();
    let held: u64 = tree.memtables.iter().map(|memtable| memtable.bytes).sum();
    if entries > 0 {
        line(text, format_args!("  memtables  {entries:>10} entries  {:>10}", bytes(held)));
    }
    for (number, level) in tree.levels.iter().enumerate() {
        if level.files.is_empty() {
            continue;
        }
        let rows: u64 = level.files.iter().map(|file| file.rows).sum();
        let deletes: u64 = level.files.iter().map(|file| file.deletes).sum();
        let groups: u64 = level.files.iter().map(|file| file.groups).sum();
        let files = level.files.len();
        line(
            text,
            format_args!(
                "  level {number}    {rows:>10} entries  {:>10}  {files} file{}, {groups} row group{}{}",
                bytes(level.bytes),
                plural(files),
                plural(usize::try_from(groups).unwrap_or(usize::MAX)),
                if deletes > 0 { format!(", {deletes} deletes") } else { String::new() },
            ),
        );
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.1} MB", c / 1e6),
        c if c >= 1e3 => format!("{:.1} kB", c / 1e3),
        c => format!("{c} B"),
    }
}
