//! A device's own messages over HTTP: telemetry, attributes, calls and answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use veritwin_domain::{DeviceBatch, IngestLimits, Reading, count_attributes, count_readings};

use super::problem::Problem;
use super::{Api, Authenticated, ProvisioningPeer, body};
use crate::arrivals::UNTIMED;
use crate::claim;
use crate::decoding::RawPayload;
use crate::model::{
    AttributesRequest, AttributesUpdate, DeviceSession, Origin, RpcReply, SeenMessage, SinkEntry,
    Transport,
};
use crate::mqtt::TELEMETRY_TOPIC as TELEMETRY;
use crate::payload::{
    KeyTable, MessageContext, PayloadError, asked, attributes_json, key_list, parse_attributes,
    parse_client_rpc, parse_json_text, parse_telemetry,
};
use crate::provision;
use crate::traits::LoginError;

/// Largest body of a device that comes in by itself, and so is read of whoever comes: what it may
/// hold fits with room.
pub(super) const PROVISION_BODY_BYTES_MAX: usize = 64 * 1024;

type Body = Result<Bytes, BytesRejection>;

pub(super) fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn read<T: Send + 'static>(
    api: &Api,
    headers: &HeaderMap,
    body: Body,
    parse: impl FnOnce(&[u8], &IngestLimits) -> Result<T, PayloadError> + Send + 'static,
) -> Result<T, Problem> {
    let limits = &api.parts.limits;
    let received = body::received(headers, body, limits)?;
    body::read(headers, received, limits, |body, limits| Ok(parse(body, limits)?)).await
}

fn parse(
    body: &[u8],
    limits: &IngestLimits,
    keys: &mut KeyTable,
) -> Result<Vec<Reading>, PayloadError> {
    let context = MessageContext { received_at: UNTIMED, limits };
    let mut readings = Vec::new();
    parse_telemetry(body, context, keys, &mut readings)?;
    Ok(readings)
}

/// What the device's decoder made of a body that is not JSON; none: it has none for it.
async fn decoded(
    api: &Api,
    session: &DeviceSession,
    headers: &HeaderMap,
    body: &Body,
) -> Result<Option<String>, Problem> {
    let Some(decoder) = session.decoder.as_ref().filter(|decoder| decoder.is_on()) else {
        return Ok(None);
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let (Some(content_type), Ok(bytes)) = (content_type, body) else { return Ok(None) };
    if !decoder.wants(TELEMETRY, Some(content_type), bytes) {
        return Ok(None);
    }
    let limits = &api.parts.limits;
    let bytes = body::read(headers, bytes.clone(), limits, |body, _| Ok(body.to_vec())).await?;
    let (topic, content_type) = (TELEMETRY.to_owned(), content_type.to_owned());
    let raw = RawPayload { topic, content_type, meta: Vec::new(), bytes };
    decoder.decode(raw).await.map_err(Problem::from)
}

/// The readings that a decoder gave; a place in them means nothing to the device.
fn readings_of(json: &str, api: &Api) -> Result<Vec<Reading>, Problem> {
    let mut keys = KeyTable::new(api.parts.sink.screening());
    let parsed = parse(json.as_bytes(), &api.parts.limits, &mut keys);
    parsed.map_err(|error| Problem::from(error).of_decoded())
}

/// A message over HTTP: who watches the device sees it come, and why it was refused.
fn came<'a>(
    api: &'a Api,
    session: &'a DeviceSession,
    (topic, body): (&'static str, &Body),
) -> impl Fn(&Problem) + use<'a> {
    let payload_bytes = body.as_ref().map_or(0, Bytes::len);
    let sink = &api.parts.sink;
    if sink.is_watched(session) {
        let (transport, qos, is_retained) = (Transport::Http, 0, false);
        sink.saw(session, SeenMessage { transport, topic, qos, is_retained, payload_bytes });
    }
    move |problem: &Problem| {
        if let Some(refusal) = problem.refusal(session, api.parts.clock.now(), payload_bytes) {
            sink.told(refusal);
        }
    }
}

pub(super) async fn telemetry(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let refused = came(&api, &session, ("telemetry", &body));
    let read = read_telemetry(&api, &session, &headers, body).await.inspect_err(refused)?;
    if let Some(batch) = read {
        let entries = vec![SinkEntry::Readings(batch)];
        api.parts.sink.submit(Origin::Device(&session), entries).await?;
    }
    Ok(StatusCode::OK)
}

