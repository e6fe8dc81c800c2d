//! PostgreSQL only: each database has two group roles of its own, since roles belong to the whole
//! server, and nobody connects to it who was not let in. Raises these walls on a new database, on
//! one of an older build, and on one that was copied; looks at them for `doctor`.

use async_recursion::async_recursion as boxed;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement};

use crate::open::{self, Database};
use crate::schema::{self, GroupRoles};
use crate::{Error, Result};

const WHAT: &str = "database walls";

/// A hole in the wall between a database and the others of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WallGap {
    /// Every role of the server may connect.
    AnybodyConnects,
    /// Roles that other databases use as well have rights here: nodes of an older build were
    /// connected when the schema was brought up to date, or the database was copied.
    SharedRoles,
    /// The runtime role may act in so many other databases of this server.
    OtherDatabases(i64),
}

impl WallGap {
    /// Looks at a database as its runtime role. None when it is not PostgreSQL.
    #[boxed]
    pub async fn look(database: &Database) -> Result<Option<Vec<Self>>> {
        let Database::Postgres(postgres) = database else { return Ok(None) };
        let connection = open::postgres(open::postgres_options(&postgres.url)?, 1).await?;
        let gaps = gaps(&connection).await;
        // A failed close changes nothing: the connection is not used again.
        let _ = connection.close().await;
        gaps.map(Some)
    }
}

async fn gaps(connection: &DatabaseConnection) -> Result<Vec<WallGap>> {
    let roles = own(connection).await?;
    let mut gaps = Vec::new();
    if count(connection, PUBLIC_CONNECTS).await? > 0 {
        gaps.push(WallGap::AnybodyConnects);
    }
    if count(connection, &other_policies(&roles)).await? > 0 {
        gaps.push(WallGap::SharedRoles);
    }
    let others = count(connection, &other_databases(&roles)).await?;
    if others > 0 {
        gaps.push(WallGap::OtherDatabases(others));
    }
    Ok(gaps)
}

const PUBLIC_CONNECTS: &str = "SELECT count(*) AS number FROM pg_database d, \
     aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
     WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CONNECT'";

/// Policies that hold for any role but the database's own.
fn other_policies(roles: &GroupRoles) -> String {
    format!(
        "SELECT count(*) AS number FROM pg_policies WHERE schemaname = current_schema() \
         AND (policyname = 'platform_rows' AND roles <> ARRAY['{}']::name[] \
         OR policyname = 'tenant_rows' AND roles <> ARRAY['{}']::name[])",
        roles.platform, roles.tenant
    )
}

fn other_databases(roles: &GroupRoles) -> String {
    let prefix = schema::GROUP_ROLE_PATTERN;
    format!(
        "SELECT count(DISTINCT d.oid) AS number FROM pg_roles r, pg_database d \
         WHERE r.rolname ~ '{prefix}' AND r.rolname NOT IN ('{}', '{}') \
         AND d.oid::text = substring(r.rolname FROM '[0-9]+$') \
         AND pg_has_role(current_user, r.oid, 'MEMBER')",
        roles.tenant, roles.platform
    )
}

/// The names of a database's own group roles. A database keeps its number for its life, under
/// whatever name; a copy of it has another.
pub(crate) async fn own(connection: &impl ConnectionTrait) -> Result<GroupRoles> {
    let sql = "SELECT oid::bigint AS number FROM pg_database WHERE datname = current_database()";
    Ok(GroupRoles::of_database(count(connection, sql).await?))
}

/// The roles that the rows of this database are open to now: its own, or until its schema is
/// brought up to date those that older builds shared.
pub(crate) async fn in_force(connection: &impl ConnectionTrait) -> Result<GroupRoles> {
    let roles = own(connection).await?;
    let sql = format!(
        "SELECT count(*) AS number FROM pg_policies WHERE schemaname = current_schema() \
         AND policyname = 'platform_rows' AND '{}' = ANY (roles)",
        roles.platform
    );
    let is_own = count(connection, &sql).await? > 0;
    Ok(if is_own { roles } else { GroupRoles::shared() })
}

/// Makes the group roles, and lets the runtime role in and nobody else.
pub(crate) async fn prepare(
    transaction: &DatabaseTransaction,
    roles: &GroupRoles,
    runtime_role: Option<&str>,
) -> Result<()> {
    for role in [&roles.tenant, &roles.platform] {
        execute(transaction, &create_role(role)).await?;
    }
    let Some(runtime) = runtime_role else { return Ok(()) };
    for group in [&roles.tenant, &roles.platform] {
        execute(transaction, &grant_role(group, runtime)).await?;
    }
    execute(transaction, &close_door(runtime)).await
}

