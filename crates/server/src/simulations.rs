//! Simulations of single devices, for trying things out: a client like any other, over TLS to the
//! platform's own listener, with a credential that is made for it and ends with it. Bounded in time
//! and number; made-up readings never mix with those of a device that is really there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use veritwin_app::model::NewCredential;
use veritwin_app::{App, Error};
use veritwin_domain::{CredentialId, DeviceId, OpContext, Secret, TenantId, Timestamp};
use veritwin_simulator::Endpoint;
use veritwin_simulator::single::{self, Profile, SingleConfig, SingleStatus};

use crate::api::LiveState;
use crate::tls::CurrentCertificate;

/// Most simulations at once.
const SIMULATIONS_MAX: usize = 50;
/// Most of them of one tenant.
const TENANT_SIMULATIONS_MAX: usize = 5;
/// What the credential of a simulation is called.
const CREDENTIAL_NAME: &str = "Simulation";
/// The credential goes on for this long after the planned end, and then ends by itself.
const CREDENTIAL_AFTER: Duration = Duration::from_secs(30);
/// What is heard so shortly after the end is still the simulation's.
const GOING: Duration = Duration::from_secs(10);
/// How long is remembered when a simulation ended.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Why one ended whose device came by itself.
const HEARD: &str = "the device itself was heard, and nothing is made up beside it";

type Owned = (TenantId, DeviceId);

/// What is simulated, how often it sends, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) profile: Profile,
    pub(crate) interval: Duration,
    pub(crate) lasts: Duration,
}

/// A simulation as people see it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) plan: Plan,
    pub(crate) is_running: bool,
    /// When it ends, or ended.
    pub(crate) ends_at: Timestamp,
    pub(crate) published: u64,
    pub(crate) stored: u64,
    /// Why it ended before its time.
    pub(crate) failure: Option<String>,
}

/// One that runs, or ran.
struct Known {
    plan: Plan,
    status: Arc<SingleStatus>,
    stop: CancellationToken,
    ends_at: Timestamp,
    is_running: bool,
    /// The device itself was heard meanwhile.
    is_heard: bool,
    failure: Option<String>,
}

impl Known {
    fn view(&self) -> View {
        View {
            plan: self.plan,
            is_running: self.is_running,
            ends_at: self.ends_at,
            published: self.status.published(),
            stored: self.status.acknowledged(),
            failure: self.failure.clone(),
        }
    }
}

/// The simulations of all tenants.
pub(crate) struct Simulations {
    app: App,
    live: Arc<LiveState>,
    endpoint: Endpoint,
    stop: CancellationToken,
    tasks: TaskTracker,
    known: Mutex<HashMap<Owned, Known>>,
}

/// Where the platform's own MQTT listener is reached, and what it shows.
pub(crate) struct Listener<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) name: &'a str,
    pub(crate) certificate: &'a Arc<CurrentCertificate>,
}

impl Simulations {
    pub(crate) fn new(
        app: App,
        live: Arc<LiveState>,
        listener: &Listener<'_>,
        (stop, tasks): (CancellationToken, TaskTracker),
    ) -> anyhow::Result<Arc<Self>> {
        let endpoint = Endpoint {
            address: crate::probes::reachable(listener.address),
            server_name: ServerName::try_from(listener.name.to_owned())?,
            tls: pinned(listener.certificate)?,
        };
        Ok(Arc::new(Self { app, live, endpoint, stop, tasks, known: Mutex::default() }))
    }

    /// The simulation of a device that runs, or that ran last.
    pub(crate) fn of(&self, device: Owned) -> Option<View> {
        self.known.lock().get(&device).map(Known::view)
    }

