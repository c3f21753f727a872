//! What is understood but not built is refused here, by name: nothing is silently ignored.
//!
//! Statements are refused on their tokens, before the parser that may not know them; clauses on
//! the tree, because DataFusion's planner drops some of them without a word.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, LimitClause, Query, Select, SelectFlavor, Spanned, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::parse::position;
use crate::{Error, Result};

/// First words of statements that are not built.
const STATEMENTS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "ASSERT",
    "ATTACH",
    "BACKUP",
    "CACHE",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COPY",
    "DEALLOCATE",
    "DECLARE",
    "DENY",
    "DETACH",
    "DISCARD",
    "DO",
    "EXECUTE",
    "EXPORT",
    "FETCH",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "IMPORT",
    "INSTALL",
    "KILL",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MSCK",
    "NOTIFY",
    "OPTIMIZE",
    "PIVOT",
    "PRAGMA",
    "PREPARE",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "RESET",
    "RESTORE",
    "REVOKE",
    "SAVEPOINT",
    "SET",
    "SUMMARIZE",
    "UNCACHE",
    "UNLISTEN",
    "UNLOAD",
    "UNLOCK",
    "UNPIVOT",
    "USE",
    "VACUUM",
];

/// Words between CREATE or DROP and the kind of object.
const MODIFIERS: &[&str] = &["OR", "REPLACE", "IF", "NOT", "EXISTS", "GLOBAL", "LOCAL"];

/// Refuses statements whose words say enough.
///
/// # Errors
/// `Unsupported`, with the statement's name and place.
pub(crate) fn by_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    let words: Vec<String> = tokens.iter().take(12).map(unquoted_word).collect();
    let word = |index: usize| words.get(index).map_or("", String::as_str);
    let at = tokens.first().and_then(|token| position(token.span.start));
    let refused = |what: &str| Err(Error::unsupported(what).at(at));
    match word(0) {
        "EXPLAIN" | "DESCRIBE" | "DESC" if word(1) == "CREATE" => {
            return refused("EXPLAIN of a statement other than a query or a change of rows");
        }
        // The parser takes LIKE for the name of a column.
        "CREATE" if tokens.windows(2).any(is_like_in_parens) => {
            return refused("CREATE TABLE LIKE");
        }
        first @ ("CREATE" | "DROP") => {
            let kind = words[1..].iter().find(|word| !MODIFIERS.contains(&word.as_str()));
            match kind.map_or("", String::as_str) {
                "TABLE" | "SCHEMA" | "" => {}
                kind @ ("UNIQUE" | "MATERIALIZED" | "TEMPORARY" | "TEMP" | "EXTERNAL"
                | "UNLOGGED" | "VIRTUAL") => {
                    let after = words.iter().skip_while(|word| *word != kind).nth(1);
                    let after = after.map_or("", String::as_str);
                    return refused(format!("{first} {kind} {after}").trim_end());
                }
                kind => return refused(&format!("{first} {kind}")),
            }
        }
        first if STATEMENTS.contains(&first) => return refused(first),
        _ => {}
    }
    as_of(tokens)
}

/// `AS OF` in any statement: history is not built, and some parsers take it for an alias.
fn as_of(tokens: &[TokenWithSpan]) -> Result<()> {
    for pair in tokens.windows(3) {
        let what = match (&*unquoted_word(&pair[0]), &*unquoted_word(&pair[1])) {
            ("AS", "OF") if matches!(pair[2].token, Token::Word(_)) => "AS OF",
            ("FOR", "SYSTEM_TIME") => "FOR SYSTEM_TIME",
            _ => continue,
        };
        return Err(Error::unsupported(what).at(position(pair[0].span.start)));
    }
    Ok(())
}

/// `(LIKE`, before any query.
fn is_like_in_parens(pair: &[TokenWithSpan]) -> bool {
    pair[0].token == Token::LParen && unquoted_word(&pair[1]) == "LIKE"
}

fn unquoted_word(token: &TokenWithSpan) -> String {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

/// Refuses clauses that the planner would drop or misread, anywhere in the statement.
///
/// # Errors
/// `Unsupported`, with the clause's name and, where the tree knows it, its place.
pub(crate) fn by_clauses(statement: &Statement) -> Result<()> {
    match statement.visit(&mut Clauses) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Clauses;

fn flag(present: bool, what: &str) -> ControlFlow<Box<Error>> {
    if present {
        ControlFlow::Break(Box::new(Error::unsupported(what)))
    } else {
        ControlFlow::Continue(())
    }
}

impl Visitor for Clauses {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        flag(!query.locks.is_empty(), "FOR UPDATE or FOR SHARE")?;
        flag(query.fetch.is_some(), "FETCH FIRST")?;
        flag(query.for_clause.is_some(), "FOR XML, JSON or BROWSE")?;
        flag(query.settings.is_some(), "SETTINGS")?;
        flag(query.format_clause.is_some(), "FORMAT")?;
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit_by, .. }) => {
                flag(!limit_by.is_empty(), "LIMIT BY")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        flag(select.into.is_some(), "SELECT INTO")?;
        flag(select.prewhere.is_some(), "PREWHERE")?;
        flag(!select.connect_by.is_empty(), "CONNECT BY")?;
        flag(select.top.is_some(), "TOP")?;
        flag(!select.cluster_by.is_empty(), "CLUSTER BY")?;
        flag(!select.distribute_by.is_empty(), "DISTRIBUTE BY")?;
        flag(!select.sort_by.is_empty(), "SORT BY")?;
        flag(!select.lateral_views.is_empty(), "LATERAL VIEW")?;
        flag(select.value_table_mode.is_some(), "SELECT AS VALUE or STRUCT")?;
        flag(select.select_modifiers.is_some(), "a modifier of SELECT")?;
        flag(!select.optimizer_hints.is_empty(), "an optimizer hint")?;
        flag(
            select.flavor == SelectFlavor::Standard
                && select.projection.is_empty()
                && select.exclude.is_none(),
            "SELECT without columns",
        )
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table {
                sample,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                index_hints,
                ..
            } => {
                flag(sample.is_some(), "TABLESAMPLE")?;
                flag(version.is_some(), "AS OF")?;
                flag(*with_ordinality, "WITH ORDINALITY")?;
                flag(!partitions.is_empty(), "PARTITION of a table")?;
                flag(json_path.is_some(), "a path behind a table")?;
                flag(!with_hints.is_empty() || !index_hints.is_empty(), "a hint behind a table")
            }
            TableFactor::Derived { sample, .. } => flag(sample.is_some(), "TABLESAMPLE"),
            TableFactor::Function { with_ordinality, .. } => {
                flag(*with_ordinality, "WITH ORDINALITY")
            }
            TableFactor::UNNEST { with_offset, with_ordinality, .. } => {
                flag(*with_offset, "WITH OFFSET")?;
                flag(*with_ordinality, "WITH ORDINALITY")
            }
            TableFactor::Pivot { .. } => flag(true, "PIVOT"),
            TableFactor::Unpivot { .. } => flag(true, "UNPIVOT"),
            TableFactor::MatchRecognize { .. } => flag(true, "MATCH_RECOGNIZE"),
            TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => {
                flag(true, "JSON_TABLE")
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Collate { .. } => ControlFlow::Break(Box::new(
                Error::unsupported("COLLATE").at(position(expr.span().start)),
            )),
            _ => ControlFlow::Continue(()),
        }
    }
}
