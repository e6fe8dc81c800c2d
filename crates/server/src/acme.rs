//! Orders certificates of host names by ACME in the background: what is due, a few at once. The
//! challenge is answered on the HTTPS listener while an order is under way, and at no other time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use veritwin_app::{App, HostCertificate, OrderUnderWay, Refusal, RefusalKind};
use veritwin_domain::{Clock, Timestamp};

use crate::host_certificates::judged;
use crate::pki::{self, Identity};
use crate::tls::{ChallengeAnswer, CurrentCertificate};

/// Most orders under way at once.
const ORDERS_AT_ONCE: usize = 4;
/// An order that takes longer is given up.
const ORDER_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest time until the records are looked at again, and the shortest.
const LOOK_MAX: Duration = Duration::from_secs(3600);
const LOOK_MIN: Duration = Duration::from_secs(1);

/// Orders what is due until told to stop. An order that is cut off was counted before it began.
pub(crate) async fn run(
    app: App,
    current: Arc<CurrentCertificate>,
    machine: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    if !app.fetches_certificates() {
        return;
    }
    let mut changes = app.watch_host_certificates();
    let mut orders = JoinSet::new();
    loop {
        changes.mark_unchanged();
        let now = machine.now();
        let mut wait = LOOK_MAX;
        match app.due_orders(now).await {
            Ok(due) => {
                wait = due.next.map_or(LOOK_MAX, |next| next.since(now)).clamp(LOOK_MIN, LOOK_MAX);
                for host in due.hosts {
                    if orders.len() >= ORDERS_AT_ONCE {
                        break;
                    }
                    let (app, current) = (app.clone(), Arc::clone(&current));
                    orders.spawn(order(app, current, Arc::clone(&machine), host));
                }
            }
            Err(error) => tracing::error!(%error, "orders of certificates were not looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            Some(_) = orders.join_next() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// One try for one host name, with its outcome kept.
async fn order(app: App, current: Arc<CurrentCertificate>, machine: Arc<dyn Clock>, host: String) {
    let under_way = match app.begin_order(&host, machine.now()).await {
        Ok(Some(under_way)) => under_way,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(host, %error, "a certificate was not ordered");
            return;
        }
    };
    let fetched = tokio::time::timeout(ORDER_TIMEOUT, fetch(&app, &current, &under_way, &*machine));
    let fetched = fetched
        .await
        .unwrap_or_else(|_| Err(Refusal::new(RefusalKind::TooSlow, "the authority took too long")));
    let kept = match fetched {
        Ok((certificate, next_at)) => {
            tracing::info!(host, ends_at = %certificate.not_after, "a certificate was fetched");
            metrics::counter!("veritwin_acme_orders_total", "outcome" => "done").increment(1);
            app.order_done(under_way, certificate, next_at).await.map(|_| ())
        }
        Err(refusal) => {
            let kind = refusal.kind.as_str();
            tracing::warn!(host, kind, detail = refusal.detail, "no certificate was fetched");
            metrics::counter!("veritwin_acme_orders_total", "outcome" => "refused").increment(1);
            app.order_refused(under_way, &refusal, machine.now()).await
        }
    };
    if let Err(error) = kept {
        tracing::error!(host, %error, "the outcome of an order was not kept");
    }
}

/// The certificate and when it is to be renewed.
async fn fetch(
    app: &App,
    current: &Arc<CurrentCertificate>,
    under_way: &OrderUnderWay,
    machine: &dyn Clock,
) -> Result<(HostCertificate, Timestamp), Refusal> {
    let unusable =
        |error: &anyhow::Error| Refusal::new(RefusalKind::Unusable, &format!("{error:#}"));
    let host = under_way.host();
    let (key, request) = request(host).map_err(|error| unusable(&error))?;
    let answer =
        |digest: [u8; 32]| answer(current, host, &digest).map_err(|error| format!("{error:#}"));
    let chain = app.order_certificate(under_way, &request, answer).await?;
    let private_key = key.serialize_pem();
    let certificate = judged(host, &chain, &private_key, machine.now());
    let certificate = certificate.map_err(|error| unusable(&error))?;
    let renew_at = renew_at(&certificate).map_err(|error| unusable(&error))?;
    Ok((certificate, renew_at))
}

/// A new key, and the request that its certificate is ordered with.
fn request(host: &str) -> anyhow::Result<(KeyPair, Vec<u8>)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok((key, request.der().to_vec()))
}

/// Answers the challenge with the certificate of RFC 8737, section 3.
fn answer(
    current: &Arc<CurrentCertificate>,
    host: &str,
    digest: &[u8; 32],
) -> anyhow::Result<ChallengeAnswer> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let identity = Identity {
        chain: vec![certificate.der().clone()],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        not_after: Timestamp::MAX,
    };
    current.answer(host, &identity)
}

/// When a third of its life is left.
fn renew_at(certificate: &HostCertificate) -> anyhow::Result<Timestamp> {
    let chain = pki::certificates(&certificate.chain_pem)?;
    let leaf = chain.first().context("no certificate in it")?;
    let (begins, ends) = pki::validity(leaf)?;
    Ok(ends.saturating_sub(ends.since(begins) / 3))
}
