//! What Tab offers: dot commands, keywords, tables, and the columns of the tables at hand.

use std::cell::RefCell;
use std::collections::BTreeMap;

use siltdb::{Connection, Database, params};

use crate::command::{COMMANDS, quoted};

/// Columns are looked up for as many tables; of more only those that the text names.
const TABLES_MAX: usize = 50;

const KEYWORDS: [&str; 104] = [
    "ADD",
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ANTI",
    "ANY",
    "AS",
    "ASC",
    "AVG",
    "BEGIN",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "CASE",
    "CAST",
    "CHECKPOINT",
    "COALESCE",
    "COLUMN",
    "COMMIT",
    "CONFLICT",
    "COPY",
    "COUNT",
    "CREATE",
    "CROSS",
    "CURRENT_DATE",
    "DATE",
    "DECIMAL",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DO",
    "DOUBLE",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXCLUDED",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "ILIKE",
    "IN",
    "INNER",
    "INSERT",
    "INTEGER",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "NOT",
    "NOTHING",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRIMARY",
    "RECURSIVE",
    "REPLACE",
    "RETURNING",
    "RIGHT",
    "ROLLBACK",
    "SELECT",
    "SEMI",
    "SET",
    "SHOW",
    "SUM",
    "TABLE",
    "TABLES",
    "TEXT",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "TRUNCATE",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Where names come from.
pub(crate) trait Names {
    /// The tables, as statements write them.
    fn tables(&self) -> Vec<String>;
    /// The columns of one, as statements write them.
    fn columns(&self, table: &str) -> Vec<String>;
}

/// The tables, and the columns of those that were asked for.
type Known = (Vec<String>, BTreeMap<String, Vec<String>>);

/// The names of an open database; columns are remembered as long as the tables stay the same.
pub(crate) struct DatabaseNames {
    db: Database,
    connection: Connection,
    known: RefCell<Known>,
}

impl DatabaseNames {
    pub(crate) fn new(db: Database) -> Self {
        let connection = db.connect();
        Self { db, connection, known: RefCell::default() }
    }
}

impl Names for DatabaseNames {
    fn tables(&self) -> Vec<String> {
        let tables: Vec<String> =
            self.db.tables().into_iter().map(|(name, _)| quoted(&name)).collect();
        let mut known = self.known.borrow_mut();
        if known.0 != tables {
            *known = (tables.clone(), BTreeMap::new());
        }
        tables
    }

    fn columns(&self, table: &str) -> Vec<String> {
        if let Some(columns) = self.known.borrow().1.get(table) {
            return columns.clone();
        }
        let nothing = format!("SELECT * FROM {table} LIMIT 0");
        let Ok(rows) = self.connection.query_arrow(&nothing, params![]) else { return Vec::new() };
        let columns: Vec<String> =
            rows.schema().fields().iter().map(|field| quote_column(field.name())).collect();
        self.known.borrow_mut().1.insert(table.to_owned(), columns.clone());
        columns
    }
}

fn quote_column(name: &str) -> String {
    // A dot in a column's name is part of it.
    if name.contains('.') { format!("\"{}\"", name.replace('"', "\"\"")) } else { quoted(name) }
}

/// What may stand in place of the word before `at`, and where that word begins.
pub(crate) fn complete(names: &dyn Names, text: &str, at: usize) -> (usize, Vec<String>) {
    let before = &text[..at];
    let trimmed = before.trim_start();
    if trimmed.starts_with('.') && !trimmed.contains(char::is_whitespace) {
        let commands = COMMANDS.iter().map(|(name, ..)| (*name).to_owned());
        return (at - trimmed.len(), commands.filter(|name| name.starts_with(trimmed)).collect());
    }
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    let start = before
        .rfind(|c| !part(c))
        .map_or(0, |found| found + before[found..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    let tables = names.tables();
    if let Some(owner) = before[..start].strip_suffix('.') {
        let from = owner.rfind(|c| !part(c)).map_or(0, |found| found + 1);
        let columns = match owner_table(&owner[from..], text, &tables) {
            Some(table) => names.columns(&table),
            // A schema, then.
            None => {
                let prefix = format!("{}.", &owner[from..]);
                tables
                    .iter()
                    .filter_map(|table| table.strip_prefix(&prefix).map(str::to_owned))
                    .collect()
            }
        };
        return (start, matching(columns, word));
    }
    if word.is_empty() {
        return (start, Vec::new());
    }
    let mut candidates: Vec<String> = Vec::new();
    let named: Vec<&String> = tables.iter().filter(|table| mentions(text, table)).collect();
    let of: Vec<&String> = if named.is_empty() && tables.len() <= TABLES_MAX {
        tables.iter().collect()
    } else {
        named
    };
    candidates.extend(of.iter().flat_map(|table| names.columns(table)));
    candidates.extend(tables.iter().cloned());
    let mut found = matching(candidates, word);
    let small = word.chars().all(|c| !c.is_uppercase());
    for keyword in KEYWORDS {
        if keyword.len() >= word.len()
            && keyword.is_char_boundary(word.len())
            && keyword[..word.len()].eq_ignore_ascii_case(word)
        {
            found.push(if small { keyword.to_lowercase() } else { keyword.to_owned() });
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|candidate| seen.insert(candidate.clone()));
    (start, found)
}

fn matching(mut candidates: Vec<String>, word: &str) -> Vec<String> {
    let bare = |text: &str| text.trim_start_matches('"').to_lowercase();
    let word = bare(word);
    candidates.retain(|candidate| bare(candidate).starts_with(&word));
    candidates.sort();
    candidates.dedup();
    candidates
}

fn words(text: &str) -> Vec<&str> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '"' || c == '.';
    text.split(|c| !part(c)).filter(|word| !word.is_empty()).collect()
}

fn mentions(text: &str, table: &str) -> bool {
    words(text).iter().any(|word| word.eq_ignore_ascii_case(table))
}

/// The table that `owner` is, or is an alias of: `FROM events e`, `JOIN events AS e`.
fn owner_table(owner: &str, text: &str, tables: &[String]) -> Option<String> {
    let is = |word: &str, table: &String| word.eq_ignore_ascii_case(table);
    if let Some(table) = tables.iter().find(|table| is(owner, table)) {
        return Some(table.clone());
    }
    let words = words(text);
    words.iter().enumerate().find_map(|(index, word)| {
        let table = tables.iter().find(|table| is(word, table))?;
        let next = words.get(index + 1)?;
        let alias = if next.eq_ignore_ascii_case("as") { words.get(index + 2)? } else { next };
        alias.eq_ignore_ascii_case(owner).then(|| table.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some2;

    impl Names for Some2 {
        fn tables(&self) -> Vec<String> {
            vec![
                "events".to_owned(),
                "edges".to_owned(),
                "\"Odd\"".to_owned(),
                "other.t".to_owned(),
            ]
        }

        fn columns(&self, table: &str) -> Vec<String> {
            let columns: &[&str] = match table {
                "events" => &["agent", "seq", "kind"],
                "edges" => &["src", "dst"],
                "\"Odd\"" => &["\"Name\""],
                _ => &[],
            };
            columns.iter().map(|&column| column.to_owned()).collect()
        }
    }

    fn at_end(text: &str) -> Vec<String> {
        complete(&Some2, text, text.len()).1
    }

    #[test]
    fn keywords_follow_the_case_that_was_begun() {
        assert_eq!(at_end("sele"), ["select"]);
        assert_eq!(at_end("SELE"), ["SELECT"]);
        assert_eq!(at_end(""), Vec::<String>::new());
    }

    #[test]
    fn tables_and_columns_are_offered_before_keywords() {
        assert_eq!(at_end("select * from e")[..2], ["edges", "events"]);
        assert_eq!(at_end("select s"), ["seq", "src", "select", "semi", "set", "show", "sum"]);
        assert_eq!(at_end("select src from edges where d")[0], "dst");
        assert!(!at_end("select src from edges where a").contains(&"agent".to_owned()));
        assert_eq!(at_end("select o")[0], "\"Odd\"");
    }

    #[test]
    fn behind_a_dot_stand_the_columns_of_the_table_or_alias() {
        assert_eq!(at_end("select events."), ["agent", "kind", "seq"]);
        let text = "select e. from events e";
        assert_eq!(
            complete(&Some2, text, 9),
            (9, vec!["agent".into(), "kind".into(), "seq".into()])
        );
        assert_eq!(at_end("select * from edges as x where x.s"), ["src"]);
        assert_eq!(at_end("select * from other."), ["t"]);
        assert_eq!(at_end("select nothing."), Vec::<String>::new());
    }

    #[test]
    fn dot_commands_are_completed_at_the_beginning() {
        assert_eq!(at_end(".t"), [".tables", ".timer"]);
        assert_eq!(complete(&Some2, "  .le", 5), (2, vec![".levels".into()]));
    }
}
