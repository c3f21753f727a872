//! [`PointInsert`]: rows of VALUES, from text or parameters to Arrow without an expression a cell.
//!
//! Columns become the arrays that DataFusion would have made of the same literals, and the gate
//! (`dml/mutation.rs`) casts and checks them as any others. Where the cells of a column are of
//! several kinds, DataFusion's rules for them decide: the planner runs the statement.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
    StringViewArray,
};
use datafusion::execution::SessionState;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Insert;
use silt_catalog::{ColumnDef, SqlType, TableDef};

use super::lift::{Cell, ValueRows};
use crate::dml::mutation::{Gate, OnConflict};
use crate::dml::{self, DefaultValue};
use crate::params::Slot;
use crate::planner::{Binding, Bound, Planner};
use crate::{Params, Result, Shared};

/// An INSERT of VALUES, without its rows.
#[derive(Debug)]
pub(crate) struct PointInsert {
    table: Arc<TableDef>,
    /// The table's columns that a row's cells go to.
    targets: Vec<usize>,
    /// For each column of the table what it takes where no cell goes to it.
    defaults: Vec<DefaultValue>,
    on_conflict: OnConflict,
}

/// The rows of one execution.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    /// As they stand in the text, with one set of parameters.
    Rows(&'a ValueRows<'a>, &'a Params),
    /// The one row of the text for each set of parameters.
    Many(&'a ValueRows<'a>, &'a [Params]),
    /// As `Many`, with the parameters by column.
    Columns(&'a ValueRows<'a>, &'a RecordBatch),
}

/// What the cells of a column are, NULL apart.
#[derive(Clone, Copy, Default)]
struct Kinds {
    int: bool,
    number: bool,
    text: bool,
    boolean: bool,
    default: bool,
    scalar: bool,
}

/// A cell with its parameter put in.
enum Filled<'a> {
    Cell(&'a Cell<'a>),
    Scalar(&'a ScalarValue),
}

impl PointInsert {
    /// The statement without its rows; none if what it does on a conflict differs from run to run.
    pub(super) fn new(planner: &Planner<'_>, insert: &Insert) -> Result<Option<Self>> {
        let dml::Opened { table, targets, on_conflict } = dml::open_insert(planner, insert)?;
        if matches!(&on_conflict, OnConflict::Update(upsert) if !upsert.is_steady) {
            return Ok(None);
        }
        let defaults = DefaultValue::all(planner, &table)?;
        Ok(Some(Self { table, targets, defaults, on_conflict }))
    }

    /// Writes the rows and gives their number; none if the planner must say what they mean.
    pub(super) fn run(
        &self,
        shared: &Shared,
        state: &Arc<SessionState>,
        binding: &Binding,
        values: Values<'_>,
    ) -> Result<Option<u64>> {
        binding.check_writable("INSERT")?;
        let Some(columns) = self.columns(state, binding, values)? else { return Ok(None) };
        let gate = Gate::new(shared, binding, &self.table)?;
        let mut insertion = gate.insert(self.on_conflict.clone());
        insertion.push(&columns)?;
        Ok(Some(insertion.finish()?.rows))
    }

    /// All columns of the table.
    fn columns(
        &self,
        state: &Arc<SessionState>,
        binding: &Binding,
        values: Values<'_>,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let rows = values.len();
        if values.width() != self.targets.len() {
            return Ok(None);
        }
        let mut fresh = None;
        let mut columns = Vec::with_capacity(self.table.columns.len());
        for (index, column) in self.table.columns.iter().enumerate() {
            let place = self.targets.iter().position(|&target| target == index);
            let given = match place {
                Some(place) if !values.is_default(place) => {
                    let Some(array) = values.column(place, column)? else { return Ok(None) };
                    columns.push(array);
                    continue;
                }
                _ => &self.defaults[index],
            };
            columns.push(match given {
                DefaultValue::Fixed(scalar) => scalar.to_array_of_size(rows)?,
                DefaultValue::Fresh => {
                    let state = fresh.get_or_insert_with(|| {
                        let mut state = SessionState::clone(state);
                        state.mark_start_execution();
                        state
                    });
                    let bound = Bound::default();
                    let planner = Planner { state, binding, bound: &bound };
                    dml::evaluate_default(&planner, &self.table, index, rows)?
                }
            });
        }
        Ok(Some(columns))
    }
}

impl<'a> Values<'a> {
    fn width(&self) -> usize {
        match self {
            Self::Rows(rows, _) | Self::Many(rows, _) | Self::Columns(rows, _) => rows.width,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Rows(rows, _) => rows.len(),
            Self::Many(_, params) => params.len(),
            Self::Columns(_, batch) => batch.num_rows(),
        }
    }

    /// Whether every cell of the column is the word DEFAULT.
    fn is_default(&self, place: usize) -> bool {
        let (Self::Rows(rows, _) | Self::Many(rows, _) | Self::Columns(rows, _)) = self;
        rows.cells.iter().skip(place).step_by(rows.width).all(|cell| *cell == Cell::Default)
    }

    /// The cells of a column; none if a parameter has no value.
    fn cells(&self, place: usize) -> Option<Vec<Filled<'a>>> {
        let filled = |cell: &'a Cell<'a>, params: &'a Params| match cell {
            Cell::Slot(slot) => params.of_slot(slot).map(Filled::Scalar),
            cell => Some(Filled::Cell(cell)),
        };
        match *self {
            Self::Rows(rows, params) => {
                let cells = rows.cells.iter().skip(place).step_by(rows.width);
                cells.map(|cell| filled(cell, params)).collect()
            }
            Self::Many(rows, params) => {
                let cell = &rows.cells[place];
                params.iter().map(|params| filled(cell, params)).collect()
            }
            Self::Columns(rows, batch) => {
                Some((0..batch.num_rows()).map(|_| Filled::Cell(&rows.cells[place])).collect())
            }
        }
    }

    /// The column as DataFusion would have made it; none if it must.
    fn column(&self, place: usize, column: &ColumnDef) -> Result<Option<ArrayRef>> {
        if let Self::Columns(rows, batch) = self
            && let Cell::Slot(slot) = &rows.cells[place]
        {
            return Ok(match slot {
                Slot::Number(number) => batch.columns().get(number - 1).cloned(),
                Slot::Named(name) => batch.column_by_name(name).cloned(),
            });
        }
        let Some(cells) = self.cells(place) else { return Ok(None) };
        let decimal = matches!(column.sql_type, SqlType::Decimal(..));
        let text = matches!(column.sql_type, SqlType::Text(_) | SqlType::Json);
        let mut kinds = Kinds::default();
        cells.iter().for_each(|cell| kinds.add(cell));
        Ok(match kinds {
            Kinds {
                int: false,
                number: false,
                text: false,
                boolean: false,
                default: false,
                scalar: false,
            } => Some(Arc::new(NullArray::new(cells.len()))),
            Kinds {
                number: false,
                text: false,
                boolean: false,
                default: false,
                scalar: false,
                ..
            } => {
                let int = |cell: &Filled<'_>| match cell {
                    Filled::Cell(Cell::Int(number)) => Some(*number),
                    _ => None,
                };
                Some(Arc::new(cells.iter().map(int).collect::<Int64Array>()))
            }
            Kinds { text: false, boolean: false, default: false, scalar: false, .. } => {
                if decimal {
                    Some(digits(&cells))
                } else {
                    floats(&cells)
                }
            }
            Kinds {
                int: false,
                number: false,
                boolean: false,
                default: false,
                scalar: false,
                ..
            } => Some(texts(&cells, text)),
            Kinds {
                int: false, number: false, text: false, default: false, scalar: false, ..
            } => {
                let boolean = |cell: &Filled<'_>| match cell {
                    Filled::Cell(Cell::Boolean(value)) => Some(*value),
                    _ => None,
                };
                Some(Arc::new(cells.iter().map(boolean).collect::<BooleanArray>()))
            }
            Kinds {
                int: false,
                number: false,
                text: false,
                boolean: false,
                default: false,
                ..
            } => scalars(&cells)?,
            _ => None,
        })
    }
}

