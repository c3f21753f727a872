//! From text to one statement's tree: tokens, parameters, refusals by name, parser.
//!
//! Work on tokens comes first, because some statements do not parse at all and because parameters
//! are easiest found there: `?`, `$1` and `:name` all become `$1, $2, …`, and [`Slot`]s remember
//! what they were. Places in errors count from the start of the whole text.

use std::fmt;
use std::ops::Range;

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::params::Slot;
use crate::{Error, ErrorKind, Position, Result, refuse, users};

/// The dialect of all statements.
const DIALECT: GenericDialect = GenericDialect {};

/// How deep queries and expressions may nest.
const NESTING_MAX: usize = 50;

/// One statement of a text, as tokens.
#[derive(Clone)]
pub(crate) struct Source {
    /// Without white space and the final semicolon; never empty.
    tokens: Vec<TokenWithSpan>,
    /// What each `$n` of the tokens stands for.
    slots: Vec<Slot>,
}

/// Cuts a text into its statements.
///
/// # Errors
/// `Invalid` with the place, if the text has an unclosed string or a character that no SQL has.
pub(crate) fn split(sql: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut reader = ParameterReader::default();
    let mut tokens = Vec::new();
    for (token, spaced) in significant(tokenize(sql)?) {
        if token.token == Token::SemiColon {
            finish(&mut sources, &mut tokens, &mut reader);
        } else {
            reader.read(token, spaced, &mut tokens)?;
        }
    }
    finish(&mut sources, &mut tokens, &mut reader);
    Ok(sources)
}

/// The byte ranges of the statements in a text, without their semicolons: for a shell that runs
/// them one by one.
///
/// # Errors
/// As a statement with the same fault.
pub fn statement_ranges(sql: &str) -> Result<Vec<Range<usize>>> {
    let lines = LineStarts::new(sql);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut open = false;
    for (token, _) in significant(tokenize(sql)?) {
        let span = lines.offset(token.span.start)..lines.offset(token.span.end);
        match ranges.last_mut() {
            _ if token.token == Token::SemiColon => open = false,
            Some(range) if open => range.end = span.end,
            _ => {
                ranges.push(span);
                open = true;
            }
        }
    }
    Ok(ranges)
}

/// Whether a text ends with a finished statement or is empty: a prompt need not read on.
pub fn is_complete(sql: &str) -> bool {
    match Tokenizer::new(&DIALECT, sql).tokenize() {
        // A string or comment is still open; anything else will not get better by reading on.
        Err(error) => !error.message.to_lowercase().contains("untermin"),
        Ok(tokens) => {
            let mut tokens = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_)));
            matches!(tokens.next_back(), None | Some(Token::SemiColon))
        }
    }
}

/// A text as it may be logged: names and numbers, but nothing that stands in quotes. A text that
/// breaks off is shown up to there.
pub fn without_literals(sql: &str) -> String {
    let mut tokens = Vec::new();
    let whole = Tokenizer::new(&DIALECT, sql).tokenize_with_location_into_buf(&mut tokens).is_ok();
    let mut shown = String::with_capacity(sql.len());
    for token in &tokens {
        match &token.token {
            Token::Whitespace(_) => {
                if !shown.ends_with(' ') {
                    shown.push(' ');
                }
            }
            Token::Word(_) | Token::Number(..) | Token::Placeholder(_) => {
                shown.push_str(&token.token.to_string());
            }
            other => {
                let text = other.to_string();
                let is_sign = text.len() <= 3 && !text.contains(['\'', '"', '$']);
                shown.push_str(if is_sign { &text } else { "'…'" });
            }
        }
    }
    if !whole {
        shown.push('…');
    }
    shown
}

impl Source {
    /// What each `$n` stands for.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Its tokens.
    pub(crate) fn tokens(&self) -> &[TokenWithSpan] {
        &self.tokens
    }

    /// How many tokens it has.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it may change something. Wrong only on the safe side: a query that uses one of the
    /// words as a name counts as a change.
    pub(crate) fn writes(&self) -> bool {
        let word = |token: &TokenWithSpan| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        match self.tokens.first().map(|token| (&token.token, word(token))) {
            Some((Token::LParen, _)) => false,
            Some((_, Keyword::WITH)) => self.tokens.iter().map(word).any(|keyword| {
                matches!(keyword, Keyword::INSERT | Keyword::UPDATE | Keyword::DELETE)
            }),
            Some((_, keyword)) => !matches!(
                keyword,
                Keyword::SELECT
                    | Keyword::VALUES
                    | Keyword::FROM
                    | Keyword::EXPLAIN
                    | Keyword::SHOW
                    | Keyword::DESCRIBE
                    | Keyword::DESC
            ),
            None => false,
        }
    }

