//! One simulated device of a simple kind, for trying things out: an MQTT client over TLS like any
//! other, that says of itself that it is simulated, answers `getState`, and goes when it is told.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use veritwin_domain::{Clock, Rng, Secret};

use crate::client::{BackOff, Client, ClientError, Endpoint, Event, KEEP_ALIVE};

const TELEMETRY: &str = "v1/devices/me/telemetry";
const ATTRIBUTES: &str = "v1/devices/me/attributes";
const RPC_REQUESTS: &str = "v1/devices/me/rpc/request/";
const RPC_RESPONSES: &str = "v1/devices/me/rpc/response/";
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A room's temperature and humidity.
    Temperature,
    /// A room's carbon dioxide and temperature.
    Co2,
    /// A meter of electric power and energy.
    PowerMeter,
    /// A door that opens for a while once a minute.
    Door,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Temperature, Self::Co2, Self::PowerMeter, Self::Door];

    /// The name used in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Co2 => "co2",
            Self::PowerMeter => "power_meter",
            Self::Door => "door",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == name)
    }

    /// What it measures after running for some time; `noise` is in 0 .. 1.
    fn readings(self, running: Duration, noise: f64) -> Json {
        let seconds = running.as_secs_f64();
        let wave = |period: f64| (TAU * seconds / period).sin();
        let noise = noise - 0.5;
        let rounded = |number: f64| (number * 100.0).round() / 100.0;
        match self {
            Self::Temperature => json!({
                "temperature": rounded(21.5 + 1.5 * wave(600.0) + 0.2 * noise),
                "humidity": rounded(45.0 - 5.0 * wave(600.0) + noise),
            }),
            Self::Co2 => json!({
                "co2": (650.0 + 250.0 * wave(900.0) + 20.0 * noise).round(),
                "temperature": rounded(22.0 + wave(900.0) + 0.2 * noise),
            }),
            Self::PowerMeter => json!({
                "power": rounded(1_200.0 + 400.0 * wave(300.0) + 50.0 * noise),
                "energy": rounded(1_000.0 + 1.2 * seconds / 3_600.0),
                "voltage": rounded(230.0 + 2.0 * noise),
            }),
            Self::Door => json!({
                "open": seconds % 60.0 < 10.0,
                "openings": 1 + running.as_secs() / 60,
            }),
        }
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct SingleConfig {
    /// The platform.
    pub endpoint: Endpoint,
    /// The MQTT client id.
    pub client_id: String,
    /// The device's access token.
    pub token: Secret<String>,
    /// What it measures.
    pub profile: Profile,
    /// How often it sends.
    pub interval: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Noise, and the spread of reconnects.
    pub rng: Arc<dyn Rng>,
}

/// What it has done so far.
#[derive(Debug, Default)]
pub struct SingleStatus {
    published: AtomicU64,
    acknowledged: AtomicU64,
}

impl SingleStatus {
    /// Messages sent.
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages that the platform has made durable.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }
}

/// Runs the device until `shutdown`, over broken connections; an error when it is refused.
pub async fn run(
    config: SingleConfig,
    status: Arc<SingleStatus>,
    shutdown: CancellationToken,
) -> Result<(), ClientError> {
    let began = config.clock.monotonic();
    let line = Line { config, status, began };
    let mut back_off = BackOff::new();
    while !shutdown.is_cancelled() {
        let Err(error) = line.session(&shutdown, &mut back_off).await else { continue };
        if !error.is_transient() {
            return Err(error);
        }
        tracing::debug!(%error, "simulated device reconnects");
        let wait = back_off.wait(line.config.rng.next_unit());
        shutdown.run_until_cancelled(sleep(wait)).await;
    }
    Ok(())
}

struct Line {
    config: SingleConfig,
    status: Arc<SingleStatus>,
    began: Duration,
}

impl Line {
    /// One connection; ends without an error when it is told to go.
    async fn session(
        &self,
        shutdown: &CancellationToken,
        back_off: &mut BackOff,
    ) -> Result<(), ClientError> {
        let SingleConfig { endpoint, client_id, token, interval: period, .. } = &self.config;
        let connect = Client::connect(endpoint, client_id, token);
        let Some(connected) = shutdown.run_until_cancelled(connect).await else { return Ok(()) };
        let mut client = connected?;
        let requests = format!("{RPC_REQUESTS}+");
        client.subscribe(&[requests.as_str()]).await?;
        back_off.reset();
        let about = json!({"simulated": true});
        self.publish(&mut client, ATTRIBUTES, &about).await?;
        let mut ticks = interval(*period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pings = interval(KEEP_ALIVE / 3);
        loop {
            tokio::select! {
                event = client.next() => self.handle(&mut client, event?).await?,
                _ = ticks.tick() => {
                    let readings = self.measure();
                    self.publish(&mut client, TELEMETRY, &readings).await?;
                }
                _ = pings.tick() => client.ping().await?,
                () = shutdown.cancelled() => {
                    // What it said of itself is over.
                    let over = self.farewell(&mut client);
                    let _ = timeout(FAREWELL, over).await;
                    client.close().await;
                    return Ok(());
                }
            }
        }
    }

    fn measure(&self) -> Json {
        let running = self.config.clock.monotonic().saturating_sub(self.began);
        self.config.profile.readings(running, self.config.rng.next_unit())
    }

    async fn publish(
        &self,
        client: &mut Client,
        topic: &str,
        body: &Json,
    ) -> Result<(), ClientError> {
        client.publish(topic, Bytes::from(body.to_string())).await?;
        self.status.published.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn farewell(&self, client: &mut Client) -> Result<(), ClientError> {
        let body = Bytes::from(json!({"simulated": false}).to_string());
        let last = client.publish(ATTRIBUTES, body).await?;
        self.status.published.fetch_add(1, Ordering::Relaxed);
        loop {
            if let Event::Acknowledged(id) = client.next().await? {
                self.status.acknowledged.fetch_add(1, Ordering::Relaxed);
                if id == last {
                    return Ok(());
                }
            }
        }
    }

    async fn handle(&self, client: &mut Client, event: Event) -> Result<(), ClientError> {
        match event {
            Event::Acknowledged(_) => {
                self.status.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Event::Message { topic, payload } => {
                let Some(request) = topic.strip_prefix(RPC_REQUESTS) else { return Ok(()) };
                let body: Json = serde_json::from_slice(&payload).unwrap_or(Json::Null);
                let answer = match body["method"].as_str() {
                    Some("getState") => self.measure(),
                    _ => json!({"error": "a simulated device answers getState"}),
                };
                self.publish(client, &format!("{RPC_RESPONSES}{request}"), &answer).await?;
            }
            Event::Alive => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_measures_something_plausible() {
        for profile in Profile::ALL {
            assert_eq!(Profile::named(profile.as_str()), Some(profile));
        }
        assert_eq!(Profile::named("rocket"), None);
        let at = |profile: Profile, seconds| profile.readings(Duration::from_secs(seconds), 0.5);
        assert_eq!(at(Profile::Temperature, 0)["temperature"], 21.5);
        assert_eq!(at(Profile::Co2, 225)["co2"], 900.0);
        assert_eq!(at(Profile::PowerMeter, 3_600)["energy"], 1_001.2);
        assert_eq!(
            (&at(Profile::Door, 5)["open"], &at(Profile::Door, 30)["open"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(at(Profile::Door, 61)["openings"], 2);
    }
}
