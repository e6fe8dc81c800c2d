//! `veritwin.toml` and its environment overrides. Unknown keys are errors that name the nearest
//! known one; `..._FILE` reads a secret from a file. It opens nothing.

mod ledger;
mod load;
mod objects;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use ledger::{Archive, Timestamp, Witness};
pub(crate) use load::load;
pub(crate) use objects::Objects;

/// Everything that can be configured. Each key is also `VERITWIN__SECTION__KEY`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Config {
    /// Web, REST, WebSocket and ledger tiles.
    pub(crate) http: Http,
    /// MQTT over TLS.
    pub(crate) mqtt: Mqtt,
    /// The neutral ledger archive.
    pub(crate) archive: Archive,
    /// Witnesses of ledgers.
    pub(crate) witness: Witness,
    /// Time stamps of ledgers.
    pub(crate) timestamp: Timestamp,
    /// Certificates.
    pub(crate) tls: Tls,
    /// Key custody.
    pub(crate) keys: Keys,
    /// Records.
    pub(crate) database: Database,
    /// Segments and twins.
    pub(crate) objects: Objects,
    /// Outgoing mail.
    pub(crate) smtp: Smtp,
    /// Who runs it.
    pub(crate) operator: Operator,
    /// Text messages.
    pub(crate) sms: SmsSection,
    /// Calls to addresses that tenants choose.
    pub(crate) outbound: Outbound,
    /// Certificates of host names by ACME.
    pub(crate) acme: Acme,
    /// The durable log.
    pub(crate) log: Log,
    /// The telemetry engine.
    pub(crate) telemetry: Telemetry,
    /// Locations of addresses.
    pub(crate) geo: Geo,
    /// Balancers in front of the listeners.
    pub(crate) proxies: Proxies,
    /// How often anybody may ask and send.
    pub(crate) limits: Limits,
    /// Shipping of the log, and the pace of backups.
    pub(crate) backup: Backup,
    /// Reading everything that is stored and comparing.
    pub(crate) scrub: Scrub,
}

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Http {
    /// Address to listen on.
    pub(crate) bind: String,
    /// TCP port; 0 picks a free one.
    pub(crate) port: u16,
    /// The host name that browsers and devices use.
    pub(crate) public_name: String,
    /// Further names and addresses in the platform's own certificate.
    pub(crate) extra_names: Vec<String>,
    /// Most connections at once.
    pub(crate) connections_max: usize,
    /// Most connections of one address.
    pub(crate) connections_per_address_max: usize,
    /// A request's headers are there within this time.
    pub(crate) header_seconds_max: u64,
    /// A request's body does not pause longer than this.
    pub(crate) body_idle_seconds_max: u64,
    /// A client takes something of an answer within this time.
    pub(crate) response_idle_seconds_max: u64,
    /// A device's WebSocket from which nothing came for this long is closed.
    pub(crate) device_idle_seconds_max: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: "0.0.0.0".to_owned(),
            port: 8443,
            public_name: "localhost".to_owned(),
            extra_names: Vec::new(),
            connections_max: 4096,
            connections_per_address_max: 1024,
            header_seconds_max: 15,
            body_idle_seconds_max: 30,
            response_idle_seconds_max: 60,
            device_idle_seconds_max: 90,
        }
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Mqtt {
    /// Address to listen on.
    pub(crate) bind: String,
    /// TCP port; 0 picks a free one.
    pub(crate) port: u16,
    /// Most connections at once.
    pub(crate) connections_max: usize,
    /// Most connections of one address.
    pub(crate) connections_per_address_max: usize,
    /// Largest packet, in bytes.
    pub(crate) packet_bytes_max: usize,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            bind: "0.0.0.0".to_owned(),
            port: 8883,
            connections_max: 10_000,
            connections_per_address_max: 8_000,
            packet_bytes_max: 1024 * 1024,
        }
    }
}

/// `[tls]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Tls {
    /// PEM file of the operator's own certificate chain; empty uses the platform's own CA.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file of its private key.
    pub(crate) private_key: Option<PathBuf>,
}

/// `[keys]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Keys {
    /// Folder of the root keys, outside the data directory. Default: `$CREDENTIALS_DIRECTORY`
    /// under systemd, else the user's configuration folder.
    pub(crate) root_dir: Option<PathBuf>,
    /// A file with a passphrase that the root key is made of: nothing of it is stored then. Chosen
    /// before the first start.
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Instead: the description of a key of type `user` in the kernel's keyrings that holds it.
    pub(crate) passphrase_keyring: Option<String>,
    /// PKCS#11 modules that customers' keys may be in: code that runs inside the platform.
    pub(crate) pkcs11_modules: Vec<PathBuf>,
}

