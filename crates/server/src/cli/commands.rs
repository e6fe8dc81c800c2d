//! The short commands: administrators, clock, import, keys, promises, certificate authority.
//! Each asks the platform through the control socket, or a stopped one under its lock.

mod import;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_domain::{TenantId, Timestamp};

use super::{JsonPlace, Place, print, print_json};
use crate::control::Request;
use crate::datadir::Paths;
use crate::dispatch;

pub(super) use import::import;

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}

pub(super) fn ask(place: &Place, request: Request) -> anyhow::Result<Value> {
    block_on(dispatch::ask(place, request))
}

fn typed<T: serde::de::DeserializeOwned>(facts: Value) -> anyhow::Result<T> {
    serde_json::from_value(facts).context("the platform is of another version than this command")
}

/// A spinner for work of unknown length; silent unless standard error is a terminal.
pub(super) fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Parses `90s`, `15m`, `36h`, `10d`, `2w`, and sums of them such as `1d12h`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "expected a number with s, m, h, d or w, such as 36h or 1d12h";
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| FORM.to_owned())?;
        let seconds = match rest.as_bytes().get(digits) {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            Some(b'w') => 604_800,
            _ => return Err(FORM.to_owned()),
        };
        let part = count.checked_mul(seconds).map(Duration::from_secs);
        total = part.and_then(|part| total.checked_add(part)).ok_or("too long")?;
        rest = &rest[digits + 1..];
    }
    if total.is_zero() { Err(FORM.to_owned()) } else { Ok(total) }
}

/// The two largest units of a duration, for people.
pub(super) fn show_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Rows as columns of equal width, two blanks apart; the first row is the header.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        if index + 1 < rows.len() {
            out.push('\n');
        }
    }
    out
}

#[derive(Deserialize)]
struct Link {
    link: String,
    expires_in_hours: u64,
    ca_fingerprint: Option<String>,
}

