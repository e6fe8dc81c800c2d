//! How an edge is run: where it keeps what, where it listens, and whether it is the gateway of a
//! public zone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use veritwin_collection::ZoneConfig;
use veritwin_domain::DeviceId;

use super::{EDGE_BATCH_BYTES_MAX, EDGE_BATCH_BYTES_MIN, EDGE_DISK_BYTES_MIN, EdgeError};

/// What becomes of new readings while there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// They are refused; devices keep them and try again.
    Refuse,
    /// The oldest batches are given up, and a signed statement says which.
    DropOldest,
}

/// How to run an edge.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Its own directory.
    pub directory: PathBuf,
    /// Its own root key file, outside the directory.
    pub root_key: PathBuf,
    /// Where local devices come in.
    pub listen: SocketAddr,
    /// Where those come in that speak HTTP; none: they do not.
    pub listen_http: Option<SocketAddr>,
    /// Names and addresses for its certificate.
    pub names: Vec<String>,
    /// The platform, `https://HOST[:PORT]`.
    pub platform: String,
    /// The platform's certificate authority (PEM); none: the public ones.
    pub platform_ca: Option<PathBuf>,
    /// Where the platform listens for MQTT, `HOST:PORT`: calls and attributes come down from there.
    /// None: nothing comes down.
    pub platform_mqtt: Option<String>,
    /// The gateway device that it is on the platform.
    pub gateway: DeviceId,
    /// Most bytes of its log.
    pub disk_bytes_max: u64,
    /// What becomes of new readings then.
    pub when_full: WhenFull,
    /// A batch is closed when its oldest entry is this old.
    pub batch_age: Duration,
    /// A batch is closed before it is larger than this.
    pub batch_bytes_max: usize,
    /// The public zone that it is the gateway of: only aggregates leave it then.
    pub zone: Option<ZoneConfig>,
}

impl EdgeConfig {
    pub(super) fn check(&self) -> Result<(), EdgeError> {
        let refuse = |detail: String| Err(EdgeError::Configuration(detail));
        if self.disk_bytes_max < EDGE_DISK_BYTES_MIN {
            return refuse(format!("disk_bytes_max: at least {EDGE_DISK_BYTES_MIN}"));
        }
        let (least, most) = (EDGE_BATCH_BYTES_MIN, EDGE_BATCH_BYTES_MAX);
        if !(least..=most).contains(&self.batch_bytes_max) {
            return refuse(format!("batch_bytes_max: {least} to {most}"));
        }
        if self.root_key.starts_with(&self.directory) {
            return refuse("root_key: has to lie outside the directory".to_owned());
        }
        if let Some(zone) = &self.zone {
            // What was written when larger costs were permitted goes on within those of now.
            zone.bounded()
                .check()
                .map_err(|error| EdgeError::Configuration(format!("collection: {error}")))?;
            if self.platform_mqtt.is_some() {
                let why = "nothing is asked of the platform on behalf of a public zone's devices";
                return refuse(format!("platform_mqtt: {why}"));
            }
        }
        Ok(())
    }
}
