//! The copy that a person gets: one ZIP file with a manifest of hashes, what is known of them as
//! JSON with its schema, and their readings as CSV in the form in which readings are imported.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use veritwin_access::Action;
use veritwin_domain::{OpContext, Value as Reading};
use veritwin_keys::sha256;
use veritwin_verify::guarded;

use super::assemble::{Assembled, PersonReading};
use super::{STORES, Subject};
use crate::rights::bounded;
use crate::{App, Error, Result};

/// Largest copy, in bytes.
pub(super) const BUNDLE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Copies that are made at once, of everybody.
static COPIES: Semaphore = Semaphore::const_new(2);
/// What the manifest says of itself.
pub(crate) const FORMAT: &str = "veritwin-subject-copy";

const README: &str = "This is a copy of what is kept about one person.\n\n\
    manifest.json  which files there are, with the SHA-256 of each\n\
    data.json      what is known, store by store; schema.json says what each member means\n\
    readings.csv   readings about the person, as `veritwin readings import` takes them\n\n\
    To check a file: its SHA-256 has to be the one in manifest.json.\n";

/// A copy.
pub(crate) struct Bundle {
    /// The ZIP file.
    pub(crate) bytes: Vec<u8>,
    /// The SHA-256 of its manifest, in hexadecimal.
    pub(crate) digest: String,
    /// How many rows and readings it holds.
    pub(crate) rows: u64,
}

fn csv_field(out: &mut String, text: &str) {
    if text.contains(['"', ',', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

/// A value and the name of its kind, as in exports of readings.
fn csv_value(value: &Reading) -> (String, &'static str) {
    match value {
        Reading::Double(number) => (format!("{number:?}"), "double"),
        Reading::Integer(number) => (number.to_string(), "integer"),
        Reading::Boolean(flag) => (flag.to_string(), "boolean"),
        Reading::Text(text) => (guarded(text), "text"),
        Reading::Json(text) => (guarded(text), "json"),
    }
}

fn csv(readings: &[PersonReading]) -> Result<String> {
    let mut out = String::from("device_id,device,key,time,value,type,quality\n");
    for one in readings {
        let (value, kind) = csv_value(&one.point.value);
        let (device, name) = (one.device.to_string(), guarded(&one.device_name));
        let (key, at) = (guarded(&one.key), one.point.at.to_string());
        for field in [device.as_str(), &name, &key, &at, &value, kind] {
            csv_field(&mut out, field);
            out.push(',');
        }
        out.push_str(one.point.quality.as_str());
        out.push('\n');
        bounded("subject_copy_bytes_max", BUNDLE_BYTES_MAX, out.len())?;
    }
    Ok(out)
}

/// The JSON Schema of `data.json`.
fn schema() -> Value {
    let store = |description: &str| {
        let items = json!({"type": "object"});
        json!({"type": "array", "items": items, "description": description})
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FORMAT,
        "type": "object",
        "required": ["tenant", "made_at", "stores", "nothing_in"],
        "properties": {
            "tenant": {"type": "string", "description": "the id of the organisation"},
            "made_at": {"type": "string", "format": "date-time"},
            "stores": {
                "type": "object",
                "properties": {
                    "account": store("the account: address, name, when it was made"),
                    "memberships": store("roles and grants, who brought whom in, keys made"),
                    "sign_in": store("sessions, what one signs in with, invitations; no secrets"),
                    "records": store("what was done with the account, and from where"),
                    "acts": store("alerts acknowledged, holds, notes and tickets written"),
                    "rules": store("alert rules that mail the address"),
                    "mails": store("mails to the address of the last 90 days, and records of their sending"),
                    "messages": store("messages from the address"),
                    "requests": store("requests like this one, and what came of them"),
                    "consents": store("what was agreed to and taken back, optional fields, notices"),
                    "registers": store("what was entered into registers, details given by consent"),
                    "devices": store("what the person's devices hold beside readings"),
                    "declarations": store("devices that are said to be the person's"),
                },
            },
            "ends": {"type": "object", "description": "how what is in each store ends"},
            "nothing_in": {
                "type": "array",
                "description": "other stores, and why they hold nothing more about a person",
                "items": {"type": "object"},
            },
        },
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// CRC-32 (ISO-HDLC), as ZIP files need it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (entry, start) in table.iter_mut().zip(0u32..) {
        *entry = (0..8).fold(
            start,
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
            },
        );
    }
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ table[usize::from(low ^ byte)]
    };
    !bytes.iter().fold(u32::MAX, step)
}

fn size(length: usize) -> Result<u32> {
    u32::try_from(length).map_err(|_| Error::Internal("a copy is too large".to_owned()))
}

/// A ZIP file of files that are stored as they are (APPNOTE.TXT 6.3.10, sections 4.3.7 and 4.3.12).
fn zip(files: &[(&str, Vec<u8>)]) -> Result<Vec<u8>> {
    /// 1980-01-01, for copies of one content to be alike.
    const DATE: u16 = 0x21;
    let (mut out, mut index) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let offset = size(out.len())?;
        let mut facts = Vec::new();
        // Version 2.0, names are UTF-8, stored.
        for word in [20u16, 0x0800, 0, 0, DATE] {
            facts.extend(word.to_le_bytes());
        }
        for number in [crc32(bytes), size(bytes.len())?, size(bytes.len())?] {
            facts.extend(number.to_le_bytes());
        }
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        facts.extend(length.to_le_bytes());
        facts.extend(0u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&facts);
        out.extend(name.as_bytes());
        out.extend(bytes);
        index.extend(b"PK\x01\x02");
        index.extend(20u16.to_le_bytes());
        index.extend(&facts);
        // No comment, first disk, no attributes.
        index.extend([0u8; 10]);
        index.extend(offset.to_le_bytes());
        index.extend(name.as_bytes());
    }
    let (count, at) = (u16::try_from(files.len()).unwrap_or(u16::MAX), size(out.len())?);
    let length = size(index.len())?;
    out.extend(index);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    Ok(out)
}

