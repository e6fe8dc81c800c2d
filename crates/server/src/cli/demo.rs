//! `veritwin demo`: a platform with a sample building whose devices talk MQTT over TLS like real
//! ones. Its data is simulated, and the pages say so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use veritwin_app::model::{RuleCondition, RuleInput, RuleScope};
use veritwin_app::{App, Vault};
use veritwin_domain::{OpContext, Secret, SeededRng, SiteId, TenantId};
use veritwin_simulator::Endpoint;
use veritwin_simulator::building::{
    DEMO_BUILDING_NAME, DEMO_GLB, demo_devices, demo_ifc, inventory_csv,
};
use veritwin_simulator::devices::{DevicesConfig, DevicesStatus, SimulatedDevice};
use veritwin_simulator::plant::{FaultSchedule, SUPPLY_WATER_ALERT_CELSIUS};

use super::print;
use crate::datadir::write_private;
use crate::run::Platform;

const EMAIL: &str = "demo@veritwin.example";
const INTERVAL: Duration = Duration::from_secs(2);
/// What measures rooms; the weather station outside is not meant by rules about rooms.
const ROOM_DEVICE_TYPE: &str = "room_sensor";
/// The demo's sealed tokens, so that a second start goes on with the same devices.
const STATE_FILE: &str = "demo.sealed";
const STATE_LABEL: &str = "demo/state";
/// How long the ledger may take to know its first leaf.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(15);

/// What a demo directory keeps, sealed: written first of all and after each step, so that a start
/// that was cut off anywhere is completed by the next one.
#[derive(serde::Serialize, serde::Deserialize)]
struct State {
    tenant: Option<TenantId>,
    email: String,
    password: String,
    api_key: Option<String>,
    tokens: Vec<(String, String)>,
    /// Everything of the sample building is there; the first version wrote no other state.
    #[serde(default = "was_complete")]
    complete: bool,
}

const fn was_complete() -> bool {
    true
}

impl State {
    fn token(&self, device: &str) -> Option<&str> {
        let found = self.tokens.iter().find(|(name, _)| name == device);
        found.map(|(_, token)| token.as_str())
    }
}

fn random_password(app: &App) -> String {
    let mut bytes = [0u8; 12];
    app.rng().fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The sealed file that holds the state.
struct StateFile<'a> {
    path: PathBuf,
    vault: Vault,
    app: &'a App,
}

impl StateFile<'_> {
    async fn read_or_create(&self) -> anyhow::Result<State> {
        if self.path.exists() {
            let plain = self.vault.open(STATE_LABEL, &std::fs::read(&self.path)?)?;
            return serde_json::from_slice(&plain).context("the demo's stored state");
        }
        anyhow::ensure!(
            !self.app.has_tenants().await?,
            "this data directory has a tenant already: the demo needs one of its own"
        );
        let state = State {
            tenant: None,
            email: EMAIL.to_owned(),
            password: random_password(self.app),
            api_key: None,
            tokens: Vec::new(),
            complete: false,
        };
        self.write(&state)?;
        Ok(state)
    }

    fn write(&self, state: &State) -> anyhow::Result<()> {
        write_private(&self.path, &self.vault.seal(STATE_LABEL, &serde_json::to_vec(state)?)?)
    }

    /// Does what is not done yet. Each step finds what it made before and was not noted.
    async fn complete(&self, state: &mut State) -> anyhow::Result<()> {
        let app = self.app;
        let tenant = match state.tenant {
            Some(tenant) => tenant,
            None => {
                let password = Secret::new(state.password.clone());
                app.provision_demo(DEMO_BUILDING_NAME, &state.email, &password).await?
            }
        };
        state.tenant = Some(tenant);
        if state.api_key.is_none() {
            state.api_key = Some(app.demo_api_key(tenant).await?.into_exposed());
            self.write(state)?;
        }
        let context = app.demo_context(tenant);
        let twin = twin(app, &context).await?;
        if demo_devices().iter().any(|device| state.token(&device.name).is_none()) {
            let csv = inventory_csv();
            let inventory = app.import_inventory(&context, Some(twin), csv.as_bytes()).await;
            let made = inventory.context("the demo's own inventory")?.tokens;
            let made = made.into_iter().map(|(device, token)| (device, token.into_exposed()));
            state.tokens.extend(made);
            for device in demo_devices() {
                if state.token(&device.name).is_none() {
                    let token = app.demo_token(tenant, &device.name).await?.into_exposed();
                    state.tokens.push((device.name, token));
                }
            }
            self.write(state)?;
        }
        rules(app, &context).await?;
        state.complete = true;
        self.write(state)
    }
}

/// The sample building, imported once.
async fn twin(app: &App, context: &OpContext) -> anyhow::Result<SiteId> {
    let known = app.list_twins(context).await?;
    let twin = match known.into_iter().find(|twin| twin.name == DEMO_BUILDING_NAME) {
        Some(twin) => twin,
        None => {
            let ifc = Bytes::from(demo_ifc());
            app.import_twin(context, Some(DEMO_BUILDING_NAME.to_owned()), ifc).await?.twin
        }
    };
    if !twin.has_geometry {
        let geometry = Bytes::from_static(DEMO_GLB);
        app.put_twin_geometry(context, twin.id, twin.source_sha256, geometry).await?;
    }
    Ok(twin.id)
}

