//! Ingest against its own listeners: raw bytes in, raw bytes out, and what the sink was given.

mod bulk;
mod conformance;
mod exactly_once;
mod http;
mod mqtt;
mod mqtt_decoding;
mod mqtt_gateway;
mod mqtt_kept;
mod mqtt_malformed;
mod mqtt_parked;
mod mqtt_relay;
mod payload;
mod platform;
mod refused;
mod sparkplug;
