//! Certificates that tenants bring for their own host names: judged before they are stored, taken
//! into use at once, and told of before they end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use veritwin_app::{App, HOST_CHAIN_BYTES_MAX, HostCertificate};
use veritwin_domain::{Clock, Secret, Timestamp};

use crate::pki::{self, Identity};
use crate::tls::{CurrentCertificate, certified};

/// Most certificates of a chain.
const CHAIN_CERTIFICATES_MAX: usize = 10;
/// How often the ends of certificates are looked at.
const INTERVAL: Duration = Duration::from_secs(3600);
/// A certificate that ends sooner than this is an alarm.
const ALARM: Duration = Duration::from_secs(14 * 86_400);

/// Judges what somebody hands in for a host name: a chain in its order with a private key that
/// belongs to it, for this name, not ended. The text of a refusal says what would be right.
pub(crate) fn judged(
    host: &str,
    chain_pem: &str,
    key_pem: &str,
    now: Timestamp,
) -> anyhow::Result<HostCertificate> {
    ensure!(
        chain_pem.len() <= HOST_CHAIN_BYTES_MAX && key_pem.len() <= HOST_CHAIN_BYTES_MAX,
        "limit host_chain_bytes_max exceeded: at most {HOST_CHAIN_BYTES_MAX} bytes"
    );
    let chain = pki::certificates(chain_pem.as_bytes())?;
    ensure!(
        chain.len() <= CHAIN_CERTIFICATES_MAX,
        "limit chain_certificates_max exceeded: at most {CHAIN_CERTIFICATES_MAX}"
    );
    check_chain(&chain)?;
    let names = pki::leaf_names(&chain[0])?;
    ensure!(
        names.iter().any(|name| covers(name, host)),
        "the certificate is not for {host}: it names {}",
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    );
    let (begins, not_after) = pki::validity(&chain[0])?;
    ensure!(begins <= now, "the certificate is valid from {begins} on only");
    ensure!(not_after > now, "the certificate ended at {not_after}");
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| anyhow::anyhow!("no PEM private key in it, or it is encrypted"))?;
    let private_key = Secret::new(key.secret_der().to_vec());
    certified(&Identity { chain, key, not_after })?;
    let chain_pem = chain_pem.as_bytes().to_vec();
    Ok(HostCertificate { host: host.to_owned(), chain_pem, private_key, not_after })
}

/// Each certificate is followed by the one that issued it, and the first is no authority.
fn check_chain(chain: &[CertificateDer<'_>]) -> anyhow::Result<()> {
    let parsed = chain.iter().map(|one| x509_parser::parse_x509_certificate(one));
    let parsed: Vec<_> = parsed
        .collect::<Result<_, _>>()
        .map_err(|_| anyhow::anyhow!("not an X.509 certificate"))?;
    ensure!(!parsed[0].1.is_ca(), "the first certificate is an authority's: put the host's first");
    for pair in parsed.windows(2) {
        ensure!(
            pair[0].1.issuer() == pair[1].1.subject(),
            "the chain is not in its order: each certificate is followed by its issuer's"
        );
    }
    Ok(())
}

/// Whether a name of a certificate covers a host name (RFC 9525, 6.3).
fn covers(name: &str, host: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, domain)| domain == rest),
        None => name == host,
    }
}

fn identity(certificate: HostCertificate) -> anyhow::Result<(String, Identity)> {
    let chain = pki::certificates(&certificate.chain_pem)?;
    let key = PrivateKeyDer::try_from(certificate.private_key.into_exposed())
        .map_err(|problem| anyhow::anyhow!(problem))?;
    let not_after = certificate.not_after;
    Ok((certificate.host, Identity { chain, key, not_after }))
}

/// Takes what is stored into use.
pub(crate) async fn load(app: &App, current: &CurrentCertificate) -> anyhow::Result<()> {
    let stored = app.host_certificates().await.context("certificates of host names")?;
    let mut usable = Vec::with_capacity(stored.len());
    for certificate in stored {
        match identity(certificate) {
            Ok(one) => usable.push(one),
            Err(error) => tracing::error!(%error, "a host name's certificate is unused"),
        }
    }
    current.replace_hosts(usable);
    metrics::gauge!("veritwin_host_certificates").set(current.hosts() as f64);
    Ok(())
}

/// The certificates that end soon, each told of once.
#[derive(Default)]
struct Ending(HashSet<(String, Timestamp)>);

impl Ending {
    /// Takes stock at `now`; what is new among those that end soon comes back.
    fn look(
        &mut self,
        all: impl IntoIterator<Item = (String, Timestamp)>,
        now: Timestamp,
    ) -> Vec<(String, Timestamp)> {
        let near: HashSet<_> = all.into_iter().filter(|one| one.1.since(now) < ALARM).collect();
        let new = near.difference(&self.0).cloned().collect();
        self.0 = near;
        new
    }
}

