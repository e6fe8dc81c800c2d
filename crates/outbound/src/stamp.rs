//! The client of a time-stamping authority (RFC 3161 over HTTP). Which one is the operator's
//! choice. An address may be `http://`: what is sent is a hash, and an answer proves itself or is
//! refused.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use veritwin_domain::AddressList;

use crate::archive::TrustError;
use crate::guard::{Call, Guard, GuardError, GuardPolicy, GuardedClient, Target, TargetError};
use crate::register::{Destination, DestinationKind, EgressRegister};

/// Longest wait for an authority's answer.
pub const STAMP_TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const QUERY: HeaderValue = HeaderValue::from_static("application/timestamp-query");
const PURPOSE: &str = "time stamps of ledger checkpoints (RFC 3161)";

/// Why an authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StampClientError {
    /// Its address.
    #[error("timestamp.url: {0}")]
    Address(#[from] TargetError),
    /// The authorities of its TLS certificate.
    #[error("timestamp.tls_authorities: {0}")]
    Trust(#[from] TrustError),
}

/// A client of one authority.
#[derive(Debug)]
pub struct StampClient {
    client: GuardedClient,
    register: Arc<EgressRegister>,
    target: Target,
    is_plain: bool,
}

/// An address with `http://` as one that the guard judges: host, port and path are the same.
fn target_of(url: &str) -> Result<(Target, bool), TargetError> {
    let Some(rest) = url.strip_prefix("http://") else { return Ok((Target::parse(url)?, false)) };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if has_port { "" } else { ":80" };
    Ok((Target::parse(&format!("https://{authority}{port}{path}"))?, true))
}

impl StampClient {
    /// A client; the authority is entered in the register.
    pub fn new(
        url: &str,
        tls_authorities_pem: Option<&str>,
        register: Arc<EgressRegister>,
    ) -> Result<Self, StampClientError> {
        let (target, is_plain) = target_of(url)?;
        // Whoever runs the platform may name any place; the guard still refuses metadata services.
        let allowed = AddressList::parse(&["0.0.0.0/0", "::/0"]).unwrap_or_default();
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![target.port()] });
        let destination = Destination::new(target.host(), target.port());
        register.register(destination, DestinationKind::SubProcessor, PURPOSE);
        let client = GuardedClient::new(guard, Arc::clone(&register), tls_authorities_pem)?;
        Ok(Self { client, register, target, is_plain })
    }

    /// Sends a request and gives the answer's bytes back, whatever they say.
    #[boxed]
    pub async fn stamp(&self, request: Vec<u8>) -> Result<Bytes, GuardError> {
        if self.is_plain {
            let exchange = self.plainly(Bytes::from(request));
            let answer = tokio::time::timeout(STAMP_TIMEOUT, exchange).await;
            return answer.unwrap_or_else(|_| Err(self.broken("no answer in time")));
        }
        let call = Call {
            reply_bytes_max: ANSWER_BYTES_MAX,
            timeout: STAMP_TIMEOUT,
            ..Call::post(&self.target, QUERY, Bytes::from(request))
        };
        let reply = self.client.call(None, call).await?;
        self.answered(reply.status, reply.body)
    }

    fn broken(&self, problem: impl ToString) -> GuardError {
        let host = self.target.host().to_owned();
        GuardError::Unreachable { host, problem: problem.to_string() }
    }

    fn answered(&self, status: u16, body: Bytes) -> Result<Bytes, GuardError> {
        if status == 200 { Ok(body) } else { Err(self.broken(format!("it answered {status}"))) }
    }

    /// Registered, judged and bounded like any other call, without TLS.
    async fn plainly(&self, body: Bytes) -> Result<Bytes, GuardError> {
        self.register.check(&Destination::new(self.target.host(), self.target.port()))?;
        let stream = self.client.guard().connect(&self.target).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let driver = tokio::spawn(connection);
        let host = format!("{}:{}", self.target.host(), self.target.port());
        let request = Request::post(self.target.path_and_query())
            .header(HOST, host)
            .header(USER_AGENT, "Veritwin")
            .header(CONTENT_TYPE, QUERY)
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        driver.abort();
        self.answered(status, body.map_err(|error| self.broken(error))?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_tls_keep_host_port_and_path() {
        let check = |url: &str, expect: Option<(&str, u16, &str, bool)>| {
            let parsed = target_of(url).ok();
            let parts = parsed.as_ref().map(|(target, plain)| {
                (target.host(), target.port(), target.path_and_query(), *plain)
            });
            assert_eq!(parts, expect, "{url}");
        };
        check("http://tsa.example", Some(("tsa.example", 80, "/", true)));
        check("http://tsa.example/tsr?a=b", Some(("tsa.example", 80, "/tsr?a=b", true)));
        check("http://tsa.example:8080/tsr", Some(("tsa.example", 8080, "/tsr", true)));
        check("http://[::1]/tsr", Some(("[::1]", 80, "/tsr", true)));
        check("http://[::1]:81/tsr", Some(("[::1]", 81, "/tsr", true)));
        check("https://tsa.example/tsr", Some(("tsa.example", 443, "/tsr", false)));
        check("http://user:word@tsa.example/", None);
        check("ftp://tsa.example/", None);
    }
}
