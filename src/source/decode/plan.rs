//! Maps the source fields of one table to columns, and tracks the current type of each column.
//!
//! Fields form a tree, as nested objects do. Each object keeps its fields in the order of their arrival, so that the next
//! record finds them without a hash lookup. Start at [`DecodePlan::new`]; [`DecodePlan::column_for`] detects two names
//! that map to one column.

use std::collections::HashMap;

use super::{Layout, PageError};
use crate::domain::syncing::cell::{Cell, ColumnType, EXACT_IN_DOUBLE};
use crate::domain::syncing::definition::connector::{ColumnKind, ColumnRule};
use crate::domain::syncing::naming;
use crate::domain::syncing::op::{Column, TableShape};

/// SQLite allows 2,000 columns and PostgreSQL 1,600. A table that comes near is usually a flattened object with ids as
/// keys.
const MAX_COLUMNS: usize = 1_000;

/// Objects nested deeper than this are stored as JSON, so that no input can exhaust the stack.
pub(super) const MAX_DEPTH: usize = 16;

#[derive(Debug)]
pub(super) struct DecodePlan {
    table: String,
    nodes: Vec<Node>,
    slots: Vec<ColumnSlot>,
    by_column: HashMap<String, usize>,
    rules: HashMap<String, ColumnRule>,
    /// Source path → the paths whose columns it fills if they are missing.
    fills: HashMap<String, Vec<String>>,
    raw: Vec<String>,
    frozen: bool,
    changed: bool,
    notes: Vec<String>,
}

/// An object of the source: the record or a flattened one.
#[derive(Debug, Default)]
struct Node {
    path: String,
    column: String,
    depth: usize,
    fields: Vec<Field>,
    by_name: HashMap<Box<str>, usize>,
}

/// One field of an object.
#[derive(Debug, Clone)]
pub(super) struct Field {
    name: Box<str>,
    path: Box<str>,
    /// The name of the field in messages.
    shown: Box<str>,
    column: Box<str>,
    /// Whether the field is dropped; it may still fill other columns.
    pub(super) drop: bool,
    /// The declared type.
    pub(super) coerce: Option<ColumnKind>,
    /// The column, from the first value on.
    slot: Option<usize>,
    /// Columns that it fills if their own field is missing, with their declared types.
    pub(super) fills: Vec<(usize, Option<ColumnKind>)>,
    child: Option<usize>,
}

#[derive(Debug)]
struct ColumnSlot {
    name: String,
    kind: ColumnType,
    declared: Option<ColumnKind>,
    /// The field that fills it, for messages; `None` before the first value.
    owner: Option<String>,
    /// Its index among the columns whose JSON text is returned.
    raw: Option<usize>,
}

impl DecodePlan {
    pub(super) fn new(layout: &Layout, known: Option<&TableShape>) -> Result<Self, PageError> {
        let mut plan = Self {
            table: layout.table.clone(),
            nodes: vec![Node::default()],
            slots: Vec::new(),
            by_column: HashMap::new(),
            rules: layout.columns.iter().map(|(path, rule)| (path.clone(), rule.clone())).collect(),
            fills: HashMap::new(),
            raw: layout.raw.clone(),
            frozen: false,
            changed: true,
            notes: Vec::new(),
        };
        for column in known.iter().flat_map(|shape| &shape.columns) {
            let slot = plan.slot(&column.name)?;
            plan.slots[slot].kind = column.kind;
        }
        for column in &layout.inherited {
            plan.claim(column, "the parent's row")?;
        }
        for key in &layout.key {
            plan.slot(&key.column)?;
        }
        for key in &layout.key {
            if let Some(show) = &key.show {
                plan.claim(show, &format!("the true value of {}", key.column))?;
            }
        }
        for (path, rule) in &layout.columns {
            if let ColumnRule::Keep { from: Some(from), .. } = rule {
                plan.fills.entry(from.clone()).or_default().push(path.clone());
            }
        }
        plan.frozen = layout.freeze && known.is_some();
        Ok(plan)
    }

    /// Whether the shape changed since [`DecodePlan::complete_shape`].
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// The number of columns.
    pub(super) fn width(&self) -> usize {
        self.slots.len()
    }

    /// The current shape.
    pub(super) fn shape(&self, layout: &Layout) -> TableShape {
        let column = |slot: &ColumnSlot| Column { name: slot.name.clone(), kind: slot.kind };
        TableShape {
            table: self.table.clone(),
            columns: self.slots.iter().map(column).collect(),
            key: layout.key.iter().map(|key| key.column.clone()).collect(),
            write: layout.write,
            deleted_if: layout.deleted_if.clone(),
        }
    }