/// `veritwin admin link`
pub(super) fn admin_link(
    place: &JsonPlace,
    tenant: Option<TenantId>,
    platform: bool,
    support: bool,
) -> anyhow::Result<ExitCode> {
    let arguments = json!({"tenant": tenant, "platform": platform, "support": support});
    let facts = ask(&place.place, Request::new("admin_link", arguments))?;
    if place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let link: Link = typed(facts)?;
    print(&link.link);
    print(&format!(
        "\nOpen it within {} hours; it works once. Who has it becomes {}.",
        link.expires_in_hours,
        if support { "a member of the platform's support" } else { "an administrator" }
    ));
    if let Some(fingerprint) = link.ca_fingerprint {
        print(&format!(
            "The browser has to trust the platform's CA (`veritwin ca export`), SHA-256:\n\
             {fingerprint}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct MetricsKey {
    secret: String,
    expires_at: String,
}

/// `veritwin admin open-networks`
pub(super) fn open_networks(
    place: &JsonPlace,
    tenant: Option<TenantId>,
) -> anyhow::Result<ExitCode> {
    let request = Request::new("open_networks", json!({"tenant": tenant}));
    let facts = ask(&place.place, request)?;
    if place.json {
        print_json(&facts)?;
    } else {
        print("People and devices of this tenant come in from every network again.");
    }
    Ok(ExitCode::SUCCESS)
}

/// `veritwin admin metrics-key`
pub(super) fn metrics_key(place: &JsonPlace) -> anyhow::Result<ExitCode> {
    let facts = ask(&place.place, Request::new("metrics_key", json!({})))?;
    if place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let key: MetricsKey = typed(facts)?;
    print(&key.secret);
    print(&format!("\nShown once; works until {}. Send it as a bearer token.", key.expires_at));
    Ok(ExitCode::SUCCESS)
}

/// `veritwin clock advance DURATION`
pub(super) fn clock_advance(place: &JsonPlace, by: Duration) -> anyhow::Result<ExitCode> {
    let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    let facts = ask(&place.place, Request::new("clock_advance", json!({"micros": micros})))?;
    if place.json {
        print_json(&facts)?;
    } else {
        print(&format!("simulated time is now {}", text(&facts, "now")));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn text<'a>(facts: &'a Value, key: &str) -> &'a str {
    facts.get(key).and_then(Value::as_str).unwrap_or("-")
}

pub(super) fn number(facts: &Value, key: &str) -> u64 {
    facts.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[derive(Deserialize)]
struct Key {
    owner: String,
    kind: String,
    version: u32,
    count: u64,
    oldest: Option<String>,
    last_used: Option<String>,
    state: String,
}

/// `veritwin keys status`
pub(super) fn keys_status(place: &JsonPlace, tenant: Option<TenantId>) -> anyhow::Result<ExitCode> {
    let facts = ask(&place.place, Request::new("keys_status", json!({"tenant": tenant})))?;
    if place.json {
        print_json(&facts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys: Vec<Key> = typed(facts["items"].clone())?;
    let header = ["platform or tenant", "key", "version", "live", "oldest", "last used", "state"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for key in keys {
        rows.push(vec![
            key.owner,
            key.kind,
            key.version.to_string(),
            key.count.to_string(),
            key.oldest.unwrap_or_else(|| "-".to_owned()),
            key.last_used.unwrap_or_else(|| "-".to_owned()),
            key.state,
        ]);
    }
    print(&columns(&rows));
    Ok(ExitCode::SUCCESS)
}

/// `veritwin keys rotate`
pub(super) fn keys_rotate(place: &JsonPlace, tenant: Option<TenantId>) -> anyhow::Result<ExitCode> {
    let facts = ask(&place.place, Request::new("keys_rotate", json!({"tenant": tenant})))?;
    if place.json {
        print_json(&facts)?;
    } else {
        print(&format!(
            "tenant {}: key-encryption key version {} replaced by {}, {} data keys rewrapped",
            text(&facts, "tenant"),
            number(&facts, "old_version"),
            number(&facts, "new_version"),
            number(&facts, "rewrapped"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// `veritwin promises`
pub(super) fn promises(place: &JsonPlace) -> anyhow::Result<ExitCode> {
    let facts = ask(&place.place, Request::new("promises", json!({})))?;
    let items = facts["items"].as_array().context("the answer holds no promises")?;
    let failing = items.iter().filter(|item| text(item, "state") == "failing").count();
    if place.json {
        print_json(&items.iter().map(published).collect::<Vec<_>>())?;
    } else {
        let now = Timestamp::parse_rfc3339(text(&facts, "now")).ok();
        print(&show_promises(items, now));
    }
    Ok(if failing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The published form of a promise.
fn published(item: &Value) -> Value {
    json!({
        "id": item["id"],
        "state": item["state"],
        "text": item["text"],
        "evidence": item["evidence"],
        "checked_at": item["checked_at"],
    })
}

/// What the platform says of a promise whose first check is still to come.
const NOT_CHECKED_YET: &str = "no check of this version has come to a conclusion";

fn show_promises(items: &[Value], now: Option<Timestamp>) -> String {
    let mut rows = vec![["id", "state", "checked", "promise"].map(str::to_owned).to_vec()];
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    let mut causes = String::new();
    for item in items {
        let state = text(item, "state");
        *counts.entry(state).or_default() += 1;
        let checked = item["checked_at"]
            .as_str()
            .and_then(|at| Timestamp::parse_rfc3339(at).ok())
            .zip(now)
            .map_or_else(|| "-".to_owned(), |(at, now)| format!("{} ago", show_age(now.since(at))));
        let (id, promise) = (text(item, "id"), text(item, "text"));
        rows.push(vec![id.to_owned(), state.replace('_', " "), checked, promise.to_owned()]);
        let found = item["evidence"]["summary"].as_str();
        let cause = item["reason"].as_str().or(found).unwrap_or("no reason was recorded");
        // Of a platform that was started just now nothing more can be said.
        if state != "proven" && cause != NOT_CHECKED_YET {
            let _ = write!(causes, "\n{id} is {}: {cause}", state.replace('_', " "));
        }
    }
    let counted: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {}", state.replace('_', " ")))
        .collect();
    format!("{}\n\n{} promises: {}{causes}", columns(&rows), items.len(), counted.join(", "))
}

fn read_ca(place: &Place) -> anyhow::Result<String> {
    let path = Paths::new(&place.data).ca_pem();
    std::fs::read_to_string(&path).map_err(|error| {
        let shown = path.display();
        if error.kind() == std::io::ErrorKind::NotFound {
            anyhow::anyhow!(
                "no certificate authority in {shown}: `veritwin serve` makes it at the first \
                 start; name its directory with --data"
            )
        } else {
            anyhow::anyhow!("cannot read {shown}: {error}")
        }
    })
}

/// `veritwin ca export`
pub(super) fn ca_export(place: &Place) -> anyhow::Result<ExitCode> {
    print(read_ca(place)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// `veritwin ca fingerprint`
pub(super) fn ca_fingerprint(place: &JsonPlace) -> anyhow::Result<ExitCode> {
    let fingerprint = crate::pki::fingerprint(&read_ca(&place.place)?)?;
    if place.json {
        print_json(&json!({"sha256": fingerprint}))?;
    } else {
        print(&fingerprint);
    }
    Ok(ExitCode::SUCCESS)
}

/// `veritwin openapi`
pub(super) fn openapi() -> anyhow::Result<ExitCode> {
    print_json(&crate::api::openapi())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, seconds: u64| {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        };
        check("90s", 90);
        check("15m", 900);
        check("36h", 129_600);
        check("10d", 864_000);
        check("2w", 1_209_600);
        check("1d12h", 129_600);
        for bad in ["", "5", "h", "0s", "-1h", "1.5h", "1y", "1h ", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("18446744073709551615w").is_err());
    }

    #[test]
    fn ages() {
        let check = |seconds: u64, shown: &str| {
            assert_eq!(show_age(Duration::from_secs(seconds)), shown);
        };
        check(7, "7s");
        check(61, "1m01s");
        check(7260, "2h01m");
        check(90_000, "1d01h");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "long"], ["wide", "x"]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(columns(&rows), "a     long\nwide  x");
    }

    #[test]
    fn promises_say_what_fails_and_hide_nothing() {
        let items = [
            json!({"id": "P22", "state": "proven", "text": "TLS only", "evidence": {"summary": "s"},
                "checked_at": "2026-01-01T00:00:00Z", "reason": null}),
            json!({"id": "P28", "state": "not_evidenced", "text": "A licence", "evidence": null,
                "checked_at": null, "reason": "there is nothing to check"}),
            json!({"id": "P29", "state": "not_evidenced", "text": "Purged", "evidence": null,
                "checked_at": null, "reason": NOT_CHECKED_YET}),
            json!({"id": "P23", "state": "failing", "text": "Sealed", "evidence": null,
                "checked_at": null, "reason": "a canary was found"}),
        ];
        let now = Timestamp::parse_rfc3339("2026-01-01T00:01:00Z").ok();
        let shown = show_promises(&items, now);
        assert!(shown.contains("1m00s ago"), "{shown}");
        let causes = "\nP28 is not evidenced: there is nothing to check\n\
                      P23 is failing: a canary was found";
        assert!(shown.ends_with(causes), "{shown}");
        assert!(!shown.contains("P29 is"), "{shown}");
        let published = published(&items[0]);
        let mut keys: Vec<&String> = published.as_object().expect("object").keys().collect();
        keys.sort();
        assert_eq!(keys, ["checked_at", "evidence", "id", "state", "text"]);
    }
}
