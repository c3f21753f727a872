//! Keeps a statement's shape within what the planner can walk.
//!
//! The parser builds `a OR b OR c …` as a chain that leans to the left, one level a term, and the
//! planner walks expressions by recursion: some thousands of terms overflow the stack and abort
//! the process (apache/datafusion#22229, #22936). [`check`] stands between parsing and planning.
//! It turns chains of AND, OR, + and || into balanced trees, level log₂ n, and refuses what is
//! still too deep. It never recurses along a left spine itself, nor lets one be dropped.
//!
//! Regrouping is free for AND, OR and ||. For + it may change how a sum rounds or where it
//! overflows, so sums are regrouped only beyond [`SUM_TERMS_KEPT`] terms.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, Statement, Value, VisitMut, VisitorMut,
};

use crate::{Error, ErrorKind, Result};

/// Terms of one chain of AND, OR, + or ||.
pub(crate) const CHAIN_TERMS_MAX: usize = 50_000;
/// Levels of an expression, once its chains are balanced.
pub(crate) const EXPRESSION_DEPTH_MAX: usize = 500;
/// Queries joined by UNION, INTERSECT and EXCEPT.
pub(crate) const COMPOUND_QUERIES_MAX: usize = 1_000;
/// Sums of up to this many terms are added in the order they are written.
pub(crate) const SUM_TERMS_KEPT: usize = 64;
/// Statements of at most this many tokens are planned on the caller's thread, whatever its stack.
pub(crate) const SHORT_STATEMENT_TOKENS: usize = 64;
/// Statements of more tokens than this are planned, run and dropped on a thread with
/// [`BIG_STACK_BYTES`].
pub(crate) const LONG_STATEMENT_TOKENS: usize = 1_000;
/// The stack for long statements.
pub(crate) const BIG_STACK_BYTES: usize = 64 << 20;

/// Balances the chains of `statement` and refuses shapes beyond the limits above.
///
/// # Errors
/// `ResourcesExhausted`, naming the limit; `statement` is then no longer what it was.
pub(crate) fn check(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Guard) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Guard;

impl VisitorMut for Guard {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut queries = 1;
        let mut body = &*query.body;
        while let SetExpr::SetOperation { left, .. } = body {
            queries += 1;
            body = left;
        }
        if queries <= COMPOUND_QUERIES_MAX {
            return ControlFlow::Continue(());
        }
        dismantle_set(std::mem::replace(&mut query.body, Box::new(empty_set())));
        ControlFlow::Break(too_much(format!(
            "{queries} queries are joined by UNION, INTERSECT or EXCEPT, the limit is {COMPOUND_QUERIES_MAX}"
        )))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::BinaryOp { op, .. } = expr
            && is_associative(op)
        {
            let op = op.clone();
            let terms = chain_length(expr, &op);
            if terms > CHAIN_TERMS_MAX {
                dismantle(std::mem::replace(expr, null()));
                return ControlFlow::Break(too_much(format!(
                    "a chain of {op} has {terms} terms, the limit is {CHAIN_TERMS_MAX}"
                )));
            }
            let kept = if op == BinaryOperator::Plus { SUM_TERMS_KEPT } else { 4 };
            if terms > kept {
                let chain = take_chain(std::mem::replace(expr, null()), &op, terms);
                *expr = balanced(chain, &op);
            }
        }
        let depth = left_depth(expr);
        if depth > EXPRESSION_DEPTH_MAX {
            dismantle(std::mem::replace(expr, null()));
            return ControlFlow::Break(too_much(format!(
                "an expression is nested {depth} levels deep, the limit is {EXPRESSION_DEPTH_MAX}"
            )));
        }
        ControlFlow::Continue(())
    }
}

fn too_much(message: String) -> Error {
    Error::new(ErrorKind::ResourcesExhausted, message)
}

fn is_associative(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::And
            | BinaryOperator::Or
            | BinaryOperator::Plus
            | BinaryOperator::StringConcat
    )
}

fn chain_length(expr: &Expr, op: &BinaryOperator) -> usize {
    let mut terms = 1;
    let mut node = expr;
    while let Expr::BinaryOp { left, op: other, .. } = node
        && other == op
    {
        terms += 1;
        node = left;
    }
    terms
}

/// The terms of a left-leaning chain, first term first.
fn take_chain(expr: Expr, op: &BinaryOperator, terms: usize) -> Vec<Expr> {
    let mut chain = Vec::with_capacity(terms);
    let mut node = expr;
    loop {
        match node {
            Expr::BinaryOp { left, op: other, right } if other == *op => {
                chain.push(*right);
                node = *left;
            }
            last => {
                chain.push(last);
                break;
            }
        }
    }
    chain.reverse();
    chain
}

fn balanced(mut terms: Vec<Expr>, op: &BinaryOperator) -> Expr {
    while terms.len() > 1 {
        let mut pairs = Vec::with_capacity(terms.len().div_ceil(2));
        let mut rest = terms.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => {
                    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
                }
                None => left,
            });
        }
        terms = pairs;
    }
    terms.pop().expect("a chain has at least one term")
}

