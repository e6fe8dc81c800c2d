//! A load of readings on a server, and the CPU time that its process takes for it.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use veritwin_simulator::load::{self, LoadOptions, LoadReport, Moment};

use crate::process::cpu_seconds;

/// Readings go here.
pub(crate) const TOPIC: &str = "v1/devices/me/telemetry";

/// One run: what the client saw and the server's CPU seconds.
pub(crate) struct Run {
    pub(crate) report: LoadReport,
    cpu_s: f64,
}

impl Run {
    pub(crate) fn cpu_s_per_million(&self) -> f64 {
        self.cpu_s / (self.report.messages.max(1) as f64 / 1e6)
    }
}

/// Loads a server and reads its process's CPU time at both ends of measuring.
pub(crate) async fn measure(options: LoadOptions, pid: u32) -> Result<Run> {
    let (mut before, mut after) = (Ok(0.0), Ok(0.0));
    let report = load::run(options, |moment| match moment {
        Moment::MeasuringStarts => before = cpu_seconds(pid),
        Moment::MeasuringEnds => after = cpu_seconds(pid),
    })
    .await?;
    Ok(Run { report, cpu_s: after? - before? })
}

pub(crate) fn client_config(ca_pem: &[u8]) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots.add(certificate.context("the authority's PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
