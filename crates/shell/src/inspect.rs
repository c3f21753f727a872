//! What a database is made of, as text: `silt inspect` and the shell's `.levels`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use siltdb::{Database, Description, TreeDescription};

/// The levels of every table's tree, the memtables above them, the log and the counters.
pub(crate) fn levels(db: &Database) -> String {
    let names: BTreeMap<u32, String> =
        db.tables().into_iter().map(|(name, tree)| (tree, name)).collect();
    describe(&db.describe(), &names)
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