/// The operand that the parser nests once a repetition, by a loop that its own limit on
/// recursion does not see.
fn left_child(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryOp { left, .. } | Expr::AnyOp { left, .. } | Expr::AllOp { left, .. } => {
            Some(left)
        }
        Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner)
        | Expr::IsDistinctFrom(inner, _)
        | Expr::IsNotDistinctFrom(inner, _)
        | Expr::Nested(inner) => Some(inner),
        Expr::Cast { expr, .. }
        | Expr::UnaryOp { expr, .. }
        | Expr::InList { expr, .. }
        | Expr::InSubquery { expr, .. }
        | Expr::Between { expr, .. }
        | Expr::Like { expr, .. }
        | Expr::ILike { expr, .. }
        | Expr::SimilarTo { expr, .. }
        | Expr::RLike { expr, .. }
        | Expr::Collate { expr, .. } => Some(expr),
        Expr::AtTimeZone { timestamp, .. } => Some(timestamp),
        Expr::CompoundFieldAccess { root, .. } => Some(root),
        _ => None,
    }
}

fn left_child_mut(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, .. } | Expr::AnyOp { left, .. } | Expr::AllOp { left, .. } => {
            Some(left)
        }
        Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner)
        | Expr::IsDistinctFrom(inner, _)
        | Expr::IsNotDistinctFrom(inner, _)
        | Expr::Nested(inner) => Some(inner),
        Expr::Cast { expr, .. }
        | Expr::UnaryOp { expr, .. }
        | Expr::InList { expr, .. }
        | Expr::InSubquery { expr, .. }
        | Expr::Between { expr, .. }
        | Expr::Like { expr, .. }
        | Expr::ILike { expr, .. }
        | Expr::SimilarTo { expr, .. }
        | Expr::RLike { expr, .. }
        | Expr::Collate { expr, .. } => Some(expr),
        Expr::AtTimeZone { timestamp, .. } => Some(timestamp),
        Expr::CompoundFieldAccess { root, .. } => Some(root),
        _ => None,
    }
}

fn left_depth(expr: &Expr) -> usize {
    std::iter::successors(Some(expr), |node| left_child(node)).count()
}

/// Drops a left-leaning tree from its root, so that no drop nests.
fn dismantle(mut expr: Expr) {
    while let Some(child) = left_child_mut(&mut expr) {
        let below = std::mem::replace(child, null());
        expr = below;
    }
}

fn dismantle_set(mut body: Box<SetExpr>) {
    while let SetExpr::SetOperation { left, .. } = &mut *body {
        let below = std::mem::replace(left, Box::new(empty_set()));
        body = below;
    }
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn empty_set() -> SetExpr {
    SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn parse(sql: &str) -> Statement {
        Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0)
    }

    fn on_big_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        #[expect(clippy::disallowed_methods, reason = "a test's own thread")]
        let thread = std::thread::Builder::new().stack_size(BIG_STACK_BYTES).spawn(work);
        thread.unwrap().join().unwrap()
    }

    fn depth_of_where(sql: &str) -> usize {
        let mut statement = parse(sql);
        check(&mut statement).unwrap();
        let Statement::Query(query) = &statement else { panic!("a query") };
        let SetExpr::Select(select) = &*query.body else { panic!("a select") };
        left_depth(select.selection.as_ref().unwrap())
    }

    #[test]
    fn long_chain_of_or_becomes_shallow() {
        for op in ["OR", "AND"] {
            let terms: Vec<String> = (0..20_000).map(|i| format!("a = {i}")).collect();
            let sql = format!("SELECT 1 FROM t WHERE {}", terms.join(&format!(" {op} ")));
            let depth = on_big_stack(move || depth_of_where(&sql));
            assert!(depth <= 18, "{depth} levels");
        }
    }

    #[test]
    fn balanced_chain_keeps_its_terms_in_order() {
        let sql = "SELECT a || b || c || d || e || f || g";
        let mut statement = parse(sql);
        check(&mut statement).unwrap();
        let without: String = statement.to_string().replace(['(', ')'], "");
        assert_eq!(without, sql);
    }

    #[test]
    fn short_sum_is_added_in_the_order_written() {
        let sql = "SELECT a + b + c + d + e + f + g + h";
        let mut statement = parse(sql);
        check(&mut statement).unwrap();
        assert_eq!(statement, parse(sql));
    }

    #[test]
    fn chain_over_the_limit_is_refused_by_name() {
        let error = on_big_stack(|| {
            let terms = vec!["a"; CHAIN_TERMS_MAX + 1];
            let mut statement = parse(&format!("SELECT {}", terms.join(" + ")));
            check(&mut statement).unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::ResourcesExhausted);
        assert!(error.to_string().contains("chain of +"), "{error}");
    }

    #[test]
    fn deep_chain_that_cannot_be_balanced_is_refused() {
        for sql in [
            format!("SELECT {}", vec!["a"; 5_000].join(" - ")),
            format!("SELECT a{}", "::int".repeat(5_000)),
            format!("SELECT a{}", " IS NULL".repeat(5_000)),
        ] {
            let error = on_big_stack(move || check(&mut parse(&sql)).unwrap_err());
            assert_eq!(error.kind(), ErrorKind::ResourcesExhausted);
            assert!(error.to_string().contains("levels deep"), "{error}");
        }
    }

    #[test]
    fn long_compound_query_is_refused() {
        let error = on_big_stack(|| {
            let sql = vec!["SELECT 1"; COMPOUND_QUERIES_MAX + 1].join(" UNION ALL ");
            check(&mut parse(&sql)).unwrap_err()
        });
        assert!(error.to_string().contains("UNION"), "{error}");
    }
}
