//! `veritwin keys import`, `revoke` and `restore`: what is done with the key above a customer's.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use veritwin_domain::TenantId;

use super::commands::{block_on, text};
use super::{JsonPlace, print, print_json};
use crate::control::Request;
use crate::dispatch;

/// A wrapped key that is longer is none.
const WRAPPED_BYTES_MAX: u64 = 4096;

fn done(
    place: &JsonPlace,
    request: Request,
    say: impl Fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let facts = block_on(dispatch::ask(&place.place, request))?;
    if place.json {
        print_json(&facts)?;
    } else {
        print(&say(&facts));
    }
    Ok(ExitCode::SUCCESS)
}

/// `veritwin keys import`: without a file a wrapping key is made, with one the key is brought.
pub(super) fn import(
    place: &JsonPlace,
    tenant: Option<TenantId>,
    wrapped: Option<(&str, &str, &Path)>,
) -> anyhow::Result<ExitCode> {
    let Some((id, wrapping, file)) = wrapped else {
        let request = Request::new("keys_import_begin", json!({"tenant": tenant}));
        return done(place, request, |facts| {
            format!(
                "{}\nimport {} of tenant {}: wrap a key of 256 bits under this key until {}, \
                 then `veritwin keys import --id {} FILE`",
                text(facts, "public_key").trim_end(),
                text(facts, "id"),
                text(facts, "tenant"),
                text(facts, "ends_at"),
                text(facts, "id"),
            )
        });
    };
    let length = std::fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
    anyhow::ensure!(length <= WRAPPED_BYTES_MAX, "{}: too long", file.display());
    let bytes = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
    let arguments = json!({
        "tenant": tenant,
        "id": id,
        "wrapping": wrapping,
        "wrapped_key": STANDARD.encode(bytes),
    });
    done(place, Request::new("keys_import", arguments), |facts| {
        format!(
            "tenant {}: the key with fingerprint {} stands above its keys",
            text(facts, "tenant"),
            text(facts, "fingerprint"),
        )
    })
}

/// `veritwin keys revoke`
pub(super) fn revoke(
    place: &JsonPlace,
    tenant: Option<TenantId>,
    is_confirmed: bool,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        is_confirmed,
        "nothing of the tenant can be read or written after it: say so with --yes"
    );
    done(place, Request::new("keys_revoke", json!({"tenant": tenant})), |facts| {
        format!("tenant {}: its keys are revoked", text(facts, "tenant"))
    })
}

/// `veritwin keys restore`
pub(super) fn restore(place: &JsonPlace, tenant: Option<TenantId>) -> anyhow::Result<ExitCode> {
    done(place, Request::new("keys_restore", json!({"tenant": tenant})), |facts| {
        format!("tenant {}: its keys are in use again", text(facts, "tenant"))
    })
}
