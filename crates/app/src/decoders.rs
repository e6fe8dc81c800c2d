//! Decoders at work: which device has which, as it stands at each moment, compiled and kept. A
//! change of a profile drops what is kept of it, and the next payload is decoded by the new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use veritwin_access::jobs;
use veritwin_domain::{DeviceId, DeviceProfileId, TenantId};
use veritwin_script::{Decoder, Payload, ScriptError, decoded_json};

use crate::decode_work::DecodeWork;
use crate::device_profiles::StoredDeviceProfile;
use crate::model::{
    DecoderFault, DecoderFigures, DecoderRefusal, DecoderRule, NotDecoded, PayloadToDecode,
};
use crate::{App, Result};

/// Most compiled decoders that are kept, of all tenants. Named `decoders_kept_max` in the
/// documents.
const DECODERS_KEPT_MAX: usize = 256;

/// A profile as payloads are judged by it.
#[derive(Debug)]
struct Head {
    id: DeviceProfileId,
    version: u64,
    rule: DecoderRule,
    device_types: Vec<String>,
}

/// The decoders of a tenant: those that are on.
#[derive(Debug, Default)]
pub(crate) struct DecoderBook {
    heads: Vec<Head>,
    /// Devices with a profile of their own; none of one that is off.
    own: HashMap<DeviceId, DeviceProfileId>,
}

impl DecoderBook {
    fn find(&self, id: DeviceProfileId) -> Option<&Head> {
        self.heads.iter().find(|head| head.id == id)
    }

    /// A device's own profile counts, on or off; without one, that of its type.
    fn of_device(&self, device: DeviceId, kind: &str) -> Option<&Head> {
        if let Some(own) = self.own.get(&device) {
            return self.find(*own);
        }
        self.heads.iter().find(|head| head.device_types.iter().any(|one| one == kind))
    }
}

/// What is known of a tenant's decoders.
#[derive(Default)]
struct Known {
    /// Whether there may be any: looked at for every message.
    on: Arc<AtomicBool>,
    changes: u64,
    book: Option<Arc<DecoderBook>>,
    figures: HashMap<DeviceProfileId, DecoderFigures>,
}

/// Whether a rule is for a payload.
pub type DecoderCounts = fn(&DecoderRule, &PayloadToDecode) -> bool;

type CompiledId = (TenantId, DeviceProfileId, u64);

/// Compiled decoders, with the number of their last use.
#[derive(Default)]
struct Compiled {
    uses: u64,
    by_id: BTreeMap<CompiledId, (Arc<Decoder>, u64)>,
}

impl Compiled {
    fn get(&mut self, id: CompiledId) -> Option<Arc<Decoder>> {
        self.uses += 1;
        let (decoder, used) = self.by_id.get_mut(&id)?;
        *used = self.uses;
        Some(Arc::clone(decoder))
    }

    fn put(&mut self, id: CompiledId, decoder: Arc<Decoder>) {
        if self.by_id.len() >= DECODERS_KEPT_MAX {
            self.make_room();
        }
        self.uses += 1;
        self.by_id.insert(id, (decoder, self.uses));
    }

    /// Forgets the one that is unused for longest, of the tenant that has most: who has many loses
    /// its own.
    fn make_room(&mut self) {
        let mut counts: HashMap<TenantId, usize> = HashMap::new();
        for (tenant, ..) in self.by_id.keys() {
            *counts.entry(*tenant).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let of_most = self.by_id.iter().filter(|((tenant, ..), _)| counts[tenant] == most);
        let oldest = of_most.min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.by_id.remove(&oldest);
        }
    }
}

/// The decoders of all tenants.
#[derive(Default)]
pub(crate) struct Decoders {
    known: Mutex<HashMap<TenantId, Known>>,
    compiled: Mutex<Compiled>,
    pub(crate) work: DecodeWork,
}

impl Decoders {
    /// Something changed of a tenant's profiles, or of which device has which.
    pub(crate) fn changed(&self, tenant: TenantId) {
        let mut known = self.known.lock();
        let known = known.entry(tenant).or_default();
        known.changes += 1;
        known.book = None;
        known.on.store(true, Ordering::Relaxed);
    }

