//! [`Sums`]: what rows add up to, of columns and of products, sums and differences of them,
//! computed from packed numbers in 64 bits.
//!
//! DataFusion computes with decimals in 128 bits and checks each step. Here the bounds of a chunk's
//! columns prove, before a row is looked at, that no step and no sum of so many rows leaves 64 bits
//! (nor the type that the step has in SQL): then the numbers are the same, whatever the order they
//! are added in, and none of them can be an error. Of what is not proved, or not stored as numbers,
//! or null somewhere, the rows go DataFusion's way.
//!
//! Expressions that several sums have in common are computed once.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use silt_codec::{ColumnNumbers, NUMBERS_TOGETHER};
use silt_storage::EncodedRows;

use super::error;

/// Sums of a group are kept in so many places, so that a row need not wait for the row before.
const LANES: usize = 4;

/// The most digits that a decimal stored as 64 bits has.
const PACKED_DIGITS_MAX: u8 = 18;

/// Sums over a scan, and the steps to what they add up.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// What is computed; each from those before.
    nodes: Vec<Node>,
    /// The nodes that are added up.
    roots: Vec<usize>,
}

#[derive(Debug, PartialEq)]
struct Node {
    step: Step,
    /// The least and greatest number that may come of it.
    limits: (i64, i64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A column of the scan.
    Column(usize),
    Constant(i64),
    Of(Arithmetic, usize, usize),
    /// Another node's numbers, which must keep narrower limits.
    Same(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arithmetic {
    Plus,
    Minus,
    Times,
}

impl Sums {
    /// The place of the sum of `expr`, over a scan whose columns are `schema`; none if it is not
    /// computed here.
    pub(super) fn add(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        schema: &SchemaRef,
    ) -> Option<usize> {
        let before = self.nodes.len();
        let root = self.node(expr, schema);
        let root = root.filter(|&root| !matches!(self.nodes[root].step, Step::Constant(_)));
        let Some(root) = root else {
            self.nodes.truncate(before);
            return None;
        };
        let place = self.roots.iter().position(|&known| known == root);
        Some(place.unwrap_or_else(|| {
            self.roots.push(root);
            self.roots.len() - 1
        }))
    }

    fn node(&mut self, expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Option<usize> {
        let data_type = expr.data_type(schema).ok()?;
        let limits = limits(&data_type)?;
        if let Some(column) = expr.downcast_ref::<Column>() {
            let packed = |digits: u8| digits <= PACKED_DIGITS_MAX;
            if matches!(data_type, DataType::Decimal128(digits, _) if !packed(digits)) {
                return None;
            }
            return Some(self.intern(Step::Column(column.index()), limits));
        }
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return Some(self.intern(Step::Constant(number(literal.value())?), limits));
        }
        if let Some(cast) = expr.downcast_ref::<CastExpr>() {
            let from = cast.expr().data_type(schema).ok()?;
            let power = scale(&data_type).checked_sub(scale(&from))?;
            let inner = self.node(cast.expr(), schema)?;
            let scaled = self.scaled(inner, power)?;
            return Some(self.intern(Step::Same(scaled), decimal_limits(&data_type)?));
        }
        let binary = expr.downcast_ref::<BinaryExpr>()?;
        let arithmetic = match binary.op() {
            Operator::Plus => Arithmetic::Plus,
            Operator::Minus => Arithmetic::Minus,
            Operator::Multiply => Arithmetic::Times,
            _ => return None,
        };
        let types = (binary.left().data_type(schema).ok()?, binary.right().data_type(schema).ok()?);
        let (left_scale, right_scale) = (scale(&types.0), scale(&types.1));
        let is_decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..));
        let wanted = match arithmetic {
            Arithmetic::Times => left_scale + right_scale,
            _ => left_scale.max(right_scale),
        };
        let alike = match is_decimal(&data_type) {
            true => is_decimal(&types.0) && is_decimal(&types.1) && scale(&data_type) == wanted,
            false => types.0 == data_type && types.1 == data_type,
        };
        if !alike {
            return None;
        }
        let mut left = self.node(binary.left(), schema)?;
        let mut right = self.node(binary.right(), schema)?;
        if arithmetic != Arithmetic::Times {
            left = self.scaled(left, wanted - left_scale)?;
            right = self.scaled(right, wanted - right_scale)?;
        }
        self.step(arithmetic, left, right, limits)
    }

    /// The node times a power of ten.
    fn scaled(&mut self, node: usize, power: u32) -> Option<usize> {
        if power == 0 {
            return Some(node);
        }
        let all = (i64::MIN, i64::MAX);
        let factor = self.intern(Step::Constant(10_i64.checked_pow(power)?), all);
        self.step(Arithmetic::Times, node, factor, all)
    }

    fn step(
        &mut self,
        arithmetic: Arithmetic,
        left: usize,
        right: usize,
        limits: (i64, i64),
    ) -> Option<usize> {
        if let (Step::Constant(left), Step::Constant(right)) =
            (self.nodes[left].step, self.nodes[right].step)
        {
            let folded = match arithmetic {
                Arithmetic::Plus => left.checked_add(right),
                Arithmetic::Minus => left.checked_sub(right),
                Arithmetic::Times => left.checked_mul(right),
            };
            let folded = folded.filter(|folded| (limits.0..=limits.1).contains(folded))?;
            return Some(self.intern(Step::Constant(folded), limits));
        }
        Some(self.intern(Step::Of(arithmetic, left, right), limits))
    }

    fn intern(&mut self, step: Step, limits: (i64, i64)) -> usize {
        let node = Node { step, limits };
        if let Some(known) = self.nodes.iter().position(|known| *known == node) {
            return known;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Those of the sums that can be computed over the rows of a chunk taken whole.
    pub(super) fn bind(&self, chunk: &EncodedRows) -> Result<Bound<'_>> {
        let mut columns = Vec::with_capacity(self.nodes.len());
        // Of each node, if nothing before it fails.
        let mut bounds: Vec<Option<(i64, i64)>> = Vec::with_capacity(self.nodes.len());
        for Node { step, limits } in &self.nodes {
            let mut column = None;
            let found = match *step {
                Step::Column(index) => {
                    column = chunk.numbers(index).map_err(error)?;
                    column.as_ref().map(|column| column.bounds())
                }
                Step::Constant(number) => Some((number, number)),
                Step::Same(node) => bounds[node],
                Step::Of(arithmetic, left, right) => match (bounds[left], bounds[right]) {
                    (Some(left), Some(right)) => arithmetic.bounds(left, right),
                    _ => None,
                },
            };
            bounds.push(found.filter(|(low, high)| limits.0 <= *low && *high <= limits.1));
            columns.push(column);
        }
        let rows = i64::try_from(chunk.span()).unwrap_or(i64::MAX);
        let fits = |&root: &usize| {
            let (low, high) = bounds[root]?;
            (low.checked_mul(rows).is_some() && high.checked_mul(rows).is_some()).then_some(root)
        };
        let roots: Vec<Option<usize>> = self.roots.iter().map(fits).collect();
        let mut wanted = vec![false; self.nodes.len()];
        roots.iter().flatten().for_each(|&root| wanted[root] = true);
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let (one, other) = match node.step {
                Step::Of(_, left, right) if wanted[at] => (left, right),
                Step::Same(node) if wanted[at] => (node, node),
                _ => continue,
            };
            (wanted[one], wanted[other]) = (true, true);
        }
        Ok(Bound { sums: self, columns, roots, wanted })
    }
}

/// The sums over one chunk.
#[derive(Debug)]
pub(super) struct Bound<'a> {
    sums: &'a Sums,
    /// By node.
    columns: Vec<Option<ColumnNumbers>>,
    /// The node of each sum that can be computed.
    roots: Vec<Option<usize>>,
    /// The nodes needed for these.
    wanted: Vec<bool>,
}

