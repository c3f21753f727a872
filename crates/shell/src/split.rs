//! Splits a script into statements, line by line, so that each can run as soon as it is complete.
//!
//! A `;` ends a statement unless it stands in quotes (`'`, `"`, `` ` ``, `E'..'` with backslashes),
//! in dollar quotes (`$$ .. $$`, `$tag$ .. $tag$`) or in a comment (`--`, nested `/* */`).

/// One statement, and where in its script it begins; lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Without the `;`, and without space and comments before.
    pub(crate) text: String,
    pub(crate) line: u64,
    pub(crate) column: u64,
}

impl Statement {
    /// Words outside quotes and comments, as far as the first few characters of a statement tell
    /// what it is.
    pub(crate) fn words(&self) -> Vec<&str> {
        let mut words = Vec::new();
        let mut place = Place::Plain;
        for (start, step) in Steps::new(&self.text, &mut place) {
            let word = &self.text[start..];
            let end = word.find(|c: char| !is_word(c)).unwrap_or(word.len());
            let before = self.text[..start].chars().next_back();
            if step == Step::Text && end > 0 && !before.is_some_and(is_word) {
                words.push(&word[..end]);
            }
        }
        words
    }
}

/// Where between the quotes and comments the reading is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Plain,
    Quoted { quote: char, backslashes: bool },
    Dollar(String),
    LineComment,
    BlockComment(usize),
}

/// What a character of the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Part of a statement, outside of quotes.
    Text,
    /// Part of a statement, within quotes.
    Quoted,
    Comment,
    End,
}

/// Goes through a text and says of each character what it is. May be given a text in pieces that
/// end at line ends.
struct Steps<'a> {
    text: &'a str,
    at: usize,
    place: &'a mut Place,
}

impl<'a> Steps<'a> {
    fn new(text: &'a str, place: &'a mut Place) -> Self {
        Self { text, at: 0, place }
    }

    /// The dollar quote that begins here, `$$` or `$tag$`.
    fn dollar_quote(&self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let tag = rest.strip_prefix('$')?;
        let end = tag.find('$')?;
        let name = &tag[..end];
        let digit_first = name.starts_with(|c: char| c.is_ascii_digit());
        let within_word = self.text[..self.at].chars().next_back().is_some_and(is_word);
        (!digit_first && !within_word && name.chars().all(is_word)).then(|| &rest[..end + 2])
    }

    /// True behind an `E` that is a word of its own.
    fn behind_e(&self) -> bool {
        let mut before = self.text[..self.at].chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(is_word)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Iterator for Steps<'_> {
    type Item = (usize, Step);

    fn next(&mut self) -> Option<(usize, Step)> {
        let start = self.at;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let mut length = first.len_utf8();
        let step = match self.place {
            Place::Plain => match first {
                ';' => Step::End,
                '\'' | '"' | '`' => {
                    let backslashes = first == '\'' && self.behind_e();
                    *self.place = Place::Quoted { quote: first, backslashes };
                    Step::Quoted
                }
                '-' if rest.starts_with("--") => {
                    *self.place = Place::LineComment;
                    Step::Comment
                }
                '/' if rest.starts_with("/*") => {
                    *self.place = Place::BlockComment(1);
                    length = 2;
                    Step::Comment
                }
                '$' => match self.dollar_quote() {
                    Some(quote) => {
                        length = quote.len();
                        *self.place = Place::Dollar(quote.to_owned());
                        Step::Quoted
                    }
                    None => Step::Text,
                },
                _ => Step::Text,
            },
            Place::Quoted { quote, backslashes } => {
                if first == *quote {
                    // A doubled quote closes and opens again, which comes to the same.
                    *self.place = Place::Plain;
                } else if first == '\\' && *backslashes {
                    length += rest[1..].chars().next().map_or(0, char::len_utf8);
                }
                Step::Quoted
            }
            Place::Dollar(quote) => {
                if rest.starts_with(quote.as_str()) {
                    length = quote.len();
                    *self.place = Place::Plain;
                }
                Step::Quoted
            }
            Place::LineComment => {
                if first == '\n' {
                    *self.place = Place::Plain;
                }
                Step::Comment
            }
            Place::BlockComment(depth) => {
                if rest.starts_with("*/") {
                    length = 2;
                    *depth -= 1;
                    if *depth == 0 {
                        *self.place = Place::Plain;
                    }
                } else if rest.starts_with("/*") {
                    length = 2;
                    *depth += 1;
                }
                Step::Comment
            }
        };
        self.at += length;
        Some((start, step))
    }
}

/// Collects lines into statements.
#[derive(Debug)]
pub(crate) struct Splitter {
    place: Place,
    /// The statement begun, without a character before its first.
    open: Option<Statement>,
    line: u64,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self { place: Place::Plain, open: None, line: 0 }
    }

