//! The running system as a tenant sees it: version, certificates, listeners, keys.

use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::RelyingParty;
use veritwin_app::model::KeyView;
use veritwin_domain::{Secret, Timestamp};

use super::auth::Caller;
use super::body::{self, ListBody};
use super::{Answer, Api};
use crate::tls::CurrentCertificate;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(read)).routes(routes!(keys))
}

/// What the composition root knows of the running system.
pub(crate) struct Facts {
    /// `https://host:port`.
    pub(crate) address: String,
    /// `host:port` of MQTT over TLS.
    pub(crate) mqtt_address: String,
    pub(crate) started_at: Timestamp,
    pub(crate) simulated_clock: bool,
    pub(crate) certificate: Arc<CurrentCertificate>,
    /// The operator's own certificate instead of the platform's.
    pub(crate) own_certificate: bool,
    pub(crate) ca_fingerprint: String,
    pub(crate) controls: Arc<crate::controls::Controls>,
    /// The body of a request may pause for so long.
    pub(crate) body_idle_max: std::time::Duration,
}

impl Facts {
    /// The one-time link for a token. The token follows `#`, so it never reaches a server log.
    pub(crate) fn link(&self, token: &Secret<String>) -> String {
        format!("{}/welcome#{}", self.address, token.expose())
    }

    /// The party that passkeys are made for.
    pub(super) fn relying_party(&self) -> RelyingParty {
        RelyingParty::of(&self.address)
    }

    /// Sabotage twin of P56: a cookie that is in no register. Compiled for tests only.
    pub(super) fn sabotage_headers(&self, headers: &mut HeaderMap) {
        self.controls.add_tracking_cookie(headers);
    }
}

/// A certificate in use.
#[derive(Serialize, ToSchema)]
struct CertificateBody {
    name: &'static str,
    not_after: String,
    /// The operator's own instead of the platform's.
    own: bool,
    /// SHA-256 fingerprint of the authority to trust; empty for the operator's own.
    fingerprint: String,
}

/// A listener.
#[derive(Serialize, ToSchema)]
struct ListenerBody {
    name: &'static str,
    address: String,
    tls: &'static str,
}

/// The running system.
#[derive(Serialize, ToSchema)]
struct SystemBody {
    version: &'static str,
    started_at: String,
    now: String,
    simulated_clock: bool,
    certificates: Vec<CertificateBody>,
    listeners: Vec<ListenerBody>,
}

/// The running system.
#[utoipa::path(get, path = "/v1/system", tag = "system",
    responses((status = 200, body = SystemBody)))]
async fn read(State(api): State<Api>, Caller(context): Caller) -> Answer<axum::Json<SystemBody>> {
    api.app.authorize_system_read(&context)?;
    let facts = &api.facts;
    let listener =
        |name, address: &str| ListenerBody { name, address: address.to_owned(), tls: "1.2, 1.3" };
    Ok(axum::Json(SystemBody {
        version: env!("CARGO_PKG_VERSION"),
        started_at: body::time(facts.started_at),
        now: body::time(context.at),
        simulated_clock: facts.simulated_clock,
        certificates: vec![CertificateBody {
            name: "server",
            not_after: body::time(facts.certificate.not_after()),
            own: facts.own_certificate,
            fingerprint: if facts.own_certificate {
                String::new()
            } else {
                facts.ca_fingerprint.clone()
            },
        }],
        listeners: vec![listener("https", &facts.address), listener("mqtts", &facts.mqtt_address)],
    }))
}

/// What one kind of key protects.
#[derive(Serialize, ToSchema)]
struct KeyBody {
    /// Such as `tenant key-encryption key`.
    name: String,
    /// What it protects, in plain words.
    protects: &'static str,
    /// Version of the key-encryption key.
    version: u32,
    /// Live keys of this kind.
    count: u64,
    /// The oldest one's birth.
    created_at: Option<String>,
    /// The newest one's birth.
    newest_at: Option<String>,
    last_used_at: Option<String>,
    state: String,
}

fn protects(kind: &str) -> &'static str {
    match kind {
        "kek" => "every data key of this tenant",
        "log" => "readings in the durable log",
        "segment" => "history in segments, one key a day",
        "record" => "names, rules, alerts and settings in the records",
        "ledger" => "batches before they go to the archive",
        "archive" => "payloads of the ledger archive",
        "twin" => "building files, models and geometry",
        _ => "other stored files",
    }
}

/// Which key protects what, its age and last use.
#[utoipa::path(get, path = "/v1/keys", tag = "keys",
    responses((status = 200, body = ListBody<KeyBody>), (status = 403)))]
async fn keys(
    State(api): State<Api>,
    Caller(context): Caller,
) -> Answer<axum::Json<ListBody<KeyBody>>> {
    let keys = api.app.list_keys(&context).await?;
    let convert = |view: KeyView| KeyBody {
        name: if view.kind == "kek" {
            format!("{} key-encryption key", view.owner)
        } else {
            format!("{} data keys: {}", view.owner, view.kind)
        },
        protects: protects(&view.kind),
        version: view.version,
        count: view.count,
        created_at: view.oldest.map(body::time),
        newest_at: view.newest.map(body::time),
        last_used_at: view.last_used.map(body::time),
        state: view.state,
    };
    Ok(axum::Json(ListBody::whole(keys.into_iter().map(convert).collect())))
}
