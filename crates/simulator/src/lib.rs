//! Simulated buildings, devices and load, as clients of the platform only: a demo building with
//! its physics, devices that speak MQTT over TLS, replay of recorded readings, a load generator.
//! Everything it sends is simulated or recorded, and it never opens a store.

pub mod building;
mod client;
pub mod devices;
pub mod geo;
pub mod load;
pub mod plant;
pub mod replay;
pub mod single;

pub use client::{ClientError, Endpoint};
