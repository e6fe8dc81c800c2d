//! The edge's own directory: who it is, its keys, its certificate and its files. What is made here
//! is made once, by `init`; a run never makes another identity in place of a lost one.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use veritwin_domain::{Clock, DeviceId, Rng, TenantId};
use veritwin_keys::{
    Aad, DataClass, DekScope, KeyService, PlatformFile, SigningKey, open_value, seal_value,
    sealed_dek_id,
};

use super::journal::STATEMENTS_FILE;
use super::{EdgeConfig, EdgeError};

pub(super) const CERTIFICATE_FILE: &str = "certificate.pem";
const CERTIFICATE_KEY_FILE: &str = "certificate.key.sealed";
const IDENTITY_FILE: &str = "edge.json";
const SIGNING_KEY_FILE: &str = "edge.key.sealed";
const SIGNING_AAD: &[u8] = b"veritwin edge signing key v1";
const CERTIFICATE_AAD: &[u8] = b"veritwin edge certificate key v1";

/// Room that is kept for a start on a disk that is full: a log cannot be opened without any.
const RESERVE_FILE: &str = "reserve";
const RESERVE_BYTES: usize = 1024 * 1024;

/// Who the edge is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    v: u8,
    /// Under which its own log is sealed; nobody else knows it.
    pub(super) tenant: TenantId,
    /// The device that it is on the platform.
    pub(super) gateway: DeviceId,
    /// Its public key, in hexadecimal.
    pub(super) public_key: String,
    /// What its certificate is for.
    names: Vec<String>,
}

/// An opened directory.
pub(super) struct Place {
    pub(super) directory: PathBuf,
    pub(super) identity: Identity,
    pub(super) keys: KeyService,
    pub(super) signing: SigningKey,
}

/// Writes a file whole, for its owner only: synced under another name, then renamed.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), EdgeError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) => std::fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(EdgeError::io(path.display()))
}

/// Sees to it that there is room for the next start. Where there is none now, later.
pub(super) fn keep_reserve(directory: &Path) {
    let path = directory.join(RESERVE_FILE);
    if path.exists() {
        return;
    }
    if let Err(error) = write(&path, &vec![0u8; RESERVE_BYTES]) {
        tracing::debug!(%error, "no room is kept for the next start");
        // What came of it would only take more room; where nothing did, there is nothing to remove.
        let _removed = std::fs::remove_file(path.with_extension("tmp"));
    }
}

/// Gives the room free in which the edge starts.
pub(super) fn use_reserve(directory: &Path) {
    match std::fs::remove_file(directory.join(RESERVE_FILE)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the room that was kept for a start is not given free");
        }
        _ => {}
    }
}

/// Reads a JSON file; none when it is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EdgeError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EdgeError::io(path.display())(error)),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| EdgeError::Damaged(format!("{}: {error}", path.display())))
}

/// Writes a JSON file whole.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), EdgeError> {
    let bytes = serde_json::to_vec(value).map_err(|error| EdgeError::Damaged(error.to_string()))?;
    write(path, &bytes)
}

