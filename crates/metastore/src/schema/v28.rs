//! Version 28 of the schema: profiles of devices, with the decoders of their payloads, what each
//! was before, and which device has which. Published: never edited.

use super::v1::{OF_DEVICE, OF_TENANT, column};
use super::{Category, ColumnKind, Reference, Rows, TableDef};

const OF_PROFILE: Reference = Reference {
    columns: &["tenant_id", "profile_id"],
    table: "device_profiles",
    keys: &["tenant_id", "id"],
};

pub(super) const TABLES: &[TableDef] = &[
    TableDef {
        name: "device_profiles",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("id", ColumnKind::Id, Category::DeviceRegistry),
            // Name, decoder, samples, what it is for.
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
            column("updated_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "id"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT],
    },
    TableDef {
        name: "device_profile_versions",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("profile_id", ColumnKind::Id, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            // The profile as it was, and who made it so.
            column("body", ColumnKind::Sealed, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "profile_id", "version"],
        unique: &[],
        indexes: &[],
        references: &[OF_TENANT, OF_PROFILE],
    },
    // A device has at most one profile of its own; without one it has that of its type.
    TableDef {
        name: "device_profile_devices",
        rows: Rows::Tenant,
        columns: &[
            column("tenant_id", ColumnKind::Id, Category::DeviceRegistry),
            column("device_id", ColumnKind::Id, Category::DeviceRegistry),
            column("profile_id", ColumnKind::Id, Category::DeviceRegistry),
            column("version", ColumnKind::Integer, Category::DeviceRegistry),
            column("created_at", ColumnKind::Time, Category::DeviceRegistry),
        ],
        primary_key: &["tenant_id", "device_id"],
        unique: &[],
        indexes: &[&["tenant_id", "profile_id"]],
        references: &[OF_TENANT, OF_DEVICE, OF_PROFILE],
    },
];
