//! Imports of readings: how far each has come, and which rows it refused. How a file is read is the
//! caller's to write.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{ImportId, Timestamp};

use crate::bind::{Row, opaque_debug, stored_enum};
use crate::query::{above, at_most};
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Error, PlatformTx, Result, TenantTx};

const TABLE: &str = "imports";
const REFUSALS: &str = "import_refusals";

stored_enum! {
    /// How an import stands.
    ImportState {
        /// It takes pieces.
        Open = "open",
        /// All of it was taken.
        Done = "done",
        /// Somebody ended it.
        Cancelled = "cancelled",
    }
}

/// An import.
#[derive(Clone, PartialEq, Eq)]
pub struct Import {
    /// Its id.
    pub id: ImportId,
    /// How it stands.
    pub state: ImportState,
    /// What the file is called, how it is read and who asked, in a form of the caller's.
    pub body: Vec<u8>,
    /// The piece that is next, from 0.
    pub piece: u64,
    /// Rows of that piece that were taken.
    pub rows_taken: u64,
    /// Lines, or rows, of the file before that piece.
    pub rows_before: u64,
    /// Rows that were looked at.
    pub rows: u64,
    /// Readings that were stored.
    pub readings: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// Counts changes.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When something of it was taken last.
    pub updated_at: Timestamp,
    /// When it was done or cancelled.
    pub ended_at: Option<Timestamp>,
}

opaque_debug!(Import { id, state, piece, rows, readings, refused, version });

/// A row that an import refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRefusal {
    /// Where it stands in the file, from 1.
    #[serde(skip)]
    pub row: u64,
    /// The column, from 1; 0 is none.
    pub column: u64,
    /// What is wrong and what would be right.
    pub detail: String,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Import> {
    let id: ImportId = row.get("id")?;
    Ok(Import {
        id,
        state: row.get("state")?,
        body: vault.open(row, "body", id.as_bytes())?,
        piece: row.get("piece")?,
        rows_taken: row.get("rows_taken")?,
        rows_before: row.get("rows_before")?,
        rows: row.get("rows_seen")?,
        readings: row.get("readings")?,
        refused: row.get("refused")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        ended_at: row.maybe("ended_at")?,
    })
}

/// What a sealed refusal belongs to.
fn place_of(import: ImportId, row: u64) -> [u8; 24] {
    let mut place = [0; 24];
    place[..16].copy_from_slice(import.as_bytes());
    place[16..].copy_from_slice(&row.to_be_bytes());
    place
}

impl TenantTx {
    fn import_index(&self, file: &str) -> [u8; 32] {
        self.core.sealer.blind_index("import", self.tenant.as_bytes(), file)
    }

    /// Writes a new import of a file; `Conflict` when there is one of it.
    #[boxed]
    pub async fn import_create(&self, import: &Import, file: &str) -> Result<()> {
        let cell = Cell { table: TABLE, column: "body", row: import.id.as_bytes() };
        let insert = self
            .insert(TABLE)
            .set("id", import.id)
            .set("file_index", self.import_index(file))
            .set("state", import.state)
            .set("body", self.vault().seal(cell, &import.body)?)
            .set("piece", import.piece)
            .set("rows_taken", import.rows_taken)
            .set("rows_before", import.rows_before)
            .set("rows_seen", import.rows)
            .set("readings", import.readings)
            .set("refused", import.refused)
            .set("version", 1u64)
            .set("created_at", import.created_at)
            .set("updated_at", import.updated_at)
            .set("ended_at", import.ended_at);
        self.core.insert(insert).await.map(drop)
    }

    /// One import.
    #[boxed]
    pub async fn import(&self, id: ImportId) -> Result<Import> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// The import of a file, if there is one.
    #[boxed]
    pub async fn import_of(&self, file: &str) -> Result<Option<Import>> {
        let select = self.select(TABLE).eq("file_index", self.import_index(file));
        self.core.maybe(select).await?.map(|row| load(&row, &self.vault())).transpose()
    }

    /// The imports of the tenant, newest first; how many there are is bounded where they are made.
    #[boxed]
    pub async fn imports(&self) -> Result<Vec<Import>> {
        let vault = self.vault();
        let rows = self.core.all(self.select(TABLE).descending("id")).await?;
        rows.iter().map(|row| load(row, &vault)).collect()
    }

    /// Writes how far an import has come, if its version is still the one that was read.
    #[boxed]
    pub async fn import_update(&self, import: &Import) -> Result<()> {
        let update = self
            .update(TABLE)
            .set("state", import.state)
            .set("piece", import.piece)
            .set("rows_taken", import.rows_taken)
            .set("rows_before", import.rows_before)
            .set("rows_seen", import.rows)
            .set("readings", import.readings)
            .set("refused", import.refused)
            .set("updated_at", self.core.at)
            .set("ended_at", import.ended_at);
        self.update_version(update, *import.id.as_bytes(), Some(import.version)).await
    }

    /// Deletes an import, and what is known of its rows.
    #[boxed]
    pub async fn import_delete(&self, id: ImportId) -> Result<()> {
        self.delete_id(TABLE, id).await
    }

    /// Notes a row that was refused; one that is known is left as it is.
    #[boxed]
    pub async fn import_refusal_add(&self, id: ImportId, refusal: &ImportRefusal) -> Result<()> {
        let place = place_of(id, refusal.row);
        let cell = Cell { table: REFUSALS, column: "body", row: &place };
        let insert = self
            .insert(REFUSALS)
            .set("import_id", id)
            .set("file_row", refusal.row)
            .set("body", self.vault().seal_json(cell, refusal)?)
            .or_ignore(&["tenant_id", "import_id", "file_row"]);
        self.core.insert(insert).await.map(drop)
    }

    /// Rows that an import refused, behind one of them, in their order.
    #[boxed]
    pub async fn import_refusals(
        &self,
        id: ImportId,
        after: u64,
        rows_max: u64,
    ) -> Result<Vec<ImportRefusal>> {
        let select = self.select(REFUSALS).eq("import_id", id).filter(above("file_row", after));
        let vault = self.vault();
        let load = |row: &Row| {
            let number: u64 = row.get("file_row")?;
            let place = place_of(id, number);
            let refusal: ImportRefusal = vault.open_json(row, "body", &place)?;
            if refusal.detail.is_empty() {
                return Err(Error::Corrupt { what: REFUSALS });
            }
            Ok(ImportRefusal { row: number, ..refusal })
        };
        let select = select.ascending("file_row").limit(rows_max);
        self.core.all(select).await?.iter().map(load).collect()
    }
}

impl PlatformTx {
    /// Forgets imports of which nothing was taken since `before`.
    #[boxed]
    pub async fn imports_purge(&self, before: Timestamp) -> Result<u64> {
        self.core.delete(self.delete(TABLE).filter(at_most("updated_at", before))).await
    }
}