    /// Parses it.
    ///
    /// # Errors
    /// `Unsupported`, by name, for statements that are not built; `Invalid` with the place.
    pub(crate) fn parse(&self) -> Result<Statement> {
        if let Some(statement) = users::parse(&self.tokens)? {
            return Ok(statement);
        }
        refuse::by_tokens(&self.tokens)?;
        let mut tokens = self.tokens.clone();
        let end = tokens.last().map_or(Location::empty(), |token| token.span.end);
        tokens.push(TokenWithSpan::at(Token::EOF, end, end));
        let mut parser = Parser::new(&DIALECT)
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(tokens);
        let statement = parser.parse_statement().map_err(syntax_error)?;
        let next = parser.peek_token();
        if next.token != Token::EOF {
            return Err(Error::invalid(format!("syntax error at or near \"{}\"", next.token))
                .at(position(next.span.start)));
        }
        Ok(statement)
    }

    /// Where a name stands first, quoted or folded.
    pub(crate) fn find(&self, name: &str) -> Option<Position> {
        let last = name.rsplit('.').next().unwrap_or(name);
        let found = |token: &&TokenWithSpan| match &token.token {
            Token::Word(word) if word.quote_style.is_some() => word.value == last,
            Token::Word(word) => word.value.to_lowercase() == last,
            _ => false,
        };
        self.tokens.iter().find(found).and_then(|token| position(token.span.start))
    }
}

/// Without the text, which may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    Tokenizer::new(&DIALECT, sql)
        .tokenize_with_location()
        .map_err(|error| Error::invalid(lower_first(&error.message)).at(position(error.location)))
}

/// Without white space and comments; says of each token whether there was some before it.
fn significant(tokens: Vec<TokenWithSpan>) -> impl Iterator<Item = (TokenWithSpan, bool)> {
    let mut spaced = true;
    tokens.into_iter().filter_map(move |token| {
        if matches!(token.token, Token::Whitespace(_)) {
            spaced = true;
            return None;
        }
        Some((token, std::mem::replace(&mut spaced, false)))
    })
}

fn finish(
    sources: &mut Vec<Source>,
    tokens: &mut Vec<TokenWithSpan>,
    reader: &mut ParameterReader,
) {
    reader.flush(tokens);
    let slots = std::mem::take(&mut reader.slots);
    if !tokens.is_empty() {
        sources.push(Source { tokens: std::mem::take(tokens), slots });
    }
}

/// Rewrites parameters while tokens pass by.
#[derive(Default)]
struct ParameterReader {
    slots: Vec<Slot>,
    /// Question marks so far, in all statements of the text.
    marks: usize,
    /// A colon that may begin a name.
    colon: Option<TokenWithSpan>,
}

impl ParameterReader {
    fn read(
        &mut self,
        token: TokenWithSpan,
        spaced: bool,
        tokens: &mut Vec<TokenWithSpan>,
    ) -> Result<()> {
        if let Some(colon) = self.colon.take() {
            match &token.token {
                Token::Word(word) if !spaced => {
                    let slot = Slot::Named(word.value.clone());
                    tokens.push(self.placeholder(slot, &colon));
                    return Ok(());
                }
                _ => tokens.push(colon),
            }
        }
        match &token.token {
            Token::Colon if may_begin_name(tokens.last(), spaced) => self.colon = Some(token),
            Token::Placeholder(text) => {
                let slot = self.slot_of(text).ok_or_else(|| {
                    Error::invalid(format!("\"{text}\" is not a parameter"))
                        .at(position(token.span.start))
                })?;
                tokens.push(self.placeholder(slot, &token));
            }
            Token::Question => {
                let slot = self.next_mark();
                tokens.push(self.placeholder(slot, &token));
            }
            _ => tokens.push(token),
        }
        Ok(())
    }

    fn flush(&mut self, tokens: &mut Vec<TokenWithSpan>) {
        tokens.extend(self.colon.take());
    }

    fn next_mark(&mut self) -> Slot {
        self.marks += 1;
        Slot::Number(self.marks)
    }

    fn slot_of(&mut self, text: &str) -> Option<Slot> {
        let rest = text.strip_prefix(['?', '$'])?;
        if rest.is_empty() && text == "?" {
            return Some(self.next_mark());
        }
        match rest.parse::<usize>() {
            Ok(0) => None,
            Ok(number) => Some(Slot::Number(number)),
            Err(_) if text.starts_with('$') && !rest.is_empty() => {
                Some(Slot::Named(rest.to_owned()))
            }
            Err(_) => None,
        }
    }