    /// What a profile did since the start.
    pub(crate) fn figures(&self, tenant: TenantId, id: DeviceProfileId) -> DecoderFigures {
        let known = self.known.lock();
        let figures = known.get(&tenant).and_then(|known| known.figures.get(&id));
        figures.cloned().unwrap_or_default()
    }

    /// Forgets what a profile did, and its decoders: it is gone.
    pub(crate) fn forget(&self, tenant: TenantId, id: DeviceProfileId) {
        if let Some(known) = self.known.lock().get_mut(&tenant) {
            known.figures.remove(&id);
        }
        self.compiled.lock().by_id.retain(|(of, profile, _), _| (*of, *profile) != (tenant, id));
    }

    fn count(&self, tenant: TenantId, id: DeviceProfileId, refusal: Option<DecoderRefusal>) {
        let mut known = self.known.lock();
        let figures = known.entry(tenant).or_default().figures.entry(id).or_default();
        match refusal {
            None => figures.decoded += 1,
            Some(refusal) => {
                figures.refused += 1;
                figures.last_refusal = Some(refusal);
            }
        }
    }
}

pub(crate) fn fault(error: ScriptError) -> DecoderFault {
    let ScriptError { kind, line, column, detail, thrown } = error;
    DecoderFault { kind: kind.as_str(), line, column, detail, thrown }
}

impl App {
    /// Whether a tenant's devices may have decoders, as it stands whenever it is looked at.
    #[boxed]
    pub async fn decoders_on(&self, tenant: TenantId) -> Arc<AtomicBool> {
        if let Err(error) = self.decoder_book(tenant).await {
            // Nobody is kept out for it: the first payload finds out.
            tracing::warn!(%tenant, %error, "decoders could not be read");
            self.0.decoders.changed(tenant);
        }
        Arc::clone(&self.0.decoders.known.lock().entry(tenant).or_default().on)
    }

    /// Whether a message of a device may have to be decoded, as `counts` says of its rule. Without
    /// waiting: yes when that is not known at once, and [`App::decode_payload`] finds out.
    pub fn may_decode(
        &self,
        tenant: TenantId,
        device: DeviceId,
        counts: impl Fn(&DecoderRule) -> bool,
    ) -> bool {
        let book = self.0.decoders.known.lock().get(&tenant).and_then(|known| known.book.clone());
        let Some(book) = book else { return true };
        if book.heads.is_empty() {
            return false;
        }
        let Ok(devices) = self.0.directory.get(tenant) else { return true };
        let kind = devices.get(device).map_or("", |device| device.kind.as_str());
        book.of_device(device, kind).is_some_and(|head| counts(&head.rule))
    }

    /// The readings of a payload, in JSON as a device would write them; none if the device has no
    /// decoder, or `counts` says that its rule is not for this payload.
    #[boxed]
    pub async fn decode_payload(
        &self,
        tenant: TenantId,
        device: DeviceId,
        payload: PayloadToDecode,
        counts: DecoderCounts,
    ) -> std::result::Result<Option<String>, NotDecoded> {
        let found = self.decoder_of(tenant, device, &payload, counts).await;
        let Some((id, version)) = found.map_err(NotDecoded::Failed)? else { return Ok(None) };
        let decoder = self.compiled_decoder(tenant, id, version).await;
        let run = match decoder.map_err(NotDecoded::Failed)? {
            Ok(decoder) => {
                let bytes = payload.bytes.len();
                let work = move || {
                    let PayloadToDecode { topic, content_type, meta, bytes } = &payload;
                    let payload = Payload { bytes, topic, content_type, meta };
                    decoder.run(&payload).map(|decoded| decoded_json(&decoded))
                };
                let run = self.0.decoders.work.run(tenant, bytes, work).await;
                run.map_err(NotDecoded::Failed)?
            }
            Err(error) => Err(error),
        };
        let refusal = run.as_ref().err().map(|error| DecoderRefusal {
            at: self.clock().now(),
            device,
            detail: error.to_string(),
        });
        let outcome = if refusal.is_some() { "refused" } else { "decoded" };
        metrics::counter!("veritwin_payloads_decoded_total", "outcome" => outcome).increment(1);
        self.0.decoders.count(tenant, id, refusal);
        run.map(Some).map_err(|error| NotDecoded::Refused(fault(error)))
    }