impl Bound<'_> {
    /// Whether a sum can be computed.
    pub(super) fn has(&self, sum: usize) -> bool {
        self.roots[sum].is_some()
    }

    /// The rows of a chunk, if there are sums and all of them can be computed.
    pub(super) fn rows_added_up(&self, chunk: &EncodedRows) -> usize {
        let all = !self.roots.is_empty() && self.roots.iter().all(Option::is_some);
        if all { chunk.len() } else { 0 }
    }

    /// Each sum that can be computed, of the rows that count, by group. `groups` has a number below
    /// `count` for each row of whole columns; if there is none all are of group 0.
    pub(super) fn add_up(
        &self,
        chunk: &EncodedRows,
        groups: Option<&[u32]>,
        count: usize,
    ) -> Result<Vec<Option<Vec<i128>>>> {
        if self.roots.iter().all(Option::is_none) {
            return Ok(vec![None; self.roots.len()]);
        }
        if let Some(sums) = self.add_columns(chunk, groups, count)? {
            return Ok(sums);
        }
        // Rows that do not count are of a group of their own, behind the others.
        let mut lanes = vec![vec![[0_i64; LANES]; count + 1]; self.roots.len()];
        let mut numbers: Vec<Vec<i64>> = vec![Vec::new(); self.wanted.len()];
        let mut codes = Vec::with_capacity(NUMBERS_TOGETHER);
        let trash = u32::try_from(count).unwrap_or(u32::MAX);
        for rows in chunk.stretches() {
            self.compute(rows.clone(), &mut numbers);
            let selected = chunk.selected();
            if selected.is_some() || groups.is_some() {
                codes.clear();
                match groups {
                    Some(groups) => codes.extend_from_slice(&groups[rows.clone()]),
                    None => codes.resize(rows.len(), 0),
                }
            }
            if let Some(selected) = selected {
                let part = selected.slice(rows.start, rows.len());
                let chunks = part.bit_chunks();
                let words = chunks.iter().chain([chunks.remainder_bits()]);
                for (codes, word) in codes.chunks_mut(64).zip(words) {
                    for (bit, code) in codes.iter_mut().enumerate() {
                        *code = if word >> bit & 1 == 1 { *code } else { trash };
                    }
                }
            }
            for (root, lanes) in self.roots.iter().zip(&mut lanes) {
                let Some(root) = root else { continue };
                let numbers = numbers[self.sums.source(*root)].as_slice();
                match codes.is_empty() {
                    true => lanes[0][0] += numbers.iter().sum::<i64>(),
                    false => add_by_group(numbers, &codes, lanes),
                }
            }
        }
        let total = |lanes: &[i64; LANES]| lanes.iter().map(|&lane| i128::from(lane)).sum();
        let sums = self
            .roots
            .iter()
            .zip(&lanes)
            .map(|(root, lanes)| root.map(|_| lanes[..count].iter().map(total).collect()));
        Ok(sums.collect())
    }

    /// The same if all that is added up are columns, and they can be added up as they are packed.
    fn add_columns(
        &self,
        chunk: &EncodedRows,
        groups: Option<&[u32]>,
        count: usize,
    ) -> Result<Option<Vec<Option<Vec<i128>>>>> {
        let column = |&root: &usize| match self.sums.nodes[self.sums.source(root)].step {
            Step::Column(column) => Some(column),
            _ => None,
        };
        if !self.roots.iter().flatten().all(|root| column(root).is_some()) {
            return Ok(None);
        }
        let mut sums = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            let Some(column) = root.as_ref().and_then(column) else {
                sums.push(None);
                continue;
            };
            let mut sum = vec![0; count];
            if !chunk.add_up(column, groups, &mut sum).map_err(error)? {
                return Ok(None);
            }
            sums.push(Some(sum));
        }
        Ok(Some(sums))
    }

    /// Computes the nodes' numbers of some rows.
    fn compute(&self, rows: Range<usize>, numbers: &mut [Vec<i64>]) {
        for (at, node) in self.sums.nodes.iter().enumerate().filter(|(at, _)| self.wanted[*at]) {
            let (before, rest) = numbers.split_at_mut(at);
            let out = &mut rest[0];
            out.clear();
            match node.step {
                Step::Column(_) => {
                    if let Some(column) = &self.columns[at] {
                        column.extend(rows.clone(), out);
                    }
                }
                Step::Constant(_) | Step::Same(_) => {}
                Step::Of(arithmetic, left, right) => {
                    let operand = |node: usize| {
                        let node = self.sums.source(node);
                        match self.sums.nodes[node].step {
                            Step::Constant(number) => Operand::One(number),
                            _ => Operand::Many(&before[node]),
                        }
                    };
                    let (left, right) = (operand(left), operand(right));
                    match arithmetic {
                        Arithmetic::Plus => zip(left, right, out, i64::wrapping_add),
                        Arithmetic::Minus => zip(left, right, out, i64::wrapping_sub),
                        Arithmetic::Times => zip(left, right, out, i64::wrapping_mul),
                    }
                }
            }
        }
    }
}

