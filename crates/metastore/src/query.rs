//! The few statements this store needs, as builders. The filter on the tenant is put in when a
//! builder is made (see `tx`) and can be narrowed afterwards, never widened.

use sea_orm::sea_query::{
    Asterisk, DeleteStatement, Expr, ExprTrait, InsertStatement, OnConflict, Order, Query,
    SelectStatement, UpdateStatement, Value,
};

use crate::bind::Bind;

pub(crate) struct Select {
    pub(crate) table: &'static str,
    pub(crate) statement: SelectStatement,
}

impl Select {
    pub(crate) fn new(table: &'static str) -> Self {
        Self { table, statement: Query::select().column(Asterisk).from(table).take() }
    }

    pub(crate) fn filter(mut self, condition: Expr) -> Self {
        self.statement.and_where(condition);
        self
    }

    pub(crate) fn eq(self, column: &'static str, value: impl Bind) -> Self {
        self.filter(equals(column, value))
    }

    pub(crate) fn ascending(mut self, column: &'static str) -> Self {
        self.statement.order_by(column, Order::Asc);
        self
    }

    pub(crate) fn descending(mut self, column: &'static str) -> Self {
        self.statement.order_by(column, Order::Desc);
        self
    }

    pub(crate) fn limit(mut self, rows: u64) -> Self {
        self.statement.limit(rows);
        self
    }

    /// Leaves out so many rows before the first.
    pub(crate) fn behind(mut self, rows: u64) -> Self {
        self.statement.offset(rows);
        self
    }

    /// Rows before this moment and id, newest first.
    pub(crate) fn before(self, time: &'static str, at: impl Bind, id: [u8; 16]) -> Self {
        let at = at.bind();
        let earlier = Expr::col(time).lt(at.clone()).or(Expr::col("id").lt(id.bind()));
        // The bound on the time alone is what an index begins at.
        self.filter(Expr::col(time).lte(at)).filter(earlier)
    }

    /// Rows behind this moment and id, oldest first.
    pub(crate) fn after(self, time: &'static str, at: impl Bind, id: [u8; 16]) -> Self {
        let at = at.bind();
        let later = Expr::col(time).gt(at.clone()).or(Expr::col("id").gt(id.bind()));
        self.filter(Expr::col(time).gte(at)).filter(later)
    }

    /// Replaces the columns by one expression, read back as `name`.
    pub(crate) fn only(mut self, expression: Expr, name: &'static str) -> Self {
        self.statement.clear_selects();
        self.statement.expr_as(expression, name);
        self
    }

    /// One more expression, read back as `name`.
    pub(crate) fn also(mut self, expression: Expr, name: &'static str) -> Self {
        self.statement.expr_as(expression, name);
        self
    }

    /// Nobody else changes these rows before the transaction ends. SQLite has one writer anyway.
    pub(crate) fn held(mut self) -> Self {
        self.statement.lock_shared();
        self
    }

    /// Who else wants these rows to themselves waits for the transaction's end. SQLite has one
    /// writer anyway.
    pub(crate) fn held_alone(mut self) -> Self {
        self.statement.lock_exclusive();
        self
    }

    pub(crate) fn group_by(mut self, column: &'static str) -> Self {
        self.statement.group_by_col(column);
        self
    }
}

pub(crate) struct Insert {
    pub(crate) table: &'static str,
    columns: Vec<&'static str>,
    values: Vec<Value>,
    /// Further rows.
    more: Vec<Vec<Value>>,
    on_conflict: Option<OnConflict>,
}

impl Insert {
    pub(crate) fn new(table: &'static str) -> Self {
        let (columns, values, more) = (Vec::new(), Vec::new(), Vec::new());
        Self { table, columns, values, more, on_conflict: None }
    }

    /// One more row, of the same columns in the same order.
    pub(crate) fn and(mut self, row: Self) -> Self {
        self.more.push(row.values);
        self
    }

