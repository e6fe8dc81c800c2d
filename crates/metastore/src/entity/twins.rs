//! Twins: names and what belongs to them. Models and geometry are objects in the object store;
//! the references are sealed with the rest.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_domain::{SiteId, Timestamp};

use crate::bind::{Row, opaque_debug};
use crate::query::above;
use crate::seal::Cell;
use crate::tx::Vault;
use crate::{Cursor, Listed, Page, Result, TenantTx};

const TABLE: &str = "twins";
const DEVICES: &str = "devices";

/// A twin.
#[derive(Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its id.
    pub id: SiteId,
    /// Its name.
    pub name: String,
    /// Kind and schema of the source, such as `ifc` and `IFC4`.
    pub source_kind: String,
    /// The source's schema.
    pub source_schema: String,
    /// SHA-256 of the source.
    pub source_sha256: [u8; 32],
    /// Length of the source, in bytes.
    pub source_bytes: u64,
    /// The source in the object store.
    pub source_object: String,
    /// The model in the object store.
    pub model_object: String,
    /// The converted geometry in the object store, once there.
    pub geometry_object: Option<String>,
    /// Counts and whatever else the use cases show, as JSON.
    pub detail: Vec<u8>,
    /// Counts changes: the ETag.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

opaque_debug!(Twin { id, source_bytes, version });

#[derive(Serialize, Deserialize)]
struct Body {
    source_kind: String,
    source_schema: String,
    source_sha256: [u8; 32],
    source_bytes: u64,
    source_object: String,
    model_object: String,
    geometry_object: Option<String>,
    detail: String,
}

struct Sealed {
    name: Vec<u8>,
    body: Vec<u8>,
}

fn load(row: &Row, vault: &Vault<'_>) -> Result<Twin> {
    let id: SiteId = row.get("id")?;
    let body: Body = vault.open_json(row, "body", id.as_bytes())?;
    Ok(Twin {
        id,
        name: vault.open_text(row, "name", id.as_bytes())?,
        source_kind: body.source_kind,
        source_schema: body.source_schema,
        source_sha256: body.source_sha256,
        source_bytes: body.source_bytes,
        source_object: body.source_object,
        model_object: body.model_object,
        geometry_object: body.geometry_object,
        detail: body.detail.into_bytes(),
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
    })
}

impl TenantTx {
    fn seal_twin(&self, twin: &Twin) -> Result<Sealed> {
        let invalid = |_| crate::Error::Invalid { what: "twin detail", reason: "expected JSON" };
        let body = Body {
            source_kind: twin.source_kind.clone(),
            source_schema: twin.source_schema.clone(),
            source_sha256: twin.source_sha256,
            source_bytes: twin.source_bytes,
            source_object: twin.source_object.clone(),
            model_object: twin.model_object.clone(),
            geometry_object: twin.geometry_object.clone(),
            detail: String::from_utf8(twin.detail.clone()).map_err(invalid)?,
        };
        let cell = |column| Cell { table: TABLE, column, row: twin.id.as_bytes() };
        let vault = self.vault();
        Ok(Sealed {
            name: vault.seal(cell("name"), twin.name.as_bytes())?,
            body: vault.seal_json(cell("body"), &body)?,
        })
    }

    /// Writes a new twin. Version and times start now.
    #[boxed]
    pub async fn twin_create(&self, twin: &Twin) -> Result<()> {
        let sealed = self.seal_twin(twin)?;
        let insert = self
            .insert(TABLE)
            .set("id", twin.id)
            .set("name", sealed.name)
            .set("body", sealed.body)
            .set("version", 1u64)
            .set("created_at", self.core.at)
            .set("updated_at", self.core.at);
        self.core.insert(insert).await.map(|_| ())
    }

    /// Writes a changed twin, if its version is still `expected`.
    #[boxed]
    pub async fn twin_update(&self, twin: &Twin, expected: Option<u64>) -> Result<()> {
        let sealed = self.seal_twin(twin)?;
        let update = self
            .update(TABLE)
            .set("name", sealed.name)
            .set("body", sealed.body)
            .set("updated_at", self.core.at);
        self.update_version(update, *twin.id.as_bytes(), expected).await
    }

    /// One twin.
    #[boxed]
    pub async fn twin(&self, id: SiteId) -> Result<Twin> {
        load(&self.core.one(self.select(TABLE).eq("id", id)).await?, &self.vault())
    }

    /// Twins, oldest first.
    #[boxed]
    pub async fn twins(&self, page: &Page) -> Result<Listed<Twin>> {
        let mut select = self.select(TABLE).ascending("id").limit(page.rows() + 1);
        if let Some(cursor) = &page.after {
            select = select.filter(above("id", cursor.id()?));
        }
        let vault = self.vault();
        let rows = self.core.all(select).await?;
        let items = rows.iter().map(|row| load(row, &vault)).collect::<Result<Vec<_>>>()?;
        Ok(Listed::cut(items, page, |twin| Cursor::by_id(twin.id.as_bytes())))
    }

    /// Deletes a twin; its devices stay with their open alerts, bound to nothing.
    #[boxed]
    pub async fn twin_delete(&self, id: SiteId) -> Result<()> {
        self.delete_id(TABLE, id).await?;
        self.grants_delete_over(*id.as_bytes()).await?;
        self.alerts_leave_twin(id).await?;
        let update = self
            .update(DEVICES)
            .set("twin_id", Option::<SiteId>::None)
            .set("placement", Option::<Vec<u8>>::None)
            .set("updated_at", self.core.at)
            .increment("version")
            .eq("twin_id", id);
        if self.core.update(update).await? > 0 {
            // The index holds each device's twin; it is built again when next needed.
            self.forget_names_on_commit();
        }
        Ok(())
    }
}
