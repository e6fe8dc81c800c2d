//! Where a replay sends to and whom it trusts: given by hand, or taken from a running platform's
//! directory. There is no way to send without TLS.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use veritwin_simulator::Endpoint;

use super::{ReplayArguments, bad};
use crate::datadir::{Paths, is_running};

/// Longest token file and CA file, in bytes.
const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;

/// What a replay needs of `run.json`.
#[derive(Deserialize)]
struct RunFile {
    mqtts: String,
    ca: PathBuf,
}

/// Where to send, and whom to trust.
pub(super) struct Target {
    address: String,
    ca: PathBuf,
}

pub(super) fn target(arguments: &ReplayArguments) -> anyhow::Result<Target> {
    if let (Some(address), Some(ca)) = (&arguments.address, &arguments.ca) {
        return Ok(Target { address: address.clone(), ca: ca.clone() });
    }
    let data = &arguments.place.place.data;
    if !is_running(data) {
        bail!(
            "no platform runs on {}: start it, name its directory with --data, or give --address \
             and --ca",
            data.display()
        );
    }
    let path = Paths::new(data).run_json();
    let run: RunFile = serde_json::from_slice(&read_small(&path)?)
        .with_context(|| format!("{} is not as expected", path.display()))?;
    let ca = arguments.ca.clone().unwrap_or_else(|| data.join(&run.ca));
    Ok(Target { address: run.mqtts, ca })
}

pub(in crate::cli) fn read_small(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SMALL_FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
        bail!("{shown} is larger than {SMALL_FILE_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

/// `host` out of `host:port` or `[v6]:port`.
fn host_of(address: &str) -> Result<&str, String> {
    let form = || format!("{address:?} is not an address: expected host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(form)?;
    port.parse::<u16>().map_err(|_| form())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { Err(form()) } else { Ok(host) }
}

pub(super) fn endpoint(target: &Target) -> anyhow::Result<Endpoint> {
    endpoint_of(&target.address, &target.ca)
}

/// Where a listener is, and whom to trust there.
pub(in crate::cli) fn endpoint_of(address: &str, ca: &Path) -> anyhow::Result<Endpoint> {
    let host = host_of(address).map_err(bad)?;
    let server_name = ServerName::try_from(host.to_owned())
        .map_err(|_| bad(format!("{host:?} is neither a host name nor an IP address")))?;
    let shown = ca.display();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read_small(ca)?) {
        let certificate = certificate.map_err(|_| anyhow::anyhow!("{shown} is not PEM"))?;
        roots.add(certificate).with_context(|| format!("{shown} holds no usable certificate"))?;
    }
    if roots.is_empty() {
        bail!("{shown} holds no certificate: give the output of `veritwin ca export`");
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Endpoint { address: address.to_owned(), server_name, tls: Arc::new(tls) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |address: &str, host: Option<&str>| {
            assert_eq!(host_of(address).ok(), host, "{address}");
        };
        check("localhost:8883", Some("localhost"));
        check("[::1]:8883", Some("::1"));
        check("10.0.0.7:1", Some("10.0.0.7"));
        check("localhost", None);
        check("localhost:mqtt", None);
        check(":8883", None);
    }
}