    /// The profile for a payload of a device, and its version.
    async fn decoder_of(
        &self,
        tenant: TenantId,
        device: DeviceId,
        payload: &PayloadToDecode,
        counts: DecoderCounts,
    ) -> Result<Option<(DeviceProfileId, u64)>> {
        let book = self.decoder_book(tenant).await?;
        if book.heads.is_empty() {
            return Ok(None);
        }
        let devices = self.tenant_devices(&self.job_in(jobs::INGEST, tenant)).await?;
        let kind = devices.get(device).map_or("", |device| device.kind.as_str());
        let head = book.of_device(device, kind).filter(|head| counts(&head.rule, payload));
        Ok(head.map(|head| (head.id, head.version)))
    }

    /// The decoders of a tenant that are on.
    async fn decoder_book(&self, tenant: TenantId) -> Result<Arc<DecoderBook>> {
        let changes = {
            let mut known = self.0.decoders.known.lock();
            let known = known.entry(tenant).or_default();
            if let Some(book) = &known.book {
                return Ok(Arc::clone(book));
            }
            known.changes
        };
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let mut book = DecoderBook::default();
        for profile in tx.device_profiles().await? {
            let Ok(stored) = StoredDeviceProfile::read(&profile.body) else {
                tracing::warn!(%tenant, profile = %profile.id, "a profile of devices is damaged");
                continue;
            };
            if stored.enabled {
                book.heads.push(Head {
                    id: profile.id,
                    version: profile.version,
                    rule: DecoderRule { topics: stored.topics, decodes_json: stored.decodes_json },
                    device_types: stored.device_types,
                });
            }
        }
        if !book.heads.is_empty() {
            book.own = tx.device_profile_devices().await?.into_iter().collect();
        }
        drop(tx);
        let book = Arc::new(book);
        let mut known = self.0.decoders.known.lock();
        let known = known.entry(tenant).or_default();
        // What was read before a change is not kept after it.
        if known.changes == changes {
            known.on.store(!book.heads.is_empty(), Ordering::Relaxed);
            known.book = Some(Arc::clone(&book));
        }
        Ok(book)
    }

    /// A compiled decoder. One that does not compile any more refuses every payload.
    async fn compiled_decoder(
        &self,
        tenant: TenantId,
        id: DeviceProfileId,
        version: u64,
    ) -> Result<std::result::Result<Arc<Decoder>, ScriptError>> {
        let key = (tenant, id, version);
        if let Some(decoder) = self.0.decoders.compiled.lock().get(key) {
            return Ok(Ok(decoder));
        }
        let tx = self.0.store.read(&self.job_in(jobs::INGEST, tenant)).await?;
        let profile = tx.device_profile(id).await?;
        drop(tx);
        let source = StoredDeviceProfile::read(&profile.body)?.source;
        let (bytes, compile) = (source.len(), move || Decoder::compile(&source));
        let compiled = self.0.decoders.work.run(tenant, bytes, compile).await?;
        Ok(compiled.map(|decoder| {
            let decoder = Arc::new(decoder);
            let key = (tenant, id, profile.version);
            self.0.decoders.compiled.lock().put(key, Arc::clone(&decoder));
            decoder
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_many_decoders_loses_its_own() {
        let (many, few) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
        let decoder = Arc::new(Decoder::compile("#{}").unwrap());
        let id = |tenant, version| (tenant, DeviceProfileId::from_bytes([3; 16]), version);
        let mut compiled = Compiled::default();
        compiled.put(id(few, 1), Arc::clone(&decoder));
        let room = u64::try_from(DECODERS_KEPT_MAX).unwrap();
        for version in 1..=room + 5 {
            compiled.put(id(many, version), Arc::clone(&decoder));
        }
        assert_eq!(compiled.by_id.len(), DECODERS_KEPT_MAX);
        assert!(compiled.get(id(few, 1)).is_some());
        assert!(compiled.get(id(many, 6)).is_none());
        assert!(compiled.get(id(many, room + 5)).is_some());
    }
}