    /// Takes the script's next line, with or without its line end, and gives the statements that
    /// it completes.
    pub(crate) fn line(&mut self, line: &str) -> Vec<Statement> {
        let text = format!("{}\n", line.strip_suffix('\n').unwrap_or(line));
        self.line += 1;
        let mut complete = Vec::new();
        let mut steps = Steps::new(&text, &mut self.place);
        while let Some((start, step)) = steps.next() {
            let piece = &text[start..steps.at];
            match step {
                Step::End => complete.extend(self.open.take().map(trimmed)),
                Step::Comment if self.open.is_none() => {}
                Step::Text if self.open.is_none() && piece.trim().is_empty() => {}
                Step::Text | Step::Quoted | Step::Comment => {
                    let open = self.open.get_or_insert_with(|| Statement {
                        text: String::new(),
                        line: self.line,
                        column: text[..start].chars().count() as u64 + 1,
                    });
                    open.text.push_str(piece);
                }
            }
        }
        complete
    }

    /// True between statements, comments aside.
    pub(crate) fn is_between(&self) -> bool {
        self.open.is_none() && matches!(self.place, Place::Plain)
    }

    /// The number of the line taken last.
    pub(crate) fn lines(&self) -> u64 {
        self.line
    }

    /// The last statement, if the script does not end with a `;`.
    pub(crate) fn finish(self) -> Option<Statement> {
        self.open.map(trimmed)
    }
}

fn trimmed(mut statement: Statement) -> Statement {
    statement.text.truncate(statement.text.trim_end().len());
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(script: &str) -> Vec<String> {
        let mut splitter = Splitter::new();
        let mut statements: Vec<Statement> =
            script.lines().flat_map(|line| splitter.line(line)).collect();
        statements.extend(splitter.finish());
        let show = |s: &Statement| format!("{}:{} {}", s.line, s.column, s.text);
        statements.iter().map(show).collect()
    }

    #[test]
    fn a_semicolon_in_quotes_or_comments_ends_nothing() {
        assert_eq!(
            split(
                "select ';', \"a;b\", `c;` -- ;\n, 1 /* ; /* ; */ ; */;select $$;$$; select $x$ ; $$ $x$"
            ),
            [
                "1:1 select ';', \"a;b\", `c;` -- ;\n, 1 /* ; /* ; */ ; */",
                "2:23 select $$;$$",
                "2:37 select $x$ ; $$ $x$"
            ]
        );
    }

    #[test]
    fn quotes_are_closed_where_they_are() {
        assert_eq!(split("select 'it''s;'; x"), ["1:1 select 'it''s;'", "1:18 x"]);
        assert_eq!(split("select E'a\\';'; x"), ["1:1 select E'a\\';'", "1:17 x"]);
        assert_eq!(split("select 'a\\'; x"), ["1:1 select 'a\\'", "1:14 x"]);
        assert_eq!(
            split("select $1; select a$b$ ; c"),
            ["1:1 select $1", "1:12 select a$b$", "1:26 c"]
        );
        assert_eq!(split("select 'never\n;\n"), ["1:1 select 'never\n;"]);
        assert_eq!(split("select table'e'; x"), ["1:1 select table'e'", "1:18 x"]);
    }

    #[test]
    fn lines_and_columns_are_those_of_the_first_character() {
        assert_eq!(
            split("\n-- first\n  select\n  1;\n\n/* x */ select 2;;\n ; é; z"),
            ["3:3 select\n  1", "6:9 select 2", "7:4 é", "7:7 z"]
        );
    }

    #[test]
    fn commands_may_stand_between_statements_only() {
        let mut splitter = Splitter::new();
        assert!(splitter.is_between());
        splitter.line("select 1; -- done");
        assert!(splitter.is_between());
        splitter.line("/* not");
        assert!(!splitter.is_between());
        splitter.line("yet */ select");
        assert!(!splitter.is_between());
    }

    #[test]
    fn words_are_those_outside_quotes() {
        let text = "WITH a AS (SELECT 'delete' -- update\n) DELETE FROM \"drop\"".to_owned();
        let statement = Statement { text, line: 1, column: 1 };
        assert_eq!(statement.words(), ["WITH", "a", "AS", "SELECT", "DELETE", "FROM"]);
    }
}
