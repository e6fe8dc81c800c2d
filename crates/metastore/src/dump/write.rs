//! Writes a copy of the records inside one reading transaction.

use sea_orm::sea_query::Value;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend,
    IsolationLevel, QueryResult, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use veritwin_domain::{FileId, Timestamp};
use veritwin_keys::{Aad, DataClass, DekScope, FileHeader, FileKey, KeyService, SystemRng};

use super::codec::{put, value};
use super::{DumpSummary, DumpTable, FORM, FRAME_BYTES, Header, WHAT, context, enter, tables_at};
use crate::{Error, Result};

/// Rows read at a time.
const PAGE_ROWS: usize = 500;

/// Writes every row of one consistent state.
pub(crate) async fn export(
    connection: &DatabaseConnection,
    keys: &KeyService,
    at: Timestamp,
    schema: i64,
    out: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<DumpSummary> {
    let transaction = snapshot(connection).await?;
    let key = {
        let file = FileId::generate(at, &SystemRng);
        let scope = DekScope::platform(DataClass::Record);
        let created = keys.create_file(&scope, file);
        created.map_err(|error| Error::from_key(error, WHAT))?
    };
    let mut frames = Frames { key: key.0, plain: Vec::new(), sealed: Vec::new(), number: 0 };
    key.1.write(&mut frames.sealed);
    debug_assert_eq!(frames.sealed.len(), FileHeader::BYTES);
    frames.json(b'H', &Header { form: FORM, schema })?;
    let tables = if schema == 0 { Vec::new() } else { tables_at(schema) };
    let mut rows = 0u64;
    for table in &tables {
        frames.json(b'T', &table.header())?;
        rows += write_table(&transaction, table, &mut frames, out).await?;
    }
    frames.plain.push(b'E');
    frames.plain.extend_from_slice(&rows.to_le_bytes());
    frames.flush(out).await?;
    out.flush().await.map_err(|error| unwritten(&error))?;
    let ended = transaction.rollback().await;
    ended.map_err(|error| Error::from_db(error, WHAT))?;
    Ok(DumpSummary { schema, tables: tables.len() as u64, rows })
}

fn unwritten(error: &std::io::Error) -> Error {
    Error::Refused(format!("the copy of the records cannot be written: {error}"))
}

/// A reading transaction that sees one state from now on.
async fn snapshot(connection: &DatabaseConnection) -> Result<DatabaseTransaction> {
    let failed = |error| Error::from_db(error, WHAT);
    let postgres = connection.get_database_backend() == DbBackend::Postgres;
    let options = if postgres {
        TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..TransactionOptions::default()
        }
    } else {
        let sqlite_transaction_mode = Some(SqliteTransactionMode::Deferred);
        TransactionOptions { sqlite_transaction_mode, ..TransactionOptions::default() }
    };
    let transaction = connection.begin_with_options(options).await.map_err(failed)?;
    enter(&transaction).await?;
    Ok(transaction)
}

async fn write_table(
    transaction: &DatabaseTransaction,
    table: &DumpTable,
    frames: &mut Frames,
    out: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<u64> {
    let mut after: Option<Vec<Value>> = None;
    let mut count = 0u64;
    loop {
        let rows = page(transaction, table, after.take()).await?;
        for row in &rows {
            frames.plain.push(b'R');
            for (name, kind) in &table.columns {
                put(&value(row, name, *kind)?, &mut frames.plain);
            }
            count += 1;
            if frames.plain.len() >= FRAME_BYTES {
                frames.flush(out).await?;
            }
        }
        let Some(last) = rows.last().filter(|_| rows.len() == PAGE_ROWS) else { return Ok(count) };
        after = Some(key_of(last, table)?);
    }
}

fn key_of(row: &QueryResult, table: &DumpTable) -> Result<Vec<Value>> {
    let column = |name: &&'static str| {
        let known = table.columns.iter().find(|(known, _)| known == name);
        let (name, kind) = known.ok_or(Error::Corrupt { what: WHAT })?;
        value(row, name, *kind)
    };
    table.primary_key.iter().map(column).collect()
}

/// The next rows in the order of the primary key. Names come from the schema's constants.
async fn page(
    transaction: &DatabaseTransaction,
    table: &DumpTable,
    after: Option<Vec<Value>>,
) -> Result<Vec<QueryResult>> {
    let backend = transaction.get_database_backend();
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let key = table.primary_key.join(", ");
    let condition = match &after {
        None => String::new(),
        Some(values) => format!(" WHERE ({key}) > ({})", placeholders(backend, values.len(), 0)),
    };
    let sql = format!(
        "SELECT {} FROM {}{condition} ORDER BY {key} LIMIT {PAGE_ROWS}",
        columns.join(", "),
        table.name
    );
    let statement = Statement::from_sql_and_values(backend, sql, after.unwrap_or_default());
    let rows = transaction.query_all_raw(statement).await;
    rows.map_err(|error| Error::from_db(error, WHAT))
}

/// `?, ?` or `$1, $2`.
pub(super) fn placeholders(backend: DbBackend, count: usize, before: usize) -> String {
    let one = |index: usize| match backend {
        DbBackend::Postgres => format!("${}", before + index + 1),
        _ => "?".to_owned(),
    };
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

/// The open frame.
struct Frames {
    key: FileKey,
    plain: Vec<u8>,
    /// What waits to be written: at first the file's header.
    sealed: Vec<u8>,
    number: u64,
}

impl Frames {
    fn json(&mut self, tag: u8, item: &impl serde::Serialize) -> Result<()> {
        let invalid = |_| Error::Invalid { what: WHAT, reason: "value has no JSON form" };
        let json = serde_json::to_vec(item).map_err(invalid)?;
        self.plain.push(tag);
        self.plain.extend_from_slice(&u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.plain.extend_from_slice(&json);
        Ok(())
    }

    async fn flush(&mut self, out: &mut (impl AsyncWrite + Unpin + Send)) -> Result<()> {
        let context = context(self.number);
        let mut frame = Vec::with_capacity(self.plain.len() + 16);
        self.key
            .seal(self.number, Aad::new(None, DataClass::Record, &context), &self.plain, &mut frame)
            .map_err(|error| Error::from_key(error, WHAT))?;
        self.number += 1;
        self.plain.clear();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.sealed.extend_from_slice(&length.to_le_bytes());
        self.sealed.append(&mut frame);
        out.write_all(&self.sealed).await.map_err(|error| unwritten(&error))?;
        self.sealed.clear();
        Ok(())
    }
}
