//! What a tenant has, by the lists of the REST interface: names of files, and paths.

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cli::remote::{Ask, Remote, whole};

/// Most pages of a list: one that goes on for ever is none.
const PAGES_MAX: usize = 200_000;

/// Devices, as many a page as there may be.
pub(super) const DEVICES: &str = "/v1/devices?limit=500";
/// Streams, those that nothing is said of among them.
pub(super) const STREAMS: &str = "/v1/streams?state=all&limit=500";

/// Lists, each a file of one object a line. Where a list has pages, its path says how long one is:
/// what a list does not know it refuses.
pub(super) const LISTS: &[(&str, &str)] = &[
    ("twins", "/v1/twins"),
    ("devices", DEVICES),
    ("workspaces", "/v1/workspaces"),
    ("groups", "/v1/groups"),
    ("device-profiles", "/v1/device-profiles"),
    ("stream-rules", "/v1/stream-rules"),
    ("streams", STREAMS),
    ("stream-declarations", "/v1/stream-declarations?limit=500"),
    ("rules", "/v1/rules"),
    ("alerts", "/v1/alerts?filter=all&limit=500"),
    ("packages", "/v1/packages"),
    ("provision-profiles", "/v1/provision-profiles"),
    ("device-authorities", "/v1/device-authorities"),
    ("route-destinations", "/v1/route-destinations"),
    ("route-rules", "/v1/route-rules"),
    ("users", "/v1/users"),
    ("invitations", "/v1/invitations"),
    ("roles", "/v1/roles"),
    ("grants", "/v1/grants"),
    ("api-keys", "/v1/api-keys"),
    ("identity-provider", "/v1/identity-provider"),
    ("networks", "/v1/networks"),
    ("brand", "/v1/brand"),
    ("certificates", "/v1/certificates"),
    ("collection-zones", "/v1/collection-zones"),
    ("register-entries", "/v1/register-entries"),
    ("agreements", "/v1/agreements"),
    ("holds", "/v1/holds"),
    ("retention", "/v1/retention"),
    ("destructions", "/v1/destructions"),
    ("incidents", "/v1/incidents?limit=500"),
    ("security-alerts", "/v1/security-alerts?limit=500"),
    ("imports", "/v1/imports"),
    ("ledger-mailings", "/v1/ledger/mailings"),
    ("policies", "/v1/policies?limit=500"),
    ("risks", "/v1/risks?limit=500"),
    ("frameworks", "/v1/frameworks"),
    ("evidence", "/v1/evidence?limit=500"),
    ("tasks", "/v1/tasks?limit=500"),
    ("certificate-register", "/v1/certificate-register"),
    ("notices", "/v1/notices"),
    ("breaches", "/v1/breaches?limit=500"),
    ("requests", "/v1/requests?limit=500"),
    ("activity", "/v1/activity?limit=500"),
];

/// A part of a path or of a query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Hands every item of a list to `each`; where it may not be read, says why.
pub(super) async fn walk(
    remote: &mut Remote,
    path: &str,
    mut each: impl FnMut(Value) -> anyhow::Result<()>,
) -> anyhow::Result<Result<(), String>> {
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut asked = path.to_owned();
        if let Some(cursor) = &cursor {
            asked.push_str(&format!("{sign}cursor={}", encoded(cursor)));
        }
        let answer = match remote.see(&Ask::get(&asked)).await? {
            Ok(answer) => answer,
            Err(detail) => return Ok(Err(detail)),
        };
        let mut page: Value = serde_json::from_slice(&whole(answer).await?)
            .context("the platform is of another version than this command")?;
        let next = page["next_cursor"].as_str().map(str::to_owned);
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items.into_iter().try_for_each(&mut each)?,
            // One thing, or none.
            _ if page.is_null() => {}
            _ => each(page)?,
        }
        ensure!(next.is_none() || next != cursor, "{path}: the list does not go on");
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(Ok(())),
        }
    }
    anyhow::bail!("{path}: limit export_pages_max exceeded: at most {PAGES_MAX}")
}

/// All items of a short list.
pub(super) async fn all(remote: &mut Remote, path: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    let walked = walk(remote, path, |item| {
        items.push(item);
        Ok(())
    });
    walked.await?.map_err(anyhow::Error::msg)?;
    Ok(items)
}

/// A text of an object.
pub(super) fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item[name].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_path_is_encoded() {
        assert_eq!(encoded("a b/ü?"), "a%20b%2F%C3%BC%3F");
        assert_eq!(encoded("A-1_2.x~"), "A-1_2.x~");
    }
}
