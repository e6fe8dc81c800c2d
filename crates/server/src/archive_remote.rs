//! A ledger archive of another party (`archive.url`): its certificate is pinned, and the platform
//! shows one whose key lies sealed. While it does not answer, what is durable waits to be sealed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio_util::sync::CancellationToken;
use veritwin_app::{App, ArchiveAccess, Job};

use crate::archive_child::{ask_again_and_again, pairing};
use crate::config::Archive;
use crate::datadir::Paths;
use crate::pki;

const PORT: u16 = 8444;
const RETRY: Duration = Duration::from_secs(2);
/// The wait doubles up to this while it does not answer.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Where it is.
#[derive(Debug)]
pub(crate) struct ArchiveRemote {
    host: String,
    port: u16,
    certificate: PathBuf,
}

impl ArchiveRemote {
    /// As it is configured; none where the platform has an archive of its own.
    pub(crate) fn of(config: &Archive) -> anyhow::Result<Option<Self>> {
        if config.url.is_empty() {
            return Ok(None);
        }
        let form = "archive.url: expected https://HOST[:PORT]";
        let uri = config.url.parse::<hyper::Uri>().context(form)?;
        ensure!(uri.scheme_str() == Some("https") && matches!(uri.path(), "" | "/"), form);
        let host = uri.host().context(form)?.trim_start_matches('[').trim_end_matches(']');
        let certificate = config.certificate.clone().context(
            "archive.certificate: name a PEM file with the certificate of the archive, which is \
             pinned",
        )?;
        Ok(Some(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(PORT), certificate }))
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Connects the platform to it.
    pub(crate) async fn attach(&self, app: &App, paths: &Paths) -> anyhow::Result<()> {
        let pair = pairing(app, paths)?;
        let shown = self.certificate.display();
        let server_certificate_pem = std::fs::read_to_string(&self.certificate)
            .with_context(|| format!("archive.certificate: cannot read {shown}"))?;
        let access = ArchiveAccess {
            host: self.host.clone(),
            port: self.port,
            server_certificate_pem,
            client_certificate_pem: pair.certificate_pem,
            client_key_pem: pair.key_pem,
            is_own: false,
        };
        Ok(app.attach_archive(access).await?)
    }

    /// The same; why it fails is logged and told by the platform.
    pub(crate) async fn attach_noted(&self, app: &App, paths: &Paths) -> bool {
        let Err(error) = self.attach(app, paths).await else { return true };
        let problem = format!("{}: {error:#}", self.address());
        let admitted = pairing(app, paths).and_then(|pair| pki::fingerprint(&pair.certificate_pem));
        let fingerprint = admitted.unwrap_or_default();
        tracing::error!(
            problem,
            fingerprint,
            "the ledger archive does not answer, or does not admit this platform by the \
             fingerprint of its certificate; sealing waits"
        );
        app.archive_does_not_start();
        false
    }

    /// Connects as soon as it answers, and looks after it until `stop`.
    pub(crate) async fn supervise(
        self,
        (app, paths): (App, Paths),
        mut is_attached: bool,
        stop: CancellationToken,
    ) {
        let watch = app.watch_job(Job::Archive);
        let mut wait = RETRY;
        while !is_attached {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(RETRY_MAX);
            is_attached = self.attach_noted(&app, &paths).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            never = ask_again_and_again(&app, &watch) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_archives() {
        let of = |url: &str, certificate: Option<&str>| {
            let certificate = certificate.map(PathBuf::from);
            ArchiveRemote::of(&Archive { url: url.to_owned(), certificate, ..Archive::default() })
        };
        assert!(of("", None).expect("a child of its own").is_none());
        let check = |url: &str, expected: &str| {
            let remote = of(url, Some("archive.pem")).expect(url).expect(url);
            assert_eq!(remote.address(), expected);
        };
        check("https://archive.example", "archive.example:8444");
        check("https://archive.example:9000/", "archive.example:9000");
        check("https://[::1]:9000", "[::1]:9000");
        for wrong in ["http://archive.example", "archive.example", "https://a.example/path"] {
            assert!(of(wrong, Some("archive.pem")).is_err(), "{wrong}");
        }
        let unpinned = of("https://archive.example", None).expect_err("no certificate");
        assert!(unpinned.to_string().contains("archive.certificate"), "{unpinned}");
    }
}
