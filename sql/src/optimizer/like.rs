//! `LIKE '%a%b%'` above scans: arrow looks for one piece of text as fast as memory goes, but makes
//! a regular expression of several, anew for each batch. [`Pieces`] looks for the first so, and for
//! the others where the first is found.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, Scalar, StringViewArray,
};
use datafusion::arrow::compute::{contains, not};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{LikeExpr, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use super::Replacement;

/// A filter in which texts are looked for so, if there are such.
pub(super) fn replace(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return Ok(None) };
    let schema = filter.input().schema();
    let rewritten = Arc::clone(filter.predicate()).transform_up(|expr| {
        Ok(match expr.downcast_ref::<LikeExpr>().and_then(|like| Pieces::of(like, &schema)) {
            Some(pieces) => Transformed::yes(Arc::new(pieces) as Arc<dyn PhysicalExpr>),
            None => Transformed::no(expr),
        })
    })?;
    if !rewritten.transformed {
        return Ok(None);
    }
    let builder = FilterExecBuilder::from(filter).with_predicate(rewritten.data);
    Ok(Some(Arc::new(builder.build()?)))
}

/// Whether a text has several pieces, each behind the one before.
#[derive(Debug)]
struct Pieces {
    text: Arc<dyn PhysicalExpr>,
    /// The whole pattern, as it is shown.
    pattern: String,
    pieces: Vec<String>,
    negated: bool,
}

impl Pieces {
    /// The same as `like`, if its pattern is of pieces alone.
    fn of(like: &LikeExpr, schema: &Schema) -> Option<Self> {
        let pattern = like.pattern().downcast_ref::<Literal>()?.value().try_as_str()??;
        let inner = pattern.strip_prefix('%')?.strip_suffix('%')?;
        let plain = !like.case_insensitive() && !inner.contains(['_', '\\']);
        if !plain || like.expr().data_type(schema).ok()? != DataType::Utf8View {
            return None;
        }
        let pieces: Vec<String> =
            inner.split('%').filter(|piece| !piece.is_empty()).map(str::to_owned).collect();
        (pieces.len() > 1).then(|| Self {
            text: Arc::clone(like.expr()),
            pattern: pattern.to_owned(),
            pieces,
            negated: like.negated(),
        })
    }

    fn holds(&self, text: &str) -> bool {
        let mut rest = text;
        self.pieces.iter().all(|piece| match rest.find(piece.as_str()) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }

    fn matches(&self, texts: &ArrayRef) -> Result<BooleanArray> {
        let first = Scalar::new(StringViewArray::from_iter_values([&self.pieces[0]]));
        let (found, nulls) = contains(texts, &first)?.into_parts();
        let texts = texts.as_string_view();
        let mut holds = BooleanBufferBuilder::new(found.len());
        holds.append_n(found.len(), false);
        for row in found.set_indices() {
            if self.holds(texts.value(row)) {
                holds.set_bit(row, true);
            }
        }
        let holds = BooleanArray::new(holds.finish(), nulls);
        Ok(if self.negated { not(&holds)? } else { holds })
    }
}

impl PartialEq for Pieces {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq(&other.text)
            && (&self.pattern, self.negated) == (&other.pattern, other.negated)
    }
}

impl Eq for Pieces {}

impl Hash for Pieces {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.pattern.hash(state);
        self.negated.hash(state);
    }
}

impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let negation = if self.negated { "NOT " } else { "" };
        write!(f, "{} {negation}LIKE {}", self.text, self.pattern)
    }
}

impl PhysicalExpr for Pieces {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.text.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = self.text.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(Arc::new(self.matches(&texts)?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.text]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self {
            text: children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.text)),
            pattern: self.pattern.clone(),
            pieces: self.pieces.clone(),
            negated: self.negated,
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::compute::{like, nlike};
    use datafusion::arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::Column;
    use datafusion::scalar::ScalarValue;

    use super::*;

    #[test]
    fn texts_that_have_all_pieces_in_order_are_those_that_are_like_the_pattern() {
        let words = ["ab", "b", "é", "ba", " ", "a\nb", ""];
        let mut seed = 0x9e37_79b9_u64;
        let texts = (0..3_000).map(|row| {
            let mut text = String::new();
            for _ in 0..row % 7 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(words[usize::try_from(seed >> 33).unwrap() % words.len()]);
            }
            (row % 19 != 0).then_some(text)
        });
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8View, true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::clone(&texts)]).unwrap();
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("t", 0));
        for pattern in ["%a%b%", "%ab%ab%", "%é%a%é%", "%ba%%b%", "%b% %a%", "%a\nb%b%"] {
            for negated in [false, true] {
                let scalar = ScalarValue::Utf8View(Some(pattern.to_owned()));
                let literal: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(scalar));
                let plain = LikeExpr::new(negated, false, Arc::clone(&column), literal);
                let pieces = Pieces::of(&plain, &schema).unwrap();
                let found = pieces.evaluate(&batch).unwrap().into_array(texts.len()).unwrap();
                let pattern_array =
                    Scalar::new(StringViewArray::from_iter_values([pattern.to_owned()]));
                let wanted = match negated {
                    true => nlike(&texts, &pattern_array).unwrap(),
                    false => like(&texts, &pattern_array).unwrap(),
                };
                assert_eq!(found.as_boolean(), &wanted, "{pattern} {negated}");
            }
        }
        for pattern in ["%a%", "a%b%", "%a_b%c%", "%a%b", "%a\\%b%"] {
            let literal: Arc<dyn PhysicalExpr> =
                Arc::new(Literal::new(ScalarValue::Utf8View(Some(pattern.to_owned()))));
            let plain = LikeExpr::new(false, false, Arc::clone(&column), literal);
            assert!(Pieces::of(&plain, &schema).is_none(), "{pattern}");
        }
    }
}
