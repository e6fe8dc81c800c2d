//! What a device asks that comes in by itself or is to be claimed, and what it is answered.

use std::time::Duration;

use crate::Secret;

/// What a device asks that comes in by itself.
#[derive(Debug, Clone)]
pub struct ProvisionRequest {
    /// Its name.
    pub name: String,
    /// The profile's key.
    pub key: Secret<String>,
    /// The profile's secret.
    pub secret: Secret<String>,
    /// The credential it is to have.
    pub credential: ProvisionCredential,
}

/// The credential that a device asks for.
#[derive(Debug, Clone)]
pub enum ProvisionCredential {
    /// An access token; none: one is made here.
    Token(Option<Secret<String>>),
    /// Client id, user name and password; without a password one is made here.
    Basic {
        /// The client id.
        client_id: Option<String>,
        /// The user name.
        user: Option<String>,
        /// The password.
        password: Option<Secret<String>>,
    },
    /// Its certificate, PEM, which it also shows in its TLS handshake.
    Certificate(String),
}

/// What a device is answered.
#[derive(Debug, Clone)]
pub enum ProvisionAnswer {
    /// An access token.
    Token(Secret<String>),
    /// Client id, user name and password.
    Basic {
        /// The client id.
        client_id: Option<String>,
        /// The user name.
        user: Option<String>,
        /// The password.
        password: Secret<String>,
    },
    /// Its certificate lets it in.
    Certificate,
}

/// What a device asks that is to be claimed.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// What whoever claims it has to know; empty: its name is enough.
    pub secret: Secret<String>,
    /// For how long it may be claimed, if the device says.
    pub duration: Option<Duration>,
}
