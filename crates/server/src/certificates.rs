//! The certificate that the listeners show: the operator's, or one of the platform's own authority.
//! It is replaced while the platform runs, and an alarm tells before it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use veritwin_app::App;
use veritwin_domain::{Clock, Timestamp};

use crate::config::Config;
use crate::datadir::Paths;
use crate::pki::{self, Authority};
use crate::tls::{CurrentCertificate, WatchedFiles};

const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(10);
/// A certificate that ends sooner than this is an alarm.
const CERTIFICATE_ALARM: Duration = Duration::from_secs(14 * 86_400);

/// What the listeners show.
pub(crate) struct Certificates {
    pub(crate) current: Arc<CurrentCertificate>,
    pub(crate) own: bool,
    pub(crate) ca_fingerprint: String,
    pub(crate) names: Vec<String>,
}

/// The certificates at the start: the operator's, or our own, which is made where there is none.
pub(crate) fn open(
    app: &App,
    config: &Config,
    paths: &Paths,
    now: Timestamp,
) -> anyhow::Result<Certificates> {
    let names = pki::server_names(&config.http.public_name, &config.http.extra_names);
    let vault = app.vault();
    let authority = Authority::open_or_create(paths, &names, &vault, now, app.rng())?;
    let ca_fingerprint = pki::fingerprint(authority.certificate_pem())?;
    let (identity, own) = match (&config.tls.certificate, &config.tls.private_key) {
        (Some(certificate), Some(key)) => (pki::operator_identity(certificate, key)?, true),
        (None, None) => {
            (pki::own_identity(paths, &names, &authority, &vault, now, app.rng())?, false)
        }
        _ => anyhow::bail!("tls.certificate and tls.private_key go together: set both or neither"),
    };
    let current = CurrentCertificate::new(identity, &names)?;
    Ok(Certificates { current, own, ca_fingerprint, names })
}

/// Replaces certificates: the operator's when their files change, our own before it ends.
pub(crate) async fn watch(
    app: App,
    config: Config,
    paths: Paths,
    certificates: Arc<CurrentCertificate>,
    names: Vec<String>,
    (machine, stop): (Arc<dyn Clock>, CancellationToken),
) {
    let mut watched = match (config.tls.certificate, config.tls.private_key) {
        (Some(certificate), Some(key)) => Some(WatchedFiles::new(certificate, key)),
        _ => None,
    };
    let mut alarmed = false;
    let mut interval = tokio::time::interval(CERTIFICATE_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let now = machine.now();
        let left = certificates.not_after().since(now);
        metrics::gauge!("veritwin_certificate_seconds_left").set(left.as_secs_f64());
        if let Some(files) = &mut watched {
            if files.changed() {
                let fresh = pki::operator_identity(&files.certificate, &files.private_key)
                    .and_then(|identity| certificates.replace(identity));
                match fresh {
                    Ok(()) => tracing::info!("the operator's certificate was reloaded"),
                    Err(error) => tracing::error!(
                        %error, "the new certificate cannot be used; the old one stays"
                    ),
                }
            }
        } else if left < pki::LEAF_RENEW_BEFORE {
            let vault = app.vault();
            let renewed = Authority::open_or_create(&paths, &names, &vault, now, app.rng())
                .and_then(|authority| {
                    pki::own_identity(&paths, &names, &authority, &vault, now, app.rng())
                })
                .and_then(|identity| certificates.replace(identity));
            if let Err(error) = renewed {
                tracing::error!(%error, "the server certificate was not renewed");
            }
        }
        let is_near = certificates.not_after().since(now) < CERTIFICATE_ALARM;
        if is_near && !alarmed {
            tracing::error!(
                ends_at = %certificates.not_after(),
                "the server certificate ends soon: replace it, or devices will be turned away"
            );
        }
        alarmed = is_near;
    }
}
