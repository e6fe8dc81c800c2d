//! The manifest of a backup: what it is, and the digest of the list of its files, which holds the
//! digest of each. It is authenticated under a platform key.

use std::path::Path;

use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;
use veritwin_keys::{KeyService, constant_time_eq, hmac_sha256};

use super::files::read_small;
use crate::{Error, Result};

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const LIST: &str = "files.jsonl";
const FORM: u32 = 1;
const LABEL: &str = "backup manifest v1";

/// What a backup is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Platform,
    Keyring,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    form: u32,
    pub(super) kind: Kind,
    /// The platform it was taken from.
    pub(super) instance: String,
    build: String,
    /// The moment of the cut, RFC 3339.
    taken_at: String,
    taken_at_us: i64,
    /// When the cut was done: what was received by then is in it, what came later may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_at_us: Option<i64>,
    pub(super) schema: i64,
    pub(super) rows: u64,
    pub(super) log_position: Option<u64>,
    pub(super) archive_copied: bool,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) files_sha256: String,
    /// HMAC-SHA-256 over this text with an empty `mac`.
    mac: String,
}

/// One line of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(kind: Kind, instance: String, at: Timestamp) -> Self {
        Self {
            form: FORM,
            kind,
            instance,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at: at.to_string(),
            taken_at_us: at.as_micros(),
            cut_at_us: None,
            schema: 0,
            rows: 0,
            log_position: None,
            archive_copied: false,
            files: 0,
            bytes: 0,
            files_sha256: String::new(),
            mac: String::new(),
        }
    }

    pub(super) fn taken_at(&self) -> Timestamp {
        Timestamp::from_micros(self.taken_at_us)
    }

    /// When the cut was done; unknown of a backup by an older version.
    pub(super) fn cut_at(&self) -> Option<Timestamp> {
        self.cut_at_us.map(Timestamp::from_micros)
    }

    pub(super) fn set_cut_at(&mut self, at: Timestamp) {
        self.cut_at_us = Some(at.as_micros());
    }

    /// Reads the manifest of a backup.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            let detail = "is not a finished backup: it has no manifest.json";
            return Err(Error::invalid_at(folder.display().to_string(), detail));
        }
        let damaged = |detail: String| Error::invalid_at(path.display().to_string(), detail);
        let manifest: Self = serde_json::from_slice(&read_small(&path)?)
            .map_err(|error| damaged(format!("is not a backup's manifest: {error}")))?;
        if manifest.form != FORM {
            let form = manifest.form;
            return Err(damaged(format!("has form {form}; this build knows {FORM}")));
        }
        Ok(manifest)
    }

    fn mac(&self, keys: &KeyService) -> Result<[u8; 32]> {
        let bare = Self { mac: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&bare).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(hmac_sha256(keys.platform_subkey(LABEL)?.expose(), &text))
    }

    /// The manifest's text, authenticated.
    pub(super) fn sealed(mut self, keys: &KeyService) -> Result<Vec<u8>> {
        self.mac = hex::encode(self.mac(keys)?);
        serde_json::to_vec_pretty(&self).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Refuses a manifest that this platform did not write.
    pub(super) fn authenticate(&self, keys: &KeyService) -> Result<()> {
        let given = hex::decode(&self.mac).unwrap_or_default();
        if constant_time_eq(&given, &self.mac(keys)?) {
            return Ok(());
        }
        let detail = "was not written by this platform, or was altered";
        Err(Error::invalid_at(MANIFEST, detail))
    }
}
