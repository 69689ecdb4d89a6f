//! The memory of one table's fields and columns: which source field fills which column, and how wide it is by now.
//!
//! Fields form a tree, as nested objects do; each object remembers its fields in the order they came, so that the
//! next record finds them without a look-up. Start at [`Plan::new`]; [`Plan::column_for`] is where two names that
//! meet in one column are found out.

use std::collections::HashMap;

use super::{Coerce, ColumnRule, Layout, PageError};
use crate::domain::cell::{Cell, ColumnType, EXACT_IN_DOUBLE};
use crate::domain::naming;
use crate::domain::op::{Column, TableShape};

/// SQLite takes 2,000 columns and PostgreSQL 1,600; a table that nears them is an object keyed by ids, flattened.
const MAX_COLUMNS: usize = 1_000;

/// How deep objects are flattened; what is nested deeper stays JSON, so that no input can exhaust the stack.
pub(super) const MAX_DEPTH: usize = 16;

/// One table's fields and columns.
#[derive(Debug)]
pub(super) struct Plan {
    table: String,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    by_column: HashMap<String, usize>,
    rules: HashMap<String, ColumnRule>,
    /// Source path → the paths whose columns it fills when they are absent.
    fills: HashMap<String, Vec<String>>,
    raw: Vec<String>,
    frozen: bool,
    changed: bool,
    notes: Vec<String>,
}

/// One object of the source: the root or a flattened one.
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
    /// What to call the field in a message.
    shown: Box<str>,
    /// The column's name.
    column: Box<str>,
    /// Left out, but for what it fills.
    pub(super) drop: bool,
    /// Its declared kind.
    pub(super) coerce: Option<Coerce>,
    /// Its column, once a value came.
    slot: Option<usize>,
    /// Columns it fills where their own field is absent, with the kind declared there.
    pub(super) fills: Vec<(usize, Option<Coerce>)>,
    child: Option<usize>,
}

#[derive(Debug)]
struct Slot {
    name: String,
    kind: ColumnType,
    declared: Option<Coerce>,
    /// Who fills it, for messages; `None` until somebody does.
    owner: Option<String>,
    /// Its place among the columns whose JSON text is wanted.
    raw: Option<usize>,
}

impl Plan {
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
            if let ColumnRule::Rule { from: Some(from), .. } = rule {
                plan.fills.entry(from.clone()).or_default().push(path.clone());
            }
        }
        plan.frozen = layout.freeze && known.is_some();
        Ok(plan)
    }

    /// Whether the shape changed since [`Plan::settle`].
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// How many columns there are.
    pub(super) fn width(&self) -> usize {
        self.slots.len()
    }

    /// The shape by now.
    pub(super) fn shape(&self, layout: &Layout) -> TableShape {
        let column = |slot: &Slot| Column { name: slot.name.clone(), kind: slot.kind };
        TableShape {
            table: self.table.clone(),
            columns: self.slots.iter().map(column).collect(),
            key: layout.key.iter().map(|key| key.column.clone()).collect(),
            write: layout.write,
            deleted_if: layout.deleted_if.clone(),
        }
    }

    /// Adds the declared columns that no value has brought yet, and marks the shape as told.
    pub(super) fn settle(&mut self, layout: &Layout) -> Result<(), PageError> {
        for (path, rule) in &layout.columns {
            let ColumnRule::Rule { kind: Some(kind), .. } = rule else { continue };
            let slot = self.slot(&self.column_of(path))?;
            self.declare(slot, Some(*kind))?;
        }
        self.changed = false;
        Ok(())
    }

    /// What was noted since the last call.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The column's place in a row, if there is such a column.
    pub(super) fn place(&self, column: &str) -> Option<usize> {
        self.by_column.get(column).copied()
    }

    /// The column's name.
    pub(super) fn name(&self, slot: usize) -> &str {
        self.slots.get(slot).map_or("", |slot| &slot.name)
    }

    /// The place of a column among those whose JSON text is wanted.
    pub(super) fn raw(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot)?.raw
    }

    /// The column's type by now.
    pub(super) fn kind(&self, slot: usize) -> ColumnType {
        self.slots.get(slot).map_or(ColumnType::Unknown, |slot| slot.kind)
    }

    /// The field of an object by name; `expected` is the place right after the field before it.
    pub(super) fn find(&self, node: usize, expected: usize, name: &str) -> Option<usize> {
        let node = &self.nodes[node];
        match node.fields.get(expected) {
            Some(field) if *field.name == *name => Some(expected),
            _ => node.by_name.get(name).copied(),
        }
    }

    /// Remembers a field that was not seen before.
    pub(super) fn learn(&mut self, node: usize, name: &str) -> Result<usize, PageError> {
        let parent = &self.nodes[node];
        let path = format!("{}{name}", parent.path);
        let shown = if name.contains('.') { format!("{}{name:?}", parent.path) } else { path.clone() };
        let derived = naming::column_name(&format!("{}{name}", parent.column));
        let (drop, column, coerce) = match self.rules.get(&path) {
            Some(ColumnRule::Drop) => (true, derived, None),
            Some(ColumnRule::Rule { name: Some(renamed), kind, .. }) => {
                (false, naming::column_name(renamed), *kind)
            }
            Some(ColumnRule::Rule { name: None, kind, .. }) => (false, derived, *kind),
            None => (false, derived, None),
        };
        let mut fills = Vec::new();
        for target in self.fills.get(&path).cloned().unwrap_or_default() {
            let Some(ColumnRule::Rule { kind, .. }) = self.rules.get(&target).cloned() else { continue };
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

    /// The object nested in a field; `None` if it lies too deep to be flattened.
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

    /// The place in a row of a field's value, claimed when the first value comes.
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

    /// Makes a column wide enough for a value. `pending` are the values of the column not yet handed on.
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

    /// The column of a path that may not have been seen yet: its rule's name, or its own below its parent's.
    pub(super) fn column_of(&self, path: &str) -> String {
        if let Some(ColumnRule::Rule { name: Some(name), .. }) = self.rules.get(path) {
            return naming::column_name(name);
        }
        match path.rsplit_once('.') {
            Some((parent, name)) => naming::column_name(&format!("{}_{name}", self.column_of(parent))),
            None => naming::column_name(path),
        }
    }

    fn declare(&mut self, slot: usize, coerce: Option<Coerce>) -> Result<(), PageError> {
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

    /// The column, owned by whoever is named: a second owner is an error that names both.
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
        self.slots.push(Slot {
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
