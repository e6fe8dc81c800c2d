//! What the records hold about one person: every row that refers to an account, found by the
//! columns that do, and the sealed texts of which an address or a name is taken out.

use std::collections::BTreeMap;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{StreamActId, Timestamp, UserId};

use super::activity::Activity;
use super::outbox::{OutboxId, TABLE as OUTBOX};
use super::streams::StreamAct;
use crate::bind::Row;
use crate::query::{Select, above, is_null};
use crate::schema::{self, ColumnDef, ColumnKind, Rows};
use crate::seal::{Cell, Owner};
use crate::{Error, PlatformTx, Result, TenantTx};

/// Columns by which a row refers to an account, as the one it is about or as who did it.
pub const PERSON_COLUMNS: [&str; 11] = [
    "user_id",
    "actor_id",
    "acknowledged_by",
    "approved_by",
    "by_user",
    "by_id",
    "holder_id",
    "invited_by",
    "maker_id",
    "opened_by",
    "requested_by",
];

/// A value of a row as it may be shown: what is sealed, hashed or indexed is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A word of a closed list.
    Word(String),
    /// A moment.
    Time(Timestamp),
    /// A number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// An id.
    Id([u8; 16]),
}

/// A row that refers to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// Its table.
    pub table: &'static str,
    /// What of it may be shown, by column.
    pub cells: BTreeMap<&'static str, Shown>,
}

/// The person columns of each table of a kind.
fn tables_naming(
    is_wanted: impl Fn(Rows) -> bool,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let names = move |table: &'static schema::TableDef| {
        let columns = schema::columns_at(schema::VERSION).into_iter();
        let own = columns.filter(move |(name, _)| *name == table.name);
        own.filter(|(_, column)| {
            column.kind == ColumnKind::Id && PERSON_COLUMNS.contains(&column.name)
        })
        .map(move |(_, column)| (table.name, column.name))
    };
    schema::tables().filter(move |table| is_wanted(table.rows)).flat_map(names)
}

fn shown(row: &Row, column: &ColumnDef) -> Result<Option<Shown>> {
    let name = column.name;
    Ok(match column.kind {
        ColumnKind::Enum => row.maybe::<String>(name)?.map(Shown::Word),
        ColumnKind::Time => row.maybe::<Timestamp>(name)?.map(Shown::Time),
        ColumnKind::Integer => row.maybe::<i64>(name)?.map(Shown::Number),
        ColumnKind::Boolean => row.maybe::<bool>(name)?.map(Shown::Flag),
        ColumnKind::Id => row.maybe::<[u8; 16]>(name)?.map(Shown::Id),
        ColumnKind::Digest | ColumnKind::BlindIndex | ColumnKind::Sealed => None,
    })
}

fn read(table: &'static str, row: &Row) -> Result<PersonRow> {
    let mut cells = BTreeMap::new();
    for (name, column) in schema::columns_at(schema::VERSION) {
        if name == table
            && let Some(value) = shown(row, column)?
        {
            cells.insert(column.name, value);
        }
    }
    Ok(PersonRow { table, cells })
}

impl TenantTx {
    /// Every row of this tenant that refers to an account, table by table; at most `rows` of each
    /// column. Records of acts come by a list of their own.
    #[boxed]
    pub async fn rows_naming(&self, user: UserId, rows: u64) -> Result<Vec<PersonRow>> {
        let mut found = Vec::new();
        for (table, column) in tables_naming(|rows| rows == Rows::Tenant) {
            if table == "activity" {
                continue;
            }
            let select = self.select(table).eq(column, user).limit(rows);
            for row in self.core.all(select).await? {
                found.push(read(table, &row)?);
            }
        }
        Ok(found)
    }

    /// Writes a record of an act without what tells of whoever did it.
    #[boxed]
    pub async fn activity_scrub(&self, record: &Activity) -> Result<()> {
        let row = [record.id.as_bytes().as_slice(), self.tenant.as_bytes()].concat();
        let cell = |column| Cell { table: "activity", column, row: &row };
        let details = match &record.details {
            Some(details) => Some(self.vault().seal(cell("details"), details)?),
            None => None,
        };
        let envelope = self.core.vault(Owner::Platform).seal(cell("envelope"), &record.envelope)?;
        let update = self.update("activity").set("envelope", envelope).set("details", details);
        self.core.update(update.eq("id", record.id)).await.map(drop)
    }

