//! Signature Version 4 of AWS ("Create a signed AWS API request", General Reference), as far as
//! key services need it: a POST without query, headers of one line, the whole body hashed. Both
//! sides are here, the one that signs and the one that checks.

use veritwin_domain::{Secret, Timestamp};

use crate::{constant_time_eq, hmac_sha256, sha256};

/// Furthest that a signed request may be from the checker's clock, in seconds (external key store
/// proxy specification, appendix A).
pub const SIGV4_SKEW_SECONDS_MAX: i64 = 300;
/// The header with the moment of signing, in lower case.
pub const SIGV4_DATE_HEADER: &str = "x-amz-date";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATION: &str = "aws4_request";
/// Longest `Authorization` header, in bytes.
const AUTHORIZATION_BYTES_MAX: usize = 2048;
/// Most headers under one signature.
const SIGNED_HEADERS_MAX: usize = 32;

/// What a signature is about.
#[derive(Debug)]
pub struct SigV4Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, of letters, digits and `/-._~` only: nothing in it is encoded.
    pub path: &'a str,
    /// The signed headers with their values: names in lower case and in order, `host` and
    /// `x-amz-date` among them.
    pub headers: &'a [(String, String)],
    /// The whole body.
    pub body: &'a [u8],
}

/// For which service, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4Scope {
    /// `us-east-1` and the like.
    pub region: String,
    /// `kms` or `kms-xks-proxy`.
    pub service: String,
}

/// The moment as it is signed, `YYYYMMDD'T'HHMMSS'Z'`.
pub fn sigv4_moment(at: Timestamp) -> String {
    let seconds = at.as_micros().div_euclid(1_000_000);
    let whole = Timestamp::from_micros(seconds.saturating_mul(1_000_000)).to_string();
    whole.chars().filter(|one| !matches!(one, '-' | ':')).collect()
}

/// The moment of a text of this form.
fn moment(text: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| text.get(from..to);
    if text.len() != 16 || part(8, 9)? != "T" || part(15, 16)? != "Z" {
        return None;
    }
    let spelt = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(9, 11)?,
        part(11, 13)?,
        part(13, 15)?
    );
    Timestamp::parse_rfc3339(&spelt).ok()
}

fn canonical(request: &SigV4Request<'_>) -> (String, String) {
    let mut text = format!("{}\n{}\n\n", request.method, request.path);
    for (name, value) in request.headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("{name}:{value}\n"));
    }
    let names = request.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    let names = names.join(";");
    text.push_str(&format!("\n{names}\n{}", hex::encode(sha256(request.body))));
    (text, names)
}

fn signature(
    secret: &str,
    scope: &SigV4Scope,
    moment: &str,
    request: &SigV4Request<'_>,
) -> [u8; 32] {
    let day = moment.get(..8).unwrap_or_default();
    let (canonical, _) = canonical(request);
    let SigV4Scope { region, service } = scope;
    let to_sign = format!(
        "{ALGORITHM}\n{moment}\n{day}/{region}/{service}/{TERMINATION}\n{}",
        hex::encode(sha256(canonical.as_bytes()))
    );
    let start = zeroize::Zeroizing::new(format!("AWS4{secret}"));
    let mut key = zeroize::Zeroizing::new(hmac_sha256(start.as_bytes(), day.as_bytes()));
    for part in [region.as_str(), service.as_str(), TERMINATION] {
        *key = hmac_sha256(&*key, part.as_bytes());
    }
    hmac_sha256(&*key, to_sign.as_bytes())
}

/// The `Authorization` header of a request that was made at `at`, which its `x-amz-date` says too.
pub fn sigv4_authorization(
    access_key: &str,
    secret: &Secret<String>,
    scope: &SigV4Scope,
    at: Timestamp,
    request: &SigV4Request<'_>,
) -> String {
    let moment = sigv4_moment(at);
    let signature = signature(secret.expose(), scope, &moment, request);
    let (_, names) = canonical(request);
    let SigV4Scope { region, service } = scope;
    format!(
        "{ALGORITHM} Credential={access_key}/{}/{region}/{service}/{TERMINATION}, \
         SignedHeaders={names}, Signature={}",
        moment.get(..8).unwrap_or_default(),
        hex::encode(signature)
    )
}

/// What an `Authorization` header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4Claim {
    /// Which secret it was made with.
    pub access_key: String,
    /// For which service, where.
    pub scope: SigV4Scope,
    /// The names of the signed headers, in lower case and in order.
    pub signed_headers: Vec<String>,
    day: String,
    signature: [u8; 32],
}