/// Puts tables of an older build, or of a copied database, behind the database's own roles. While
/// nodes of an older build are connected, the roles that those use go on; then the next run takes
/// them away.
pub(crate) async fn raise(
    transaction: &DatabaseTransaction,
    roles: &GroupRoles,
    version: i64,
) -> Result<()> {
    if count(transaction, &other_policies(roles)).await? == 0 {
        return Ok(());
    }
    let nodes = crate::migrate::older_nodes(transaction, schema::OWN_ROLES_SINCE).await?;
    let keeps_shared = nodes > 0;
    if keeps_shared {
        tracing::warn!(
            nodes,
            "nodes of an older build are connected: the roles that they share with other databases \
             of this server keep their rights here. Replace those nodes, then start again or run \
             `veritwin migrate`"
        );
    }
    execute(transaction, &take_over(roles, keeps_shared)).await?;
    for table in schema::tables_until(version) {
        for grant in schema::postgres_grants(table, roles) {
            execute(transaction, &grant).await?;
        }
    }
    if !keeps_shared {
        let shared = GroupRoles::shared();
        for role in [&shared.tenant, &shared.platform] {
            execute(transaction, &drop_unused_role(role)).await?;
        }
    }
    Ok(())
}

/// Refuses a database whose rows the runtime role does not reach.
pub(crate) async fn check(connection: &DatabaseConnection, roles: &GroupRoles) -> Result<()> {
    let member = format!(
        "SELECT count(*) AS number FROM pg_roles WHERE rolname IN ('{}', '{}') \
         AND pg_has_role(current_user, oid, 'MEMBER')",
        roles.tenant, roles.platform
    );
    let closed = format!(
        "SELECT count(*) AS number FROM pg_policies WHERE schemaname = current_schema() \
         AND policyname = 'platform_rows' AND NOT '{}' = ANY (roles)",
        roles.platform
    );
    if count(connection, &member).await? == 2 && count(connection, &closed).await? == 0 {
        return Ok(());
    }
    Err(Error::Refused(
        "the rows of this database are not open to its own group roles, as after a copy or a \
         restore by other means; run `veritwin migrate` with its owner"
            .to_owned(),
    ))
}

/// Roles belong to the server: an earlier run may have made them.
fn create_role(role: &str) -> String {
    format!(
        "DO $do$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN \
         CREATE ROLE {role} NOLOGIN NOINHERIT; END IF; \
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $do$"
    )
}

fn grant_role(group: &str, member: &str) -> String {
    let (name, text) = (member.replace('"', "\"\""), member.replace('\'', "''"));
    format!(
        "DO $do$ BEGIN IF NOT pg_has_role('{text}', '{group}', 'MEMBER') THEN \
         GRANT {group} TO \"{name}\"; END IF; END $do$"
    )
}

/// Only the database's owner may; `doctor` says when nobody did.
fn close_door(member: &str) -> String {
    let member = member.replace('\'', "''");
    format!(
        "DO $do$ BEGIN IF EXISTS (SELECT 1 FROM pg_database WHERE datname = current_database() \
         AND pg_has_role(datdba, 'USAGE')) THEN \
         IF NOT EXISTS (SELECT 1 FROM pg_database d, \
         aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
         WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' \
         AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = '{member}')) THEN \
         EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), '{member}'); \
         END IF; IF EXISTS ({PUBLIC_CONNECTS} HAVING count(*) > 0) THEN \
         EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END IF; \
         END IF; END $do$"
    )
}

fn take_over(roles: &GroupRoles, keeps_shared: bool) -> String {
    let shared = GroupRoles::shared();
    let to = |own: &str, shared: &str| {
        if keeps_shared { format!("{own}, {shared}") } else { own.to_owned() }
    };
    let kept = if keeps_shared {
        format!("'{}', '{}', ", shared.tenant, shared.platform)
    } else {
        String::new()
    };
    format!(
        "DO $do$ DECLARE one record; other name; BEGIN \
         FOR one IN SELECT tablename, policyname, roles FROM pg_policies \
         WHERE schemaname = current_schema() AND policyname IN ('platform_rows', 'tenant_rows') \
         LOOP EXECUTE format('ALTER POLICY %I ON %I TO %s', one.policyname, one.tablename, \
         CASE one.policyname WHEN 'platform_rows' THEN '{}' ELSE '{}' END); \
         FOREACH other IN ARRAY one.roles LOOP \
         IF other NOT IN ({kept}'{}', '{}') THEN \
         EXECUTE format('REVOKE ALL ON %I FROM %I', one.tablename, other); END IF; \
         END LOOP; END LOOP; END $do$",
        to(&roles.platform, &shared.platform),
        to(&roles.tenant, &shared.tenant),
        roles.tenant,
        roles.platform
    )
}

/// The server refuses while any database of it still needs the role; then it stays.
fn drop_unused_role(role: &str) -> String {
    format!("DO $do$ BEGIN DROP ROLE {role}; EXCEPTION WHEN OTHERS THEN NULL; END $do$")
}

async fn count(connection: &impl ConnectionTrait, sql: &str) -> Result<i64> {
    let failed = |error| Error::from_db(error, WHAT);
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let row = connection.query_one_raw(statement).await.map_err(failed)?;
    row.ok_or(Error::Corrupt { what: WHAT })?.try_get_by("number").map_err(failed)
}

async fn execute(transaction: &DatabaseTransaction, sql: &str) -> Result<()> {
    let done = transaction.execute_unprepared(sql).await;
    done.map(|_| ()).map_err(|error| Error::from_db(error, WHAT))
}
