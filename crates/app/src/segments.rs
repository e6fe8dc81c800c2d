//! Segments of readings in a bucket in place of a folder of the data directory: opened like
//! everything outside of the machine, by way of the egress register.

use std::path::Path;
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use veritwin_domain::Rng;
use veritwin_keys::KeyService;
use veritwin_outbound::register::{DestinationKind, EgressRegister};
use veritwin_telemetry::{BeforeRequest, BucketConfig, Engine, EngineConfig, open_bucket};

use crate::backup::files::plain_files;
use crate::shipping::place::destination_of;
use crate::{Config, Error, Result};

const PURPOSE: &str = "readings: sealed segments";
/// Where segments are in a data directory, and in every backup.
pub(crate) const SEGMENTS: &str = "objects/segments";
/// What is there of a history in force.
pub(crate) const MANIFESTS: &str = "manifests";
const URL: &str = "objects.url";

/// The bucket that segments are kept in; none where they are in the data directory.
pub(crate) fn open_segments(
    config: &Config,
    egress: &Arc<EgressRegister>,
) -> Result<Option<Arc<dyn ObjectStore>>> {
    let Some(bucket) = &config.segments else { return Ok(None) };
    let here = Path::new(SEGMENTS).join(MANIFESTS);
    if !plain_files(&config.data, &here)?.is_empty() {
        let detail = format!(
            "the data directory has segments of its own in {SEGMENTS}: set it to `file:`, or \
             restore a backup of the platform with this setting"
        );
        return Err(Error::invalid_at(URL, detail));
    }
    open(bucket, egress).map(Some)
}

fn open(bucket: &BucketConfig, egress: &Arc<EgressRegister>) -> Result<Arc<dyn ObjectStore>> {
    let destination = destination_of("objects.s3_endpoint", &bucket.address())?;
    egress.register(destination.clone(), DestinationKind::SubProcessor, PURPOSE);
    let register = Arc::clone(egress);
    let before: BeforeRequest =
        Arc::new(move || register.check(&destination).map_err(|error| error.to_string()));
    open_bucket(bucket, before).map_err(|error| Error::invalid_at(URL, error.to_string()))
}

/// Opens the engine on the bucket, if there is one, or on its part of the data directory.
pub(crate) async fn open_engine(
    config: &Config,
    keys: &KeyService,
    (objects, egress): (&Arc<dyn ObjectStore>, &Arc<EgressRegister>),
    rng: &Arc<dyn Rng>,
) -> Result<Arc<Engine>> {
    let bucket = open_segments(config, egress)?;
    let config = engine_config(config, keys, (objects, bucket.as_ref()), rng);
    Ok(Arc::new(Engine::open(config).await?))
}

fn engine_config(
    config: &Config,
    keys: &KeyService,
    (objects, bucket): (&Arc<dyn ObjectStore>, Option<&Arc<dyn ObjectStore>>),
    rng: &Arc<dyn Rng>,
) -> EngineConfig {
    let folder = || PrefixStore::new(Arc::clone(objects), "segments");
    let store = bucket.map_or_else(|| Arc::new(folder()) as Arc<dyn ObjectStore>, Arc::clone);
    let (clock, rng) = (Arc::clone(&config.clock), Arc::clone(rng));
    let mut engine = EngineConfig::new(store, keys.clone(), clock, rng);
    engine.is_shared = bucket.is_some();
    let bytes_max = config.memory_bytes_max;
    engine.limits.memory_bytes_max = bytes_max;
    engine.limits.series_max = config.latest_max.series;
    engine.limits.latest_bytes_max = config.latest_max.bytes;
    engine.limits.flush_bytes_min = engine.limits.flush_bytes_min.min(bytes_max / 2);
    if config.simulated {
        // Such a clock does not say how long work took.
        engine.limits.flush_core_percent = 100;
        engine.limits.compaction_core_percent = 100;
    }
    engine
}

/// Asks a bucket whether it answers, and changes nothing; true when a history is in it.
#[boxed]
pub async fn ask_segments(bucket: &BucketConfig) -> Result<bool> {
    let store = open(bucket, &Arc::default())?;
    let mut manifests = store.list(Some(&ObjectPath::from(MANIFESTS)));
    let first = manifests.try_next().await;
    first.map(|first| first.is_some()).map_err(failed("list", MANIFESTS))
}

/// What an object store answers, with what was tried on which object.
pub(crate) fn failed(
    action: &'static str,
    name: &str,
) -> impl FnOnce(object_store::Error) -> Error + use<> {
    let name = name.to_owned();
    move |error| Error::invalid_at(URL, format!("cannot {action} {name}: {error}"))
}
