//! Dot commands: what the shell does itself.

use std::io::BufReader;
use std::path::Path;

use clap::{Parser, ValueEnum};
use siltdb::params;

use crate::args::LoadArguments;
use crate::ingest_command::{self, Load};
use crate::inspect;
use crate::render::Mode;
use crate::shell::{Shell, Stop};

/// Names, arguments and what they do, in the order of `.help`.
pub(crate) const COMMANDS: [(&str, &str, &str); 10] = [
    (".help", "", "show this"),
    (".tables", "[PART]", "list the tables, or those with PART in their names"),
    (".schema", "[TABLE]", "show the columns of the tables, or of one"),
    (".mode", "[MODE]", "show results as box, csv, tsv, json, jsonl, markdown or line"),
    (".timer", "on|off", "say how long statements take"),
    (".read", "FILE", "run the statements of a file"),
    (".import", "FILE... --into TABLE [OPTION...]", "load files, with the options of silt ingest"),
    (".levels", "", "show what the database is made of"),
    (".flush", "", "write what is in memory to files"),
    (".quit", "", "leave; so does Ctrl-D"),
];

/// Runs the command of a line that begins with a dot.
pub(crate) fn run(shell: &mut Shell, line: &str) -> Result<(), Stop> {
    let words = match words(line) {
        Ok(words) => words,
        Err(reason) => return Err(shell.fail(reason)),
    };
    let arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    let name = words.first().map_or("", |name| name.trim_end_matches(';'));
    match (name, &arguments[..]) {
        (".help", []) => help(shell),
        (".tables", []) => tables(shell, ""),
        (".tables", [part]) => tables(shell, part),
        (".schema", []) => schema(shell, None),
        (".schema", [table]) => schema(shell, Some(table.trim_end_matches(';'))),
        (".mode", []) => {
            let mode = shell.mode.to_possible_value();
            let name = mode.as_ref().map_or("", |mode| mode.get_name());
            shell.say(&format!("{name}\n"))
        }
        (".mode", [mode]) => match Mode::from_str(mode, true) {
            Ok(mode) => {
                shell.mode = mode;
                Ok(())
            }
            Err(_) => {
                let known: Vec<_> =
                    Mode::value_variants().iter().filter_map(Mode::to_possible_value).collect();
                let known: Vec<&str> = known.iter().map(|mode| mode.get_name()).collect();
                Err(shell.fail(&format!("there is no mode {mode}: {}", known.join(", "))))
            }
        },
        (".timer", ["on"]) => {
            shell.timer = true;
            Ok(())
        }
        (".timer", ["off"]) => {
            shell.timer = false;
            Ok(())
        }
        (".read", [file]) => read(shell, Path::new(file)),
        (".import", [_, ..]) => import(shell, &words),
        (".levels", []) => {
            let text = inspect::levels(&shell.db);
            shell.say(&text)
        }
        (".flush", []) => shell.db.flush().map_err(|error| shell.fail(error.message())),
        (".quit" | ".exit" | ".q", []) => Err(Stop::Quit),
        _ => {
            let usage = COMMANDS.iter().find(|(known, ..)| *known == name);
            Err(shell.fail(&match usage {
                Some((name, arguments, _)) => format!("usage: {name} {arguments}"),
                None => format!("there is no command {name}; .help lists them"),
            }))
        }
    }
}

fn help(shell: &mut Shell) -> Result<(), Stop> {
    let mut text = String::new();
    for (name, arguments, what) in COMMANDS {
        text.push_str(&format!("{:<42} {what}\n", format!("{name} {arguments}")));
    }
    text.push_str("Statements end with a semicolon; Ctrl-C drops a line or ends a statement.\n");
    shell.say(&text)
}

fn tables(shell: &mut Shell, part: &str) -> Result<(), Stop> {
    let mut names: Vec<String> = shell.db.tables().into_iter().map(|(name, _)| name).collect();
    names.retain(|name| name.to_lowercase().contains(&part.to_lowercase()));
    names.sort();
    let text: String =
        names.iter().map(|name| format!("{}\n", crate::render::escaped(name))).collect();
    shell.say(&text)
}

fn schema(shell: &mut Shell, table: Option<&str>) -> Result<(), Stop> {
    let mut names: Vec<String> = match table {
        Some(table) => vec![table.to_owned()],
        None => shell.db.tables().into_iter().map(|(name, _)| name).collect(),
    };
    names.sort();
    for name in names {
        let rows = shell.connection.query_arrow(&format!("DESCRIBE {}", quoted(&name)), params![]);
        let rows = rows.map_err(|error| shell.fail(error.message()))?;
        shell.say(&format!("{}\n", crate::render::escaped(&name)))?;
        let audience = crate::render::Audience { terminal: false, width: shell.out.width() };
        let mut renderer = crate::render::renderer(shell.mode, rows.schema(), audience);
        for batch in rows {
            let batch = batch.map_err(|error| shell.fail(error.message()))?;
            renderer.batch(&mut shell.out, &batch).map_err(|error| shell.render_failed(error))?;
        }
        renderer.finish(&mut shell.out).map_err(|error| shell.render_failed(error))?;
        shell.say("")?;
    }
    Ok(())
}

/// A table's name as `.tables` shows it, `name` or `schema.name`, for a statement.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let quote = |part: &str| {
        if plain(part) || part.starts_with('"') {
            part.to_owned()
        } else {
            format!("\"{}\"", part.replace('"', "\"\""))
        }
    };
    // A dot between quotes belongs to the name.
    let mut in_quotes = false;
    let parts = name.split(|c: char| {
        in_quotes ^= c == '"';
        c == '.' && !in_quotes
    });
    parts.map(quote).collect::<Vec<_>>().join(".")
}

/// Runs the statements of a file.
pub(crate) fn read(shell: &mut Shell, path: &Path) -> Result<(), Stop> {
    match open(path) {
        Ok(file) => {
            let origin = path.display().to_string();
            shell.script(BufReader::new(file), Some(&origin))
        }
        Err(error) => Err(shell.fail(&format!("cannot open {}: {error}", path.display()))),
    }
}

#[expect(clippy::disallowed_methods, reason = "scripts are the user's files and not the engine's")]
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}

/// `.import`, read like a command line.
#[derive(Debug, Parser)]
#[command(name = ".import", no_binary_name = false, disable_version_flag = true)]
struct Import {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    load: LoadArguments,
}

fn import(shell: &mut Shell, words: &[String]) -> Result<(), Stop> {
    let import = match Import::try_parse_from(words) {
        Ok(import) => import,
        Err(error) => {
            eprint!("{}", error.render());
            return Err(Stop::Failed);
        }
    };
    if shell.readonly {
        return Err(shell.fail(".import is refused: the shell was opened with --readonly"));
    }
    let load = Load::new(&import.files, &import.load);
    match load.and_then(|load| ingest_command::load(&shell.connection, load)) {
        Ok(summary) => shell.say(&summary),
        Err(error) => Err(shell.fail(error.message())),
    }
}

/// The words of a line: separated by space, or within single or double quotes.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_be_quoted() {
        assert_eq!(words(".read 'a b.sql'").unwrap(), [".read", "a b.sql"]);
        assert_eq!(words(".x \"it's\" '' a\\b").unwrap(), [".x", "it's", "", "a\\b"]);
        assert!(words(".x 'a").is_err());
    }

    #[test]
    fn names_are_quoted_where_sql_needs_it() {
        assert_eq!(quoted("events"), "events");
        assert_eq!(quoted("main.Events"), "main.\"Events\"");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("\"A.b\""), "\"A.b\"");
    }
}
