//! What a statement takes and gives, told before it runs: clients of a server ask for it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Expr, Insert, SetExpr, Statement, Update, Value,
};

use super::Prepared;
use crate::dml::{column_name, find_table, open_insert};
use crate::params::Slot;
use crate::planner::Bound;
use crate::statement::{Outline, Setting, outline, unwrap_with};
use crate::{Params, Result};

/// What a statement takes and gives.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its parameters: those by position in their order, then those with a name.
    pub parameters: Vec<ParameterDescription>,
    /// The columns it gives; none if it gives no rows.
    pub columns: Option<SchemaRef>,
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterDescription {
    /// `$1` by position, else its name.
    pub name: String,
    /// What it is compared with or assigned to, where that is known.
    pub data_type: Option<DataType>,
}

/// Types by the `$n` of the rewritten statement.
type Types = HashMap<String, DataType>;

impl Prepared {
    /// What it takes and gives. Types of columns may depend on the parameters' values: without them
    /// they are what NULLs would give.
    ///
    /// # Errors
    /// What is wrong with a query, as far as that shows before it runs.
    pub fn describe(&self, params: Option<&Params>) -> Result<Description> {
        if self.control.is_some() {
            return Ok(Description { parameters: Vec::new(), columns: None });
        }
        let slots = self.source.slots();
        let statement = unwrap_with(self.source.parse()?).0;
        let gives_rows = !self.source.writes() || matches!(statement, Statement::Query(_));
        if !gives_rows {
            // What does not plan without values says so when it runs.
            let types = match slots.is_empty() {
                true => Types::new(),
                false => self.written_types(statement).unwrap_or_default(),
            };
            return Ok(Description { parameters: described(slots, &types), columns: None });
        }
        if slots.is_empty()
            && let Some(columns) = self.schema()
        {
            return Ok(Description { parameters: Vec::new(), columns: Some(columns) });
        }
        let nulls = || Bound(vec![ScalarValue::Null; slots.len()]);
        let bound = match params {
            Some(params) => Bound(params.bind(slots)?),
            None => Bound::default(),
        };
        let (columns, types) = match self.outline(bound) {
            Err(_) if params.is_none() && !slots.is_empty() => self.outline(nulls())?,
            outline => outline?,
        };
        let mut parameters = described(slots, &types);
        if let Some(params) = params {
            for (parameter, slot) in parameters.iter_mut().zip(in_order(slots)) {
                parameter.data_type = params.of_slot(slot.1).map(ScalarValue::data_type);
            }
        }
        Ok(Description { parameters, columns: Some(columns) })
    }

    fn outline(&self, bound: Bound) -> Result<(SchemaRef, Types)> {
        let setting = self.setting_now(bound)?;
        let source = self.source.clone();
        let Outline { columns, parameters } = self
            .shared
            .run(self.source.len(), async move { outline(&setting, source.parse()?) })?;
        Ok((columns, parameters))
    }

    /// Types of the parameters that a change of rows puts into columns or compares with them.
    fn written_types(&self, statement: Statement) -> Result<Types> {
        let setting = self.setting_now(Bound::default())?;
        let mut types = match &statement {
            Statement::Insert(insert) => inserted(&setting, insert)?,
            Statement::Update(update) => assigned(&setting, update)?,
            _ => Types::new(),
        };
        let source = self.source.clone();
        let planned = self.shared.run(self.source.len(), async move {
            crate::statement::written_parameters(&setting, source.parse()?)
        });
        for (id, data_type) in planned.unwrap_or_default() {
            types.entry(id).or_insert(data_type);
        }
        Ok(types)
    }

    fn setting_now(&self, bound: Bound) -> Result<Setting> {
        Ok(self.setting(self.bind()?, bound))
    }
}

/// The slots as their parameters are given, each with its place among them.
fn in_order(slots: &[Slot]) -> Vec<(usize, &Slot)> {
    let mut ordered: Vec<(usize, &Slot)> = slots.iter().enumerate().collect();
    ordered.sort_by_key(|(place, slot)| match slot {
        Slot::Number(number) => (0, *number),
        Slot::Named(_) => (1, *place),
    });
    ordered
}

fn described(slots: &[Slot], types: &Types) -> Vec<ParameterDescription> {
    let parameter = |(place, slot): (usize, &Slot)| ParameterDescription {
        name: match slot {
            Slot::Number(number) => format!("${number}"),
            Slot::Named(name) => name.clone(),
        },
        data_type: types.get(&format!("${}", place + 1)).cloned(),
    };
    in_order(slots).into_iter().map(parameter).collect()
}

/// The `$n` that an expression is.
fn placeholder(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(id) => Some(id),
            _ => None,
        },
        _ => None,
    }
}

/// Parameters that stand in VALUES have their columns' types.
fn inserted(setting: &Setting, insert: &Insert) -> Result<Types> {
    let opened = open_insert(&setting.planner(), insert)?;
    let Some(SetExpr::Values(values)) = insert.source.as_ref().map(|source| &*source.body) else {
        return Ok(Types::new());
    };
    let cells = values.rows.iter().flat_map(|row| row.iter().zip(&opened.targets));
    let typed = cells.filter_map(|(expr, &target)| {
        let column = opened.table.columns.get(target)?;
        Some((placeholder(expr)?.to_owned(), column.sql_type.arrow()))
    });
    Ok(typed.collect())
}

/// Parameters that SET gives to columns have their types.
fn assigned(setting: &Setting, update: &Update) -> Result<Types> {
    let datafusion::sql::sqlparser::ast::TableFactor::Table { name, .. } = &update.table.relation
    else {
        return Ok(Types::new());
    };
    let table: Arc<silt_catalog::TableDef> = find_table(&setting.binding, name)?;
    let mut types = Types::new();
    for assignment in &update.assignments {
        let AssignmentTarget::ColumnName(name) = &assignment.target else { continue };
        let Some(id) = placeholder(&assignment.value) else { continue };
        let index = table.column_index(&column_name(name)?)?;
        types.insert(id.to_owned(), table.columns[index].sql_type.arrow());
    }
    Ok(types)
}
