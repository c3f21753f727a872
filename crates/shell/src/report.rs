//! Errors as a person reads them: the place, the message, the line with a caret, the hint.

use std::fmt::Write as _;

use siltdb::Error;

use crate::render::{escaped, width};
use crate::split::Statement;

/// Columns of a source line that are shown; of longer ones the part around the caret.
const SHOWN: usize = 100;

/// What a failed statement is told by, with a line end. `origin` is its script's name, or `None`
/// at the prompt and for `-c`, where the line says enough.
pub(crate) fn statement_error(
    error: &Error,
    statement: &Statement,
    origin: Option<&str>,
) -> String {
    let mut out = String::new();
    let position = error.position().filter(|position| position.line > 0);
    let within = position.map_or(1, |position| position.line);
    let line = statement.line + within - 1;
    match origin {
        Some(origin) => out.push_str(&format!("{origin}:{line}: ")),
        None if line > 1 => out.push_str(&format!("line {line}: ")),
        None => {}
    }
    writeln!(out, "error: {}", escaped(error.message())).expect("a string takes any text");
    let source = usize::try_from(within - 1).ok().and_then(|line| statement.text.lines().nth(line));
    if let (Some(position), Some(source)) = (position, source) {
        out.push_str(&caret(source, usize::try_from(position.column).unwrap_or(1)));
    }
    if let Some(hint) = error.hint() {
        writeln!(out, "hint: {}", escaped(hint)).expect("a string takes any text");
    }
    out
}

/// The line with a caret under its `column`th character.
fn caret(source: &str, column: usize) -> String {
    let letters: Vec<char> = source.chars().collect();
    let at = column.saturating_sub(1).min(letters.len());
    let from = if letters.len() > SHOWN { at.saturating_sub(SHOWN / 2) } else { 0 };
    let to = letters.len().min(from + SHOWN);
    let text = |range: &[char]| {
        let text: String = range.iter().map(|c| if *c == '\t' { ' ' } else { *c }).collect();
        escaped(&text).into_owned()
    };
    let before = text(&letters[from..at.max(from)]);
    let dots = |cut: bool| if cut { "..." } else { "" };
    let (left, right) = (dots(from > 0), dots(to < letters.len()));
    let shown = text(&letters[from..to]);
    let indent = " ".repeat(width(&before) + left.len());
    format!("  {left}{shown}{right}\n  {indent}^\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use siltdb::{ErrorKind, Position};

    fn shown(text: &str, line: u64, column: u64, origin: Option<&str>) -> String {
        let statement = Statement { text: text.to_owned(), line: 3, column: 1 };
        let error = Error::new(ErrorKind::NotFound, "no such thing")
            .at(Some(Position { line, column }))
            .with_hint(Some("did you mean x?".to_owned()));
        statement_error(&error, &statement, origin)
    }

    #[test]
    fn a_caret_stands_under_the_place_in_its_line() {
        assert_eq!(
            shown("select a,\n\tb from t", 2, 2, Some("x.sql")),
            "x.sql:4: error: no such thing\n   b from t\n   ^\nhint: did you mean x?\n"
        );
        assert_eq!(
            shown("select 'ü世', a", 1, 14, None),
            "line 3: error: no such thing\n  select 'ü世', a\n                ^\nhint: did you mean x?\n"
        );
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let text = "a".repeat(500) + "!" + &"b".repeat(500);
        let shown = shown(&text, 1, 501, None);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].chars().count(), 2 + 3 + SHOWN + 3);
        assert_eq!(lines[1].find('!'), lines[2].find('^'));
    }

    #[test]
    fn a_place_that_is_not_known_or_not_there_shows_no_caret() {
        let statement = Statement { text: "select 1".to_owned(), line: 1, column: 1 };
        let error = Error::new(ErrorKind::Invalid, "bad \x1b[2J");
        assert_eq!(statement_error(&error, &statement, None), "error: bad \\x1b[2J\n");
        assert_eq!(
            shown("select 1", 7, 1, None),
            "line 9: error: no such thing\nhint: did you mean x?\n"
        );
    }
}
