//! A copy of the records in the schema's own terms, sealed as one file: the same form from SQLite
//! and from PostgreSQL, so that a copy of one can be read into the other. After a file header of
//! `keys` come frames: a length (u32, little-endian) and as many sealed bytes, which hold items:
//! `H` form and schema, `T` a table with its columns (JSON), `R` a row in their order, `E` the
//! number of rows at the end.

mod codec;
mod read;
mod write;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;
use veritwin_domain::PlatformContext;

use crate::schema::{self, ColumnKind, PLATFORM_ROLE, VERSION};
use crate::{Error, Metastore, Result};

pub use read::import;
pub(crate) use write::export;

/// Plain bytes after which a frame is closed.
const FRAME_BYTES: usize = 256 * 1024;
/// Largest frame that is read: a row of the largest columns fits.
const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
const FORM: u32 = 1;
const WHAT: &str = "records copy";

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DumpSummary {
    /// The schema version its rows have.
    pub schema: i64,
    /// Tables.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    form: u32,
    schema: i64,
}

/// A table as its copy names it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableHeader {
    table: String,
    columns: Vec<(String, String)>,
}

/// A table of a schema version.
struct DumpTable {
    name: &'static str,
    columns: Vec<(&'static str, ColumnKind)>,
    primary_key: &'static [&'static str],
}

impl DumpTable {
    fn header(&self) -> TableHeader {
        let columns = self.columns.iter();
        let columns = columns.map(|(name, kind)| ((*name).to_owned(), kind.as_str().to_owned()));
        TableHeader { table: self.name.to_owned(), columns: columns.collect() }
    }
}

/// The tables of a schema version; what a row refers to comes before it.
fn tables_at(version: i64) -> Vec<DumpTable> {
    let mut tables: Vec<DumpTable> = Vec::new();
    for (table, column) in schema::columns_at(version) {
        let entry = (column.name, column.kind);
        match tables.last_mut().filter(|last| last.name == table) {
            Some(last) => last.columns.push(entry),
            None => {
                let known = schema::tables().find(|known| known.name == table);
                let primary_key = known.map_or(&[][..], |known| known.primary_key);
                tables.push(DumpTable { name: table, columns: vec![entry], primary_key });
            }
        }
    }
    tables
}

/// The associated data of a frame: its place in the file.
fn context(number: u64) -> Vec<u8> {
    [b"records copy v1\0".as_slice(), &number.to_le_bytes()].concat()
}

/// On PostgreSQL nobody sees a row without stepping into a role.
async fn enter(transaction: &DatabaseTransaction) -> Result<()> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let role = format!("SET LOCAL ROLE {PLATFORM_ROLE}");
        let entered = transaction.execute_unprepared(&role).await;
        entered.map_err(|error| Error::from_db(error, WHAT))?;
    }
    Ok(())
}

impl Metastore {
    /// Writes a copy of all records as they are at one moment, while others read and write.
    pub async fn export(
        &self,
        context: &PlatformContext,
        out: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<DumpSummary> {
        export(&self.0.connection, &self.0.sealer.keys, context.at, VERSION, out).await
    }
}
