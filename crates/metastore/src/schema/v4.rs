//! Version 4 of the schema: activity records that can be filtered and held, security alerts and
//! incidents, support tickets and grants. Published: never edited.

use super::v1::{column, nullable};
use super::{AddedColumns, Category, ColumnDef, ColumnKind, Reference, Rows, TableDef};

const OF_TENANT: Reference = Reference { columns: &["tenant_id"], table: "tenants", keys: &["id"] };
const OF_INCIDENT: Reference = Reference {
    columns: &["tenant_id", "incident_id"],
    table: "incidents",
    keys: &["tenant_id", "id"],
};

const fn id(name: &'static str, category: Category) -> ColumnDef {
    column(name, ColumnKind::Id, category)
}

const fn time(name: &'static str, category: Category) -> ColumnDef {
    column(name, ColumnKind::Time, category)
}

const fn word(name: &'static str, category: Category) -> ColumnDef {
    column(name, ColumnKind::Enum, category)
}

pub(super) const ADDED: &[AddedColumns] = &[
    AddedColumns {
        table: "activity",
        columns: &[
            // Whose act it is: an account, key, device or support grant.
            nullable(id("actor_id", Category::Activity)),
            nullable(word("action", Category::Activity)),
            nullable(word("outcome", Category::Activity)),
        ],
        indexes: &[&["tenant_id", "actor_id", "at"]],
    },
    AddedColumns {
        table: "sessions",
        columns: &[nullable(time("step_up_asked_at", Category::Authentication))],
        indexes: &[],
    },
];

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "activity_holds",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Activity),
            id("tenant_id", Category::Activity),
            word("reason", Category::Activity),
            // What is held and why, as JSON, under the platform's key: the purge has to read it.
            column("body", ColumnKind::Sealed, Category::Activity),
            id("requested_by", Category::Activity),
            time("requested_at", Category::Activity),
            nullable(id("approved_by", Category::Activity)),
            nullable(time("approved_at", Category::Activity)),
            time("expires_at", Category::Activity),
            nullable(time("released_at", Category::Activity)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["expires_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "incidents",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Activity),
            id("tenant_id", Category::Activity),
            word("kind", Category::Activity),
            word("severity", Category::Activity),
            column("title", ColumnKind::Sealed, Category::Activity),
            time("opened_at", Category::Activity),
            nullable(time("closed_at", Category::Activity)),
            column("version", ColumnKind::Integer, Category::Activity),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "opened_at", "id"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "incident_notes",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Activity),
            id("tenant_id", Category::Activity),
            id("incident_id", Category::Activity),
            word("kind", Category::Activity),
            nullable(id("by_user", Category::Activity)),
            time("at", Category::Activity),
            column("text", ColumnKind::Sealed, Category::Activity),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "incident_id", "at"]],
        references: &[OF_INCIDENT],
    },
    TableDef {
        name: "security_alerts",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Alerting),
            id("tenant_id", Category::Alerting),
            id("incident_id", Category::Alerting),
            word("kind", Category::Alerting),
            word("severity", Category::Alerting),
            column("body", ColumnKind::Sealed, Category::Alerting),
            time("raised_at", Category::Alerting),
            nullable(time("acknowledged_at", Category::Alerting)),
            nullable(id("acknowledged_by", Category::Alerting)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "raised_at", "id"]],
        references: &[OF_INCIDENT],
    },
    TableDef {
        name: "support_tickets",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Correspondence),
            id("tenant_id", Category::Correspondence),
            // Subject and text, under the platform's key: who helps has to read them.
            column("body", ColumnKind::Sealed, Category::Correspondence),
            id("opened_by", Category::Correspondence),
            time("opened_at", Category::Correspondence),
            nullable(time("closed_at", Category::Correspondence)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["tenant_id", "opened_at", "id"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "support_grants",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Authentication),
            id("tenant_id", Category::Authentication),
            // None: nobody of the customer asked; two of the staff answer for it.
            nullable(id("ticket_id", Category::Authentication)),
            column("areas", ColumnKind::Integer, Category::Authentication),
            column("reason", ColumnKind::Sealed, Category::Authentication),
            id("requested_by", Category::Authentication),
            time("requested_at", Category::Authentication),
            nullable(id("approved_by", Category::Authentication)),
            nullable(time("granted_at", Category::Authentication)),
            time("expires_at", Category::Authentication),
            nullable(time("revoked_at", Category::Authentication)),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[&["expires_at"]],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "support_sessions",
        rows: Rows::Tenant,
        columns: &[
            id("id", Category::Authentication),
            id("tenant_id", Category::Authentication),
            id("grant_id", Category::Authentication),
            id("user_id", Category::Authentication),
            // The staff member's own session, to go back to.
            id("staff_session_id", Category::Authentication),
            column("token_digest", ColumnKind::Digest, Category::Authentication),
            time("created_at", Category::Authentication),
        ],
        primary_key: &["id"],
        unique: &[&["token_digest"]],
        indexes: &[&["tenant_id", "grant_id"]],
        references: &[Reference {
            columns: &["tenant_id", "grant_id"],
            table: "support_grants",
            keys: &["tenant_id", "id"],
        }],
    },
];