/// What is written of what was found.
pub(super) fn data(context: &OpContext, found: &Assembled) -> Value {
    let stores: serde_json::Map<String, Value> = found
        .sections
        .iter()
        .map(|(name, rows)| ((*name).to_owned(), Value::from(rows.clone())))
        .collect();
    let nothing = STORES.iter().filter_map(|store| match store.assembler {
        super::Assembler::Nothing(why) => Some(json!({"store": store.name, "why": why})),
        _ => None,
    });
    let ends: serde_json::Map<String, Value> = STORES
        .iter()
        .map(|store| (store.name.to_owned(), Value::from(store.eraser.words())))
        .collect();
    json!({
        "tenant": context.tenant.to_string(),
        "made_at": context.at.to_string(),
        "ends": ends,
        "stores": stores,
        "nothing_in": nothing.collect::<Vec<_>>(),
    })
}

impl App {
    /// Everything about a person in a tenant, as one file.
    #[boxed]
    pub(crate) async fn subject_bundle(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Bundle> {
        // What is read here as by a job is for whoever asks.
        self.check_key(context, Action::TelemetryReadPersonal)?;
        // Each holds much in memory: the next one waits.
        let _turn = COPIES.acquire().await.map_err(|error| Error::Internal(error.to_string()))?;
        let found = self.assemble(context, subject).await?;
        #[cfg(feature = "test-controls")]
        let found = if self.0.promises.is_sabotaged(44) { found.without_newest() } else { found };
        #[cfg(feature = "test-controls")]
        let found =
            Assembled { sections: self.0.promises.with_stray_field(found.sections), ..found };
        let rows: usize = found.sections.iter().map(|(_, rows)| rows.len()).sum();
        let files: Vec<(&str, Vec<u8>, usize)> = vec![
            ("data.json", pretty(&data(context, &found)).into_bytes(), rows),
            ("schema.json", pretty(&schema()).into_bytes(), 1),
            ("readings.csv", csv(&found.readings)?.into_bytes(), found.readings.len()),
            ("README.txt", README.as_bytes().to_vec(), 1),
        ];
        let listed = files.iter().map(|(path, bytes, rows)| {
            json!({
                "path": path,
                "bytes": bytes.len(),
                "sha256": hex::encode(sha256(bytes)),
                "items": rows,
            })
        });
        let manifest = pretty(&json!({
            "format": FORMAT,
            "version": 1,
            "made_at": context.at.to_string(),
            "tenant_id": context.tenant.to_string(),
            "files": listed.collect::<Vec<_>>(),
        }));
        let digest = hex::encode(sha256(manifest.as_bytes()));
        let total = files.iter().map(|(_, bytes, _)| bytes.len()).sum();
        bounded("subject_copy_bytes_max", BUNDLE_BYTES_MAX, total)?;
        let rows = (rows + found.readings.len()) as u64;
        let mut all = vec![("manifest.json", manifest.into_bytes())];
        all.extend(files.into_iter().map(|(path, bytes, _)| (path, bytes)));
        Ok(Bundle { bytes: zip(&all)?, digest, rows })
    }
}

/// The files of a copy.
pub(crate) fn unzipped(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut rest = bytes;
    while let Some(body) = rest.strip_prefix(b"PK\x03\x04".as_slice()) {
        let number = |at: usize, length: usize| {
            let bytes = body.get(at..at + length).unwrap_or_default();
            bytes.iter().rev().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte))
        };
        let (content, name) = (number(14, 4), number(22, 2));
        let from = 26 + name;
        let (Some(name), Some(content)) = (body.get(26..from), body.get(from..from + content))
        else {
            break;
        };
        files.push((String::from_utf8_lossy(name).into_owned(), content.to_vec()));
        rest = body.get(from + content.len()..).unwrap_or_default();
    }
    files
}