impl Kinds {
    fn add(&mut self, cell: &Filled<'_>) {
        match cell {
            Filled::Scalar(scalar) => self.scalar |= !scalar.is_null(),
            Filled::Cell(cell) => match cell {
                Cell::Null => {}
                Cell::Default => self.default = true,
                Cell::Boolean(_) => self.boolean = true,
                Cell::Int(_) => self.int = true,
                Cell::Number(_) => self.number = true,
                Cell::Text(_) => self.text = true,
                Cell::Slot(_) => self.scalar = true,
            },
        }
    }
}

/// Numbers for a decimal column: their digits would pass through a float.
fn digits(cells: &[Filled<'_>]) -> ArrayRef {
    let digits = cells.iter().map(|cell| match cell {
        Filled::Cell(Cell::Int(number)) => Some(number.to_string()),
        Filled::Cell(Cell::Number(text)) => Some(text.clone().into_owned()),
        _ => None,
    });
    Arc::new(digits.collect::<StringArray>())
}

fn floats(cells: &[Filled<'_>]) -> Option<ArrayRef> {
    let mut floats = Vec::with_capacity(cells.len());
    for cell in cells {
        floats.push(match cell {
            // As DataFusion widens whole numbers beside others.
            Filled::Cell(Cell::Int(number)) => {
                let Some(ScalarValue::Float64(float)) = ScalarValue::Int64(Some(*number))
                    .cast_to(&datafusion::arrow::datatypes::DataType::Float64)
                    .ok()
                else {
                    return None;
                };
                float
            }
            Filled::Cell(Cell::Number(text)) => {
                Some(text.parse::<f64>().ok().filter(|float| float.is_finite())?)
            }
            _ => None,
        });
    }
    Some(Arc::new(Float64Array::from(floats)))
}

fn texts(cells: &[Filled<'_>], views: bool) -> ArrayRef {
    let texts = cells.iter().map(|cell| match cell {
        Filled::Cell(Cell::Text(text)) => Some(text.as_ref()),
        _ => None,
    });
    match views {
        true => Arc::new(texts.collect::<StringViewArray>()),
        false => Arc::new(texts.collect::<StringArray>()),
    }
}

/// Parameters of one type.
fn scalars(cells: &[Filled<'_>]) -> Result<Option<ArrayRef>> {
    let mut data_type = None;
    for cell in cells {
        let Filled::Scalar(scalar) = cell else { continue };
        let own = scalar.data_type();
        match &data_type {
            _ if scalar.is_null() => {}
            None => data_type = Some(own),
            Some(known) if *known == own => {}
            Some(_) => return Ok(None),
        }
    }
    let Some(data_type) = data_type else { return Ok(None) };
    let null = ScalarValue::try_from(&data_type)?;
    let scalars = cells.iter().map(|cell| match cell {
        Filled::Scalar(scalar) if !scalar.is_null() => (*scalar).clone(),
        _ => null.clone(),
    });
    Ok(Some(ScalarValue::iter_to_array(scalars)?))
}
