//! Governance, pure: the promise register, what a probe is, what its outcome means, when the next
//! one is due, which sensor streams are personal data, for which purposes data may be used, and the
//! published texts. It decides only; running probes and storing is the application's business.
//! Nothing here lets a hand set a promise to proven.

mod evidence;
mod probe;
mod promise;
mod published;
mod purposes;
mod register;
mod schedule;
mod state;
pub mod streams;

pub use evidence::{EVIDENCE_VERSION, Evidence, EvidenceError};
pub use probe::{CheckOutcome, Facts, OutcomeKind, Probe, ProbeFuture, run};
pub use promise::{
    Budget, CheckScope, Limits, OwnerRole, PROMISE_COUNT, Polarity, Promise, PromiseId,
    PromiseIdError,
};
pub use published::{
    Block, BlockKind, Document, Generated, Language, NOTICE_TIME, PolicyFacts, PublicationRefused,
    Sentence, SentenceMap, TEXT_VERSION, TextError, canonical_text, check_publication,
    published_text, rendered_text,
};
pub use purposes::{
    DeclaredPurpose, LegalBasis, OptionalField, ProcessingRole, PurposeRegister, PurposeWords,
    PurposesError, Said, UseRefused,
};
pub use register::{Register, RegisterError};
pub use schedule::{CHECKS_AT_ONCE_MAX, FIRST_RETRY_AFTER, RETRY_AFTER, Schedule};
pub use state::{History, State, StateKind};
