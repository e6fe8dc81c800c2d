//! A look through every sealed column that the schema has, whichever entity it belongs to: where a
//! text stands. Nobody has to name the places, so that none is forgotten.

use std::collections::BTreeSet;

use async_recursion::async_recursion as boxed;
use veritwin_keys::KeyError;

use crate::bind::Row;
use crate::query::Select;
use crate::schema::{self, ColumnKind, Rows, TableDef};
use crate::seal::{Cell, Owner};
use crate::{Error, Result, TenantTx};

/// Rows that are looked through at a time.
const AT_ONCE: u64 = 500;

/// A table and one of its sealed columns.
pub type SealedPlace = (&'static str, &'static str);

/// The sealed columns of a table, and the columns to which a sealed value may be bound.
struct Looked {
    sealed: Vec<&'static str>,
    keys: Vec<(&'static str, ColumnKind)>,
}

impl Looked {
    fn of(table: &TableDef) -> Self {
        let (mut sealed, mut keys) = (Vec::new(), Vec::new());
        for (name, column) in schema::columns_at(schema::VERSION) {
            if name != table.name {
                continue;
            }
            if column.kind == ColumnKind::Sealed {
                sealed.push(column.name);
            } else if column.name == "tenant_id" || table.primary_key.contains(&column.name) {
                keys.push((column.name, column.kind));
            }
        }
        Self { sealed, keys }
    }

    /// What the values of a row may be bound to: a column of its key, or two one after the other.
    fn bindings(&self, row: &Row) -> Result<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        for (name, kind) in &self.keys {
            parts.extend(part(row, name, *kind)?);
        }
        let mut all = parts.clone();
        for (place, first) in parts.iter().enumerate() {
            for (other, second) in parts.iter().enumerate() {
                if place != other {
                    all.push([first.as_slice(), second.as_slice()].concat());
                }
            }
        }
        Ok(all)
    }
}

fn part(row: &Row, column: &str, kind: ColumnKind) -> Result<Option<Vec<u8>>> {
    Ok(match kind {
        ColumnKind::Id => row.maybe::<[u8; 16]>(column)?.map(|id| id.to_vec()),
        ColumnKind::Digest | ColumnKind::BlindIndex => {
            row.maybe::<[u8; 32]>(column)?.map(|digest| digest.to_vec())
        }
        ColumnKind::Enum => row.maybe::<String>(column)?.map(String::into_bytes),
        ColumnKind::Integer => {
            row.maybe::<u64>(column)?.map(|number| number.to_be_bytes().to_vec())
        }
        ColumnKind::Sealed | ColumnKind::Time | ColumnKind::Boolean => None,
    })
}

fn holds(plain: &[u8], texts: &[String]) -> bool {
    let is_in = |text: &[u8]| !text.is_empty() && plain.windows(text.len()).any(|at| at == text);
    texts.iter().any(|text| is_in(text.as_bytes()))
}

impl TenantTx {
    /// The sealed columns of the tenant's rows in which one of these texts stands, byte for byte.
    /// A value that does not open where its row says it belongs is damage; one whose key is
    /// destroyed nobody reads.
    #[boxed]
    pub async fn sealed_holding(&self, texts: &[String]) -> Result<BTreeSet<SealedPlace>> {
        let mut found = BTreeSet::new();
        for table in schema::tables().filter(|table| table.rows != Rows::Platform) {
            let looked = Looked::of(table);
            if looked.sealed.is_empty() {
                continue;
            }
            let mut before = 0;
            loop {
                let select = self.select(table.name).limit(AT_ONCE).behind(before);
                let by_key = |select: Select, key: &&'static str| select.ascending(key);
                let select = table.primary_key.iter().fold(select, by_key);
                let rows = self.core.all(select).await?;
                for row in &rows {
                    let bindings = looked.bindings(row)?;
                    for column in &looked.sealed {
                        let plain = self.opened(row, column, &bindings)?;
                        if plain.is_some_and(|plain| holds(&plain, texts)) {
                            found.insert((table.name, *column));
                        }
                    }
                }
                before += AT_ONCE;
                if (rows.len() as u64) < AT_ONCE {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn opened(
        &self,
        row: &Row,
        column: &'static str,
        bindings: &[Vec<u8>],
    ) -> Result<Option<Vec<u8>>> {
        let Some(sealed) = row.maybe::<Vec<u8>>(column)? else { return Ok(None) };
        for owner in [Owner::Tenant(self.tenant), Owner::Platform] {
            for binding in bindings {
                let cell = Cell { table: row.table, column, row: binding };
                match self.core.sealer.open(owner, cell, &sealed) {
                    Ok(plain) => return Ok(Some(plain)),
                    Err(Error::Corrupt { .. }) => {}
                    Err(Error::KeyDenied(KeyError::Destroyed { .. })) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::Corrupt { what: row.table })
    }
}
