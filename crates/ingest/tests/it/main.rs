//! Ingest against its own listeners: raw bytes in, raw bytes out, and what the sink was given.

mod arrow;
mod bulk;
mod children;
mod conformance;
mod exactly_kept;
mod exactly_once;
mod files_parquet;
mod http;
mod mqtt;
mod mqtt_claims;
mod mqtt_decoding;
mod mqtt_gateway;
mod mqtt_gather;
mod mqtt_kept;
mod mqtt_malformed;
mod mqtt_notes;
mod mqtt_parked;
mod mqtt_relay;
mod mqtt_restarts;
mod packages;
mod packets;
mod payload;
mod platform;
mod refused;
mod sparkplug;
