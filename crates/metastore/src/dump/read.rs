//! Reads a copy of the records into an empty database: the schema of the copy's version first,
//! then all rows in one transaction, so that a copy is there whole or not at all.

use sea_orm::sea_query::Value;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use veritwin_domain::Timestamp;
use veritwin_keys::{Aad, DataClass, FileHeader, FileKey, KeyService};

use super::codec::Items;
use super::write::placeholders;
use super::{
    DumpSummary, DumpTable, FORM, FRAME_BYTES_MAX, Header, TableHeader, WHAT, context, enter,
    tables_at,
};
use crate::store::Config;
use crate::{Error, Result, Upgrade};

/// Values bound in one statement; both databases take 32,766.
const VALUES_MAX: usize = 4096;
/// Bytes of the rows of one statement.
const ROWS_BYTES_MAX: usize = 4 * 1024 * 1024;

const DAMAGED: Error = Error::Corrupt { what: WHAT };

/// Reads a copy into the database of `config`, which has to be empty. On PostgreSQL the owner's
/// address is needed for the schema.
pub async fn import(
    config: &Config,
    at: Timestamp,
    source: &mut (impl AsyncRead + Unpin + Send),
) -> Result<DumpSummary> {
    let upgrade = Upgrade::open(config.clone()).await?;
    let outcome = fill(&upgrade, &config.keys, at, source).await;
    upgrade.close().await;
    outcome
}

async fn fill(
    upgrade: &Upgrade,
    keys: &KeyService,
    at: Timestamp,
    source: &mut (impl AsyncRead + Unpin + Send),
) -> Result<DumpSummary> {
    let mut frames = FrameReader::open(keys, source).await?;
    let mut plain = frames.next(source).await?.ok_or(DAMAGED)?;
    let mut items = Items(&plain);
    if items.byte()? != b'H' {
        return Err(DAMAGED);
    }
    let header: Header = serde_json::from_slice(items.sized()?).map_err(|_| DAMAGED)?;
    if header.form != FORM || header.schema > Upgrade::NEWEST {
        return Err(Error::Refused(format!(
            "the copy has form {} and schema {}, written by a newer build; this one knows {FORM} \
             and {}",
            header.form,
            header.schema,
            Upgrade::NEWEST
        )));
    }
    if upgrade.current() > header.schema {
        return Err(Error::Refused(
            "the database has a schema already: records are restored into an empty one".to_owned(),
        ));
    }
    let rest = plain.len() - items.0.len();
    plain.drain(..rest);
    upgrade.apply(at, header.schema).await?;
    let connection = upgrade.connection();
    let transaction = begin(connection).await?;
    let tables = if header.schema == 0 { Vec::new() } else { tables_at(header.schema) };
    for table in &tables {
        refuse_rows(&transaction, table).await?;
    }
    let mut filler = Filler { transaction, tables, current: None, values: Vec::new(), bytes: 0 };
    let (mut rows, mut ended) = (0u64, false);
    let mut next = Some(plain);
    while let Some(plain) = next {
        let mut items = Items(&plain);
        while !items.0.is_empty() {
            if ended {
                return Err(DAMAGED);
            }
            match items.byte()? {
                b'T' => filler.table(items.sized()?).await?,
                b'R' => {
                    filler.row(&mut items).await?;
                    rows += 1;
                }
                b'E' => {
                    ended = u64::from_le_bytes(items.array()?) == rows;
                    if !ended {
                        return Err(DAMAGED);
                    }
                }
                _ => return Err(DAMAGED),
            }
        }
        next = frames.next(source).await?;
    }
    if !ended {
        return Err(DAMAGED);
    }
    filler.flush().await?;
    let tables = filler.tables.len() as u64;
    let done = filler.transaction.commit().await;
    done.map_err(|error| Error::from_db(error, WHAT))?;
    Ok(DumpSummary { schema: header.schema, tables, rows })
}

async fn begin(connection: &DatabaseConnection) -> Result<DatabaseTransaction> {
    let failed = |error| Error::from_db(error, WHAT);
    let transaction = connection.begin().await.map_err(failed)?;
    enter(&transaction).await?;
    Ok(transaction)
}