impl SigV4Claim {
    /// Reads the header; none when it is not of the form.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > AUTHORIZATION_BYTES_MAX {
            return None;
        }
        let rest = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut names, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut names,
                "Signature" => &mut signature,
                _ => return None,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let parts = credential?.split('/').collect::<Vec<_>>();
        let [access_key, day, region, service, TERMINATION] = parts.as_slice() else {
            return None;
        };
        let signed_headers = names?.split(';').map(str::to_owned).collect::<Vec<_>>();
        let ordered = signed_headers.is_sorted_by(|one, next| one < next);
        let plain = |name: &String| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if !ordered
            || signed_headers.len() > SIGNED_HEADERS_MAX
            || !signed_headers.iter().all(plain)
        {
            return None;
        }
        let mut bytes = [0u8; 32];
        hex::decode_to_slice(signature?, &mut bytes).ok()?;
        Some(Self {
            access_key: (*access_key).to_owned(),
            scope: SigV4Scope { region: (*region).to_owned(), service: (*service).to_owned() },
            signed_headers,
            day: (*day).to_owned(),
            signature: bytes,
        })
    }

    /// Whether the request was signed with this secret, for this service, at about this time. The
    /// headers given are those that the claim names; comparing takes the same time for each
    /// signature.
    pub fn holds(
        &self,
        secret: &Secret<String>,
        service: &str,
        now: Timestamp,
        request: &SigV4Request<'_>,
    ) -> bool {
        let header = |name: &str| request.headers.iter().find(|(one, _)| one == name);
        let Some((_, moment_text)) = header(SIGV4_DATE_HEADER) else { return false };
        let Some(at) = moment(moment_text) else { return false };
        let skew_us = now.as_micros().abs_diff(at.as_micros());
        let recent = skew_us <= SIGV4_SKEW_SECONDS_MAX.unsigned_abs() * 1_000_000;
        let named = request.headers.iter().map(|(name, _)| name).eq(&self.signed_headers);
        let expected = signature(secret.expose(), &self.scope, moment_text, request);
        let signed = constant_time_eq(&expected, &self.signature);
        signed
            && recent
            && named
            && self.scope.service == service
            && moment_text.starts_with(&self.day)
            && self.day.len() == 8
            && header("host").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&str, &str)]) -> Vec<(String, String)> {
        rows.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    fn secret() -> Secret<String> {
        Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned())
    }

    fn scope(service: &str) -> SigV4Scope {
        SigV4Scope { region: "us-east-1".to_owned(), service: service.to_owned() }
    }

    /// "post-vanilla" of the test suite that AWS published for this signature.
    #[test]
    fn known_answer() {
        let headers =
            headers(&[("host", "example.amazonaws.com"), (SIGV4_DATE_HEADER, "20150830T123600Z")]);
        let request = SigV4Request { method: "POST", path: "/", headers: &headers, body: b"" };
        let made = sigv4_authorization(
            "AKIDEXAMPLE",
            &secret(),
            &scope("service"),
            at("2015-08-30T12:36:00Z"),
            &request,
        );
        assert_eq!(
            made,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    #[test]
    fn a_claim_holds_for_what_was_signed_and_for_a_while() {
        let signed = at("2026-03-01T08:00:00.7Z");
        let moment = sigv4_moment(signed);
        assert_eq!(moment, "20260301T080000Z");
        let rows = headers(&[("host", "proxy.example"), (SIGV4_DATE_HEADER, &moment)]);
        let request = |path: &'static str, body: &'static [u8]| SigV4Request {
            method: "POST",
            path,
            headers: &rows,
            body,
        };
        let service = "kms-xks-proxy";
        let text =
            sigv4_authorization("AKID", &secret(), &scope(service), signed, &request("/a", b"{}"));
        let claim = SigV4Claim::parse(&text).expect("a claim");
        let holds =
            |now: &str, path, body| claim.holds(&secret(), service, at(now), &request(path, body));
        assert!(holds("2026-03-01T08:00:00Z", "/a", b"{}"));
        assert!(holds("2026-03-01T08:05:00Z", "/a", b"{}"));
        assert!(holds("2026-03-01T07:55:00Z", "/a", b"{}"));
        assert!(!holds("2026-03-01T08:05:01Z", "/a", b"{}"), "too late");
        assert!(!holds("2026-03-01T07:54:59Z", "/a", b"{}"), "too early");
        assert!(!holds("2026-03-01T08:00:00Z", "/b", b"{}"), "another path");
        assert!(!holds("2026-03-01T08:00:00Z", "/a", b"{ }"), "another body");
        let now = at("2026-03-01T08:00:00Z");
        let other = Secret::new("another".to_owned());
        assert!(!claim.holds(&other, service, now, &request("/a", b"{}")));
        assert!(!claim.holds(&secret(), "kms", now, &request("/a", b"{}")));
        // A header that is not under the signature counts for nothing.
        let few = headers(&[(SIGV4_DATE_HEADER, &moment)]);
        let bare = SigV4Request { method: "POST", path: "/a", headers: &few, body: b"{}" };
        assert!(!claim.holds(&secret(), service, now, &bare));
    }

    #[test]
    fn what_is_no_claim_is_none() {
        let good = "AWS4-HMAC-SHA256 Credential=A/20260301/r/s/aws4_request, \
                    SignedHeaders=host;x-amz-date, Signature=";
        let whole = format!("{good}{}", "0".repeat(64));
        assert!(SigV4Claim::parse(&whole).is_some());
        for bad in [
            String::new(),
            "Bearer x".to_owned(),
            format!("{good}{}", "0".repeat(63)),
            format!("{whole}, Signature={}", "0".repeat(64)),
            whole.replace("aws4_request", "aws5_request"),
            whole.replace("host;x-amz-date", "x-amz-date;host"),
            whole.replace("host;x-amz-date", "Host;x-amz-date"),
            whole.replace("SignedHeaders", "Signed"),
            whole.replace("A/2026", &format!("{}/2026", "A".repeat(3000))),
        ] {
            assert!(SigV4Claim::parse(&bad).is_none(), "{bad}");
        }
    }
}
