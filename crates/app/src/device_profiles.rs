//! Profiles of devices: the decoder of their payloads, for which topics and devices it is, and
//! samples to try it on. Every change is a version that can be gone back to.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use veritwin_access::{Action, Kind};
use veritwin_domain::{DeviceId, DeviceProfileId, LimitExceeded, OpContext};
use veritwin_metastore::{DeviceProfile, DeviceProfileVersion, TenantTx};
use veritwin_script::{Decoder, SOURCE_BYTES_MAX};

use crate::activity::actor_text;
use crate::change::Change;
use crate::devices::check_text;
use crate::model::{
    DeviceProfileInput, DeviceProfileVersionView, DeviceProfileView, SamplePayload,
};
use crate::profile_samples::check_samples;
use crate::{App, Error, Result};

/// Most profiles of a tenant.
const DEVICE_PROFILES_MAX: usize = 50;
/// Versions of a profile that are kept.
const PROFILE_VERSIONS_MAX: u64 = 50;
/// Most topic filters of a profile.
const PROFILE_TOPICS_MAX: usize = 16;
/// Longest topic filter, in bytes.
const PROFILE_TOPIC_BYTES_MAX: usize = 256;
/// Most types of a profile.
const PROFILE_TYPES_MAX: usize = 50;
/// Most devices that a profile is given to, or taken from, at once.
const PROFILE_TARGETS_MAX: usize = 1_000;
const NAME_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 1_000;
const TYPE_CHARS_MAX: usize = 255;
/// Where a device publishes its readings.
const TELEMETRY: &str = "v1/devices/me/telemetry";

/// What is kept of a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredDeviceProfile {
    name: String,
    description: String,
    pub(crate) enabled: bool,
    pub(crate) source: String,
    pub(crate) topics: Vec<String>,
    pub(crate) decodes_json: bool,
    pub(crate) device_types: Vec<String>,
    samples: Vec<StoredSample>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredSample {
    name: String,
    format: String,
    data: String,
    topic: String,
    expected: Option<String>,
}

/// What is kept of a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredVersion {
    by: String,
    profile: StoredDeviceProfile,
}

fn damaged() -> Error {
    Error::Internal("a profile of devices is damaged".to_owned())
}

fn to_store(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))
}

impl StoredDeviceProfile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn read(body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|_| damaged())
    }

    pub(crate) fn of(input: DeviceProfileInput) -> Self {
        let samples = input.samples.into_iter().map(|one| StoredSample {
            name: one.name,
            format: one.format,
            data: one.data,
            topic: one.topic,
            expected: one.expected,
        });
        Self {
            name: input.name,
            description: input.description,
            enabled: input.enabled,
            source: input.source,
            topics: input.topics,
            decodes_json: input.decodes_json,
            device_types: input.device_types,
            samples: samples.collect(),
        }
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        to_store(self)
    }

    fn into_input(self) -> DeviceProfileInput {
        let samples = self.samples.into_iter().map(|one| SamplePayload {
            name: one.name,
            format: one.format,
            data: one.data,
            topic: one.topic,
            expected: one.expected,
        });
        DeviceProfileInput {
            name: self.name,
            description: self.description,
            enabled: self.enabled,
            source: self.source,
            topics: self.topics,
            decodes_json: self.decodes_json,
            device_types: self.device_types,
            samples: samples.collect(),
        }
    }
}

/// A profile as a change of it is recorded: the decoder itself is in the versions.
fn recorded(profile: &DeviceProfile) -> Result<Value> {
    let stored = StoredDeviceProfile::read(&profile.body)?;
    Ok(json!({
        "device_profile": profile.id.to_string(),
        "name": stored.name,
        "version": profile.version,
        "enabled": stored.enabled,
        "topics": stored.topics,
        "decodes_json": stored.decodes_json,
        "types": stored.device_types,
        "source_bytes": stored.source.len(),
        "samples": stored.samples.len(),
    }))
}

fn at_most(name: &'static str, max: usize, actual: usize) -> Result<()> {
    if actual > max {
        return Err(Error::Limit(LimitExceeded { name, max, actual }));
    }
    Ok(())
}

fn check_topic(at: &str, filter: &str) -> Result<()> {
    at_most("profile_topic_bytes_max", PROFILE_TOPIC_BYTES_MAX, filter.len())?;
    let levels: Vec<&str> = filter.split('/').collect();
    let is_whole = |(index, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => index + 1 == levels.len(),
        level => !level.contains(['+', '#']),
    };
    if filter.is_empty() || !levels.iter().enumerate().all(is_whole) {
        let detail = "expected a topic filter: + for one level, # for all below, at its end";
        return Err(Error::invalid_at(at, detail));
    }
    let is_platforms = filter.starts_with("v1/") && filter != TELEMETRY;
    if is_platforms || filter.starts_with('$') || filter.starts_with("spBv1.0/") {
        let detail = format!("expected {TELEMETRY} or a topic that is none of the platform's own");
        return Err(Error::invalid_at(at, detail));
    }
    check_text(at, filter, PROFILE_TOPIC_BYTES_MAX)
}