async fn refuse_rows(transaction: &DatabaseTransaction, table: &DumpTable) -> Result<()> {
    let sql = format!("SELECT 1 AS found FROM {} LIMIT 1", table.name);
    let statement = Statement::from_string(transaction.get_database_backend(), sql);
    let found = transaction.query_one_raw(statement).await;
    if found.map_err(|error| Error::from_db(error, WHAT))?.is_some() {
        return Err(Error::Refused(format!(
            "the database holds rows already (in {}): records are restored into an empty one",
            table.name
        )));
    }
    Ok(())
}

/// Rows on their way into a table.
struct Filler {
    transaction: DatabaseTransaction,
    tables: Vec<DumpTable>,
    current: Option<usize>,
    values: Vec<Value>,
    bytes: usize,
}

impl Filler {
    async fn table(&mut self, header: &[u8]) -> Result<()> {
        self.flush().await?;
        let header: TableHeader = serde_json::from_slice(header).map_err(|_| DAMAGED)?;
        let found = self.tables.iter().position(|table| table.name == header.table);
        let place = found.ok_or(DAMAGED)?;
        // The same version has the same columns in the same order; another list is damage.
        if self.tables[place].header().columns != header.columns {
            return Err(DAMAGED);
        }
        self.current = Some(place);
        Ok(())
    }

    async fn row(&mut self, items: &mut Items<'_>) -> Result<()> {
        let table = self.current.and_then(|place| self.tables.get(place)).ok_or(DAMAGED)?;
        let before = items.0.len();
        for (_, kind) in &table.columns {
            self.values.push(items.value(*kind)?);
        }
        self.bytes += before - items.0.len();
        if self.values.len() + table.columns.len() > VALUES_MAX || self.bytes >= ROWS_BYTES_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let values = std::mem::take(&mut self.values);
        self.bytes = 0;
        let Some(table) = self.current.and_then(|place| self.tables.get(place)) else {
            return Ok(());
        };
        let width = table.columns.len();
        if values.is_empty() || width == 0 {
            return Ok(());
        }
        let backend: DbBackend = self.transaction.get_database_backend();
        let rows: Vec<String> = (0..values.len() / width)
            .map(|row| format!("({})", placeholders(backend, width, row * width)))
            .collect();
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {}",
            table.name,
            columns.join(", "),
            rows.join(", ")
        );
        let statement = Statement::from_sql_and_values(backend, sql, values);
        let done = self.transaction.execute_raw(statement).await;
        done.map(|_| ()).map_err(|error| Error::from_db(error, WHAT))
    }
}

struct FrameReader {
    key: FileKey,
    number: u64,
}

impl FrameReader {
    async fn open(keys: &KeyService, source: &mut (impl AsyncRead + Unpin + Send)) -> Result<Self> {
        let mut front = [0u8; FileHeader::BYTES];
        source.read_exact(&mut front).await.map_err(|_| DAMAGED)?;
        let header = FileHeader::read(&front).map_err(|error| Error::from_key(error, WHAT))?;
        let key = keys.open_file(&header).map_err(|error| Error::from_key(error, WHAT))?;
        Ok(Self { key, number: 0 })
    }

    /// The next frame's plain bytes; none at the end.
    async fn next(
        &mut self,
        source: &mut (impl AsyncRead + Unpin + Send),
    ) -> Result<Option<Vec<u8>>> {
        let mut length = [0u8; 4];
        match source.read_exact(&mut length).await {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(_) => return Err(DAMAGED),
            Ok(_) => {}
        }
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(DAMAGED);
        }
        let mut sealed = vec![0u8; length];
        source.read_exact(&mut sealed).await.map_err(|_| DAMAGED)?;
        let context = context(self.number);
        let mut plain = Vec::with_capacity(length);
        self.key
            .open(self.number, Aad::new(None, DataClass::Record, &context), &sealed, &mut plain)
            .map_err(|error| Error::from_key(error, WHAT))?;
        self.number += 1;
        Ok(Some(plain))
    }
}