    fn placeholder(&mut self, slot: Slot, at: &TokenWithSpan) -> TokenWithSpan {
        let index = match self.slots.iter().position(|known| *known == slot) {
            Some(index) => index,
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        let text = format!("${}", index + 1);
        TokenWithSpan::at(Token::Placeholder(text), at.span.start, at.span.end)
    }
}

/// A colon begins a name where a value may stand, and not in `{a: b}`, `a[1:2]` or `a:b`.
fn may_begin_name(before: Option<&TokenWithSpan>, spaced: bool) -> bool {
    match before.map(|token| &token.token) {
        Some(Token::Word(word)) => spaced && word.keyword != Keyword::NoKeyword,
        Some(
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::LBracket
            | Token::RBracket
            | Token::RParen
            | Token::RBrace
            | Token::Placeholder(_),
        ) => false,
        _ => true,
    }
}

/// Where a token stands; the parser's "nowhere" is line 0.
pub(crate) fn position(location: Location) -> Option<Position> {
    (location.line > 0).then_some(Position { line: location.line, column: location.column })
}

fn syntax_error(error: ParserError) -> Error {
    match error {
        ParserError::RecursionLimitExceeded => Error::new(
            ErrorKind::ResourcesExhausted,
            format!("the statement nests deeper than {NESTING_MAX} levels"),
        ),
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let (message, place) = match message.rsplit_once(" at Line: ") {
                Some((message, place)) => (message, parse_place(place)),
                None => (message.as_str(), None),
            };
            let message = lower_first(message);
            Error::invalid(format!("syntax error: {message}")).at(place)
        }
    }
}

fn parse_place(place: &str) -> Option<Position> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

/// Messages begin with a small letter, except for words written in capitals.
pub(crate) fn lower_first(message: &str) -> String {
    let message = message.trim_end_matches('.');
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(message.chars().skip(1)).collect()
        }
        _ => message.to_owned(),
    }
}

/// Where each line of a text begins, in bytes.
struct LineStarts<'a> {
    sql: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineStarts<'a> {
    fn new(sql: &'a str) -> Self {
        let breaks = sql.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(breaks.map(|(offset, _)| offset + 1)).collect();
        Self { sql, starts }
    }

    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
        let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(&start) = self.starts.get(line) else { return self.sql.len() };
        let rest = &self.sql[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> Vec<(String, Vec<Slot>)> {
        let text = |source: &Source| {
            let words: Vec<_> = source.tokens.iter().map(|token| token.token.to_string()).collect();
            (words.join(" "), source.slots.clone())
        };
        split(sql).unwrap().iter().map(text).collect()
    }

    #[test]
    fn every_spelling_of_a_parameter_becomes_a_number() {
        assert_eq!(
            shown("SELECT ?, $2, ? ; SELECT :a + :b, :a, ?3 , $c"),
            vec![
                ("SELECT $1 , $2 , $2".to_owned(), vec![Slot::Number(1), Slot::Number(2)]),
                (
                    "SELECT $1 + $2 , $1 , $3 , $4".to_owned(),
                    vec![
                        Slot::Named("a".to_owned()),
                        Slot::Named("b".to_owned()),
                        Slot::Number(3),
                        Slot::Named("c".to_owned()),
                    ]
                ),
            ]
        );
    }

    #[test]
    fn colons_of_slices_casts_and_maps_are_no_parameters() {
        for sql in
            ["SELECT a [ 1 : n ]", "SELECT { 'k' : v }", "SELECT a :: INT", "SELECT { a : b }"]
        {
            assert_eq!(shown(sql), vec![(sql.to_owned(), vec![])]);
        }
    }

    #[test]
    fn statements_are_found_in_the_text() {
        let sql = "SELECT 'a;b' ; -- nothing\n ;\n  SELECT \"ü;\" FROM t;";
        let found: Vec<_> =
            statement_ranges(sql).unwrap().into_iter().map(|range| &sql[range]).collect();
        assert_eq!(found, ["SELECT 'a;b'", "SELECT \"ü;\" FROM t"]);
        assert!(is_complete("SELECT 1; -- done"));
        assert!(!is_complete("SELECT 1"));
        assert!(!is_complete("SELECT ';"));
        assert!(is_complete("  "));
    }

    #[test]
    fn what_is_logged_holds_nothing_in_quotes() {
        for (sql, shown) in [
            (
                "SELECT a\n -- it's\n FROM \"T\" WHERE b = 'x' LIMIT 5",
                "SELECT a FROM \"T\" WHERE b = '…' LIMIT 5",
            ),
            (
                "CREATE USER u PASSWORD 'hunter2' ROLE reader",
                "CREATE USER u PASSWORD '…' ROLE reader",
            ),
            (
                "SELECT $$hunter2$$, E'hunter2', X'48', 'a''hunter2' || ?",
                "SELECT '…', '…', '…', '…' || ?",
            ),
            ("SELECT /* hunter2 */ b'hunter2', N'hunter2', r'hunter2'", "SELECT '…', '…', '…'"),
            ("SELECT 1, 'hunter2", "SELECT 1, …"),
        ] {
            assert_eq!(without_literals(sql), shown);
        }
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = split("SELECT 1;\n  SELEC 2").unwrap()[1].parse().unwrap_err();
        assert_eq!(error.position(), Some(Position { line: 2, column: 3 }));
        let error = split("SELECT\n 1 2").unwrap()[0].parse().unwrap_err();
        assert_eq!(error.position(), Some(Position { line: 2, column: 4 }));
        let error = split("SELECT 'x").unwrap_err();
        assert_eq!(error.position(), Some(Position { line: 1, column: 8 }));
    }

    #[test]
    fn nesting_is_bounded() {
        let sql = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
        let error = split(&sql).unwrap()[0].parse().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourcesExhausted);
    }
}
