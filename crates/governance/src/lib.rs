//! Governance, pure: the promise register, what a probe is, what its outcome means, when the next
//! one is due, and which sensor streams are personal data. It decides only; running probes and
//! storing evidence is the application's business. Nothing here lets a hand set a promise to
//! proven.

mod evidence;
mod probe;
mod promise;
mod register;
mod schedule;
mod state;
pub mod streams;

pub use evidence::{EVIDENCE_VERSION, Evidence, EvidenceError};
pub use probe::{CheckOutcome, Facts, OutcomeKind, Probe, ProbeFuture, run};
pub use promise::{Limits, OwnerRole, PROMISE_COUNT, Polarity, Promise, PromiseId, PromiseIdError};
pub use register::{Register, RegisterError};
pub use schedule::{CHECKS_AT_ONCE_MAX, FIRST_RETRY_AFTER, RETRY_AFTER, Schedule};
pub use state::{History, State, StateKind};
