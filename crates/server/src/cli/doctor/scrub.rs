//! What reading everything that is stored has found: the last time it was done, or now.

use std::path::Path;

use serde_json::json;
use veritwin_app::{ScrubFinding, ScrubRun, last_scrub};
use veritwin_domain::Timestamp;

use super::Finding;
use crate::cli::Place;
use crate::control::Request;
use crate::dispatch;

const CHECK: &str = "stored data";

/// Reads everything now, over the control socket or under the directory's lock.
pub(super) async fn now(place: &Place, bytes_per_second: u64) -> Vec<Finding> {
    let request = Request::new("scrub", json!({"bytes_per_second": bytes_per_second}));
    let answer = dispatch::ask(place, request).await;
    let run = answer.and_then(|facts| Ok(serde_json::from_value::<ScrubRun>(facts)?));
    match run {
        Ok(run) => findings(&run),
        Err(error) => {
            let advice = "mend what the other lines say, then try again";
            vec![Finding::error(CHECK, format!("not everything was read: {error:#}"), advice)]
        }
    }
}

/// What was found the last time.
pub(super) fn last(data: &Path) -> Vec<Finding> {
    match last_scrub(data) {
        Some(run) => findings(&run),
        None => Vec::new(),
    }
}

fn findings(run: &ScrubRun) -> Vec<Finding> {
    let mut found: Vec<Finding> = run.findings.iter().map(finding).collect();
    if run.more > 0 {
        let more = format!("{} more places are damaged", run.more);
        found.push(Finding::error(CHECK, more, "begin with those that are named"));
    }
    for skipped in &run.skipped {
        let advice = "run it again when that is mended";
        found.push(Finding::warning(CHECK, format!("not read: {skipped}"), advice));
    }
    if found.is_empty() {
        let ended = run
            .ended_at_us
            .map_or_else(String::new, |at| format!(", at {}", Timestamp::from_micros(at)));
        let (bytes, parts) = (run.bytes, run.parts);
        let text = format!("{bytes} bytes in {parts} parts read back as written{ended}");
        found.push(Finding::ok(CHECK, text));
    }
    found
}

fn finding(found: &ScrubFinding) -> Finding {
    let mut text = found.file.clone();
    if let Some(byte) = found.byte {
        text.push_str(&format!(", byte {byte}"));
    }
    if let Some(tenant) = &found.tenant {
        text.push_str(&format!(", tenant {tenant}"));
    }
    if let (Some(from), Some(to)) = (&found.from, &found.to) {
        text.push_str(&format!(", {from} to {to}"));
    }
    text.push_str(": ");
    text.push_str(&found.problem);
    if found.is_loss {
        Finding::error(CHECK, text, &found.advice)
    } else {
        Finding::warning(CHECK, text, &found.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_finding_names_place_owner_and_time() {
        let lost = ScrubFinding {
            file: "objects/segments/segments/x".to_owned(),
            byte: Some(7),
            tenant: Some("t".to_owned()),
            from: Some("a".to_owned()),
            to: Some("b".to_owned()),
            problem: "is damaged".to_owned(),
            advice: "mend it".to_owned(),
            is_loss: true,
        };
        let mut run = ScrubRun { bytes: 9, parts: 2, ..ScrubRun::default() };
        assert_eq!(findings(&run)[0].level, Level::Ok);
        assert_eq!(findings(&run)[0].finding, "9 bytes in 2 parts read back as written");
        run.findings.push(lost);
        run.more = 3;
        let found = findings(&run);
        let expected = "objects/segments/segments/x, byte 7, tenant t, a to b: is damaged";
        assert_eq!((found[0].level, found[0].finding.as_str()), (Level::Error, expected));
        assert_eq!(found[1].finding, "3 more places are damaged");
    }
}