impl Sums {
    /// The node that holds the numbers of `node`.
    fn source(&self, mut node: usize) -> usize {
        while let Step::Same(other) = self.nodes[node].step {
            node = other;
        }
        node
    }
}

impl Arithmetic {
    /// Bounds of the results, given those of the operands; none if they leave 64 bits.
    fn bounds(self, left: (i64, i64), right: (i64, i64)) -> Option<(i64, i64)> {
        Some(match self {
            Self::Plus => (left.0.checked_add(right.0)?, left.1.checked_add(right.1)?),
            Self::Minus => (left.0.checked_sub(right.1)?, left.1.checked_sub(right.0)?),
            Self::Times => {
                let first = left.0.checked_mul(right.0)?;
                let others = [(left.0, right.1), (left.1, right.0), (left.1, right.1)];
                let mut bounds = (first, first);
                for (left, right) in others {
                    let product = left.checked_mul(right)?;
                    bounds = (bounds.0.min(product), bounds.1.max(product));
                }
                bounds
            }
        })
    }
}

#[derive(Clone, Copy)]
enum Operand<'a> {
    One(i64),
    Many(&'a [i64]),
}

/// What is proved not to overflow is not checked again: damaged bytes must not panic.
#[inline]
fn zip(left: Operand<'_>, right: Operand<'_>, out: &mut Vec<i64>, of: impl Fn(i64, i64) -> i64) {
    match (left, right) {
        (Operand::Many(left), Operand::Many(right)) => {
            out.extend(left.iter().zip(right).map(|(&left, &right)| of(left, right)));
        }
        (Operand::Many(left), Operand::One(right)) => {
            out.extend(left.iter().map(|&left| of(left, right)));
        }
        (Operand::One(left), Operand::Many(right)) => {
            out.extend(right.iter().map(|&right| of(left, right)));
        }
        (Operand::One(left), Operand::One(right)) => out.push(of(left, right)),
    }
}

