//! What the tables look like, as data. Both databases' DDL, the row-level security, the data
//! category inventory and `tidy`'s check all come from here; there is no column outside it.

mod contract;
mod ddl;
mod v1;
mod v10;
mod v11;
mod v12;
mod v13;
mod v14;
mod v15;
mod v17;
mod v19;
mod v2;
mod v20;
mod v21;
mod v22;
mod v23;
mod v24;
mod v25;
mod v26;
mod v27;
mod v28;
mod v29;
mod v3;
mod v30;
mod v31;
mod v34;
mod v35;
mod v36;
mod v4;
mod v40;
mod v41;
mod v43;
mod v44;
mod v45;
mod v46;
mod v47;
mod v48;
mod v49;
mod v50;
mod v6;
mod v7;
mod v9;

pub(crate) use contract::{CONTRACTIONS, Contraction, contraction_statements};
pub(crate) use ddl::{
    GROUP_ROLE_PATTERN, GroupRoles, OWN_ROLES_SINCE, postgres_column, postgres_grants,
    postgres_table, postgres_walls, sqlite_column, sqlite_table,
};

/// What a column may hold. There is no kind for readable text: words are enums, everything a
/// person or customer wrote is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// 16 bytes: an entity's id.
    Id,
    /// 32 bytes: SHA-256 of a random token.
    Digest,
    /// 32 bytes: HMAC-SHA-256 of a normalised value under a platform key.
    BlindIndex,
    /// Text out of a list or form fixed in code: states, roles, names of consumers and settings.
    Enum,
    /// Bytes sealed by the `keys` crate.
    Sealed,
    /// Microseconds since the epoch.
    Time,
    /// 64-bit number.
    Integer,
    /// True or false.
    Boolean,
}

impl ColumnKind {
    /// The name used in documents and checks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Digest => "digest",
            Self::BlindIndex => "blind_index",
            Self::Enum => "enum",
            Self::Sealed => "sealed",
            Self::Time => "time",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
        }
    }
}

/// The category of data a column belongs to: the closed list that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Accounts: e-mail, name, roles.
    Account,
    /// Passwords' hashes, sessions, keys and device credentials.
    Authentication,
    /// Organisation and its settings.
    Organisation,
    /// Devices, their attributes and placement.
    DeviceRegistry,
    /// Twins.
    Twin,
    /// Rules and alerts.
    Alerting,
    /// Activity records.
    Activity,
    /// Promise checks and their evidence.
    Evidence,
    /// Outgoing mail.
    Correspondence,
    /// Positions, versions, clocks: nothing about a person.
    Operation,
}

impl Category {
    /// The name used in documents and checks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Authentication => "authentication",
            Self::Organisation => "organisation",
            Self::DeviceRegistry => "device_registry",
            Self::Twin => "twin",
            Self::Alerting => "alerting",
            Self::Activity => "activity",
            Self::Evidence => "evidence",
            Self::Correspondence => "correspondence",
            Self::Operation => "operation",
        }
    }
}

/// One column of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub column: &'static str,
    /// What it may hold.
    pub kind: ColumnKind,
    /// Whether it may be empty.
    pub nullable: bool,
    /// The category of its data.
    pub category: Category,
}

/// Every column there is.
pub fn columns() -> Vec<Column> {
    columns_at(VERSION)
        .into_iter()
        .map(|(table, column)| Column {
            table,
            column: column.name,
            kind: column.kind,
            nullable: column.nullable,
            category: column.category,
        })
        .collect()
}

/// The columns of a schema version, table after table in the order they were made.
pub(crate) fn columns_at(version: i64) -> Vec<(&'static str, &'static ColumnDef)> {
    let steps = || MIGRATIONS.iter().filter(move |step| step.version <= version);
    let gone = |table: &str, column: &str| {
        let steps = CONTRACTIONS.iter().filter(|step| step.version <= version);
        steps.flat_map(|step| step.dropped).any(|dropped| *dropped == (table, column))
    };
    let mut all = Vec::new();
    for table in steps().flat_map(|step| step.tables) {
        let later = steps().flat_map(|step| step.added).filter(|added| added.table == table.name);
        let columns = table.columns.iter().chain(later.flat_map(|added| added.columns));
        all.extend(
            columns
                .filter(|column| !gone(table.name, column.name))
                .map(|column| (table.name, column)),
        );
    }
    all
}

/// The tables that there are at a schema version.
pub(crate) fn tables_until(version: i64) -> impl Iterator<Item = &'static TableDef> {
    let steps = MIGRATIONS.iter().filter(move |step| step.version <= version);
    steps.flat_map(|step| step.tables)
}

pub(crate) fn tables() -> impl Iterator<Item = &'static TableDef> {
    MIGRATIONS.iter().flat_map(|migration| migration.tables)
}

/// The newest schema version.
pub(crate) const VERSION: i64 = {
    let expanded = MIGRATIONS[MIGRATIONS.len() - 1].version;
    let contracted = match CONTRACTIONS {
        [.., last] => last.version,
        [] => 0,
    };
    if contracted > expanded { contracted } else { expanded }
};