/// `[database]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Database {
    /// `sqlite:` (a file in the data directory) or `postgres://...` of the runtime role. Holds a
    /// password, so best given as `VERITWIN__DATABASE__URL_FILE`.
    pub(crate) url: String,
    /// `postgres://...` of the owner, who applies schema versions; empty: an old schema is refused.
    pub(crate) owner_url: String,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: "sqlite:".to_owned(), owner_url: String::new() }
    }
}

/// `[smtp]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Smtp {
    /// `smtps://host:465` or `smtp://host:587` (STARTTLS; plain only to loopback); empty: no mail.
    pub(crate) url: String,
    /// Sender address.
    pub(crate) from: String,
    /// User name; empty: none.
    pub(crate) user: String,
    /// Password, best given as `VERITWIN__SMTP__PASSWORD_FILE`.
    #[serde(skip_serializing)]
    pub(crate) password: String,
}

/// `[operator]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Operator {
    /// The name that the published texts give.
    pub(crate) name: String,
    /// Postal address.
    pub(crate) address: String,
    /// Where requests about personal data go: a mail address or a page.
    pub(crate) contact: String,
    /// The law that governs the texts, as a sentence goes on: `the law of Taiwan`.
    pub(crate) law: String,
    /// The court that decides, likewise.
    pub(crate) court: String,
    /// The providers that the service is run with, as `name | purpose | country | agreement`.
    pub(crate) sub_processors: Vec<String>,
}

/// `[sms]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct SmsSection {
    /// Address of the gateway, `https://...`; empty: no text messages.
    pub(crate) url: String,
    /// The sub-processor behind it, as it stands in `operator.sub_processors`.
    pub(crate) provider: String,
    /// `json` or `form`.
    pub(crate) form: String,
    /// Who messages are from; empty: the gateway knows.
    pub(crate) sender: String,
    /// Name of the field for the number.
    pub(crate) number_field: String,
    /// Name of the field for the text.
    pub(crate) text_field: String,
    /// Name of the field for the sender.
    pub(crate) sender_field: String,
    /// The `Authorization` header, best given as `VERITWIN__SMS__AUTHORIZATION_FILE`.
    #[serde(skip_serializing)]
    pub(crate) authorization: String,
}

impl Default for SmsSection {
    fn default() -> Self {
        Self {
            url: String::new(),
            provider: String::new(),
            form: "json".to_owned(),
            sender: String::new(),
            number_field: "to".to_owned(),
            text_field: "text".to_owned(),
            sender_field: "from".to_owned(),
            authorization: String::new(),
        }
    }
}

/// `[outbound]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Outbound {
    /// Networks that may be called although they are not public, such as `10.1.2.0/24` with an
    /// identity provider on the premises. Metadata services of clouds stay refused.
    pub(crate) allowed_networks: Vec<String>,
    /// Ports that tenants may name.
    pub(crate) ports: Vec<u16>,
    /// PEM file of authorities that are trusted beside the public ones.
    pub(crate) authorities: Option<PathBuf>,
}

impl Default for Outbound {
    fn default() -> Self {
        Self { allowed_networks: Vec::new(), ports: vec![443, 8443], authorities: None }
    }
}

/// `[acme]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Acme {
    /// Address of the authority's directory; empty: no certificates are fetched.
    pub(crate) directory: String,
    /// Mail address that the authority may write to; empty: none.
    pub(crate) contact: String,
    /// PEM file of authorities that are trusted for the directory beside the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// The operator agrees to the authority's terms of service.
    pub(crate) terms_agreed: bool,
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Log {
    /// How long a group commit waits for company, in microseconds.
    pub(crate) group_commit_delay_micros: u64,
    /// Size at which a log file is closed, in bytes.
    pub(crate) file_bytes_max: u64,
    /// Most that is written for one customer while the service that holds its key is silent, and
    /// most that thinned files keep of one, in bytes; above it, that customer's devices are told to
    /// wait.
    pub(crate) spool_bytes_max: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            group_commit_delay_micros: 1000,
            file_bytes_max: 64 * 1024 * 1024,
            spool_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// `[geo]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Geo {
    /// A file in MaxMind's format (`.mmdb`) with cities or countries; read again when it changes.
    /// Only city and country are taken from it. Without it no place of an address is known.
    pub(crate) database: Option<PathBuf>,
}

