//! The benchmarks behind `veritwin bench`, each as a client of a running platform, beside a peer
//! where one is installed. They print what they measure and judge nothing.

mod entry;
mod mosquitto;
mod mqtt;
mod process;

pub use entry::{Better, Entry, Peer, table};
pub use mosquitto::{MOSQUITTO, PeerCertificate};
pub use mqtt::{MqttOptions, mqtt};
