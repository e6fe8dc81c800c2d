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

use crate::schema::{self, ColumnKind, VERSION};
use crate::{Error, Metastore, Result, walls};

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
        let role = format!("SET LOCAL ROLE {}", walls::in_force(transaction).await?.platform);
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use sea_orm::sea_query::Value;
    use sea_orm::{DatabaseConnection, Statement};
    use veritwin_domain::{ManualClock, SeededRng, Timestamp};
    use veritwin_keys::{KeyService, PlatformFile};

    use super::*;
    use crate::{Config, Database, Upgrade};

    fn config(folder: &Path, name: &str, keys: &KeyService) -> Config {
        Config {
            database: Database::Sqlite(folder.join(name)),
            connections_max: 1,
            keys: keys.clone(),
            clock: Arc::new(ManualClock::new(Timestamp::EPOCH)),
        }
    }

    fn keys(folder: &Path) -> KeyService {
        let rng = Arc::new(SeededRng::new(7));
        let root = PlatformFile::open_or_create(&folder.join("root"), rng.clone());
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let ring = folder.join("keyring");
        KeyService::open(Box::new(root.expect("a root key")), &ring, clock, rng).expect("a keyring")
    }

    /// A value that tells the column; ids are one and the same, so that references hold.
    fn example(place: usize, name: &str, kind: ColumnKind) -> Value {
        let number = u8::try_from(place + 1).expect("few columns");
        match kind {
            ColumnKind::Id => Value::Bytes(Some(vec![1; 16])),
            ColumnKind::Digest | ColumnKind::BlindIndex => Value::Bytes(Some(vec![number; 32])),
            ColumnKind::Sealed => Value::Bytes(Some(name.as_bytes().to_vec())),
            ColumnKind::Enum => Value::String(Some(name.to_owned())),
            ColumnKind::Time | ColumnKind::Integer => Value::BigInt(Some(number.into())),
            ColumnKind::Boolean => Value::Bool(Some(true)),
        }
    }

    fn row(table: &DumpTable) -> Vec<Value> {
        let columns = table.columns.iter().enumerate();
        columns.map(|(place, (name, kind))| example(place, name, *kind)).collect()
    }

    fn names(table: &DumpTable) -> String {
        table.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    async fn insert(connection: &DatabaseConnection, table: &DumpTable) {
        let values = row(table);
        let places = write::placeholders(DbBackend::Sqlite, values.len(), 0);
        let sql = format!("INSERT INTO {} ({}) VALUES ({places})", table.name, names(table));
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, sql, values);
        connection.execute_raw(statement).await.expect(table.name);
    }

    async fn check(connection: &DatabaseConnection, table: &DumpTable) {
        let sql = format!("SELECT {} FROM {}", names(table), table.name);
        let statement = Statement::from_string(DbBackend::Sqlite, sql);
        let rows = connection.query_all_raw(statement).await.expect(table.name);
        assert_eq!(rows.len(), 1, "{}", table.name);
        let columns = table.columns.iter();
        let found = columns.map(|(name, kind)| codec::value(&rows[0], name, *kind).expect(name));
        assert_eq!(found.collect::<Vec<_>>(), row(table), "{}", table.name);
    }

    #[tokio::test]
    async fn every_column_of_every_step_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = keys(folder.path());
        for version in schema::MIGRATIONS.iter().map(|step| step.version) {
            let name = |what: &str| format!("{what}-{version}");
            let tables = tables_at(version);
            let config = |what: &str| config(folder.path(), &name(what), &keys);
            let upgrade = Upgrade::open(config("from")).await.expect("opens");
            upgrade.apply(Timestamp::EPOCH, version).await.expect("the steps");
            for table in &tables {
                insert(upgrade.connection(), table).await;
            }
            upgrade.close().await;
            let upgrade = Upgrade::open(config("from")).await.expect("opens");
            let mut copy = Vec::new();
            let summary = upgrade.export(Timestamp::EPOCH, &mut copy).await.expect("a copy");
            upgrade.close().await;
            assert_eq!((summary.schema, summary.rows), (version, tables.len() as u64));
            let read = import(&config("to"), Timestamp::EPOCH, &mut copy.as_slice()).await;
            assert_eq!(read.expect("restored"), summary);
            let upgrade = Upgrade::open(config("to")).await.expect("opens");
            for table in &tables {
                check(upgrade.connection(), table).await;
            }
            upgrade.close().await;
        }
        let newest: usize = tables_at(VERSION).iter().map(|table| table.columns.len()).sum();
        assert_eq!(newest, schema::columns().len());
    }
}