    /// Adds the declared columns without a value so far, and marks the shape as emitted.
    pub(super) fn complete_shape(&mut self, layout: &Layout) -> Result<(), PageError> {
        for (path, rule) in &layout.columns {
            let ColumnRule::Keep { kind: Some(kind), .. } = rule else { continue };
            let slot = self.slot(&self.column_of(path))?;
            self.declare(slot, Some(*kind))?;
        }
        self.changed = false;
        Ok(())
    }

    /// The notes since the last call.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The index of a column in a row.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.by_column.get(column).copied()
    }

    pub(super) fn name(&self, slot: usize) -> &str {
        self.slots.get(slot).map_or("", |slot| &slot.name)
    }

    /// The index of a column among those whose JSON text is returned.
    pub(super) fn raw(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot)?.raw
    }

    /// The current type of a column.
    pub(super) fn kind(&self, slot: usize) -> ColumnType {
        self.slots.get(slot).map_or(ColumnType::Unknown, |slot| slot.kind)
    }

    /// Finds the field of an object by name; `expected` is the index after the previous field.
    pub(super) fn find(&self, node: usize, expected: usize, name: &str) -> Option<usize> {
        let node = &self.nodes[node];
        match node.fields.get(expected) {
            Some(field) if *field.name == *name => Some(expected),
            _ => node.by_name.get(name).copied(),
        }
    }

    /// Adds a field on its first appearance.
    pub(super) fn add_field(&mut self, node: usize, name: &str) -> Result<usize, PageError> {
        let parent = &self.nodes[node];
        let path = format!("{}{name}", parent.path);
        let shown = if name.contains('.') { format!("{}{name:?}", parent.path) } else { path.clone() };
        let derived = naming::column_name(&format!("{}{name}", parent.column));
        let (drop, column, coerce) = match self.rules.get(&path) {
            Some(ColumnRule::Drop) => (true, derived, None),
            Some(ColumnRule::Keep { name: Some(renamed), kind, .. }) => {
                (false, naming::column_name(renamed), *kind)
            }
            Some(ColumnRule::Keep { name: None, kind, .. }) => (false, derived, *kind),
            None => (false, derived, None),
        };
        let mut fills = Vec::new();
        for target in self.fills.get(&path).cloned().unwrap_or_default() {
            let Some(ColumnRule::Keep { kind, .. }) = self.rules.get(&target).cloned() else { continue };
            let slot = self.claim(&self.column_of(&target), &target)?;
            self.declare(slot, kind)?;
            fills.push((slot, kind));
        }
        let field = Field {
            name: name.into(),
            path: path.into(),
            shown: shown.into(),
            column: column.into(),
            drop,
            coerce,
            slot: None,
            fills,
            child: None,
        };
        let node = &mut self.nodes[node];
        node.fields.push(field);
        node.by_name.insert(name.into(), node.fields.len() - 1);
        Ok(node.fields.len() - 1)
    }

    pub(super) fn field(&self, node: usize, field: usize) -> &Field {
        &self.nodes[node].fields[field]
    }

    /// The object nested in a field; `None` if it is too deep to be flattened.
    pub(super) fn child(&mut self, node: usize, field: usize) -> Option<usize> {
        if let Some(child) = self.nodes[node].fields[field].child {
            return Some(child);
        }
        let depth = self.nodes[node].depth + 1;
        if depth > MAX_DEPTH {
            return None;
        }
        let child = self.nodes.len();
        let parent = &mut self.nodes[node].fields[field];
        parent.child = Some(child);
        let (path, column) = (format!("{}.", parent.path), format!("{}_", parent.column));
        self.nodes.push(Node { path, column, depth, ..Node::default() });
        Some(child)
    }

    /// The column of a field, claimed with the first value.
    pub(super) fn column_for(&mut self, node: usize, field: usize) -> Result<usize, PageError> {
        let this = &self.nodes[node].fields[field];
        if let Some(slot) = this.slot {
            return Ok(slot);
        }
        let (column, shown, coerce) = (this.column.clone(), this.shown.clone(), this.coerce);
        let slot = self.claim(&column, &shown)?;
        self.declare(slot, coerce)?;
        self.nodes[node].fields[field].slot = Some(slot);
        Ok(slot)
    }

    /// Widens a column for a value. `pending` are the values of the column that were not emitted yet.
    pub(super) fn widen<'a>(
        &mut self,
        slot: usize,
        cell: &mut Cell,
        pending: impl Iterator<Item = &'a Cell>,
    ) -> Result<(), PageError> {
        let old = self.kind(slot);
        let new = match (old, &*cell) {
            (ColumnType::Double, Cell::Int(value)) if beyond_double(*value) => {
                *cell = Cell::Decimal(value.to_string().into());
                ColumnType::Decimal
            }
            (ColumnType::Bigint, Cell::Double(_)) if pending.into_iter().any(is_beyond_double) => {
                ColumnType::Decimal
            }
            (old, cell) => old.join(cell.column_type()),
        };
        if new == old {
            return Ok(());
        }
        self.set_kind(slot, new)?;
        let this = &self.slots[slot];
        if let Some(declared) = this.declared.filter(|declared| declared.column_type() == old) {
            self.notes.push(format!(
                "column {} of table {} is declared {}, and a value did not fit: the column is now {}",
                this.name,
                self.table,
                name_of(declared.column_type()),
                name_of(new)
            ));
        }
        Ok(())
    }

    /// The column of a path that may not have appeared yet: the name in its rule, or a name derived from the path.
    pub(super) fn column_of(&self, path: &str) -> String {
        if let Some(ColumnRule::Keep { name: Some(name), .. }) = self.rules.get(path) {
            return naming::column_name(name);
        }
        match path.rsplit_once('.') {
            Some((parent, name)) => naming::column_name(&format!("{}_{name}", self.column_of(parent))),
            None => naming::column_name(path),
        }
    }

    fn declare(&mut self, slot: usize, coerce: Option<ColumnKind>) -> Result<(), PageError> {
        let Some(coerce) = coerce else { return Ok(()) };
        let kind = self.slots[slot].kind.join(coerce.column_type());
        self.slots[slot].declared = Some(coerce);
        if kind == self.slots[slot].kind { Ok(()) } else { self.set_kind(slot, kind) }
    }

    fn set_kind(&mut self, slot: usize, kind: ColumnType) -> Result<(), PageError> {
        let this = &mut self.slots[slot];
        if self.frozen {
            let change = if this.kind == ColumnType::Unknown {
                format!("the first value of column {}", this.name)
            } else {
                format!("{} for the {} column {}", name_of(kind), name_of(this.kind), this.name)
            };
            return Err(PageError::Frozen { table: self.table.clone(), change });
        }
        this.kind = kind;
        self.changed = true;
        Ok(())
    }

    /// Assigns a column to an owner; a second owner is an error that names both.
    fn claim(&mut self, column: &str, owner: &str) -> Result<usize, PageError> {
        let slot = self.slot(column)?;
        match &self.slots[slot].owner {
            Some(first) if first != owner => Err(PageError::Collision {
                table: self.table.clone(),
                column: column.to_owned(),
                first: first.clone(),
                second: owner.to_owned(),
            }),
            Some(_) => Ok(slot),
            None => {
                self.slots[slot].owner = Some(owner.to_owned());
                Ok(slot)
            }
        }
    }

    fn slot(&mut self, column: &str) -> Result<usize, PageError> {
        if let Some(slot) = self.place(column) {
            return Ok(slot);
        }
        if self.slots.len() == MAX_COLUMNS {
            let (table, path) = (self.table.clone(), column.to_owned());
            return Err(PageError::TooManyColumns { table, path, limit: MAX_COLUMNS });
        }
        if self.frozen {
            let change = format!("the new column {column}");
            return Err(PageError::Frozen { table: self.table.clone(), change });
        }
        let slot = self.slots.len();
        self.by_column.insert(column.to_owned(), slot);
        self.slots.push(ColumnSlot {
            name: column.to_owned(),
            kind: ColumnType::Unknown,
            declared: None,
            owner: None,
            raw: self.raw.iter().position(|name| name == column),
        });
        self.changed = true;
        Ok(slot)
    }
}

fn beyond_double(value: i64) -> bool {
    value.unsigned_abs() > EXACT_IN_DOUBLE.unsigned_abs()
}

fn is_beyond_double(cell: &Cell) -> bool {
    matches!(cell, Cell::Int(value) if beyond_double(*value))
}

fn name_of(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Unknown => "unknown",
        ColumnType::Boolean => "boolean",
        ColumnType::Bigint => "bigint",
        ColumnType::Double => "double",
        ColumnType::Decimal => "decimal",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Json => "json",
        ColumnType::Text => "text",
    }
}
