//! The client of one witness (C2SP tlog-witness). Which witnesses there are is the operator's
//! choice, so that an address may be private; nothing but its own host and port is called.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use bytes::Bytes;
use hyper::header::HeaderValue;
use veritwin_domain::AddressList;

use crate::archive::TrustError;
use crate::guard::{Call, Guard, GuardError, GuardPolicy, GuardedClient, Target, TargetError};
use crate::register::{Destination, DestinationKind, EgressRegister};

/// Longest wait for a witness's answer.
pub const WITNESS_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const PURPOSE: &str = "cosignatures of ledger checkpoints (witness)";

/// Why a witness cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WitnessClientError {
    /// Its address.
    #[error("witness address: {0}")]
    Address(#[from] TargetError),
    /// The authorities of its certificate.
    #[error("witness authorities: {0}")]
    Trust(#[from] TrustError),
}

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessReply {
    /// Signature lines; they are to be verified.
    Cosigned(String),
    /// It cosigned this text's tree size last, and wants a proof from there.
    Conflict(String),
    /// It refused with this HTTP status.
    Refused(u16),
}

/// A client of one witness.
#[derive(Debug)]
pub struct WitnessClient {
    client: GuardedClient,
    target: Target,
}

impl WitnessClient {
    /// A client; the witness is entered in the register. `prefix` is the submission prefix,
    /// `authorities_pem` what is trusted beside the public authorities.
    pub fn new(
        prefix: &str,
        authorities_pem: Option<&str>,
        register: Arc<EgressRegister>,
    ) -> Result<Self, WitnessClientError> {
        let target = Target::parse(&format!("{}/add-checkpoint", prefix.trim_end_matches('/')))?;
        // Whoever runs the platform may name any place; the guard still refuses metadata services.
        let allowed = AddressList::parse(&["0.0.0.0/0", "::/0"]).unwrap_or_default();
        let guard = Guard::new(GuardPolicy { allowed, ports: vec![target.port()] });
        let destination = Destination::new(target.host(), target.port());
        register.register(destination, DestinationKind::SubProcessor, PURPOSE);
        let client = GuardedClient::new(guard, register, authorities_pem)?;
        Ok(Self { client, target })
    }

    /// Asks for a cosignature with the body of C2SP tlog-witness.
    #[boxed]
    pub async fn add_checkpoint(&self, body: String) -> Result<WitnessReply, GuardError> {
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let call = Call {
            reply_bytes_max: ANSWER_BYTES_MAX,
            timeout: WITNESS_TIMEOUT,
            ..Call::post(&self.target, kind, Bytes::from(body))
        };
        let reply = self.client.call(None, call).await?;
        let text = || String::from_utf8_lossy(&reply.body).into_owned();
        Ok(match reply.status {
            200 => WitnessReply::Cosigned(text()),
            409 => WitnessReply::Conflict(text()),
            other => WitnessReply::Refused(other),
        })
    }
}
