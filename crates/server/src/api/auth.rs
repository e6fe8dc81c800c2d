//! Who sends a request: the session cookie of a browser or the bearer token of a program becomes
//! an operation context. Unsafe requests from a browser must come from our own pages.

use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use veritwin_app::Arrival;
use veritwin_domain::{OpContext, Origin, PlatformContext, Purpose, RequestId, Secret, TenantId};

use super::live::Seat;
use super::{Api, Problem, origin, parameters};

/// The session cookie. `__Host-` binds it to this host, over TLS, for every path.
pub(crate) const SESSION_COOKIE: &str = "__Host-session";

/// The context of a request inside the tenant of its credential.
pub(crate) struct Caller(pub(crate) OpContext);

/// The context of a request that needs no credential.
pub(crate) struct Public(pub(crate) PlatformContext);

/// The purpose that a path serves (promise P01).
fn purpose(path: &str) -> Purpose {
    let path = path.strip_prefix("/v1").unwrap_or(path).trim_start_matches('/');
    let resource = path.split('/').next().unwrap_or_default();
    match resource {
        "session" | "welcome" | "account" | "consent-withdrawal" | "password-reset"
        | "email-confirmation" | "users" | "api-keys" | "tenants" | "plans" | "brand" | "face"
        | "certificates" | "contact" | "roles" | "groups" | "workspaces" | "grants" | "access"
        | "networks" | "identity-provider" | "device-authorities" | "provision-profiles" => {
            Purpose::AuthenticationSecurity
        }
        "ledger" => Purpose::LedgerArchive,
        "requests" => Purpose::LegalDuty,
        "usage" => Purpose::AccountBilling,
        "devices" | "device-profiles" | "imports" | "packages" | "telemetry" | "ws"
        | "route-counts" | "route-destinations" | "route-messages" | "route-rules" => {
            Purpose::IngestRouting
        }
        "activity"
        | "keys"
        | "legal"
        | "operations"
        | "system"
        | "promises"
        | "holds"
        | "incidents"
        | "security-alerts"
        | "destructions"
        | "retention"
        | "support"
        | "support-tickets"
        | "support-grants"
        | "support-desk"
        | "tenant-end"
        | "tenant-exports"
        | "agreements"
        | "analytics"
        | "collection-zones"
        | "jurisdictions"
        | "opt-ins"
        | "processing-records"
        | "register-entries"
        | "trust-pages"
        | "breach-register"
        | "breaches"
        | "certificate-register"
        | "controls"
        | "evidence"
        | "frameworks"
        | "governance"
        | "notices"
        | "onboarding"
        | "policies"
        | "risks"
        | "tasks" => Purpose::SecuritySupport,
        _ => Purpose::TwinBuilding,
    }
}

/// The value of a cookie, when it is there exactly once.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}

/// The bearer token.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a browser sends this from another site's page. Programs send none of these headers.
/// Over HTTP/2, WebSockets included, the address stands in `:authority` and there is no `Host`.
pub(crate) fn is_cross_site(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    origin.strip_prefix("https://") != host
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn arrival(api: &Api, parts: &Parts) -> Arrival {
    Arrival {
        purpose: purpose(parts.uri.path()),
        request: RequestId::generate(api.clock().now(), api.rng()),
        origin: origin::of(parts),
    }
}

/// The session that a browser holds, whether or not it is still one.
pub(crate) struct HeldSession(pub(crate) Option<Secret<String>>);

impl FromRequestParts<Api> for HeldSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        let token = cookie(&parts.headers, SESSION_COOKIE);
        Ok(Self(token.map(|token| Secret::new(token.to_owned()))))
    }
}

impl FromRequestParts<Api> for Public {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if !is_safe(&parts.method) && is_cross_site(&parts.headers, &parts.uri) {
            return Err(cross_site());
        }
        Ok(Self(api.app.anonymous(arrival(api, parts))))
    }
}

/// Who asked, once it is known: for what happens around a request after its answer. It holds the
/// request's place among those of its tenant until the last of the answer is gone.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    context: Arc<OnceLock<OpContext>>,
    seat: Arc<OnceLock<Seat<TenantId>>>,
}

impl Asked {
    /// The context, when the request had a credential that was accepted.
    pub(super) fn context(&self) -> Option<&OpContext> {
        self.context.get()
    }

    /// How many hold the request's place.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.seat)
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let context = caller(parts, api).await?;
        api.app.count_request(&context)?;
        let seat = api.live.places().begin_request(context.tenant);
        let seat = seat.map_err(|limit| Problem::too_many("Too many requests at once", &limit))?;
        if let Some(asked) = parts.extensions.get::<Asked>() {
            let _ = asked.context.set(context.clone());
            let _ = asked.seat.set(seat);
        }
        parameters::check(parts)?;
        Ok(Self(context))
    }
}

