//! Firmware and software packages: kept sealed like a building's files, assigned to devices, told
//! to them by shared attributes, and given to them piece by piece.

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use veritwin_access::{Action, Kind, Resource};
use veritwin_domain::{CredentialId, DeviceId, Key, OpContext, PackageId, TenantId, Value};
use veritwin_keys::ChecksumAlgorithm;
use veritwin_metastore::{AttributeScope, Package, PackageKind, TenantTx};

use crate::attributes::{Changes, merge};
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{PackageInput, PackagePiece, PackageTargets, PackageView, PieceWanted};
use crate::tree::over;
use crate::{App, Error, Load, Result};

/// Longest package, in bytes.
pub const PACKAGE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most packages of a tenant.
pub const PACKAGES_MAX: u64 = 200;
/// Bytes of all packages of a tenant.
pub const TENANT_PACKAGES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Most devices that a package is assigned to, or taken from, at once.
pub const PACKAGE_TARGETS_MAX: usize = 1_000;
/// Longest piece of a package that is given out at once, in bytes.
pub const PACKAGE_PIECE_BYTES_MAX: u32 = 512 * 1024;
/// Devices of one transaction.
const TARGETS_AT_ONCE: usize = 50;
const TITLE_CHARS_MAX: usize = 255;
const EXCHANGED: &str =
    "the device is to have another package by now: expected it to be fetched from its first piece";

/// Shared attributes that changed, of devices that are to be told.
pub type Told = Vec<(DeviceId, Vec<(Key, Option<Value>)>)>;

fn kind_of(text: &str) -> Result<PackageKind> {
    PackageKind::parse(text).ok_or_else(|| Error::invalid_at("kind", "firmware or software"))
}

/// A package as it is recorded.
fn recorded(package: &Package) -> serde_json::Value {
    serde_json::json!({
        "kind": package.kind.as_str(),
        "title": package.title,
        "version": package.version,
        "checksum": package.checksum,
        "bytes": package.bytes,
    })
}

/// The package that a device is to have is the one that it asks for.
fn check_wanted(package: &Package, wanted: &PieceWanted) -> Result<()> {
    let is_it = |(title, version): &(String, String)| {
        *title == package.title && *version == package.version
    };
    if wanted.expected.as_ref().is_some_and(|expected| !is_it(expected)) {
        return Err(Error::NotFound("package"));
    }
    // Another one may have the same title and version.
    if wanted.begun.is_some_and(|begun| begun != package.id) {
        return Err(Error::Conflict(EXCHANGED.to_owned()));
    }
    Ok(())
}

/// What a device is told of the package that it is to have; of none, what is no longer so.
fn attributes(kind: PackageKind, package: Option<&Package>) -> Changes {
    let prefix = match kind {
        PackageKind::Firmware => "fw",
        PackageKind::Software => "sw",
    };
    let text = |value: &str| Value::Text(value.into());
    let of = |package: &Package| {
        let bytes = i64::try_from(package.bytes).unwrap_or(i64::MAX);
        [
            text(&package.title),
            text(&package.version),
            text(&format!("{} {}", package.title, package.version)),
            Value::Integer(bytes),
            text(&package.checksum),
            text(&package.checksum_algorithm.to_ascii_uppercase()),
        ]
    };
    let names = ["title", "version", "tag", "size", "checksum", "checksum_algorithm"];
    let values = match package.map(of) {
        Some(values) => values.map(Some),
        None => [const { None }; 6],
    };
    names.iter().zip(values).map(|(name, value)| (format!("{prefix}_{name}"), value)).collect()
}

fn told(changes: &Changes) -> Vec<(Key, Option<Value>)> {
    let pairs = changes.iter();
    pairs.filter_map(|(key, value)| Some((Key::new(key).ok()?, value.clone()))).collect()
}

/// Refuses one more package, of this length, than a tenant may have.
async fn check_room(tx: &TenantTx, more: u64) -> Result<()> {
    let packages = tx.packages().await?;
    let count = packages.len() as u64 + 1;
    if count > PACKAGES_MAX {
        return Err(over("packages_max", PACKAGES_MAX, count));
    }
    let bytes = packages.iter().map(|package| package.bytes).sum::<u64>() + more;
    if bytes > TENANT_PACKAGES_BYTES_MAX {
        return Err(over("tenant_packages_bytes_max", TENANT_PACKAGES_BYTES_MAX, bytes));
    }
    Ok(())
}

