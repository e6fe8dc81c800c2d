//! A client of a private platform over TLS: one connection, one request after the other.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::cli::demo_tls as client_tls;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One connection to the platform.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(super) async fn connect(address: &str, ca_pem: &str) -> anyhow::Result<Self> {
        let address = address.trim_start_matches("https://");
        let (host, _) = address.rsplit_once(':').context("the address has no port")?;
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let tls = TlsConnector::from(client_tls(ca_pem)?).connect(name, stream).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: address.to_owned() })
    }

    /// Status, session cookie and body of one request.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        cookie: Option<&str>,
        body: Option<serde_json::Value>,
    ) -> anyhow::Result<(StatusCode, Option<String>, Bytes)> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if let Some(cookie) = cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(serde_json::to_vec(&body)?)
            }
            None => Bytes::new(),
        };
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
        let cookie = answer
            .headers()
            .get(header::SET_COOKIE)
            .and_then(|value| Some(value.to_str().ok()?.split(';').next()?.to_owned()));
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok((status, cookie, body.to_bytes()))
    }

    /// A bulk write of lines whose times are in milliseconds.
    pub(super) async fn write(&mut self, token: &str, lines: Bytes) -> anyhow::Result<StatusCode> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/telemetry/write?precision=ms")
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "text/plain");
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::new(lines))?).await?;
        let status = answer.status();
        let body = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(status)
    }
}
