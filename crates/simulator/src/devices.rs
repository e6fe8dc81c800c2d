//! The demo building's devices: each one an MQTT client of its own over TLS, like a real one. They
//! measure the [`Plant`], answer RPC, follow attributes, and reconnect. They say that they are
//! simulated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use veritwin_domain::{Clock, Rng, Secret, Timestamp, Value};

use crate::building::{DemoDevice, DemoKind};
use crate::client::{BackOff, Client, ClientError, Endpoint, Event, KEEP_ALIVE};
use crate::plant::{FaultSchedule, Plant};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const RPC_REQUESTS: &str = "v1/devices/me/rpc/request/";
const RPC_RESPONSES: &str = "v1/devices/me/rpc/response/";
/// Most unacknowledged publications of one device; beyond them it skips a reading.
const UNACKNOWLEDGED_MAX: u64 = 64;
/// A device that hears nothing for this long connects anew.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// One device with its access token.
#[derive(Debug, Clone)]
pub struct SimulatedDevice {
    /// What it is.
    pub device: DemoDevice,
    /// Its access token.
    pub token: Secret<String>,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct DevicesConfig {
    /// The platform.
    pub endpoint: Endpoint,
    /// The devices.
    pub devices: Vec<SimulatedDevice>,
    /// How often machines send; room sensors send at [`ROOM_SHARE`] of that pace.
    pub interval: Duration,
    /// How much faster than the clock the physics runs; 1 is real time.
    pub speed: f64,
    /// When the chiller fails by itself.
    pub faults: Option<FaultSchedule>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Noise of the physics and spread of reconnects.
    pub rng: Arc<dyn Rng>,
}

/// Room sensors send once while machines send this often.
pub const ROOM_SHARE: u32 = 3;

/// What the devices have done so far.
#[derive(Debug, Default)]
pub struct DevicesStatus {
    connected: AtomicU64,
    published: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

impl DevicesStatus {
    /// Devices connected now.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Messages sent.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages that the platform has made durable.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Devices whose credential was refused; they have stopped.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The building as its devices share it.
#[derive(Debug)]
struct Shared {
    plant: Plant,
    began: Timestamp,
    /// An operator's order overrides the schedule until it is taken back.
    order: Option<bool>,
}

#[derive(Debug)]
struct Site {
    config: DevicesConfig,
    shared: Mutex<Shared>,
    started: Duration,
    status: Arc<DevicesStatus>,
    shutdown: CancellationToken,
}

/// Runs every device until `shutdown`. Returns at once when there are none. A device whose
/// credential is refused stops; the others go on.
pub async fn run(config: DevicesConfig, status: Arc<DevicesStatus>, shutdown: CancellationToken) {
    let began = config.clock.now();
    let plant = Plant::new(began, Arc::clone(&config.rng));
    let started = config.clock.monotonic();
    let shared = Mutex::new(Shared { plant, began, order: None });
    let site = Arc::new(Site { config, shared, started, status, shutdown });
    let mut tasks = JoinSet::new();
    for index in 0..site.config.devices.len() {
        tasks.spawn(keep_connected(Arc::clone(&site), index));
    }
    while tasks.join_next().await.is_some() {}
}

async fn keep_connected(site: Arc<Site>, index: usize) {
    let device = &site.config.devices[index];
    let mut back_off = BackOff::new();
    while !site.shutdown.is_cancelled() {
        let Err(error) = session(&site, index, &mut back_off).await else { continue };
        if !error.is_transient() {
            site.status.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(device = %device.device.name, %error, "simulated device stops");
            return;
        }
        tracing::debug!(device = %device.device.name, %error, "simulated device reconnects");
        let wait = back_off.wait(site.config.rng.next_unit());
        site.shutdown.run_until_cancelled(sleep(wait)).await;
    }
}

/// Counts a connection for as long as it lives, however it ends.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn session(site: &Site, index: usize, back_off: &mut BackOff) -> Result<(), ClientError> {
    let SimulatedDevice { device, token } = &site.config.devices[index];
    let connect = Client::connect(&site.config.endpoint, &device.name, token);
    let Some(connected) = site.shutdown.run_until_cancelled(connect).await else { return Ok(()) };
    let mut client = connected?;
    client.subscribe(&[ATTRIBUTES, &format!("{RPC_REQUESTS}+")]).await?;
    back_off.reset();
    let _connected = Counted::new(&site.status.connected);
    let mut line = Line { site, device, unacknowledged: 0 };
    let about = json!({"simulated": true, "model": device.device_type, "label": device.label});
    line.publish(&mut client, ATTRIBUTES, &about).await?;
    let is_room = matches!(device.kind, DemoKind::Room { .. });
    let period = site.config.interval * if is_room { ROOM_SHARE } else { 1 };
    // Devices start spread over their period, so that they do not all send in one moment.
    let share = (index as f64 * 0.618_034).fract();
    let mut ticks = interval_at(tokio::time::Instant::now() + period.mul_f64(share), period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = site.config.clock.monotonic();
    let mut pinged = heard;
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            event = client.next() => {
                heard = site.config.clock.monotonic();
                line.handle(&mut client, event?).await?;
            }
            _ = ticks.tick() => {
                if line.unacknowledged < UNACKNOWLEDGED_MAX {
                    let readings = site.measure(device);
                    line.publish(&mut client, TELEMETRY, &readings).await?;
                }
            }
            _ = upkeep.tick() => {
                let now = site.config.clock.monotonic();
                if now.saturating_sub(heard) > SILENCE_MAX {
                    return Err(client.broken("the server has been silent"));
                }
                if now.saturating_sub(heard.max(pinged)) > KEEP_ALIVE / 3 {
                    pinged = now;
                    client.ping().await?;
                }
            }
            () = site.shutdown.cancelled() => {
                client.close().await;
                return Ok(());
            }
        }
    }
}

struct Line<'a> {
    site: &'a Site,
    device: &'a DemoDevice,
    unacknowledged: u64,
}