/// Whether every file of a copy is as its manifest says; what is wrong, if anything.
pub(crate) fn check_copy(bytes: &[u8]) -> std::result::Result<(), String> {
    let files = unzipped(bytes);
    let content = |path: &str| files.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes);
    let manifest = content("manifest.json").ok_or("it has no manifest")?;
    let manifest: Value = serde_json::from_slice(manifest).map_err(|error| error.to_string())?;
    let listed = manifest["files"].as_array().ok_or("the manifest lists no files")?;
    let mut wrong = String::new();
    for one in listed {
        let path = one["path"].as_str().unwrap_or_default();
        let digest = content(path).map(|bytes| hex::encode(sha256(bytes)));
        if digest.as_deref() != one["sha256"].as_str() {
            wrong.push_str(path);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::{DeviceId, Key, Quality, Timestamp};
    use veritwin_telemetry::Point;

    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let files =
            [("a.txt", b"one".to_vec()), ("b.txt", Vec::new()), ("c", b"PK\x03\x04".to_vec())];
        let out = unzipped(&zip(&files).expect("a file"));
        let expect: Vec<(String, Vec<u8>)> =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        assert_eq!(out, expect);
    }

    #[test]
    fn a_changed_file_is_not_what_the_manifest_says() {
        let data = b"data".to_vec();
        let file = json!({"path": "data.json", "sha256": hex::encode(sha256(&data))});
        let manifest = json!({"files": [file]}).to_string().into_bytes();
        let of = |data: Vec<u8>| {
            zip(&[("manifest.json", manifest.clone()), ("data.json", data)]).expect("a file")
        };
        assert_eq!(check_copy(&of(data)), Ok(()));
        assert_eq!(check_copy(&of(b"dato".to_vec())), Err("data.json".to_owned()));
    }

    #[test]
    fn readings_are_written_as_imports_take_them() {
        let reading = |key: &str, value: Reading| PersonReading {
            device: DeviceId::from_bytes([1; 16]),
            device_name: "=pump, \"new\"".into(),
            key: Key::new(key).expect("a key"),
            point: Point { at: Timestamp::from_micros(1_500_000), value, quality: Quality::Good },
        };
        let all = [reading("t", Reading::Double(7.0)), reading("who", Reading::Text("Ada".into()))];
        let text = csv(&all).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        let device = "01010101-0101-0101-0101-010101010101";
        let front = format!("{device},\"'=pump, \"\"new\"\"\"");
        assert_eq!(lines[1], format!("{front},t,1970-01-01T00:00:01.500Z,7.0,double,good"));
        assert_eq!(lines[2], format!("{front},who,1970-01-01T00:00:01.500Z,Ada,text,good"));
    }
}