/// The rules of the sample building.
async fn rules(app: &App, context: &OpContext) -> anyhow::Result<()> {
    let threshold = |key: &str, op: &str, threshold: f64, hysteresis: f64, for_seconds: u64| {
        RuleCondition::Threshold {
            key: key.to_owned(),
            op: op.to_owned(),
            threshold,
            hysteresis,
            for_seconds,
        }
    };
    let of_type =
        |kind: &str| RuleScope { device_type: Some(kind.to_owned()), ..RuleScope::default() };
    let chiller = demo_devices()
        .into_iter()
        .find(|device| device.points.iter().any(|point| point.key == "supply_water_temperature"))
        .map(|device| device.device_type)
        .unwrap_or("chiller");
    let all = [
        (
            "Chilled water too warm",
            "critical",
            of_type(chiller),
            threshold("supply_water_temperature", "gt", SUPPLY_WATER_ALERT_CELSIUS, 1.0, 10),
            "Check the compressor's fault code, then the condenser pump and its strainer.",
        ),
        (
            "Room too warm",
            "medium",
            of_type(ROOM_DEVICE_TYPE),
            threshold("temperature", "gt", 27.0, 0.5, 60),
            "Look for a failed chiller or a closed supply damper on this storey.",
        ),
        (
            "Room air stale",
            "low",
            of_type(ROOM_DEVICE_TYPE),
            threshold("co2", "gt", 1400.0, 100.0, 120),
            "Check that the air-handling unit runs and that no filter is blocked.",
        ),
        (
            "Device silent",
            "high",
            RuleScope::default(),
            RuleCondition::NoData { key: None, after_seconds: 120 },
            "Check power and network of the device; its last session is on its page.",
        ),
    ];
    let known = app.list_rules(context).await?;
    for (name, severity, scope, condition, what_helps) in all {
        if known.iter().any(|rule| rule.rule.name == name) {
            continue;
        }
        let rule = RuleInput {
            name: name.to_owned(),
            severity: severity.to_owned(),
            enabled: true,
            scope,
            condition,
            notify_emails: Vec::new(),
            what_helps: what_helps.to_owned(),
            sees_closed: None,
        };
        app.create_rule(context, rule).await.with_context(|| format!("rule {name}"))?;
    }
    Ok(())
}

async fn state(platform: &Platform) -> anyhow::Result<State> {
    let path = platform.paths.root.join(STATE_FILE);
    let file = StateFile { path, vault: platform.app.vault(), app: &platform.app };
    let mut state = file.read_or_create().await?;
    if !state.complete {
        file.complete(&mut state).await?;
    }
    Ok(state)
}

/// The client side of TLS towards our own listeners.
pub(crate) fn client_tls(ca_pem: &str) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.map_err(|_| anyhow::anyhow!("the CA is not PEM"))?)?;
    }
    let config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn devices(platform: &Platform, state: &State) -> anyhow::Result<DevicesConfig> {
    let devices = demo_devices()
        .into_iter()
        .filter_map(|device| {
            let token = Secret::new(state.token(&device.name)?.to_owned());
            Some(SimulatedDevice { token, device })
        })
        .collect();
    let ca_pem = std::fs::read_to_string(platform.paths.ca_pem())?;
    let (host, _) = platform.mqtts.rsplit_once(':').context("the MQTT address has no port")?;
    Ok(DevicesConfig {
        endpoint: Endpoint {
            address: platform.mqtts.clone(),
            server_name: host.to_owned().try_into()?,
            tls: client_tls(&ca_pem)?,
        },
        devices,
        interval: INTERVAL,
        speed: 1.0,
        faults: Some(FaultSchedule::DEMO),
        clock: platform.app.shared_clock(),
        rng: Arc::new(SeededRng::new(20_251)),
    })
}

/// The verifier key of the demo's log, once the archive has its first leaf.
async fn vkey(platform: &Platform, tenant: TenantId) -> Option<String> {
    let context = platform.app.local_operator_in(tenant);
    let wait = async {
        loop {
            if let Ok((_, vkey)) = platform.app.ledger_vkey(&context).await {
                return vkey;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LEDGER_TIMEOUT, wait).await.ok()
}

pub(crate) async fn run(platform: Platform, started: Instant) -> anyhow::Result<()> {
    let state = state(&platform).await?;
    let stop = CancellationToken::new();
    let status = Arc::new(DevicesStatus::default());
    let config = devices(&platform, &state)?;
    let first_token = config.devices.first().map(|device| device.token.expose().clone());
    let simulated =
        tokio::spawn(veritwin_simulator::devices::run(config, Arc::clone(&status), stop.clone()));
    let tenant = state.tenant.context("the demo has no tenant")?;
    let vkey = vkey(&platform, tenant).await;
    let signals = platform.announce(Some((
        "demo",
        json!({
            "tenant": tenant,
            "user": state.email,
            "password": state.password,
            "api_key": state.api_key,
            "device_token": first_token,
            "ledger_vkey": vkey,
        }),
    )))?;
    print(&format!("Veritwin demo: {}", platform.https));
    print(&format!("  sign in as {} with {}", state.email, state.password));
    print(
        "  The building and its readings are simulated. A chiller fails about a minute from now.",
    );
    print(&format!("  trust its authority: {}", platform.paths.ca_pem().display()));
    print(&format!("  SHA-256 {}", platform.facts.ca_fingerprint));
    print(&format!("  started in {} ms; stop with Control-C", started.elapsed().as_millis()));
    let outcome = platform.run_until(signals).await;
    stop.cancel();
    let _ = simulated.await;
    outcome
}
