//! The way down: as a gateway of MQTT the edge hears calls and attributes for its devices, and asks
//! for attributes on their behalf. Nothing of it is kept: while the platform cannot be reached
//! there is none, and whoever asks is told so.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use veritwin_domain::{Key, Rng, Secret, Value};
use veritwin_ingest::{Attributes, AttributesRequest, Downlink, RpcReply, RpcRequest, SubmitError};

use super::down_client::{ANSWER_WITHIN, Client, Event, Target};
use super::front::Front;
use super::line::{server, tls};
use super::upload::back_off;
use super::{EdgeConfig, EdgeError};

const RPC: &str = "v1/gateway/rpc";
const ATTRIBUTES: &str = "v1/gateway/attributes";
const RESPONSE: &str = "v1/gateway/attributes/response";
const REQUEST: &str = "v1/gateway/attributes/request";
const CONNECT: &str = "v1/gateway/connect";
const DISCONNECT: &str = "v1/gateway/disconnect";
/// Questions and answers of devices that wait to be sent.
const WAITING_MAX: usize = 256;
/// Devices that are named in a second.
const NAMED_AT_ONCE: usize = 64;
const TICK: Duration = Duration::from_secs(1);
/// Seconds without a word before the line is tried, and before it is given up.
const QUIET_SECONDS: u32 = 20;
const SILENT_SECONDS: u32 = 60;
/// A device that the platform has sent away is named again after so many seconds.
const SHUNNED_SECONDS: u32 = 60;

type Done<T> = oneshot::Sender<Result<T, String>>;

/// What devices want of the platform.
pub(super) enum Up {
    /// The answer to a call.
    Reply { name: String, reply: RpcReply, done: Done<()> },
    /// A device's attributes.
    Ask { name: String, request: AttributesRequest, done: Done<Attributes> },
}

/// The local end of the way.
pub(super) struct Way {
    sender: mpsc::Sender<Up>,
    is_up: Arc<AtomicBool>,
}

/// The end at the platform.
pub(super) struct Down {
    target: Target,
    client_id: String,
    receiver: mpsc::Receiver<Up>,
    is_up: Arc<AtomicBool>,
}

/// The way to `platform_mqtt`, if there is one. It trusts what the way of the batches does.
pub(super) fn ways(
    config: &EdgeConfig,
    token: &Secret<String>,
) -> Result<(Option<Way>, Option<Down>), EdgeError> {
    let Some(address) = &config.platform_mqtt else { return Ok((None, None)) };
    let bad = || EdgeError::Configuration("platform_mqtt: expected HOST:PORT".to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse().map_err(|_| bad())?;
    let (name, connector) = (server(&host)?, tls(config.platform_ca.as_deref())?);
    let target = Target { host, port, name, connector, token: token.clone() };
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let is_up = Arc::new(AtomicBool::new(false));
    let client_id = format!("edge-{}", config.gateway);
    let down = Down { target, client_id, receiver, is_up: Arc::clone(&is_up) };
    Ok((Some(Way { sender, is_up }), Some(down)))
}

/// Hears what comes down from the platform, for ever.
pub(super) async fn hear(down: Option<Down>, front: &Front, rng: &dyn Rng) {
    match down {
        Some(down) => Box::pin(down.run(front, rng)).await,
        None => std::future::pending().await,
    }
}

impl Way {
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Asks the platform for something, and waits for its answer.
    pub(super) async fn ask<T>(&self, up: impl FnOnce(Done<T>) -> Up) -> Result<T, SubmitError> {
        let away = || SubmitError::Unavailable("the platform cannot be reached now".to_owned());
        if !self.is_up() {
            return Err(away());
        }
        let (done, answer) = oneshot::channel();
        self.sender.try_send(up(done)).map_err(|_| away())?;
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(detail))) => Err(SubmitError::Invalid(detail)),
            Ok(Err(_)) | Err(_) => Err(away()),
        }
    }
}

/// A call to a device.
#[derive(Deserialize)]
struct Call {
    device: String,
    data: CallData,
}

#[derive(Deserialize)]
struct CallData {
    id: u32,
    method: String,
    params: Option<Box<RawValue>>,
}

impl CallData {
    /// What the device gets, as it was written.
    fn request(self) -> RpcRequest {
        let params = self.params.as_deref().map_or("null", RawValue::get).to_owned();
        RpcRequest { id: self.id, method: self.method, params }
    }
}

/// Attributes of a device that have changed.
#[derive(Deserialize)]
struct Changed {
    device: String,
    data: Map<String, serde_json::Value>,
}

