//! What lets devices in by themselves, for the checks that ask for others' things: an authority
//! that is nobody's and a profile whose secret nobody knows. A profile of devices that is off. What
//! is sent to devices: a call that was withdrawn, a package of nothing and a key of an edge that
//! was revoked. A mailing to nobody.

use std::collections::BTreeMap;

use veritwin_domain::{
    AuthorityId, CallId, DeviceId, DeviceProfileId, EdgeKeyId, ImportId, MailingId, OpContext,
    PackageId, ProvisionProfileId,
};
use veritwin_metastore::{
    DeviceAuthority, DeviceProfile, Package, PackageKind, Page, ProvisionProfile,
};

use super::things::found_or_made;
use crate::authorities::{Landing, StoredAuthority};
use crate::calls::withdrawn;
use crate::device_profiles::StoredDeviceProfile;
use crate::edges::revoked;
use crate::imports::cancelled;
use crate::ledger_mail::to_nobody;
use crate::model::{DeviceProfileInput, ProvisionStrategy};
use crate::provisioning::StoredProfile;
use crate::{App, Result};

impl App {
    /// Finds or makes an authority and a profile, both disabled.
    pub(super) async fn probe_provisioning(
        &self,
        context: &OpContext,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let made = self.no_authority(context)?;
        let digests = (self.random_digest(), self.random_digest());
        let known = tx.device_authorities().await?.first().map(|known| known.id);
        let create = tx.device_authority_create(&made, digests);
        let authority = found_or_made(known, made.id, create).await?;
        let made = self.no_profile(context)?;
        let digests = (self.random_digest(), self.random_digest());
        let known = tx.provision_profiles().await?.first().map(|known| known.id);
        let create = tx.provision_profile_create(&made, digests);
        let profile = found_or_made(known, made.id, create).await?;
        let made = no_device_profile(DeviceProfileId::generate(context.at, self.rng()), context)?;
        let known = tx.device_profiles().await?.first().map(|known| known.id);
        let of_devices = found_or_made(known, made.id, tx.device_profile_create(&made)).await?;
        tx.commit().await?;
        things.insert("device_authority", authority.to_string());
        things.insert("device_profile", of_devices.to_string());
        things.insert("provision_profile", profile.to_string());
        Ok(())
    }

    /// Finds or makes a call, a key of an edge, a package, an import and a mailing.
    pub(super) async fn probe_sent(
        &self,
        context: &OpContext,
        device: DeviceId,
        things: &mut BTreeMap<&'static str, String>,
    ) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let made = withdrawn(CallId::generate(context.at, self.rng()), device, context.at)?;
        let known = tx.calls(device, &Page::whole()).await?.items.first().map(|known| known.id);
        let call = found_or_made(known, made.id, tx.call_put(&made)).await?;
        let id = EdgeKeyId::generate(context.at, self.rng());
        let made = revoked(id, device, self.random_digest(), context.at)?;
        let known = tx.edge_keys(device).await?.first().map(|known| known.id);
        let edge_key = found_or_made(known, made.id, tx.edge_key_create(&made)).await?;
        let made = no_package(PackageId::generate(context.at, self.rng()), context);
        let known = tx.packages().await?.first().map(|known| known.id);
        let package = found_or_made(known, made.id, tx.package_create(&made)).await?;
        let made = cancelled(ImportId::generate(context.at, self.rng()), context.at)?;
        let known = tx.imports().await?.first().map(|known| known.id);
        let import = found_or_made(known, made.id, tx.import_create(&made, "probe")).await?;
        let made = to_nobody(MailingId::generate(context.at, self.rng()), context.at)?;
        let known = tx.ledger_mailings().await?.first().map(|known| known.id);
        let mailing = found_or_made(known, made.id, tx.ledger_mailing_create(&made)).await?;
        tx.commit().await?;
        things.insert("mailing", mailing.to_string());
        things.insert("import", import.to_string());
        things.insert("call", call.to_string());
        things.insert("edge_key", edge_key.to_string());
        things.insert("package", package.to_string());
        Ok(())
    }

    fn random_digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng().fill(&mut bytes);
        bytes
    }

    fn no_authority(&self, context: &OpContext) -> Result<DeviceAuthority> {
        let stored = StoredAuthority {
            name: "probe".to_owned(),
            certificate: String::new(),
            subject: String::new(),
            creates: false,
            device_name: "*".to_owned(),
            devices_max: 1,
            landing: Landing::default(),
            revoked: None,
        };
        Ok(DeviceAuthority {
            id: AuthorityId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            valid_until: context.at,
            revocation_until: None,
            made: 0,
            disabled_at: Some(context.at),
            version: 1,
            created_at: context.at,
        })
    }

    fn no_profile(&self, context: &OpContext) -> Result<ProvisionProfile> {
        let stored = StoredProfile {
            name: "probe".to_owned(),
            strategy: ProvisionStrategy::CreateNew.as_str().to_owned(),
            devices_max: 1,
            landing: Landing::default(),
        };
        Ok(ProvisionProfile {
            id: ProvisionProfileId::generate(context.at, self.rng()),
            body: stored.bytes()?,
            made: 0,
            expires_at: None,
            disabled_at: Some(context.at),
            version: 1,
            created_at: context.at,
        })
    }
}

/// It is off, and its decoder gives nothing.
fn no_device_profile(id: DeviceProfileId, context: &OpContext) -> Result<DeviceProfile> {
    let input = DeviceProfileInput { name: "probe".to_owned(), ..DeviceProfileInput::default() };
    Ok(DeviceProfile {
        id,
        body: StoredDeviceProfile::of(input).bytes()?,
        version: 1,
        created_at: context.at,
        updated_at: context.at,
    })
}

/// It has no bytes, and no object that they would be in.
fn no_package(id: PackageId, context: &OpContext) -> Package {
    Package {
        id,
        kind: PackageKind::Firmware,
        title: "probe".to_owned(),
        version: "0".to_owned(),
        checksum_algorithm: "sha256".to_owned(),
        checksum: String::new(),
        object: String::new(),
        bytes: 0,
        created_at: context.at,
    }
}
