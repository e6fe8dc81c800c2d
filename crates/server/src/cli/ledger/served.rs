//! A log that a server hands out, read over HTTPS with a few connections at once. Redirects are not
//! followed; what a server is too busy for is asked again after the time that it names.

use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;
use veritwin_domain::Secret;
use veritwin_simulator::Endpoint;
use veritwin_verify::{Source, SourceError};

use super::bad;
use crate::cli::remote::{Ask, Remote, begin_of, whole_within};
use crate::cli::replay::{endpoint_of, read_small};

/// Requests at once: the answers are small, and the way is long.
const REQUESTS_MAX: usize = 8;
/// How often a resource is asked for whose connection breaks.
const TRIES_MAX: u32 = 3;
/// Room for the text of an answer that refuses.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// One log at `https://HOST/.../LOG`.
pub(super) struct Served {
    /// The path that names are put behind, with its last slash.
    base: String,
    endpoint: Endpoint,
    key: Option<Secret<String>>,
    open: Mutex<Vec<Remote>>,
    seats: Semaphore,
    runtime: tokio::runtime::Runtime,
}

/// Where a log is served, and whom to trust there.
fn endpoint(uri: &Uri, ca: Option<&Path>) -> anyhow::Result<Endpoint> {
    let form = || bad(format!("{uri}: expected https://HOST[:PORT]/PATH"));
    if uri.scheme_str() != Some("https") {
        return Err(bad(format!("{uri}: a served log is read over https")));
    }
    let host = uri.host().ok_or_else(form)?;
    let address = format!("{host}:{}", uri.port_u16().unwrap_or(443));
    if let Some(ca) = ca {
        return endpoint_of(&address, ca);
    }
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| form())?;
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Endpoint { address, server_name, tls: Arc::new(tls) })
}

impl Served {
    /// The log at `url`; nothing is asked yet.
    pub(super) fn new(
        url: &str,
        ca: Option<&Path>,
        key_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let uri = url.parse::<Uri>().map_err(|error| bad(format!("{url}: {error}")))?;
        let key = match key_file {
            Some(path) => {
                let text = String::from_utf8(read_small(path)?)
                    .map_err(|_| bad(format!("{} is not text", path.display())))?;
                Some(Secret::new(text.trim().to_owned()))
            }
            None => None,
        };
        let path = uri.path();
        let path = path.strip_suffix("/checkpoint").unwrap_or(path);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            base: format!("{}/", path.trim_end_matches('/')),
            endpoint: endpoint(&uri, ca)?,
            key,
            open: Mutex::new(Vec::new()),
            seats: Semaphore::new(REQUESTS_MAX),
            runtime,
        })
    }

    async fn get(&self, name: &str, bytes_max: usize) -> anyhow::Result<Option<Bytes>> {
        let path = format!("{}{name}", self.base);
        let _seat = self.seats.acquire().await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let open = self.open.lock().pop();
            let mut remote =
                open.unwrap_or_else(|| Remote::to(self.endpoint.clone(), self.key.clone()));
            match get(&mut remote, &path, bytes_max).await {
                Ok(found) => {
                    self.open.lock().push(remote);
                    return Ok(found);
                }
                // A connection may have been closed meanwhile; a new one may do.
                Err(Failed::Broken(_)) if tries < TRIES_MAX => {}
                Err(Failed::Broken(error) | Failed::Refused(error)) => return Err(error),
            }
        }
    }
}

enum Failed {
    Broken(anyhow::Error),
    Refused(anyhow::Error),
}

/// No more than `bytes_max` bytes of a resource.
async fn get(remote: &mut Remote, path: &str, bytes_max: usize) -> Result<Option<Bytes>, Failed> {
    let answer = remote.answer(&Ask::get(path)).await.map_err(Failed::Broken)?;
    let status = answer.status();
    if status == StatusCode::OK {
        return begin_of(answer, bytes_max).await.map(Some).map_err(Failed::Broken);
    }
    // An answer that refuses may say why.
    whole_within(answer, REFUSAL_BYTES_MAX).await.map_err(Failed::Broken)?;
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failed::Refused(anyhow::anyhow!(
            "the server answers {status}: give the key of somebody who may take the ledger away \
             with --api-key-file"
        ))),
        other => Err(Failed::Refused(anyhow::anyhow!("the server answers {other}"))),
    }
}

impl Served {
    fn ask(&self, name: &str, bytes_max: u64) -> Result<Option<Bytes>, SourceError> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        self.runtime.block_on(self.get(name, bytes_max)).map_err(|error| SourceError {
            name: name.to_owned(),
            problem: format!("{error:#}"),
            is_damaged: false,
        })
    }
}

impl Source for Served {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        self.open_within(name, u64::MAX)
    }

    fn open_within(
        &self,
        name: &str,
        bytes_max: u64,
    ) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        let read = self.ask(name, bytes_max)?;
        Ok(read.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }

    fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(bytes) = self.ask(name, bytes_max.saturating_add(1))? else { return Ok(None) };
        if bytes.len() as u64 > bytes_max {
            let problem = format!("longer than {bytes_max} bytes");
            return Err(SourceError { name: name.to_owned(), problem, is_damaged: false });
        }
        Ok(Some(bytes.to_vec()))
    }

    fn threads(&self) -> usize {
        REQUESTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BadArguments;

    #[test]
    fn addresses_of_logs() {
        let check = |url: &str, address: &str, base: &str| {
            let served = Served::new(url, None, None).unwrap_or_else(|error| panic!("{error:#}"));
            assert_eq!((served.endpoint.address.as_str(), served.base.as_str()), (address, base));
        };
        check("https://a.example/ledger/x", "a.example:443", "/ledger/x/");
        check("https://a.example:8443/ledger/x/", "a.example:8443", "/ledger/x/");
        check("https://a.example/ledger/x/checkpoint", "a.example:443", "/ledger/x/");
        check("https://[::1]:8443/l", "[::1]:8443", "/l/");
        for url in ["http://a.example/l", "ftp://a/l", "https:///l", "https://a b/l"] {
            let refused = Served::new(url, None, None).err();
            assert!(refused.is_some_and(|error| error.is::<BadArguments>()), "{url}");
        }
    }
}