/// `[proxies]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Proxies {
    /// Networks of the balancers that may say where a client is; empty: nobody may.
    pub(crate) networks: Vec<String>,
    /// The header in which they say it: `x-forwarded-for`, `forwarded`, or empty for none.
    pub(crate) header: String,
    /// They begin connections to the HTTPS listener with the PROXY protocol.
    pub(crate) http_protocol: bool,
    /// They begin connections to the MQTT listener with the PROXY protocol.
    pub(crate) mqtt_protocol: bool,
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            header: "x-forwarded-for".to_owned(),
            http_protocol: false,
            mqtt_protocol: false,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Limits {
    /// Requests of one address; three times as many at once.
    pub(crate) address_requests_per_second: u32,
    /// Requests of the devices behind one address; five times as many at once.
    pub(crate) address_device_requests_per_second: u32,
    /// Requests of a person; ten times as many at once.
    pub(crate) user_requests_per_second: u32,
    /// Requests of an API key; ten times as many at once.
    pub(crate) api_key_requests_per_second: u32,
    /// Requests of a tenant; five times as many at once. A plan may say otherwise.
    pub(crate) tenant_requests_per_second: u32,
    /// Messages of a device; two times as many at once.
    pub(crate) device_messages_per_second: u32,
    /// Messages of a tenant's devices; two times as many at once. A plan may say otherwise.
    pub(crate) tenant_messages_per_second: u32,
    /// Readings of a device; two times as many at once.
    pub(crate) device_readings_per_second: u32,
    /// Readings of a tenant's devices; two times as many at once.
    pub(crate) tenant_readings_per_second: u32,
    /// Sealed bytes that a tenant may put into the ledger's archive in a day (UTC).
    pub(crate) ledger_bytes_per_day: u64,
    /// Connected devices of a tenant, over MQTT and WebSocket.
    pub(crate) tenant_connections_max: usize,
    /// Requests of a tenant's people and keys that are answered at once.
    pub(crate) tenant_requests_max: usize,
    /// WebSockets of a tenant's people and keys.
    pub(crate) tenant_sockets_max: usize,
    /// WebSockets of one person or key.
    pub(crate) person_sockets_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            address_requests_per_second: 300,
            address_device_requests_per_second: 2_000,
            user_requests_per_second: 200,
            api_key_requests_per_second: 200,
            tenant_requests_per_second: 1_000,
            device_messages_per_second: 50_000,
            tenant_messages_per_second: 200_000,
            device_readings_per_second: 100_000,
            tenant_readings_per_second: 500_000,
            ledger_bytes_per_day: 64 << 30,
            tenant_connections_max: 8_000,
            tenant_requests_max: 256,
            tenant_sockets_max: 1_000,
            person_sockets_max: 32,
        }
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Telemetry {
    /// Size of the memory table at which it is written out, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// Most series of all tenants, each with its latest value in memory.
    pub(crate) series_max: usize,
    /// Most bytes of all series' keys and latest texts.
    pub(crate) latest_bytes_max: usize,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 * 1024 * 1024,
            series_max: 2_000_000,
            latest_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// `[backup]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Backup {
    /// Where the log is shipped to: `file:///FOLDER` (which has to be there) or
    /// `s3://BUCKET/FRONT`; empty: nowhere.
    pub(crate) ship_url: String,
    /// What was acknowledged is shipped within this time.
    pub(crate) ship_seconds: u64,
    /// How often the records are copied beside it.
    pub(crate) records_seconds: u64,
    /// How long shipped files are kept.
    pub(crate) kept_days: u64,
    /// The log is kept for a place that does not answer up to this size, in bytes.
    pub(crate) log_hold_bytes_max: u64,
    /// Bytes that backups and shipping read in a second; 0: without bound.
    pub(crate) bytes_per_second: u64,
    /// `https://HOST:PORT` of a bucket; empty: Amazon's own.
    pub(crate) s3_endpoint: String,
    /// Its region.
    pub(crate) s3_region: String,
    /// Who writes to it.
    pub(crate) s3_access_key_id: String,
    /// With what secret, best given as `VERITWIN__BACKUP__S3_SECRET_ACCESS_KEY_FILE`.
    #[serde(skip_serializing)]
    pub(crate) s3_secret_access_key: String,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            ship_url: String::new(),
            ship_seconds: 60,
            records_seconds: 3600,
            kept_days: 14,
            log_hold_bytes_max: 4 << 30,
            bytes_per_second: 128 << 20,
            s3_endpoint: String::new(),
            s3_region: "us-east-1".to_owned(),
            s3_access_key_id: String::new(),
            s3_secret_access_key: String::new(),
        }
    }
}

/// `[scrub]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Scrub {
    /// Everything that is stored is read and compared once in so many days; 0: never by itself.
    pub(crate) days: u64,
    /// Bytes that it reads in a second; 0: without bound.
    pub(crate) bytes_per_second: u64,
}

impl Default for Scrub {
    fn default() -> Self {
        Self { days: 7, bytes_per_second: 8 << 20 }
    }
}