/// Makes directory, keys and certificate, and answers the public key. An edge that is there already
/// stays the same; under other names it gets another certificate.
pub(super) fn init(
    config: &EdgeConfig,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<Identity, EdgeError> {
    let directory = &config.directory;
    if let Some(known) = read_json::<Identity>(&directory.join(IDENTITY_FILE))? {
        return renamed(checked(known, config)?, config, (clock, rng));
    }
    if directory.join(STATEMENTS_FILE).exists() {
        let detail = format!(
            "{} holds what an edge has stated, but its {IDENTITY_FILE} is lost: put that back, or \
             make another edge in a directory of its own",
            directory.display()
        );
        return Err(EdgeError::Damaged(detail));
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(EdgeError::io(directory.display()))?;
    let root = PlatformFile::open_or_create(&config.root_key, Arc::clone(rng))?;
    let keys = open_keys(Box::new(root), directory, clock, rng)?;
    let tenant = TenantId::generate(clock.now(), rng.as_ref());
    keys.create_tenant(tenant)?;
    let dek = keys.dek(&DekScope::platform(DataClass::Ledger))?;
    let signing = SigningKey::generate(rng.as_ref());
    let aad = Aad::new(None, DataClass::Ledger, SIGNING_AAD);
    write(&directory.join(SIGNING_KEY_FILE), &signing.seal(&dek, aad)?)?;
    make_certificate(config, &keys)?;
    let identity = Identity {
        v: 1,
        tenant,
        gateway: config.gateway,
        public_key: hex::encode(signing.public_bytes()),
        names: config.names.clone(),
    };
    // The last file: without it there is no edge yet.
    write_json(&directory.join(IDENTITY_FILE), &identity)?;
    Ok(identity)
}

/// The same edge, with a certificate for the names that are configured now.
fn renamed(
    known: Identity,
    config: &EdgeConfig,
    (clock, rng): (&Arc<dyn Clock>, &Arc<dyn Rng>),
) -> Result<Identity, EdgeError> {
    if known.names == config.names {
        return Ok(known);
    }
    let root = PlatformFile::open(&config.root_key, Arc::clone(rng))?;
    let keys = open_keys(Box::new(root), &config.directory, clock, rng)?;
    make_certificate(config, &keys)?;
    let identity = Identity { names: config.names.clone(), ..known };
    // Behind the certificate: until then it is made again.
    write_json(&config.directory.join(IDENTITY_FILE), &identity)?;
    Ok(identity)
}

fn checked(identity: Identity, config: &EdgeConfig) -> Result<Identity, EdgeError> {
    if identity.gateway == config.gateway {
        return Ok(identity);
    }
    Err(EdgeError::Configuration(format!(
        "{} is the edge of gateway {}, not of {}: another edge needs a directory of its own",
        config.directory.display(),
        identity.gateway,
        config.gateway
    )))
}

fn open_keys(
    root: Box<PlatformFile>,
    directory: &Path,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
) -> Result<KeyService, EdgeError> {
    let keyring = directory.join("keyring");
    Ok(KeyService::open(root, &keyring, Arc::clone(clock), Arc::clone(rng))?)
}

impl Place {
    /// Opens what `init` has made.
    pub(super) fn open(
        config: &EdgeConfig,
        clock: &Arc<dyn Clock>,
        rng: &Arc<dyn Rng>,
    ) -> Result<Self, EdgeError> {
        let directory = config.directory.clone();
        let identity = identity(config)?;
        let root = PlatformFile::open(&config.root_key, Arc::clone(rng))?;
        let keys = open_keys(Box::new(root), &directory, clock, rng)?;
        let path = directory.join(SIGNING_KEY_FILE);
        let sealed = std::fs::read(&path).map_err(EdgeError::io(path.display()))?;
        let dek = keys.dek_by_id(sealed_dek_id(&sealed)?)?;
        let aad = Aad::new(None, DataClass::Ledger, SIGNING_AAD);
        let signing = SigningKey::from_sealed(&dek, aad, &sealed)?;
        Ok(Self { directory, identity, keys, signing })
    }

    /// TLS for local devices.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, EdgeError> {
        let bad = |error: &dyn std::fmt::Display| EdgeError::Certificate(error.to_string());
        let path = self.directory.join(CERTIFICATE_FILE);
        let pem = std::fs::read(&path).map_err(EdgeError::io(path.display()))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| bad(&error))?;
        let path = self.directory.join(CERTIFICATE_KEY_FILE);
        let sealed = std::fs::read(&path).map_err(EdgeError::io(path.display()))?;
        let dek = self.keys.dek_by_id(sealed_dek_id(&sealed)?)?;
        let key = open_value(&dek, Aad::new(None, DataClass::Archive, CERTIFICATE_AAD), &sealed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| bad(&error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad(&error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Who the edge in the configured directory is.
pub(super) fn identity(config: &EdgeConfig) -> Result<Identity, EdgeError> {
    let path = config.directory.join(IDENTITY_FILE);
    let found = read_json::<Identity>(&path)?.ok_or_else(|| {
        EdgeError::Configuration(format!(
            "there is no edge in {}: make it with veritwin edge init",
            config.directory.display()
        ))
    })?;
    checked(found, config)
}

/// A self-signed certificate for local devices, its key sealed.
fn make_certificate(config: &EdgeConfig, keys: &KeyService) -> Result<(), EdgeError> {
    let bad = |error: rcgen::Error| EdgeError::Certificate(error.to_string());
    let mut params = CertificateParams::new(config.names.clone()).map_err(bad)?;
    params.distinguished_name.push(DnType::CommonName, "Veritwin edge");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(bad)?;
    let certificate = params.self_signed(&key).map_err(bad)?;
    let dek = keys.dek(&DekScope::platform(DataClass::Archive))?;
    let aad = Aad::new(None, DataClass::Archive, CERTIFICATE_AAD);
    let sealed = seal_value(&dek, aad, key.serialized_der())?;
    write(&config.directory.join(CERTIFICATE_KEY_FILE), &sealed)?;
    write(&config.directory.join(CERTIFICATE_FILE), certificate.pem().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use veritwin_domain::{ManualClock, Timestamp};
    use veritwin_keys::SystemRng;

    use super::super::WhenFull;
    use super::*;

    fn config(place: &Path, name: &str) -> EdgeConfig {
        EdgeConfig {
            directory: place.join("edge"),
            root_key: place.join("root.key"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            listen_http: None,
            names: vec![name.to_owned()],
            platform: "https://twin.example".to_owned(),
            platform_ca: None,
            platform_mqtt: None,
            gateway: DeviceId::from_bytes([1; 16]),
            disk_bytes_max: 1 << 30,
            when_full: WhenFull::Refuse,
            batch_age: Duration::from_secs(10),
            batch_bytes_max: 1 << 20,
            zone: None,
        }
    }

    #[test]
    fn room_is_kept_for_a_start() {
        let place = tempfile::tempdir().expect("folder");
        let reserve = place.path().join(RESERVE_FILE);
        use_reserve(place.path());
        keep_reserve(place.path());
        assert_eq!(std::fs::metadata(&reserve).expect("kept").len(), RESERVE_BYTES as u64);
        use_reserve(place.path());
        assert!(!reserve.exists());
        // Nothing can be written: nothing of it stays, and nothing else happens.
        std::fs::create_dir(place.path().join("reserve.tmp")).expect("in the way");
        keep_reserve(place.path());
        assert!(!reserve.exists());
    }

    #[test]
    fn an_edge_is_made_once() {
        let place = tempfile::tempdir().expect("folder");
        let at = Timestamp::from_micros(1_767_225_600_000_000);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(at));
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        let make = |name: &str| init(&config(place.path(), name), &clock, &rng);
        let certificate = || {
            let path = place.path().join("edge").join(CERTIFICATE_FILE);
            std::fs::read(path).expect("a certificate")
        };
        let (key, first) = (make("a.example").expect("made").public_key, certificate());
        assert_eq!(make("a.example").expect("found").public_key, key);
        assert_eq!(certificate(), first);
        // Another name is another certificate of the same edge.
        assert_eq!(make("b.example").expect("found").public_key, key);
        assert_ne!(certificate(), first);
        let opened = Place::open(&config(place.path(), "b.example"), &clock, &rng);
        assert!(opened.expect("opened").acceptor().is_ok());
        // What was stated is not gone on with by another edge.
        std::fs::write(place.path().join("edge").join(STATEMENTS_FILE), b"").expect("written");
        std::fs::remove_file(place.path().join("edge").join(IDENTITY_FILE)).expect("lost");
        assert!(make("b.example").is_err());
    }
}