    pub(crate) fn set(mut self, column: &'static str, value: impl Bind) -> Self {
        self.columns.push(column);
        self.values.push(value.bind());
        self
    }

    /// Leaves an existing row with the same key as it is.
    pub(crate) fn or_ignore(mut self, keys: &[&'static str]) -> Self {
        self.on_conflict = Some(OnConflict::columns(keys.iter().copied()).do_nothing().to_owned());
        self
    }

    /// Overwrites these columns of an existing row with the same key, counting its version up.
    pub(crate) fn or_overwrite(mut self, keys: &[&'static str], columns: &[&'static str]) -> Self {
        let version = Expr::col((self.table, "version")).add(1);
        let mut on_conflict = OnConflict::columns(keys.iter().copied());
        on_conflict.update_columns(columns.iter().copied()).value("version", version);
        self.on_conflict = Some(on_conflict);
        self
    }

    pub(crate) fn statement(self) -> InsertStatement {
        let mut statement = Query::insert();
        statement.into_table(self.table).columns(self.columns);
        for row in std::iter::once(self.values).chain(self.more) {
            // As many values as columns: `set` pushes one of each.
            let _ = statement.values(row.into_iter().map(Expr::from));
        }
        if let Some(on_conflict) = self.on_conflict {
            statement.on_conflict(on_conflict);
        }
        statement
    }
}

pub(crate) struct Update {
    pub(crate) table: &'static str,
    pub(crate) statement: UpdateStatement,
}

impl Update {
    pub(crate) fn new(table: &'static str) -> Self {
        Self { table, statement: Query::update().table(table).take() }
    }

    pub(crate) fn set(mut self, column: &'static str, value: impl Bind) -> Self {
        self.statement.value(column, value.bind());
        self
    }

    /// Counts a column up by one.
    pub(crate) fn increment(mut self, column: &'static str) -> Self {
        self.statement.value(column, Expr::col(column).add(1));
        self
    }

    /// Counts a column up by so many.
    pub(crate) fn add(mut self, column: &'static str, more: u64) -> Self {
        self.statement.value(column, Expr::col(column).add(more.bind()));
        self
    }

    pub(crate) fn filter(mut self, condition: Expr) -> Self {
        self.statement.and_where(condition);
        self
    }

    pub(crate) fn eq(self, column: &'static str, value: impl Bind) -> Self {
        self.filter(equals(column, value))
    }
}

pub(crate) struct Delete {
    pub(crate) table: &'static str,
    pub(crate) statement: DeleteStatement,
}

impl Delete {
    pub(crate) fn new(table: &'static str) -> Self {
        Self { table, statement: Query::delete().from_table(table).take() }
    }

    pub(crate) fn filter(mut self, condition: Expr) -> Self {
        self.statement.and_where(condition);
        self
    }

    pub(crate) fn eq(self, column: &'static str, value: impl Bind) -> Self {
        self.filter(equals(column, value))
    }
}

pub(crate) fn equals(column: &'static str, value: impl Bind) -> Expr {
    Expr::col(column).eq(value.bind())
}

pub(crate) fn at_most(column: &'static str, value: impl Bind) -> Expr {
    Expr::col(column).lte(value.bind())
}

pub(crate) fn below(column: &'static str, value: impl Bind) -> Expr {
    Expr::col(column).lt(value.bind())
}

pub(crate) fn above(column: &'static str, value: impl Bind) -> Expr {
    Expr::col(column).gt(value.bind())
}

pub(crate) fn is_null(column: &'static str) -> Expr {
    Expr::col(column).is_null()
}

pub(crate) fn is_set(column: &'static str) -> Expr {
    Expr::col(column).is_not_null()
}

/// Most values that a statement may be given to choose from: SQLite binds at most 32766.
pub(crate) const ONE_OF_MAX: usize = 10_000;

pub(crate) fn one_of<V: Bind>(column: &'static str, values: impl IntoIterator<Item = V>) -> Expr {
    Expr::col(column).is_in(values.into_iter().map(Bind::bind))
}