/// Follows changes, and tells of certificates that end soon by the machine's clock.
pub(crate) async fn watch(
    app: App,
    current: Arc<CurrentCertificate>,
    machine: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut changes = app.watch_host_certificates();
    let mut ending = Ending::default();
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        let is_change = tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
            _ = interval.tick() => false,
        };
        if is_change && let Err(error) = load(&app, &current).await {
            tracing::error!(%error, "certificates of host names were not reloaded");
        }
        let Ok(all) = app.host_certificates().await else { continue };
        let all = all.into_iter().map(|one| (one.host, one.not_after));
        for (host, ends_at) in ending.look(all, machine.now()) {
            tracing::error!(host, %ends_at, "a host name's certificate ends soon: replace it");
        }
        metrics::gauge!("veritwin_host_certificates_ending").set(ending.0.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Made {
        chain: String,
        key: String,
    }

    /// A leaf for these names below an authority, in the order of the chain.
    fn made(names: &[&str], days: (i64, i64)) -> Made {
        let now = time::OffsetDateTime::from_unix_timestamp(NOW_S).expect("a time");
        let key = KeyPair::generate().expect("a key");
        let mut root = CertificateParams::new(Vec::new()).expect("parameters");
        root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name.push(rcgen::DnType::CommonName, "An authority");
        let authority = root.self_signed(&key).expect("an authority").pem();
        let issuer = Issuer::from_ca_cert_pem(&authority, &key).expect("an issuer");
        let own = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).expect("parameters");
        leaf.not_before = now + time::Duration::days(days.0);
        leaf.not_after = now + time::Duration::days(days.1);
        let leaf = leaf.signed_by(&own, &issuer).expect("a leaf").pem();
        Made { chain: format!("{leaf}{authority}"), key: own.serialize_pem() }
    }

    const NOW_S: i64 = 1_800_000_000;

    #[test]
    fn what_ends_soon_is_told_once() {
        use veritwin_domain::ManualClock;
        const DAY: Duration = Duration::from_secs(86_400);
        let clock = ManualClock::new(Timestamp::from_micros(NOW_S * 1_000_000));
        let end = |days: u32| clock.now().saturating_add(DAY * days);
        let (soon, later) = (("a.example".to_owned(), end(13)), ("b.example".to_owned(), end(20)));
        let mut all = vec![soon.clone(), later.clone()];
        let mut ending = Ending::default();
        assert_eq!(ending.look(all.clone(), clock.now()), std::slice::from_ref(&soon));
        assert!(ending.look(all.clone(), clock.now()).is_empty(), "told before");
        clock.advance(DAY * 7);
        assert_eq!(ending.look(all.clone(), clock.now()), [later], "the other one by and by");
        assert_eq!(ending.0.len(), 2);
        all[0].1 = end(90);
        assert!(ending.look(all, clock.now()).is_empty());
        assert_eq!(ending.0.len(), 1, "a renewed one is no alarm");
    }

    #[test]
    fn what_is_handed_in_is_judged() {
        let now = Timestamp::from_micros(NOW_S * 1_000_000);
        let right = made(&["a.example", "*.wild.example"], (-1, 90));
        let reversed: String = {
            let at = right.chain.rfind("-----BEGIN").expect("two certificates");
            format!("{}{}", &right.chain[at..], &right.chain[..at])
        };
        let ended = made(&["a.example"], (-90, -1));
        let early = made(&["a.example"], (1, 90));
        let check = |host: &str, chain: &str, key: &str, expect: Option<&str>| {
            let said = judged(host, chain, key, now).map(|_| ()).map_err(|error| error.to_string());
            match (said, expect) {
                (Ok(()), None) => {}
                (Err(text), Some(part)) => assert!(text.contains(part), "{host}: {text}"),
                (said, expect) => panic!("{host}: {said:?}, expected {expect:?}"),
            }
        };
        check("a.example", &right.chain, &right.key, None);
        check("b.wild.example", &right.chain, &right.key, None);
        check("wild.example", &right.chain, &right.key, Some("is not for wild.example"));
        check("a.b.wild.example", &right.chain, &right.key, Some("is not for"));
        check("b.example", &right.chain, &right.key, Some("it names a.example"));
        check("a.example", &right.chain, &ended.key, Some("does not belong"));
        check("a.example", &ended.chain, &ended.key, Some("ended at"));
        check("a.example", &early.chain, &early.key, Some("valid from"));
        check("a.example", &reversed, &right.key, Some("put the host's first"));
        check("a.example", "", &right.key, Some("no PEM certificate"));
        check("a.example", &right.chain, "", Some("no PEM private key"));
        let mixed = format!("{}{}", right.chain, early.chain);
        check("a.example", &mixed, &right.key, Some("not in its order"));
        let long = format!("{}{}", right.chain, "x".repeat(HOST_CHAIN_BYTES_MAX));
        check("a.example", &long, &right.key, Some("host_chain_bytes_max"));
    }
}