fn add_by_group(numbers: &[i64], codes: &[u32], lanes: &mut [[i64; LANES]]) {
    let (rows, numbers_left) = numbers.as_chunks::<LANES>();
    let (groups, codes_left) = codes.as_chunks::<LANES>();
    for (rows, groups) in rows.iter().zip(groups) {
        for (lane, (number, group)) in rows.iter().zip(groups).enumerate() {
            lanes[*group as usize][lane] += number;
        }
    }
    for (number, code) in numbers_left.iter().zip(codes_left) {
        lanes[*code as usize][0] += number;
    }
}

/// What numbers of a type may be, as far as 64 bits hold them; none for other types.
fn limits(data_type: &DataType) -> Option<(i64, i64)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN, i64::MAX),
        // Arithmetic does not look at a decimal's digits.
        DataType::Decimal128(_, scale) if *scale >= 0 => (i64::MIN, i64::MAX),
        _ => return None,
    })
}

/// The same, of a decimal no more than its digits: casts look at them.
fn decimal_limits(data_type: &DataType) -> Option<(i64, i64)> {
    let DataType::Decimal128(digits, _) = data_type else { return limits(data_type) };
    let greatest = 10_i64.checked_pow(u32::from(*digits)).map_or(i64::MAX, |power| power - 1);
    let least = if greatest == i64::MAX { i64::MIN } else { -greatest };
    Some((least, greatest))
}

/// The digits behind the point.
fn scale(data_type: &DataType) -> u32 {
    match data_type {
        DataType::Decimal128(_, scale) => u32::try_from(*scale).unwrap_or(0),
        _ => 0,
    }
}

/// A constant's number; a decimal's digits without their point.
fn number(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(number) => number.map(i64::from),
        ScalarValue::Int16(number) => number.map(i64::from),
        ScalarValue::Int32(number) => number.map(i64::from),
        ScalarValue::Int64(number) => *number,
        ScalarValue::Decimal128(Some(number), ..) => i64::try_from(*number).ok(),
        _ => None,
    }
}