fn not_known() -> Problem {
    Problem::unauthenticated("sign in, or send an API key as `Authorization: Bearer ...`")
}

async fn caller(parts: &mut Parts, api: &Api) -> Result<OpContext, Problem> {
    let arrival = arrival(api, parts);
    if let Some(token) = bearer(&parts.headers) {
        let token = Secret::new(token.to_owned());
        return Ok(api.app.authenticate_api_key(&token, arrival).await?);
    }
    let Some(token) = cookie(&parts.headers, SESSION_COOKIE) else {
        return Err(not_known());
    };
    if !is_safe(&parts.method) && is_cross_site(&parts.headers, &parts.uri) {
        return Err(cross_site());
    }
    let token = Secret::new(token.to_owned());
    Ok(api.app.authenticate_session(&token, arrival, true).await?)
}

/// The credential of a request whose answer takes a while: asked again on the way, it says what
/// its holder may by then.
pub(super) struct Again {
    token: Secret<String>,
    is_key: bool,
    purpose: Purpose,
    origin: Origin,
}

impl Again {
    /// The credential that a caller came with.
    pub(super) fn of(headers: &HeaderMap, context: &OpContext) -> Result<Self, Problem> {
        let key = bearer(headers);
        let token = key.or_else(|| cookie(headers, SESSION_COOKIE)).ok_or_else(not_known)?;
        Ok(Self {
            token: Secret::new(token.to_owned()),
            is_key: key.is_some(),
            purpose: context.purpose,
            origin: context.origin.clone(),
        })
    }

    /// Who its holder is now; an error when the credential has ended. That is no use of a session.
    pub(super) async fn context(&self, api: &Api) -> veritwin_app::Result<OpContext> {
        let arrival = Arrival {
            purpose: self.purpose,
            request: RequestId::generate(api.clock().now(), api.rng()),
            origin: self.origin.clone(),
        };
        if self.is_key {
            api.app.authenticate_api_key(&self.token, arrival).await
        } else {
            api.app.authenticate_session(&self.token, arrival, false).await
        }
    }
}

fn cross_site() -> Problem {
    Problem::new(
        axum::http::StatusCode::FORBIDDEN,
        "/problems/cross-site",
        "Cross-site request",
        "a page of another site may not act with your sign-in",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (name.parse().expect("name"), axum::http::HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn a_served_log_is_read_for_the_ledger() {
        for path in ["/v1/ledger", "/ledger/ID/tile/entries/000", "/ledger/ID/payload/00"] {
            assert_eq!(purpose(path), Purpose::LedgerArchive, "{path}");
        }
        assert_eq!(purpose("/v1/devices/ID"), Purpose::IngestRouting);
    }

    #[test]
    fn how_a_platform_runs_and_is_used_is_no_twin() {
        assert_eq!(purpose("/v1/operations"), Purpose::SecuritySupport);
        for path in ["/v1/usage", "/v1/usage/below"] {
            assert_eq!(purpose(path), Purpose::AccountBilling, "{path}");
        }
        assert_eq!(purpose("/v1/twins"), Purpose::TwinBuilding);
    }

    #[test]
    fn cookies_and_bearers() {
        let one = headers(&[("cookie", "a=b; __Host-session=tok; c=d")]);
        assert_eq!(cookie(&one, SESSION_COOKIE), Some("tok"));
        let twice = headers(&[("cookie", "__Host-session=x; __Host-session=y")]);
        assert_eq!(cookie(&twice, SESSION_COOKIE), None);
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
    }

    #[test]
    fn other_sites_are_recognised() {
        let check = |pairs: &[(&'static str, &'static str)], expect: bool| {
            let relative = Uri::from_static("/v1/ws");
            assert_eq!(is_cross_site(&headers(pairs), &relative), expect, "{pairs:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin")], false);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("origin", "https://localhost:8443"), ("host", "localhost:8443")], false);
        check(&[("origin", "https://evil.example"), ("host", "localhost:8443")], true);
        check(&[("origin", "null"), ("host", "localhost:8443")], true);
        let absolute = Uri::from_static("https://localhost:8443/v1/ws");
        assert!(!is_cross_site(&headers(&[("origin", "https://localhost:8443")]), &absolute));
        assert!(is_cross_site(&headers(&[("origin", "https://evil.example")]), &absolute));
    }
}