/// Attributes that were asked for.
#[derive(Deserialize)]
struct Answered {
    id: i64,
    error: Option<String>,
    #[serde(default)]
    client: Map<String, serde_json::Value>,
    #[serde(default)]
    shared: Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Gone {
    device: String,
}

fn value_of(json: serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(flag) => Value::Boolean(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Integer(number),
            None => Value::Double(number.as_f64()?),
        },
        serde_json::Value::String(text) => Value::Text(text.into()),
        other => Value::Json(other.to_string().into()),
    })
}

fn entries(all: Map<String, serde_json::Value>) -> Vec<(Key, Value)> {
    let entry = |(key, json): (String, _)| Some((Key::new(&key).ok()?, value_of(json)?));
    all.into_iter().filter_map(entry).collect()
}

/// The keys that are gone, if it is about such: `{"deleted":["k"]}`.
fn deleted(data: &Map<String, serde_json::Value>) -> Option<Vec<Key>> {
    let keys = data.get("deleted").filter(|_| data.len() == 1)?.as_array()?;
    keys.iter().map(|key| Key::new(key.as_str()?).ok()).collect()
}

/// A device's answer to a call, as it was written.
fn answer(name: &str, id: u32, data: &RawValue) -> String {
    format!(r#"{{"device":{},"id":{id},"data":{data}}}"#, json!(name))
}

/// What is open of one connection.
#[derive(Default)]
struct Session {
    /// Devices that are connected through the edge, as the platform was told, or takes them to be
    /// since something was said for them.
    named: BTreeSet<String>,
    /// Devices that the platform has sent away, and for how many seconds they are left alone.
    shunned: BTreeMap<String, u32>,
    /// Answers to calls that the platform does not have yet.
    sent: HashMap<NonZeroU16, Done<()>>,
    /// Questions that the platform has not answered yet.
    asked: HashMap<i64, Done<Attributes>>,
    questions: i64,
    quiet_seconds: u32,
}

impl Session {
    async fn take(
        &mut self,
        event: Event,
        (client, front): (&mut Client, &Front),
    ) -> Result<(), String> {
        self.quiet_seconds = 0;
        match event {
            Event::Alive => {}
            Event::Acknowledged(packet_id) => {
                if let Some(done) = self.sent.remove(&packet_id) {
                    let _gone = done.send(Ok(()));
                }
            }
            Event::Message { topic, payload, packet_id } => {
                if let Some((device, reply)) = self.hear(&topic, &payload, front) {
                    client.publish(RPC, reply).await?;
                    self.named.insert(device);
                }
                if let Some(packet_id) = packet_id {
                    client.acknowledge(packet_id).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes a message; what is said back to a call that no device gets, and for which.
    fn hear(&mut self, topic: &str, payload: &[u8], front: &Front) -> Option<(String, String)> {
        match topic {
            RPC => {
                let Call { device, data } = serde_json::from_slice(payload).ok()?;
                let (id, request) = (data.id, data.request());
                let why = front.call(&device, &request).err()?;
                let reply = json!({"device": device, "id": id, "data": {"error": why}}).to_string();
                return Some((device, reply));
            }
            ATTRIBUTES => {
                let Changed { device, data } = serde_json::from_slice(payload).ok()?;
                let downlink = match deleted(&data) {
                    Some(keys) => Downlink::AttributesDeleted(keys),
                    None => Downlink::AttributesUpdated(entries(data)),
                };
                front.tell(&device, &downlink);
            }
            RESPONSE => {
                let answered: Answered = serde_json::from_slice(payload).ok()?;
                let done = self.asked.remove(&answered.id)?;
                let Answered { error, client, shared, .. } = answered;
                let (client, shared) = (entries(client), entries(shared));
                let _gone = done.send(error.map_or(Ok(Attributes { client, shared }), Err));
            }
            DISCONNECT => {
                let Gone { device } = serde_json::from_slice(payload).ok()?;
                self.named.remove(&device);
                self.shunned.insert(device, SHUNNED_SECONDS);
            }
            _ => {}
        }
        None
    }

    async fn say(&mut self, up: Up, client: &mut Client) -> Result<(), String> {
        match up {
            Up::Reply { name, reply, done } => {
                let Ok(data) = RawValue::from_string(reply.body) else {
                    let _gone = done.send(Err("the answer is not JSON".to_owned()));
                    return Ok(());
                };
                let payload = answer(&name, reply.id, &data);
                let packet_id = client.publish(RPC, payload).await?;
                self.named.insert(name);
                self.sent.insert(packet_id, done);
            }
            Up::Ask { name, request, done } => {
                self.questions += 1;
                let id = self.questions;
                let keys = |all: Option<Vec<Key>>| {
                    all.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
                };
                let (of_device, shared) = (keys(request.client), keys(request.shared));
                let asked =
                    json!({"id": id, "device": name, "client": of_device, "shared": shared});
                client.publish(REQUEST, asked.to_string()).await?;
                self.named.insert(name);
                self.asked.insert(id, done);
            }
        }
        Ok(())
    }

    /// Once a second: who is there, and whether the line is alive.
    async fn tick(&mut self, (client, front): (&mut Client, &Front)) -> Result<(), String> {
        self.quiet_seconds += 1;
        if self.quiet_seconds >= SILENT_SECONDS {
            return Err("nothing was heard for a minute".to_owned());
        }
        if self.quiet_seconds.is_multiple_of(QUIET_SECONDS) {
            client.ping().await?;
        }
        // Nobody waits for these any more.
        self.sent.retain(|_, done| !done.is_closed());
        self.asked.retain(|_, done| !done.is_closed());
        self.shunned.retain(|_, seconds| {
            *seconds = seconds.saturating_sub(1);
            *seconds > 0
        });
        let listening = front.listening();
        let is_new = |name: &&String| {
            !self.named.contains(*name) && !self.shunned.contains_key(name.as_str())
        };
        let come: Vec<String> =
            listening.iter().filter(is_new).take(NAMED_AT_ONCE).cloned().collect();
        let gone: Vec<String> =
            self.named.difference(&listening).take(NAMED_AT_ONCE).cloned().collect();
        for name in gone {
            client.publish(DISCONNECT, json!({"device": name}).to_string()).await?;
            self.named.remove(&name);
        }
        for name in come {
            client.publish(CONNECT, json!({"device": name}).to_string()).await?;
            self.named.insert(name);
        }
        Ok(())
    }
}

impl Down {
    /// Keeps the way open, for ever.
    async fn run(mut self, front: &Front, rng: &dyn Rng) {
        let mut failures = 0u32;
        loop {
            let ended = self.serve(front).await;
            if self.is_up.swap(false, Ordering::AcqRel) {
                failures = 0;
            }
            if let Err(detail) = ended {
                tracing::debug!(%detail, "there is no way down from the platform");
            }
            let mut chance = [0; 8];
            rng.fill(&mut chance);
            let pause = tokio::time::sleep(back_off(failures, u64::from_le_bytes(chance)));
            failures = failures.saturating_add(1);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    // Whoever asked meanwhile is told when it is dropped.
                    Some(up) = self.receiver.recv() => drop(up),
                }
            }
        }
    }

    /// One connection, until it ends.
    async fn serve(&mut self, front: &Front) -> Result<(), String> {
        let mut client = Client::connect(&self.target, &self.client_id).await?;
        client.subscribe(&[RPC, ATTRIBUTES, RESPONSE, DISCONNECT]).await?;
        self.is_up.store(true, Ordering::Release);
        let mut session = Session::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = client.next() => session.take(event?, (&mut client, front)).await?,
                Some(up) = self.receiver.recv() => session.say(up, &mut client).await?,
                _ = tick.tick() => session.tick((&mut client, front)).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: serde_json::Value) -> Map<String, serde_json::Value> {
        json.as_object().cloned().expect("an object")
    }

    #[test]
    fn attributes_are_read_by_their_kind() {
        let all = map(json!({"a": 1, "b": 1.5, "c": true, "d": "x", "e": [1], "f": null}));
        let found = entries(all).into_iter().map(|(key, value)| (key.to_string(), value));
        let expect = [
            ("a", Value::Integer(1)),
            ("b", Value::Double(1.5)),
            ("c", Value::Boolean(true)),
            ("d", Value::Text("x".into())),
            ("e", Value::Json("[1]".into())),
        ];
        let expect = expect.map(|(key, value)| (key.to_owned(), value));
        assert_eq!(found.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn calls_and_answers_go_as_they_were_written() {
        let text = r#"{"a":12345678901234567890123, "b":1.10}"#;
        let call = format!(r#"{{"device":"d","data":{{"id":7,"method":"m","params":{text}}}}}"#);
        let call: Call = serde_json::from_str(&call).expect("a call");
        let request = call.data.request();
        assert_eq!((request.id, request.params.as_str()), (7, text));
        let none = r#"{"device":"d","data":{"id":7,"method":"m"}}"#;
        let none: Call = serde_json::from_str(none).expect("a call");
        assert_eq!(none.data.request().params, "null");
        let data = RawValue::from_string(text.to_owned()).expect("JSON");
        let expect = format!(r#"{{"device":"a \"b\"","id":7,"data":{text}}}"#);
        assert_eq!(answer(r#"a "b""#, 7, &data), expect);
    }

    #[test]
    fn what_is_deleted_is_told_from_an_attribute_of_that_name() {
        let keys = |json| deleted(&map(json)).map(|keys| keys.len());
        assert_eq!(keys(json!({"deleted": ["a", "b"]})), Some(2));
        assert_eq!(keys(json!({"deleted": ["a"], "more": 1})), None);
        assert_eq!(keys(json!({"deleted": true})), None);
        assert_eq!(keys(json!({"deleted": [1]})), None);
    }
}
