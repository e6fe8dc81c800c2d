//! The forms of what is shipped: a line of JSON, a line with its authentication code under a
//! platform key, then bytes. Names sort by position and by time.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use veritwin_domain::Timestamp;
use veritwin_keys::{KeyService, constant_time_eq, hmac_sha256, sha256};
use veritwin_log::{LogPart, PartPlace};

use crate::{Error, Result};

pub(crate) const FORM: u32 = 1;
const LABEL: &str = "ship v1";
/// Longest line in front of a file, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A part of a log file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartHead {
    form: u32,
    pub(crate) instance: String,
    /// How many restores the directory had gone through.
    pub(crate) restores: u64,
    /// The log file's name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) first_position: u64,
    pub(crate) end_position: u64,
    sha256: String,
    pub(crate) shipped_at_us: i64,
}

impl PartHead {
    /// Where it begins; none when it names no file.
    pub(crate) fn begin(&self) -> Option<PartPlace> {
        let file = self.file.parse().ok()?;
        Some(PartPlace { file, offset: self.offset, position: self.first_position })
    }
}

/// How far everything is shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reached {
    form: u32,
    pub(crate) instance: String,
    pub(crate) restores: u64,
    /// Everything that was acknowledged by then is there.
    pub(crate) at_us: i64,
    pub(crate) position: u64,
    /// When the newest copy of the records there was done.
    pub(crate) records_at_us: Option<i64>,
}

impl Reached {
    pub(crate) fn new(
        whose: &Whose,
        at: Timestamp,
        position: u64,
        records_at: Option<Timestamp>,
    ) -> Self {
        Self {
            form: FORM,
            instance: whose.instance.clone(),
            restores: whose.restores,
            at_us: at.as_micros(),
            position,
            records_at_us: records_at.map(Timestamp::as_micros),
        }
    }
}

/// A platform and how often it was restored: its log is one line only between two restores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) instance: String,
    pub(crate) restores: u64,
}

impl Whose {
    /// The folder of one kind of file.
    pub(crate) fn folder(&self, kind: &str) -> String {
        format!("{}/{:05}/{kind}", self.instance, self.restores)
    }

    pub(crate) fn reached_name(&self) -> String {
        self.folder("reached")
    }

    /// Opens what says how far everything is shipped.
    pub(crate) fn open_reached(&self, keys: &KeyService, sealed: &[u8]) -> Result<Reached> {
        let name = self.reached_name();
        let (found, _): (Reached, _) = open_head(keys, &name, sealed)?;
        self.check(&name, &found.instance, found.restores)?;
        Ok(found)
    }

    /// Refuses what is of another platform or another life of it.
    pub(crate) fn check(&self, at: &str, instance: &str, restores: u64) -> Result<()> {
        if instance == self.instance && restores == self.restores {
            return Ok(());
        }
        Err(Error::invalid_at(at, "is of another platform, or of before a restore of it"))
    }
}

/// The name of a part.
pub(crate) fn part_name(whose: &Whose, from: &PartPlace) -> String {
    let (position, file, offset) = (from.position, from.file, from.offset);
    format!("{}/{position:020}-{file}-{offset:012}", whose.folder("log"))
}

/// A part in the form in which it is shipped.
pub(crate) fn seal_part(
    keys: &KeyService,
    whose: &Whose,
    part: &LogPart,
    at: Timestamp,
) -> Result<Vec<u8>> {
    let head = PartHead {
        form: FORM,
        instance: whose.instance.clone(),
        restores: whose.restores,
        name: part.name.clone(),
        file: part.from.file.to_string(),
        offset: part.from.offset,
        bytes: part.bytes.len() as u64,
        first_position: part.from.position,
        end_position: part.to.position,
        sha256: hex::encode(sha256(&part.bytes)),
        shipped_at_us: at.as_micros(),
    };
    let mut out = seal_head(keys, &head)?;
    out.extend_from_slice(&part.bytes);
    Ok(out)
}

/// Opens a part that was shipped, under its name, and checks every byte of it.
pub(crate) fn open_part<'a>(
    keys: &KeyService,
    whose: &Whose,
    at: &str,
    sealed: &'a [u8],
) -> Result<(PartHead, &'a [u8])> {
    let (head, body): (PartHead, &[u8]) = open_head(keys, at, sealed)?;
    whose.check(at, &head.instance, head.restores)?;
    let is_right = body.len() as u64 == head.bytes && hex::encode(sha256(body)) == head.sha256;
    if !is_right {
        return Err(Error::invalid_at(at, "was altered: its bytes are not those it was sent with"));
    }
    // An authentic one in another's place would hold up shipping, or hide what is missing.
    if head.begin().is_none_or(|from| part_name(whose, &from) != at) {
        return Err(Error::invalid_at(at, "is another part of the log than its name says"));
    }
    // It becomes the name of a file.
    let is_name = head.name.ends_with(".vtlog")
        && head.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if !is_name {
        return Err(Error::invalid_at(at, "names no log file"));
    }
    Ok((head, body))
}

/// A line of JSON and a line with its code.
pub(crate) fn seal_head<T: Serialize>(keys: &KeyService, head: &T) -> Result<Vec<u8>> {
    let mut out = serde_json::to_vec(head).map_err(|e| Error::Internal(e.to_string()))?;
    let mac = hmac_sha256(keys.platform_subkey(LABEL)?.expose(), &out);
    out.push(b'\n');
    out.extend_from_slice(hex::encode(mac).as_bytes());
    out.push(b'\n');
    Ok(out)
}

/// Opens what [`seal_head`] made; the bytes behind it too.
pub(crate) fn open_head<'a, T: DeserializeOwned>(
    keys: &KeyService,
    at: &str,
    sealed: &'a [u8],
) -> Result<(T, &'a [u8])> {
    let refused = |detail: &str| Error::invalid_at(at, detail);
    let damaged = || refused("is not of this form");
    let (line, rest) = take_line(sealed).ok_or_else(damaged)?;
    let (code, body) = take_line(rest).ok_or_else(damaged)?;
    let mac = hmac_sha256(keys.platform_subkey(LABEL)?.expose(), line);
    if !constant_time_eq(&hex::decode(code).unwrap_or_default(), &mac) {
        return Err(refused("was not written by this platform, or was altered"));
    }
    Ok((serde_json::from_slice(line).map_err(|_| damaged())?, body))
}

fn take_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
