//! P22: random texts go into the platform by the ways everything goes in, and no file of the data
//! directory holds them in a readable form afterwards, nor an object of a bucket of segments.

use std::collections::BTreeMap;
use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::{
    Declaration, DeviceBatch, DeviceId, Key, OpContext, Quality, Reading, Rng, Role, SiteId, Value,
};
use veritwin_metastore::Page;

use super::run::InApp;
use super::search::{Needles, SEARCH_BYTES_MAX, Searched, search};
use super::search_bucket::search_bucket;
use super::spent::{blocking, read_files};
use super::things::ifc;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::model::{AttributesChange, DeviceInput};
use crate::segments::open_segments;
use crate::{App, Error, Result, Submission};

const PROMISE: u8 = 22;
const VERSION: u32 = 3;
/// What every canary begins with, so that one left behind by a crash can be found and removed.
const PREFIX: &str = "vcanary";
/// Random letters of a canary: 128 bits.
const LETTERS: usize = 32;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_at_rest().await })
}

/// A text that is nowhere else. Letters only, in lower case: no store writes it differently.
pub(super) fn canary(rng: &dyn Rng) -> String {
    let mut bytes = [0u8; LETTERS / 2];
    rng.fill(&mut bytes);
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    PREFIX.chars().chain(nibbles.map(|nibble| char::from(b'a' + nibble))).collect()
}

/// What a round made, to be removed again.
#[derive(Debug, Default)]
struct Made {
    device: Option<DeviceId>,
    twin: Option<SiteId>,
}

impl App {
    async fn check_at_rest(&self) -> Result<ProbeAnswer> {
        let canary = canary(self.rng());
        let needles = Needles::of(&canary);
        if !needles.find_themselves() {
            return Ok(ProbeAnswer::CouldNotRun("the search does not find what is there".into()));
        }
        self.ensure_probe_tenant().await?;
        let identity = self.open_probe_identity(PROBE_TENANT, &canary, Role::Administrator).await?;
        let context = &identity.context;
        self.remove_old_canaries(context).await?;
        let mut made = Made::default();
        let searched = match self.write_canary(context, &canary, &mut made).await {
            Ok(()) => self.search_data(needles).await,
            Err(error) => Err(error),
        };
        let removed = self.remove_canary(context, &made).await;
        self.close_probe_identity(&identity).await?;
        removed?;
        Ok(self.at_rest_answer(&searched?))
    }

    /// Writes the canary as a device's name, kind and unit, as a reading, as attributes of two
    /// scopes and as a twin, and brings all of it to disk.
    async fn write_canary(&self, context: &OpContext, canary: &str, made: &mut Made) -> Result<()> {
        let input = DeviceInput {
            name: canary.to_owned(),
            kind: canary.to_owned(),
            declaration: Declaration::NonPersonal,
            ..DeviceInput::default()
        };
        let (device, token) = self.create_device(context, input).await?;
        made.device = Some(device.id);
        let login = self.login_device(&token, None).await?;
        let key = Key::new(canary).map_err(|error| Error::Internal(error.to_string()))?;
        let value = Value::Text(canary.into());
        let reading = Reading {
            key: key.clone(),
            at: context.at,
            value: value.clone(),
            quality: Quality::Good,
        };
        let batch = DeviceBatch {
            tenant: login.tenant,
            device: login.device,
            credential: login.credential,
            received_at: context.at,
            readings: vec![reading],
        };
        let attributes = Submission::ClientAttributes {
            device: login.device,
            credential: login.credential,
            received_at: context.at,
            entries: vec![(key, value.clone())],
            payload_bytes: 0,
            refusal_recorded: false,
        };
        self.submit(login.tenant, vec![Submission::Readings(batch), attributes]).await?;
        let server = BTreeMap::from([(canary.to_owned(), Some(value))]);
        let change = AttributesChange { shared: BTreeMap::new(), server };
        self.change_attributes(context, device.id, change).await?;
        let file = ifc(canary).into_bytes();
        let twin = self.import_twin(context, Some(canary.to_owned()), file.into()).await?;
        made.twin = Some(twin.twin.id);
        #[cfg(feature = "test-controls")]
        self.leak(canary);
        self.flush_activity().await;
        self.flush_presence().await;
        self.0.engine.flush().await?;
        Ok(())
    }