async fn view(tx: &TenantTx, package: &Package) -> Result<PackageView> {
    Ok(PackageView {
        id: package.id,
        kind: package.kind.as_str(),
        title: package.title.clone(),
        version: package.version.clone(),
        checksum_algorithm: package.checksum_algorithm.clone(),
        checksum: package.checksum.clone(),
        bytes: package.bytes,
        devices: tx.package_devices_count(package.id).await?,
        created_at: package.created_at,
    })
}

impl App {
    /// Whether the actor may keep packages, before a long one is read.
    pub fn may_write_packages(&self, context: &OpContext) -> Result<()> {
        let all = Resource::all(context.tenant, Kind::Device);
        if self.reach(context, Action::PackageWrite, Kind::Device)?.is_whole() {
            return Ok(());
        }
        let detail = "packages are the whole tenant's: that takes the right in the whole tenant";
        self.note(context, Action::PackageWrite, &all, "refused");
        Err(Error::Forbidden(detail.to_owned()))
    }

    /// Keeps a package; `Conflict` when there is one with this title and version.
    #[boxed]
    pub async fn keep_package(
        &self,
        context: &OpContext,
        input: PackageInput,
        bytes: Bytes,
    ) -> Result<PackageView> {
        self.may_write_packages(context)?;
        let kind = kind_of(&input.kind)?;
        for (field, text) in [("title", &input.title), ("version", &input.version)] {
            if text.trim().is_empty() {
                return Err(Error::invalid_at(field, "needs a text"));
            }
            check_text(field, text, TITLE_CHARS_MAX)?;
            self.check_kept(field, text)?;
        }
        if bytes.is_empty() {
            return Err(Error::invalid("the package is empty"));
        }
        let algorithm = ChecksumAlgorithm::parse(&input.checksum_algorithm)
            .ok_or_else(|| Error::invalid_at("checksum_algorithm", "sha256, sha384 or sha512"))?;
        check_room(&self.0.store.read(context).await?, bytes.len() as u64).await?;
        self.check_storage_for(context.tenant, bytes.len()).await?;
        let (summed, length) = (bytes.clone(), bytes.len() as u64);
        let checksum = tokio::task::spawn_blocking(move || algorithm.of(&summed))
            .await
            .map_err(|_| Error::Internal("the checksum stopped".to_owned()))?;
        if input.checksum.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&checksum)) {
            return Err(Error::invalid_at("checksum", "is not that of the bytes that came"));
        }
        let object = self.put_object(context.tenant, "package", bytes).await?;
        let package = Package {
            id: PackageId::generate(context.at, self.rng()),
            kind,
            title: input.title.trim().to_owned(),
            version: input.version.trim().to_owned(),
            checksum_algorithm: algorithm.as_str().to_owned(),
            checksum,
            object,
            bytes: length,
            created_at: context.at,
        };
        let kept = self.write_package(context, &package).await;
        match &kept {
            Ok(_) => self.twins_stored(context.tenant).await,
            Err(_) => self.delete_objects(vec![package.object]).await,
        }
        kept
    }

    async fn write_package(&self, context: &OpContext, package: &Package) -> Result<PackageView> {
        let tx = self.0.store.begin(context).await?;
        // Others may have been kept while the bytes came.
        check_room(&tx, package.bytes).await?;
        tx.package_create(package).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        let change = Change::to(recorded(package));
        self.record_change(&tx, context, Action::PackageWrite, &resource, change).await?;
        let view = view(&tx, package).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// The tenant's packages, newest first.
    #[boxed]
    pub async fn packages(&self, context: &OpContext) -> Result<Vec<PackageView>> {
        self.reach(context, Action::PackageRead, Kind::Device)?;
        let tx = self.0.store.read(context).await?;
        let mut views = Vec::new();
        for package in tx.packages().await?.iter().rev() {
            views.push(view(&tx, package).await?);
        }
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(context, Action::PackageRead, &resource, "done");
        Ok(views)
    }

    /// The devices that are to have a package, as far as the actor may see them.
    #[boxed]
    pub async fn package_devices(
        &self,
        context: &OpContext,
        id: PackageId,
    ) -> Result<Vec<DeviceId>> {
        let reach = self.reach(context, Action::PackageRead, Kind::Device)?;
        let seen = self.devices_in(context, &reach).await?;
        let tx = self.0.store.read(context).await?;
        tx.package(id).await?;
        let devices = tx.package_devices(id, PACKAGE_TARGETS_MAX as u64).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        self.note(context, Action::PackageRead, &resource, "done");
        let is_seen = |device: &DeviceId| seen.as_ref().is_none_or(|seen| seen.contains(device));
        Ok(devices.into_iter().filter(is_seen).collect())
    }

    /// Deletes a package; `Conflict` while a device is to have it.
    #[boxed]
    pub async fn delete_package(&self, context: &OpContext, id: PackageId) -> Result<()> {
        self.may_write_packages(context)?;
        let tx = self.0.store.begin(context).await?;
        let package = tx.package(id).await?;
        let devices = tx.package_devices_count(id).await?;
        if devices > 0 {
            let detail =
                format!("{devices} devices are to have this package: assign another first");
            return Err(Error::Conflict(detail));
        }
        tx.package_delete(id).await?;
        let resource = Resource::all(context.tenant, Kind::Device);
        let change = Change::from(recorded(&package));
        self.record_change(&tx, context, Action::PackageWrite, &resource, change).await?;
        tx.commit().await?;
        self.delete_objects(vec![package.object]).await;
        self.twins_stored(context.tenant).await;
        Ok(())
    }

    /// Devices are to have a package, or no longer; for how many of them that is new. Some at a
    /// time, so that nobody else waits for all of them; of those, `tell` tells who is connected.
    /// Asked again after a failure it goes on with the others.
    #[boxed]
    pub async fn assign_package(
        &self,
        context: &OpContext,
        id: PackageId,
        (targets, is_assigned): (PackageTargets, bool),
        tell: &(dyn Fn(Told) + Send + Sync),
    ) -> Result<usize> {
        self.reach(context, Action::PackageRead, Kind::Device)?;
        self.0.store.read(context).await?.package(id).await?;
        let devices = self.package_targets(context, targets).await?;
        for device in &devices {
            self.authorize_device(context, Action::DeviceUpdate, *device).await?;
        }
        let mut changed = 0;
        for some in devices.chunks(TARGETS_AT_ONCE) {
            let told = self.assign_some(context, id, (some, is_assigned)).await?;
            changed += told.len();
            tell(told);
        }
        Ok(changed)
    }

    async fn assign_some(
        &self,
        context: &OpContext,
        id: PackageId,
        (devices, is_assigned): (&[DeviceId], bool),
    ) -> Result<Told> {
        let tx = self.0.store.begin(context).await?;
        let package = tx.package(id).await?;
        let changes = attributes(package.kind, is_assigned.then_some(&package));
        let mut all = Told::with_capacity(devices.len());
        for device in devices.iter().copied() {
            tx.device(device).await?;
            let has = tx.package_of(device, package.kind).await?;
            let has_it = has.is_some_and(|has| has.id == id);
            if has_it == is_assigned {
                continue;
            }
            if is_assigned {
                tx.package_assign(device, package.kind, id).await?;
            } else {
                tx.package_unassign(device, package.kind).await?;
            }
            merge(&tx, device, AttributeScope::Shared, changes.clone()).await?;
            let resource = Resource::device(context.tenant, device);
            let what = serde_json::json!({"package": recorded(&package)});
            let change = if is_assigned { Change::to(what) } else { Change::from(what) };
            self.record_change(&tx, context, Action::DeviceUpdate, &resource, change).await?;
            all.push((device, told(&changes)));
        }
        tx.commit().await?;
        for (device, _) in &all {
            self.route_attributes_changed(context.tenant, *device);
        }
        Ok(all)
    }

    /// The devices that are meant, each once.
    async fn package_targets(
        &self,
        context: &OpContext,
        targets: PackageTargets,
    ) -> Result<Vec<DeviceId>> {
        let mut devices = targets.devices;
        if let Some(group) = targets.group {
            let groups = self.0.store.read(context).await?.device_groups().await?;
            let found = groups.into_iter().find(|known| known.id == group);
            devices.extend(found.ok_or(Error::NotFound("group"))?.devices);
        }
        devices.sort_unstable();
        devices.dedup();
        if devices.is_empty() {
            return Err(Error::invalid_at("device_ids", "needs a device, or a group with one"));
        }
        if devices.len() > PACKAGE_TARGETS_MAX {
            let (max, actual) = (PACKAGE_TARGETS_MAX as u64, devices.len() as u64);
            return Err(over("package_targets_max", max, actual));
        }
        Ok(devices)
    }

    /// A piece of the package that a device is to have; empty beyond its end.
    #[boxed]
    pub async fn package_piece(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
        wanted: PieceWanted,
    ) -> Result<PackagePiece> {
        let context = self.device_context(tenant, device, credential);
        self.authorize(&context, Action::AttributeReport, &Resource::device(tenant, device))?;
        let kind = if wanted.is_firmware { PackageKind::Firmware } else { PackageKind::Software };
        let found = self.0.store.read(&context).await?.package_of(device, kind).await?;
        let package = found.ok_or(Error::NotFound("package"))?;
        check_wanted(&package, &wanted)?;
        let piece_bytes = wanted.piece_bytes.map_or(package.bytes, u64::from);
        let start = u64::from(wanted.piece).saturating_mul(piece_bytes).min(package.bytes);
        let end = start.saturating_add(piece_bytes).min(package.bytes);
        let max = u64::from(PACKAGE_PIECE_BYTES_MAX);
        if end - start > max {
            return Err(over("chunk_bytes_max", max, end - start));
        }
        let (bytes, opened) = self.get_object_part(tenant, &package.object, start..end).await?;
        // However little is asked for, a whole chunk of the object may have to be opened for it.
        let readings = u32::try_from(opened / 1024).unwrap_or(u32::MAX);
        self.pace(tenant, Some(device), Load { messages: 0, readings });
        Ok(PackagePiece { package: package.id, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump(id: u8) -> Package {
        Package {
            id: PackageId::from_bytes([id; 16]),
            kind: PackageKind::Software,
            title: "Pump".to_owned(),
            version: "2".to_owned(),
            checksum_algorithm: "sha256".to_owned(),
            checksum: "ab".to_owned(),
            object: String::new(),
            bytes: 7,
            created_at: veritwin_domain::Timestamp::EPOCH,
        }
    }

    #[test]
    fn what_was_begun_with_one_package_does_not_go_on_with_another() {
        let wanted = |version: &str, begun: Option<u8>| PieceWanted {
            is_firmware: false,
            expected: Some(("Pump".to_owned(), version.to_owned())),
            piece_bytes: None,
            piece: 1,
            begun: begun.map(|id| PackageId::from_bytes([id; 16])),
        };
        let check = |package: u8, wanted: &PieceWanted| check_wanted(&pump(package), wanted);
        assert!(check(1, &wanted("2", None)).is_ok());
        assert!(check(1, &wanted("2", Some(1))).is_ok());
        // Deleted and made anew, by the same name.
        assert!(matches!(check(2, &wanted("2", Some(1))), Err(Error::Conflict(_))));
        assert!(matches!(check(1, &wanted("3", Some(1))), Err(Error::NotFound(_))));
    }

    #[test]
    fn a_device_is_told_what_it_is_to_have() {
        let package = pump(1);
        let set = attributes(package.kind, Some(&package));
        assert_eq!(set["sw_tag"], Some(Value::Text("Pump 2".into())));
        assert_eq!(set["sw_checksum_algorithm"], Some(Value::Text("SHA256".into())));
        assert_eq!(set["sw_size"], Some(Value::Integer(7)));
        let gone = attributes(package.kind, None);
        assert!(gone.keys().eq(set.keys()) && gone.values().all(Option::is_none));
    }
}
