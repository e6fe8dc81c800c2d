//! What the ledger needs beside the platform: its archive, witnesses, an authority of time stamps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[archive]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Archive {
    /// Address the child process listens on.
    pub(crate) bind: String,
    /// Its TCP port; 0 picks a free one.
    pub(crate) port: u16,
    /// The archive of another party, `https://HOST[:PORT]`; empty: a child process.
    pub(crate) url: String,
    /// That archive's certificate (PEM file), which is pinned.
    pub(crate) certificate: Option<PathBuf>,
    /// Most bytes of the leaves and payloads of one log that the child process keeps.
    pub(crate) log_bytes_max: u64,
}

impl Default for Archive {
    fn default() -> Self {
        let (bind, url) = ("127.0.0.1".to_owned(), String::new());
        Self { bind, port: 8444, url, certificate: None, log_bytes_max: 1 << 40 }
    }
}

/// `[witness]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Witness {
    /// A policy (C2SP tlog-policy) whose witnesses have addresses; none: nobody witnesses.
    pub(crate) policy: Option<PathBuf>,
    /// PEM file of authorities that are trusted for the witnesses' certificates beside the public
    /// ones.
    pub(crate) authorities: Option<PathBuf>,
    /// Seconds between two rounds.
    pub(crate) interval_seconds: u64,
    /// Every log is witnessed by itself, not the log of logs alone.
    pub(crate) every_log: bool,
}

impl Default for Witness {
    fn default() -> Self {
        Self { policy: None, authorities: None, interval_seconds: 60, every_log: true }
    }
}

/// `[timestamp]`
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub(crate) struct Timestamp {
    /// Address of the authority (RFC 3161), `https://` or `http://`; empty: no time stamps.
    pub(crate) url: String,
    /// PEM file of the certificates that its time stamps have to come from.
    pub(crate) authorities: Option<PathBuf>,
    /// PEM file of authorities of its TLS certificate beside the public ones.
    pub(crate) tls_authorities: Option<PathBuf>,
    /// Hours between two time stamps of one log.
    pub(crate) interval_hours: u64,
}

impl Default for Timestamp {
    fn default() -> Self {
        let (url, authorities, tls_authorities) = (String::new(), None, None);
        Self { url, authorities, tls_authorities, interval_hours: 1 }
    }
}