    /// Writes an act over declarations without somebody's name.
    #[boxed]
    pub async fn stream_act_scrub(&self, act: &StreamAct) -> Result<()> {
        let id: StreamActId = act.id;
        let cell = |column| Cell { table: "stream_acts", column, row: id.as_bytes() };
        let head = act.head.as_ref().map(|head| self.vault().seal(cell("head"), head));
        let update = self
            .update("stream_acts")
            .set("body", self.vault().seal(cell("body"), &act.body)?)
            .set("head", head.transpose()?);
        self.core.update(update.eq("id", id)).await.map(drop)
    }

    /// The mails of this tenant, sent and waiting, as they were written: behind one, a bounded
    /// number.
    #[boxed]
    pub async fn outbox_written(
        &self,
        after: Option<OutboxId>,
        rows: u64,
    ) -> Result<Vec<(OutboxId, Timestamp, Vec<u8>)>> {
        let select = self.select(OUTBOX).ascending("id").limit(rows);
        let select = match after {
            Some(OutboxId(id)) => select.filter(above("id", id)),
            None => select,
        };
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let load = |row: &Row| {
            let id: [u8; 16] = row.get("id")?;
            Ok((OutboxId(id), row.get("created_at")?, vault.open(row, "payload", &id)?))
        };
        rows.iter().map(load).collect()
    }

    /// Whether a mail of this tenant has not left.
    #[boxed]
    pub async fn outbox_waits(&self, id: OutboxId) -> Result<bool> {
        let select = self.select(OUTBOX).eq("id", id.0).filter(is_null("done_at"));
        Ok(self.core.maybe(select.limit(1)).await?.is_some())
    }

    /// Removes a mail of this tenant, sent or not.
    #[boxed]
    pub async fn outbox_remove(&self, id: OutboxId) -> Result<()> {
        self.core.delete(self.delete(OUTBOX).eq("id", id.0)).await.map(drop)
    }
}

impl PlatformTx {
    /// Every row above the tenants that refers to an account.
    #[boxed]
    pub async fn rows_naming(&self, user: UserId, rows: u64) -> Result<Vec<PersonRow>> {
        let mut found = Vec::new();
        for (table, column) in tables_naming(|rows| rows == Rows::Platform) {
            let select: Select = self.select(table).eq(column, user).limit(rows);
            for row in self.core.all(select).await? {
                found.push(read(table, &row)?);
            }
        }
        Ok(found)
    }

    /// The platform's own mails, sent and waiting, as they were written: behind one, a bounded
    /// number.
    #[boxed]
    pub async fn outbox_written(
        &self,
        after: Option<OutboxId>,
        rows: u64,
    ) -> Result<Vec<(OutboxId, Timestamp, Vec<u8>)>> {
        let select = self.select(OUTBOX).filter(is_null("tenant_id")).ascending("id").limit(rows);
        let select = match after {
            Some(OutboxId(id)) => select.filter(above("id", id)),
            None => select,
        };
        let vault = self.core.vault(Owner::Platform);
        let rows = self.core.all(select).await?;
        let load = |row: &Row| {
            let id: [u8; 16] = row.get("id")?;
            Ok((OutboxId(id), row.get("created_at")?, vault.open(row, "payload", &id)?))
        };
        rows.iter().map(load).collect()
    }

    /// Removes a mail of the platform itself, sent or not.
    #[boxed]
    pub async fn outbox_remove(&self, id: OutboxId) -> Result<()> {
        let delete = self.delete(OUTBOX).filter(is_null("tenant_id")).eq("id", id.0);
        self.core.delete(delete).await.map(drop)
    }

    /// Deletes an account if it is there, as [`PlatformTx::user_delete`]; whether it was.
    #[boxed]
    pub async fn user_forget(&self, id: UserId) -> Result<bool> {
        match self.user_delete(id).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_name_a_person_are_known() {
        let is_hint = |name: &str| {
            ["user", "actor", "maker", "holder", "person"].iter().any(|part| name.contains(part))
                || name.ends_with("_by")
        };
        let ids = schema::columns().into_iter().filter(|column| column.kind == ColumnKind::Id);
        for column in ids.filter(|column| is_hint(column.column)) {
            // A key that made a key is no person.
            let is_known =
                PERSON_COLUMNS.contains(&column.column) || column.column == "maker_key_id";
            assert!(is_known, "{}.{} names a person", column.table, column.column);
        }
        let found: Vec<_> = tables_naming(|rows| rows == Rows::Tenant).collect();
        for expect in
            [("memberships", "user_id"), ("activity", "actor_id"), ("grants", "holder_id")]
        {
            assert!(found.contains(&expect), "{expect:?}");
        }
    }
}