/// A step of the schema. A published step is never edited; a change is a new step.
pub(crate) struct Migration {
    pub(crate) version: i64,
    pub(crate) tables: &'static [TableDef],
    /// Columns that tables of earlier steps get. They are nullable: rows of before have none, and
    /// a build of before goes on writing rows without them.
    pub(crate) added: &'static [AddedColumns],
}

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, tables: v1::TABLES, added: &[] },
    Migration { version: 2, tables: v2::TABLES, added: v2::ADDED },
    Migration { version: 3, tables: v3::TABLES, added: v3::ADDED },
    Migration { version: 4, tables: v4::TABLES, added: v4::ADDED },
    Migration { version: 6, tables: v6::TABLES, added: v6::ADDED },
    Migration { version: 7, tables: v7::TABLES, added: v7::ADDED },
    Migration { version: 9, tables: v9::TABLES, added: v9::ADDED },
    Migration { version: 10, tables: v10::TABLES, added: &[] },
    Migration { version: 11, tables: &[], added: v11::ADDED },
    Migration { version: 12, tables: &[], added: v12::ADDED },
    Migration { version: 13, tables: v13::TABLES, added: &[] },
    Migration { version: 14, tables: &[], added: v14::ADDED },
    Migration { version: 15, tables: v15::TABLES, added: v15::ADDED },
    Migration { version: 17, tables: &[], added: v17::ADDED },
    Migration { version: 19, tables: v19::TABLES, added: &[] },
    Migration { version: 20, tables: &[], added: v20::ADDED },
    Migration { version: 21, tables: v21::TABLES, added: &[] },
    Migration { version: 22, tables: v22::TABLES, added: &[] },
    Migration { version: 23, tables: &[], added: v23::ADDED },
    Migration { version: 24, tables: v24::TABLES, added: v24::ADDED },
    Migration { version: 25, tables: v25::TABLES, added: v25::ADDED },
    Migration { version: 26, tables: v26::TABLES, added: &[] },
    Migration { version: 27, tables: v27::TABLES, added: &[] },
    Migration { version: 28, tables: v28::TABLES, added: &[] },
    Migration { version: 29, tables: v29::TABLES, added: &[] },
    Migration { version: 30, tables: &[], added: v30::ADDED },
    Migration { version: 31, tables: v31::TABLES, added: &[] },
    Migration { version: 34, tables: v34::TABLES, added: &[] },
    Migration { version: 35, tables: v35::TABLES, added: &[] },
    Migration { version: 36, tables: v36::TABLES, added: &[] },
    Migration { version: 40, tables: v40::TABLES, added: &[] },
    Migration { version: 41, tables: v41::TABLES, added: &[] },
    Migration { version: 43, tables: v43::TABLES, added: &[] },
    Migration { version: 44, tables: v44::TABLES, added: &[] },
    Migration { version: 45, tables: v45::TABLES, added: &[] },
    Migration { version: 46, tables: v46::TABLES, added: &[] },
    Migration { version: 47, tables: v47::TABLES, added: &[] },
    Migration { version: 48, tables: v48::TABLES, added: &[] },
    Migration { version: 49, tables: &[], added: v49::ADDED },
    Migration { version: 50, tables: &[], added: v50::ADDED },
];

/// Steps stand in the order of their versions: the last is the newest, and a table's columns have
/// one order in every copy.
const _: () = {
    let mut place = 1;
    while place < MIGRATIONS.len() {
        assert!(MIGRATIONS[place - 1].version < MIGRATIONS[place].version);
        place += 1;
    }
};

/// Columns added to a table of an earlier step, with indexes over it.
pub(crate) struct AddedColumns {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [ColumnDef],
    pub(crate) indexes: &'static [&'static [&'static str]],
}

/// Who may see the rows of a table inside a tenant's transaction (PostgreSQL policies).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// Rows whose `tenant_id` is the tenant's. Rows without a tenant belong to the platform.
    Tenant,
    /// The row whose `id` is the tenant.
    OwnTenant,
    /// Accounts that are members of the tenant; read only.
    Members,
    /// None: the platform's own.
    Platform,
}

pub(crate) struct TableDef {
    pub(crate) name: &'static str,
    pub(crate) rows: Rows,
    pub(crate) columns: &'static [ColumnDef],
    pub(crate) primary_key: &'static [&'static str],
    pub(crate) unique: &'static [&'static [&'static str]],
    pub(crate) indexes: &'static [&'static [&'static str]],
    pub(crate) references: &'static [Reference],
}

pub(crate) struct ColumnDef {
    pub(crate) name: &'static str,
    pub(crate) kind: ColumnKind,
    pub(crate) nullable: bool,
    pub(crate) category: Category,
}

/// A foreign key; rows go with what they refer to.
pub(crate) struct Reference {
    pub(crate) columns: &'static [&'static str],
    pub(crate) table: &'static str,
    pub(crate) keys: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_in_their_order() {
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].version < pair[1].version));
    }

    #[test]
    fn added_columns_are_nullable_and_new() {
        let mut seen = std::collections::HashSet::new();
        for column in columns() {
            assert!(seen.insert((column.table, column.column)), "{column:?}");
        }
        for added in MIGRATIONS.iter().flat_map(|migration| migration.added) {
            assert!(tables().any(|table| table.name == added.table), "{}", added.table);
            assert!(added.columns.iter().all(|column| column.nullable), "{}", added.table);
        }
    }

    #[test]
    fn tenant_tables_carry_the_tenant_first_and_names_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for table in tables() {
            assert!(seen.insert(table.name), "{}", table.name);
            if table.rows == Rows::Tenant {
                let column = table.columns.iter().find(|column| column.name == "tenant_id");
                assert!(column.is_some(), "{}", table.name);
            }
            for key in table.primary_key.iter().chain(table.unique.iter().copied().flatten()) {
                assert!(table.columns.iter().any(|column| column.name == *key), "{key}");
            }
        }
    }
}