    pub(super) async fn search_data(&self, needles: Needles) -> Result<Searched> {
        let needles = Arc::new(needles);
        let elsewhere = match open_segments(&self.0.config, &self.0.egress)? {
            Some(store) => search_bucket(&store, &needles).await?,
            None => Searched::default(),
        };
        let root = self.0.config.data.clone();
        let bytes_max = SEARCH_BYTES_MAX.saturating_sub(elsewhere.bytes);
        let task = blocking(move || search(&root, &needles, bytes_max));
        let mut searched = task
            .await
            .map_err(|_| Error::Internal("the search stopped".to_owned()))?
            .map_err(|error| Error::Internal(format!("data directory: {error}")))?;
        searched.files += elsewhere.files;
        searched.bytes += elsewhere.bytes;
        searched.left_out += elsewhere.left_out;
        searched.hit = searched.hit.or(elsewhere.hit);
        read_files(searched.bytes);
        Ok(searched)
    }

    async fn remove_canary(&self, context: &OpContext, made: &Made) -> Result<()> {
        if let Some(device) = made.device {
            self.delete_device(context, device).await?;
        }
        if let Some(twin) = made.twin {
            self.delete_twin(context, twin).await?;
        }
        Ok(())
    }

    /// Removes what a round left that did not reach its end.
    async fn remove_old_canaries(&self, context: &OpContext) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
        let filter = veritwin_metastore::DeviceFilter {
            search: Some(PREFIX.to_owned()),
            twin: None,
            among: None,
        };
        let devices = tx.devices(&filter, &Page::whole()).await?.items;
        let twins = tx.twins(&Page::whole()).await?.items;
        drop(tx);
        for device in devices.iter().filter(|device| device.name.starts_with(PREFIX)) {
            self.delete_device(context, device.id).await?;
        }
        for twin in twins.iter().filter(|twin| twin.name.starts_with(PREFIX)) {
            self.delete_twin(context, twin.id).await?;
        }
        Ok(())
    }

    fn at_rest_answer(&self, searched: &Searched) -> ProbeAnswer {
        let config = &self.0.config;
        let database = if config.database_url.expose() == "sqlite:" {
            "in the data directory"
        } else {
            "on another server, not searched"
        };
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let root_key_is_outside = !config.root_key_dir.starts_with(&config.data);
        let facts = vec![
            fact("bytes searched", searched.bytes.to_string()),
            fact("database", database.to_owned()),
            fact("files searched", searched.files.to_string()),
            fact("files beyond the bound", searched.left_out.to_string()),
            fact("forms searched for", "UTF-8, UTF-16, hexadecimal".to_owned()),
            fact("files that are public by design", searched.public.to_string()),
            fact(
                "root key outside the data directory",
                if root_key_is_outside { "yes" } else { "no" }.to_owned(),
            ),
            fact(
                "written",
                "device, reading, attributes, API key, twin with source and model".to_owned(),
            ),
        ];
        match &searched.hit {
            None => ProbeAnswer::Passed {
                summary: format!(
                    "What was written a moment ago is in none of {} files in clear.",
                    searched.files
                ),
                facts,
            },
            Some(hit) => ProbeAnswer::Failed {
                summary: format!("A stored text can be read in the data directory ({}).", hit.form),
                facts,
                place: hit.place(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_domain::SeededRng;

    #[test]
    fn canaries_differ_and_are_plain_letters() {
        let rng = SeededRng::new(5);
        let (one, other) = (canary(&rng), canary(&rng));
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + LETTERS);
        assert!(one.starts_with(PREFIX) && one.bytes().all(|byte| byte.is_ascii_lowercase()));
    }
}