    /// Begins to simulate a device.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        context: &OpContext,
        device: DeviceId,
        plan: Plan,
    ) -> Result<View, Error> {
        let until = |one: &Known| (!one.is_heard).then(|| one.ends_at.saturating_add(GOING));
        let simulated_until = self.known.lock().get(&(context.tenant, device)).and_then(until);
        self.app.check_simulation(context, device, simulated_until).await?;
        // Whoever asks may hang up: a place that is taken is given up all the same.
        let (simulations, context) = (Arc::clone(self), context.clone());
        let started =
            self.tasks.spawn(async move { simulations.start(&context, device, plan).await });
        started.await.map_err(|_| Error::Internal("a simulation did not start".to_owned()))?
    }

    async fn start(
        self: &Arc<Self>,
        context: &OpContext,
        device: DeviceId,
        plan: Plan,
    ) -> Result<View, Error> {
        let owned = (context.tenant, device);
        let status = Arc::new(SingleStatus::default());
        let stop = self.stop.child_token();
        let ends_at = context.at.saturating_add(plan.lasts);
        let before = self.reserve(
            owned,
            context.at,
            Known {
                plan,
                status: Arc::clone(&status),
                stop: stop.clone(),
                ends_at,
                is_running: true,
                is_heard: false,
                failure: None,
            },
        )?;
        let new = NewCredential {
            name: CREDENTIAL_NAME.to_owned(),
            valid_until: Some(ends_at.saturating_add(CREDENTIAL_AFTER)),
            ..NewCredential::default()
        };
        let made = match self.app.add_credential(context, device, new).await {
            Ok(made) => made,
            Err(error) => {
                let mut known = self.known.lock();
                known.remove(&owned);
                known.extend(before.map(|before| (owned, before)));
                return Err(error);
            }
        };
        let token = made.secret.unwrap_or_else(|| Secret::new(String::new()));
        let config = SingleConfig {
            endpoint: self.endpoint.clone(),
            client_id: format!("simulation-{device}"),
            token,
            profile: plan.profile,
            interval: plan.interval,
            clock: self.app.shared_clock(),
            rng: self.app.shared_rng(),
        };
        let (simulations, context) = (Arc::clone(self), context.clone());
        let credential = made.view.id;
        let being = self.live.begin_simulation(owned, credential, stop.clone());
        self.tasks.spawn(async move {
            let failure = live_through(config, status, (stop, plan.lasts)).await;
            simulations.over(context, (device, credential), (being.is_heard(), failure)).await;
            // What was under way at the end is made up as well.
            tokio::select! {
                () = simulations.stop.cancelled() => {}
                () = tokio::time::sleep(GOING) => {}
            }
            drop(being);
        });
        self.of(owned).ok_or(Error::NotFound("simulation"))
    }

    /// Takes a place, and gives what was known of the one before; refuses a second one of a device,
    /// and more than the bounds.
    fn reserve(&self, device: Owned, now: Timestamp, known: Known) -> Result<Option<Known>, Error> {
        let mut all = self.known.lock();
        let is_remembered =
            |one: &Known| one.is_running || one.ends_at.saturating_add(REMEMBERED) > now;
        all.retain(|_, one| is_remembered(one));
        let running = |of: Option<TenantId>| {
            let counts = |(owned, one): &(&Owned, &Known)| {
                one.is_running && of.is_none_or(|tenant| owned.0 == tenant)
            };
            all.iter().filter(counts).count()
        };
        let full = |name: &str, max: usize| {
            Err(Error::Conflict(format!("limit {name}: at most {max} simulations run at once")))
        };
        if all.get(&device).is_some_and(|one| one.is_running) {
            return Err(Error::Conflict("the device is simulated already".to_owned()));
        }
        if running(Some(device.0)) >= TENANT_SIMULATIONS_MAX {
            return full("tenant_simulations_max", TENANT_SIMULATIONS_MAX);
        }
        if running(None) >= SIMULATIONS_MAX {
            return full("simulations_max", SIMULATIONS_MAX);
        }
        Ok(all.insert(device, known))
    }

    /// Ends a simulation before its time; none runs is no error.
    pub(crate) async fn end(&self, context: &OpContext, device: DeviceId) -> Result<(), Error> {
        self.app.check_simulation_end(context, device).await?;
        if let Some(known) = self.known.lock().get(&(context.tenant, device)) {
            known.stop.cancel();
        }
        Ok(())
    }

    /// It is over: its credential goes, on behalf of whoever began it. Should that fail, it has
    /// an end of its own.
    async fn over(
        &self,
        mut context: OpContext,
        (device, credential): (DeviceId, CredentialId),
        (is_heard, failure): (bool, Option<String>),
    ) {
        context.at = self.app.clock().now();
        let tenant = context.tenant;
        if let Err(error) = self.app.revoke_credential(&context, device, credential).await {
            tracing::debug!(%device, %error, "the credential of a simulation ends by itself");
        }
        self.live.disconnect(tenant, device, Some(credential));
        if let Some(known) = self.known.lock().get_mut(&(tenant, device)) {
            known.is_running = false;
            known.ends_at = self.app.clock().now();
            known.is_heard = is_heard;
            known.failure = if is_heard { Some(HEARD.to_owned()) } else { failure };
        }
    }
}

/// Runs the device for its time, or until it is told to go; why it stopped by itself, if it did.
async fn live_through(
    config: SingleConfig,
    status: Arc<SingleStatus>,
    (stop, lasts): (CancellationToken, Duration),
) -> Option<String> {
    let run = single::run(config, status, stop.clone());
    tokio::pin!(run);
    let outcome = tokio::select! {
        outcome = &mut run => outcome,
        () = tokio::time::sleep(lasts) => {
            stop.cancel();
            run.await
        }
    };
    outcome.err().map(|error| error.to_string())
}

/// A client that trusts what the listener itself shows, whoever signed it, and nothing else.
fn pinned(certificate: &Arc<CurrentCertificate>) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Pinned { shown: Arc::clone(certificate), provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Pinned {
    shown: Arc<CurrentCertificate>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.shown.is_leaf(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("this is not the platform's own certificate".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
