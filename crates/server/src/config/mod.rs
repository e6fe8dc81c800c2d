//! `veritwin.toml` and its environment overrides. Unknown keys are errors that name the nearest
//! known one; `..._FILE` reads a secret from a file. It opens nothing.

mod load;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use load::load;

/// Everything that can be configured. Each key is also `VERITWIN__SECTION__KEY`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Config {
    /// Web, REST, WebSocket and ledger tiles.
    pub http: Http,
    /// MQTT over TLS.
    pub mqtt: Mqtt,
    /// The neutral ledger archive.
    pub archive: Archive,
    /// Certificates.
    pub tls: Tls,
    /// Key custody.
    pub keys: Keys,
    /// Records.
    pub database: Database,
    /// Segments and twins.
    pub objects: Objects,
    /// Outgoing mail.
    pub smtp: Smtp,
    /// The durable log.
    pub log: Log,
    /// The telemetry engine.
    pub telemetry: Telemetry,
    /// The published policy's operator.
    pub operator: Operator,
}

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Http {
    /// Address to listen on.
    pub bind: String,
    /// TCP port; 0 picks a free one.
    pub port: u16,
    /// The host name that browsers and devices use.
    pub public_name: String,
    /// Further names and addresses in the platform's own certificate.
    pub extra_names: Vec<String>,
    /// Most connections at once.
    pub connections_max: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: "0.0.0.0".to_owned(),
            port: 8443,
            public_name: "localhost".to_owned(),
            extra_names: Vec::new(),
            connections_max: 4096,
        }
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Mqtt {
    /// Address to listen on.
    pub bind: String,
    /// TCP port; 0 picks a free one.
    pub port: u16,
    /// Most connections at once.
    pub connections_max: usize,
    /// Largest packet, in bytes.
    pub packet_bytes_max: usize,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            bind: "0.0.0.0".to_owned(),
            port: 8883,
            connections_max: 10_000,
            packet_bytes_max: 1024 * 1024,
        }
    }
}

/// `[archive]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Archive {
    /// Address the child process listens on.
    pub bind: String,
    /// Its TCP port; 0 picks a free one.
    pub port: u16,
    /// An archive run by another party (`https://...`); empty starts one as a child process.
    pub url: String,
}

impl Default for Archive {
    fn default() -> Self {
        Self { bind: "127.0.0.1".to_owned(), port: 8444, url: String::new() }
    }
}

/// `[tls]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Tls {
    /// PEM file of the operator's own certificate chain; empty uses the platform's own CA.
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub private_key: Option<PathBuf>,
}

/// `[keys]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Keys {
    /// Folder of the root keys, outside the data directory. Default: `$CREDENTIALS_DIRECTORY`
    /// under systemd, else the user's configuration folder.
    pub root_dir: Option<PathBuf>,
}

/// `[database]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Database {
    /// `sqlite:` (a file in the data directory) or `postgres://...`.
    pub url: String,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "sqlite:".to_owned() }
    }
}

/// `[objects]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Objects {
    /// `file:` (a folder in the data directory).
    pub url: String,
}

impl Default for Objects {
    fn default() -> Self {
        Self { url: "file:".to_owned() }
    }
}

/// `[smtp]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Smtp {
    /// `smtps://host:465` or `smtp://host:587` (STARTTLS; plain only to loopback); empty: no mail.
    pub url: String,
    /// Sender address.
    pub from: String,
    /// User name; empty: none.
    pub user: String,
    /// Password, best given as `VERITWIN__SMTP__PASSWORD_FILE`.
    #[serde(skip_serializing)]
    pub password: String,
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Log {
    /// How long a group commit waits for company, in microseconds.
    pub group_commit_delay_micros: u64,
    /// Size at which a log file is closed, in bytes.
    pub file_bytes_max: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { group_commit_delay_micros: 1000, file_bytes_max: 64 * 1024 * 1024 }
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Telemetry {
    /// Size of the memory table at which it is written out, in bytes.
    pub memory_bytes_max: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { memory_bytes_max: 64 * 1024 * 1024 }
    }
}

/// `[operator]`: who runs this installation, as the published policy names it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Operator {
    /// Legal name.
    pub name: String,
    /// Contact address for privacy matters.
    pub contact_email: String,
}