impl Line<'_> {
    async fn publish(
        &mut self,
        client: &mut Client,
        topic: &str,
        body: &Json,
    ) -> Result<(), ClientError> {
        client.publish(topic, Bytes::from(body.to_string())).await?;
        self.unacknowledged += 1;
        self.site.status.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn handle(&mut self, client: &mut Client, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Acknowledged(_) => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.site.status.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Event::Message { topic, payload } => {
                let body: Json = serde_json::from_slice(&payload).unwrap_or(Json::Null);
                if let Some(request) = topic.strip_prefix(RPC_REQUESTS) {
                    let answer = self.site.command(self.device, &body);
                    self.publish(client, &format!("{RPC_RESPONSES}{request}"), &answer).await?;
                } else if topic == ATTRIBUTES {
                    self.site.follow(self.device, &body);
                }
            }
            Event::Alive => {}
        }
        Ok(())
    }
}

impl Site {
    /// Runs `work` on the building as it is now.
    fn with_plant<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        let elapsed = self.config.clock.monotonic().saturating_sub(self.started);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let scheduled = self.config.faults.is_some_and(|faults| faults.is_failed_at(elapsed));
        let is_failed = shared.order.unwrap_or(scheduled);
        if is_failed && !shared.plant.is_chiller_failed() {
            shared.plant.fail_chiller();
        } else if !is_failed && shared.plant.is_chiller_failed() {
            shared.plant.repair_chiller();
        }
        let speed = if self.config.speed.is_finite() { self.config.speed.max(0.0) } else { 1.0 };
        let now = shared.began.saturating_add(elapsed.mul_f64(speed.min(1000.0)));
        shared.plant.step(now);
        work(&mut shared)
    }

    fn measure(&self, device: &DemoDevice) -> Json {
        let readings = self.with_plant(|shared| shared.plant.readings(device));
        let values = readings.into_iter().map(|(key, value)| {
            let value = match value {
                Value::Double(number) => json!(number),
                Value::Integer(number) => json!(number),
                Value::Boolean(flag) => json!(flag),
                Value::Text(text) | Value::Json(text) => json!(*text),
            };
            (key.to_owned(), value)
        });
        Json::Object(values.collect())
    }

    /// Answers an RPC: `getState` everywhere; `fail`, `repair`, `resume` on the chiller;
    /// `setSetpoint {"celsius": 22.5}` on air handling units.
    fn command(&self, device: &DemoDevice, request: &Json) -> Json {
        let method = request["method"].as_str().unwrap_or_default();
        let order = match (device.kind, method) {
            (_, "getState") => return self.measure(device),
            (DemoKind::Chiller, "fail") => Some(true),
            (DemoKind::Chiller, "repair") => Some(false),
            (DemoKind::Chiller, "resume") => None,
            (DemoKind::AirHandlingUnit, "setSetpoint") => {
                return match request["params"]["celsius"].as_f64() {
                    Some(celsius) => self.set_setpoint(celsius),
                    None => json!({"error": "params.celsius must be a number"}),
                };
            }
            _ => return json!({"error": format!("{} has no such method", device.device_type)}),
        };
        self.order(order)
    }

    /// Follows shared attributes: `fault` (true, false, null) on the chiller, `setpoint` on air
    /// handling units.
    fn follow(&self, device: &DemoDevice, attributes: &Json) {
        match device.kind {
            DemoKind::Chiller if attributes.get("fault").is_some() => {
                self.order(attributes["fault"].as_bool());
            }
            DemoKind::AirHandlingUnit => {
                if let Some(celsius) = attributes["setpoint"].as_f64() {
                    self.set_setpoint(celsius);
                }
            }
            _ => {}
        }
    }

    fn order(&self, order: Option<bool>) -> Json {
        self.with_plant(|shared| shared.order = order);
        let is_failed = self.with_plant(|shared| shared.plant.is_chiller_failed());
        json!({"chiller_failed": is_failed, "by_order": order.is_some()})
    }

    fn set_setpoint(&self, celsius: f64) -> Json {
        let held = self.with_plant(|shared| {
            shared.plant.set_setpoint_celsius(celsius);
            shared.plant.setpoint_celsius()
        });
        json!({"setpoint": held})
    }
}