async fn read_telemetry(
    api: &Api,
    session: &DeviceSession,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<DeviceBatch>, Problem> {
    let origin = Origin::Device(session);
    api.parts.sink.admit_readings(origin, 0)?;
    let readings = match decoded(api, session, headers, &body).await? {
        Some(json) => readings_of(&json, api)?,
        None => {
            let mut keys = KeyTable::new(api.parts.sink.screening());
            let parsed =
                read(api, headers, body, move |body, limits| parse(body, limits, &mut keys));
            parsed.await?
        }
    };
    if readings.is_empty() {
        return Ok(None);
    }
    api.parts.sink.inspect(origin, &readings)?;
    api.parts.sink.admit_readings(origin, count_readings(&readings))?;
    let mut batch = DeviceBatch {
        tenant: session.tenant,
        device: session.device,
        credential: session.credential,
        received_at: api.parts.clock.now(),
        readings,
    };
    api.parts.sink.arrivals().settle(&mut batch);
    Ok(Some(batch))
}

pub(super) async fn attributes_save(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let refused = came(&api, &session, ("attributes", &body));
    let read = read_attributes(&api, &session, &headers, body).await.inspect_err(refused)?;
    let Some(update) = read else { return Ok(StatusCode::OK) };
    let entries = vec![SinkEntry::Attributes(update)];
    let refused = api.parts.sink.submit(Origin::Device(&session), entries).await?;
    match refused.into_iter().next() {
        Some(refused) => Err(refused.limit.into()),
        None => Ok(StatusCode::OK),
    }
}

async fn read_attributes(
    api: &Api,
    session: &DeviceSession,
    headers: &HeaderMap,
    body: Body,
) -> Result<Option<AttributesUpdate>, Problem> {
    let origin = Origin::Device(session);
    api.parts.sink.admit_readings(origin, 0)?;
    let mut keys = KeyTable::new(api.parts.sink.screening());
    let entries = read(api, headers, body, move |body, limits| {
        let entries = parse_attributes(body, limits, &mut keys)?;
        Ok((entries, body.len()))
    });
    let (entries, payload_bytes) = entries.await?;
    if entries.is_empty() {
        return Ok(None);
    }
    api.parts.sink.admit_readings(origin, count_attributes(&entries))?;
    Ok(Some(AttributesUpdate {
        tenant: session.tenant,
        device: session.device,
        credential: session.credential,
        received_at: api.parts.clock.now(),
        entries,
        payload_bytes: payload_bytes as u64,
        refusal_recorded: false,
    }))
}

/// The value of a parameter in a query, percent-decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    unescaped(values(query?, name).next()?)
}

/// The same for a list with commas, of which clients may also write one parameter for each part.
fn list_parameter(query: Option<&str>, name: &str) -> Option<String> {
    let parts: Vec<String> = values(query?, name).filter_map(unescaped).collect();
    (!parts.is_empty()).then(|| parts.join(","))
}

fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn unescaped(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

pub(super) async fn attributes(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let limits = &api.parts.limits;
    let keys = |name: &str| {
        let list = list_parameter(query.as_deref(), name);
        Ok::<_, PayloadError>(list.map(|list| key_list(&list, limits)).transpose()?.and_then(asked))
    };
    let request = AttributesRequest { client: keys("clientKeys")?, shared: keys("sharedKeys")? };
    let attributes = api.parts.sink.attributes(&session, request.clone()).await?;
    Ok(json(attributes_json(&request, &attributes)))
}

pub(super) async fn rpc_call(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let call = read(&api, &headers, body, |body, _| parse_client_rpc(body)).await?;
    Ok(json(api.parts.sink.rpc_call(&session, call).await?))
}

pub(super) async fn rpc_reply(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    path: RawPathParams,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let id = path.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| id.parse().ok());
    let id = id.ok_or_else(|| {
        let detail = "the path's last part: expected the call's number up to 4294967295";
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })?;
    let body = read(&api, &headers, body, parse_json_text).await?;
    api.parts.sink.rpc_reply(&session, RpcReply { id, body }).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn claim(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let limits = &api.parts.limits;
    let received = body::received(&headers, body, limits)?;
    let request = body::read(&headers, received, limits, |body, _| Ok(claim::parse(body))).await?;
    let request = request.map_err(|text| Problem::new(StatusCode::BAD_REQUEST, text))?;
    api.parts.sink.claim(&session, request).await?;
    Ok(StatusCode::OK)
}

/// Lets a device in that comes by itself. Refused ones are answered as ThingsBoard does, with 200;
/// what can be tried again later has a status of its own.
pub(super) async fn provision(
    State(api): State<Arc<Api>>,
    peer: ProvisioningPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body_bytes_max = api.parts.limits.body_bytes_max.min(PROVISION_BODY_BYTES_MAX);
    let limits = &IngestLimits { body_bytes_max, ..api.parts.limits };
    let received = body::received(&headers, body, limits)?;
    let ask = body::read(&headers, received, limits, |body, _| Ok(provision::parse(body))).await?;
    let ask = match ask {
        Ok(ask) => ask,
        Err(text) => return Ok(json(provision::failure(&text))),
    };
    match api.parts.login.provision(ask, &peer.0).await {
        Ok(given) => Ok(json(provision::success(&given))),
        Err(error @ (LoginError::Busy { .. } | LoginError::Unavailable(_))) => Err(error.into()),
        Err(error) => Ok(json(provision::refused(&error))),
    }
}
