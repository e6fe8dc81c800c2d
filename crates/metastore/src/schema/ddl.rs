//! Renders the schema for each database. Names come from constants in this crate only, never
//! from input, so that nothing here needs escaping.

use std::fmt::Write;

use super::{AddedColumns, ColumnKind, Rows, TableDef};

/// The two PostgreSQL roles that transactions run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupRoles {
    /// Of tenant transactions; sees one tenant's rows.
    pub(crate) tenant: String,
    /// Of platform transactions.
    pub(crate) platform: String,
}

/// How the group roles of any one database are named.
pub(crate) const GROUP_ROLE_PATTERN: &str = "^veritwin_(tenant|platform)_[0-9]+$";

/// The first schema version whose builds use the database's own group roles.
pub(crate) const OWN_ROLES_SINCE: i64 = 13;

impl GroupRoles {
    /// Those of the database with this number (`pg_database.oid`).
    pub(crate) fn of_database(number: i64) -> Self {
        Self {
            tenant: format!("veritwin_tenant_{number}"),
            platform: format!("veritwin_platform_{number}"),
        }
    }

    /// Those that all databases of a server shared before.
    pub(crate) fn shared() -> Self {
        Self { tenant: "veritwin_tenant".to_owned(), platform: "veritwin_platform".to_owned() }
    }
}

const OWN: &str = "decode(current_setting('veritwin.tenant', true), 'hex')";

/// The statements that create a table and its indexes in SQLite.
pub(crate) fn sqlite_table(table: &TableDef) -> Vec<String> {
    create(table, sqlite_kind, sqlite_length, " STRICT")
}

/// The statements that add columns to a table in SQLite.
pub(crate) fn sqlite_column(added: &AddedColumns) -> Vec<String> {
    add(added, sqlite_kind, sqlite_length)
}

fn sqlite_kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Id | ColumnKind::Digest | ColumnKind::BlindIndex | ColumnKind::Sealed => "BLOB",
        ColumnKind::Enum => "TEXT",
        ColumnKind::Time | ColumnKind::Integer | ColumnKind::Boolean => "INTEGER",
    }
}

fn sqlite_length(name: &str, kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Id => format!(" CHECK (length({name}) = 16)"),
        ColumnKind::Digest | ColumnKind::BlindIndex => format!(" CHECK (length({name}) = 32)"),
        _ => String::new(),
    }
}

/// The statements that create a table and its indexes in PostgreSQL.
pub(crate) fn postgres_table(table: &TableDef) -> Vec<String> {
    create(table, postgres_kind, postgres_length, "")
}

/// The statements that add columns to a table in PostgreSQL.
pub(crate) fn postgres_column(added: &AddedColumns) -> Vec<String> {
    add(added, postgres_kind, postgres_length)
}

fn postgres_kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Id | ColumnKind::Digest | ColumnKind::BlindIndex | ColumnKind::Sealed => {
            "BYTEA"
        }
        ColumnKind::Enum => "TEXT",
        ColumnKind::Time | ColumnKind::Integer => "BIGINT",
        ColumnKind::Boolean => "BOOLEAN",
    }
}

fn postgres_length(name: &str, kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Id => format!(" CHECK (octet_length({name}) = 16)"),
        ColumnKind::Digest | ColumnKind::BlindIndex => {
            format!(" CHECK (octet_length({name}) = 32)")
        }
        _ => String::new(),
    }
}

/// The row-level security of one table and its grants to the two runtime roles. Runs after every
/// table exists, since policies may look into another one.
pub(crate) fn postgres_walls(table: &TableDef, roles: &GroupRoles) -> Vec<String> {
    let (name, GroupRoles { tenant, platform }) = (table.name, roles);
    let mut statements = vec![
        format!("ALTER TABLE {name} ENABLE ROW LEVEL SECURITY"),
        format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY"),
        format!(
            "CREATE POLICY platform_rows ON {name} TO {platform} \
             USING (true) WITH CHECK (true)"
        ),
    ];
    let rows = match table.rows {
        Rows::Tenant => Some(format!("tenant_id = {OWN}")),
        Rows::OwnTenant => Some(format!("id = {OWN}")),
        Rows::Members => Some(format!(
            "EXISTS (SELECT 1 FROM memberships m WHERE m.user_id = {name}.id \
             AND m.tenant_id = {OWN})"
        )),
        Rows::Platform => None,
    };
    if let Some(rows) = rows {
        statements.push(format!(
            "CREATE POLICY tenant_rows ON {name} TO {tenant} USING ({rows}) \
             WITH CHECK ({rows})"
        ));
    }
    statements.extend(postgres_grants(table, roles));
    statements
}

/// What the two runtime roles may do with a table.
pub(crate) fn postgres_grants(table: &TableDef, roles: &GroupRoles) -> Vec<String> {
    let (name, GroupRoles { tenant, platform }) = (table.name, roles);
    let all = "SELECT, INSERT, UPDATE, DELETE";
    let rights = match table.rows {
        Rows::Tenant => Some(all),
        Rows::OwnTenant => Some("SELECT, UPDATE"),
        Rows::Members => Some("SELECT"),
        Rows::Platform => None,
    };
    let mut statements = vec![format!("GRANT {all} ON {name} TO {platform}")];
    statements.extend(rights.map(|rights| format!("GRANT {rights} ON {name} TO {tenant}")));
    statements
}

fn create(
    table: &TableDef,
    kind: impl Fn(ColumnKind) -> &'static str,
    length: impl Fn(&str, ColumnKind) -> String,
    options: &str,
) -> Vec<String> {
    let mut sql = format!("CREATE TABLE {} (", table.name);
    for column in table.columns {
        let null = if column.nullable { "" } else { " NOT NULL" };
        let check = length(column.name, column.kind);
        // Writing to a string cannot fail.
        let _ = write!(sql, "{} {}{null}{check}, ", column.name, kind(column.kind));
    }
    let _ = write!(sql, "PRIMARY KEY ({})", table.primary_key.join(", "));
    for reference in table.references {
        let _ = write!(
            sql,
            ", FOREIGN KEY ({}) REFERENCES {} ({}) ON DELETE CASCADE",
            reference.columns.join(", "),
            reference.table,
            reference.keys.join(", ")
        );
    }
    let _ = write!(sql, "){options}");
    let mut statements = vec![sql];
    statements.extend(table.unique.iter().map(|columns| index("UNIQUE ", table.name, columns)));
    statements.extend(table.indexes.iter().map(|columns| index("", table.name, columns)));
    statements
}

fn add(
    added: &AddedColumns,
    kind: impl Fn(ColumnKind) -> &'static str,
    length: impl Fn(&str, ColumnKind) -> String,
) -> Vec<String> {
    let table = added.table;
    let column = |column: &super::ColumnDef| {
        let (name, check) = (column.name, length(column.name, column.kind));
        format!("ALTER TABLE {table} ADD COLUMN {name} {}{check}", kind(column.kind))
    };
    let mut statements: Vec<String> = added.columns.iter().map(column).collect();
    statements.extend(added.indexes.iter().map(|columns| index("", table, columns)));
    statements
}

fn index(unique: &str, table: &str, columns: &[&str]) -> String {
    let name = format!("{table}_{}", columns.join("_"));
    format!("CREATE {unique}INDEX {name} ON {table} ({})", columns.join(", "))
}
