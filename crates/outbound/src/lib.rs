//! Every outgoing connection of the platform, behind one egress register: what is not registered
//! is not called. TLS is verified everywhere, this machine's own loopback and authorities of time
//! stamps excepted, whose answers are signed.

pub mod acme;
pub mod archive;
pub mod guard;
pub mod key_services;
pub mod mail;
pub mod received;
pub mod register;
pub mod sms;
pub mod stamp;
pub mod witness;
