//! The table of a bundle of evidence: what its records say, line by line, for spreadsheets. It is
//! made from the records alone, so that whoever has those can tell whether it is theirs.

use serde::Deserialize;
use veritwin_domain::Timestamp;

use crate::Evidence;

/// What a spreadsheet would take for a formula.
pub const FORMULAS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

const HEAD: &str = "entry,record,device,key,time,value,quality,received\n";

/// A text that no spreadsheet takes for a formula: those that it would get an apostrophe.
pub fn guarded(text: &str) -> String {
    if text.starts_with(FORMULAS) { format!("'{text}") } else { text.to_owned() }
}

/// What the table shows of a sealed record.
#[derive(Deserialize)]
struct Record {
    kind: String,
    device: String,
    received_at_us: i64,
    /// Key, event time in microseconds, value, quality.
    #[serde(default)]
    readings: Vec<(String, i64, serde_json::Value, String)>,
    #[serde(default)]
    detail: String,
}

impl Record {
    /// Device, key, time, value as JSON, quality, time of receipt.
    fn rows(&self) -> Vec<[String; 6]> {
        let received = Timestamp::from_micros(self.received_at_us).to_string();
        let device = guarded(&self.device);
        let line = |key: &str, at: String, value: String, quality: &str| {
            [device.clone(), guarded(key), at, value, guarded(quality), received.clone()]
        };
        if self.readings.is_empty() {
            let detail = serde_json::Value::from(self.detail.as_str()).to_string();
            return vec![line(&self.kind, received.clone(), detail, "")];
        }
        let readings = self.readings.iter().map(|(key, at, value, quality)| {
            line(key, Timestamp::from_micros(*at).to_string(), value.to_string(), quality)
        });
        readings.collect()
    }
}

fn field(out: &mut String, text: &str) {
    if text.contains(['"', ',', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

/// The table of a bundle's records (CSV), those of the newest entry first.
pub fn evidence_table(evidence: &Evidence) -> Vec<u8> {
    let mut out = HEAD.to_owned();
    for entry in evidence.entries.iter().rev() {
        for shown in &entry.records {
            let record = shown
                .proof()
                .and_then(|proof| serde_json::from_slice::<Record>(&proof.record).ok());
            for row in record.iter().flat_map(Record::rows) {
                out.push_str(&format!("{},{}", entry.index, shown.sequence));
                for cell in &row {
                    out.push(',');
                    field(&mut out, cell);
                }
                out.push('\n');
            }
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{EvidenceEntry, EvidenceRecord, RecordProof};

    fn shown(sequence: u64, record: &str) -> EvidenceRecord {
        let record = record.as_bytes().to_vec();
        EvidenceRecord::of(&RecordProof { sequence, salt: [1; 32], record, path: Vec::new() })
    }

    #[test]
    fn no_cell_is_a_formula_and_each_record_has_its_lines() {
        let readings = r#"{"kind":"readings","device":"d","received_at_us":0,"readings":
            [["=HYPERLINK(\"https://x.example\")",0,-1.5,"good"],["t",0,"a,b","good"]]}"#;
        let session = r#"{"kind":"session","device":"@d","received_at_us":0,"detail":"opened"}"#;
        let entry = |index, records| EvidenceEntry {
            index,
            leaf: String::new(),
            path: Vec::new(),
            records,
        };
        let evidence = Evidence {
            format: Evidence::FORMAT.to_owned(),
            made_at: String::new(),
            about: BTreeMap::new(),
            vkey: String::new(),
            checkpoint: String::new(),
            stamped: None,
            entries: vec![
                entry(3, vec![shown(7, readings), shown(8, "no record")]),
                entry(5, vec![shown(9, session)]),
            ],
        };
        let table = String::from_utf8(evidence_table(&evidence)).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        let at = Timestamp::EPOCH;
        let formula = r#""'=HYPERLINK(""https://x.example"")""#;
        let expected = [
            HEAD.trim_end().to_owned(),
            format!(r#"5,9,'@d,session,{at},"""opened""",,{at}"#),
            format!("3,7,d,{formula},{at},-1.5,good,{at}"),
            format!(r#"3,7,d,t,{at},"""a,b""",good,{at}"#),
        ];
        assert_eq!(lines, expected);
    }
}