impl App {
    async fn check_profile(&self, context: &OpContext, input: &DeviceProfileInput) -> Result<()> {
        if input.name.trim().is_empty() {
            return Err(Error::invalid_at("name", "needs a name"));
        }
        check_text("name", &input.name, NAME_CHARS_MAX)?;
        at_most("description_chars_max", DESCRIPTION_CHARS_MAX, input.description.chars().count())?;
        self.check_kept("name", &input.name)?;
        self.check_kept("description", &input.description)?;
        at_most("decoder_source_bytes_max", SOURCE_BYTES_MAX, input.source.len())?;
        at_most("profile_topics_max", PROFILE_TOPICS_MAX, input.topics.len())?;
        if input.topics.is_empty() {
            return Err(Error::invalid_at("topics", "needs a topic filter"));
        }
        for (index, filter) in input.topics.iter().enumerate() {
            check_topic(&format!("topics[{index}]"), filter)?;
        }
        at_most("profile_types_max", PROFILE_TYPES_MAX, input.device_types.len())?;
        for (index, kind) in input.device_types.iter().enumerate() {
            let at = format!("device_types[{index}]");
            if kind.trim().is_empty() {
                return Err(Error::invalid_at(at, "needs a type"));
            }
            check_text(&at, kind, TYPE_CHARS_MAX)?;
        }
        check_samples(&input.samples)?;
        let source = input.source.clone();
        let compile = move || Decoder::compile(&source).map(drop);
        match self.0.decoders.work.run(context.tenant, input.source.len(), compile).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::invalid_at("source", error.to_string())),
        }
    }

    fn profile_view(
        &self,
        context: &OpContext,
        profile: &DeviceProfile,
        assigned: &[(DeviceId, DeviceProfileId)],
    ) -> Result<DeviceProfileView> {
        Ok(DeviceProfileView {
            id: profile.id,
            input: StoredDeviceProfile::read(&profile.body)?.into_input(),
            devices: assigned.iter().filter(|(_, id)| *id == profile.id).count() as u64,
            figures: self.0.decoders.figures(context.tenant, profile.id),
            created_at: profile.created_at,
            updated_at: profile.updated_at,
            version: i64::try_from(profile.version).unwrap_or(i64::MAX),
        })
    }

    /// The profiles of devices of the context's tenant.
    #[boxed]
    pub async fn device_profiles(&self, context: &OpContext) -> Result<Vec<DeviceProfileView>> {
        let resource = self.authorize_all(context, Action::DecoderRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let (all, assigned) = (tx.device_profiles().await?, tx.device_profile_devices().await?);
        self.note(context, Action::DecoderRead, &resource, "done");
        all.iter().map(|one| self.profile_view(context, one, &assigned)).collect()
    }

    /// One profile.
    #[boxed]
    pub async fn device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
    ) -> Result<DeviceProfileView> {
        let resource = self.authorize_all(context, Action::DecoderRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let profile = tx.device_profile(id).await?;
        let assigned = tx.device_profile_devices().await?;
        self.note(context, Action::DecoderRead, &resource, "done");
        self.profile_view(context, &profile, &assigned)
    }

    /// Makes a profile, if its decoder compiles.
    #[boxed]
    pub async fn create_device_profile(
        &self,
        context: &OpContext,
        input: DeviceProfileInput,
    ) -> Result<DeviceProfileView> {
        let resource = self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        self.check_profile(context, &input).await?;
        let tx = self.0.store.begin(context).await?;
        let known = tx.device_profiles().await?;
        at_most("device_profiles_max", DEVICE_PROFILES_MAX, known.len() + 1)?;
        check_types(&known, None, &input.device_types)?;
        let profile = DeviceProfile {
            id: DeviceProfileId::generate(context.at, self.rng()),
            body: StoredDeviceProfile::of(input).bytes()?,
            version: 1,
            created_at: context.at,
            updated_at: context.at,
        };
        tx.device_profile_create(&profile).await?;
        keep_version(&tx, context, &profile).await?;
        let change = Change::to(recorded(&profile)?);
        self.record_change(&tx, context, Action::DecoderWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.decoders.changed(context.tenant);
        self.profile_view(context, &profile, &[])
    }

    /// Replaces what is set of a profile; the next payload of its devices is decoded by it.
    #[boxed]
    pub async fn update_device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
        input: DeviceProfileInput,
        if_version: Option<i64>,
    ) -> Result<DeviceProfileView> {
        self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        // What is not there is told before what is wrong with it.
        self.0.store.read(context).await?.device_profile(id).await?;
        self.check_profile(context, &input).await?;
        self.set_device_profile(context, id, StoredDeviceProfile::of(input), if_version).await
    }

    /// Goes back to what a profile was in a version, as a version of its own.
    #[boxed]
    pub async fn restore_device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
        version: i64,
        if_version: Option<i64>,
    ) -> Result<DeviceProfileView> {
        self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        tx.device_profile(id).await?;
        let version = u64::try_from(version).unwrap_or(0);
        let old = tx.device_profile_version(id, version).await?;
        drop(tx);
        let stored: StoredVersion = serde_json::from_slice(&old.body).map_err(|_| damaged())?;
        self.set_device_profile(context, id, stored.profile, if_version).await
    }

    async fn set_device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
        stored: StoredDeviceProfile,
        if_version: Option<i64>,
    ) -> Result<DeviceProfileView> {
        let resource = self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = tx.device_profile(id).await?;
        check_types(&tx.device_profiles().await?, Some(id), &stored.device_types)?;
        let next = DeviceProfile { body: stored.bytes()?, ..before.clone() };
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.device_profile_update(&next, expected).await?;
        let after = tx.device_profile(id).await?;
        keep_version(&tx, context, &after).await?;
        let change = Change::from_to(recorded(&before)?, recorded(&after)?);
        self.record_change(&tx, context, Action::DecoderWrite, &resource, change).await?;
        let assigned = tx.device_profile_devices().await?;
        tx.commit().await?;
        self.0.decoders.changed(context.tenant);
        self.profile_view(context, &after, &assigned)
    }

    /// Deletes a profile with its versions; its devices' payloads are decoded no longer.
    #[boxed]
    pub async fn delete_device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        let before = tx.device_profile(id).await?;
        tx.device_profile_delete(id).await?;
        let change = Change::from(recorded(&before)?);
        self.record_change(&tx, context, Action::DecoderWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.decoders.changed(context.tenant);
        self.0.decoders.forget(context.tenant, id);
        Ok(())
    }

    /// What a profile was, newest first.
    #[boxed]
    pub async fn device_profile_versions(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
    ) -> Result<Vec<DeviceProfileVersionView>> {
        let resource = self.authorize_all(context, Action::DecoderRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        tx.device_profile(id).await?;
        let versions = tx.device_profile_versions(id).await?;
        self.note(context, Action::DecoderRead, &resource, "done");
        versions.iter().map(version_view).collect()
    }

    /// The devices with this profile as their own.
    #[boxed]
    pub async fn device_profile_devices(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
    ) -> Result<Vec<DeviceId>> {
        let resource = self.authorize_all(context, Action::DecoderRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        tx.device_profile(id).await?;
        let all = tx.device_profile_devices().await?;
        self.note(context, Action::DecoderRead, &resource, "done");
        Ok(all.into_iter().filter(|(_, own)| *own == id).map(|(device, _)| device).collect())
    }

    /// Gives devices this profile as their own, or takes it from them; all of them or none.
    #[boxed]
    pub async fn assign_device_profile(
        &self,
        context: &OpContext,
        id: DeviceProfileId,
        (devices, has_it): (&[DeviceId], bool),
    ) -> Result<()> {
        let resource = self.authorize_all(context, Action::DecoderWrite, Kind::Tenant)?;
        at_most("profile_targets_max", PROFILE_TARGETS_MAX, devices.len())?;
        let tx = self.0.store.begin(context).await?;
        let profile = tx.device_profile(id).await?;
        for device in devices {
            tx.device(*device).await?;
            if has_it {
                tx.device_profile_assign(*device, id).await?;
            } else {
                tx.device_profile_unassign(*device, id).await?;
            }
        }
        let listed: Vec<String> = devices.iter().map(DeviceId::to_string).collect();
        let assigned = json!({
            "device_profile": id.to_string(),
            "version": profile.version,
            "devices": listed,
        });
        let change = if has_it { Change::to(assigned) } else { Change::from(assigned) };
        self.record_change(&tx, context, Action::DecoderWrite, &resource, change).await?;
        tx.commit().await?;
        self.0.decoders.changed(context.tenant);
        Ok(())
    }
}

/// A type has one profile at most.
fn check_types(
    known: &[DeviceProfile],
    own: Option<DeviceProfileId>,
    types: &[String],
) -> Result<()> {
    for other in known.iter().filter(|one| Some(one.id) != own) {
        let stored = StoredDeviceProfile::read(&other.body)?;
        if let Some(index) = types.iter().position(|kind| stored.device_types.contains(kind)) {
            let detail = "another profile is that of this type: a type has one at most";
            return Err(Error::invalid_at(format!("device_types[{index}]"), detail));
        }
    }
    Ok(())
}

async fn keep_version(tx: &TenantTx, context: &OpContext, profile: &DeviceProfile) -> Result<()> {
    let stored = StoredVersion {
        by: actor_text(&context.actor.kind),
        profile: StoredDeviceProfile::read(&profile.body)?,
    };
    let (version, body) = (profile.version, to_store(&stored)?);
    let kept_from = version.saturating_sub(PROFILE_VERSIONS_MAX - 1);
    Ok(tx.device_profile_version_add(profile.id, (version, &body), kept_from).await?)
}

fn version_view(version: &DeviceProfileVersion) -> Result<DeviceProfileVersionView> {
    let stored: StoredVersion = serde_json::from_slice(&version.body).map_err(|_| damaged())?;
    Ok(DeviceProfileVersionView {
        version: i64::try_from(version.version).unwrap_or(i64::MAX),
        at: version.created_at,
        by: stored.by,
        input: stored.profile.into_input(),
    })
}
