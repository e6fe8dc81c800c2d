//! Who may do what. Decides only: it opens no connection, reads no store and keeps no record.
//! Rights are written in `policies/*.cedar`; code names the exact action on the exact resource.

mod action;
mod authorizer;
mod cbor;
mod countries;
mod facets;
pub mod jobs;
mod matrix;
pub mod oidc;
pub mod passkey;
mod rate;
mod resource;
mod session;
mod throttle;
mod token;
mod watch;
pub mod x509;

pub use action::Action;
pub use authorizer::{Authorizer, Denied, PolicyError};
pub use facets::{Explained, FacetSays, Reach, Says};
pub use matrix::{Matrix, MatrixRow};
pub use rate::{RATE_DEBT_MAX, RATE_PARTIES_MAX, Rate, RateExceeded, RateLimiter};
pub use resource::{Kind, Resource};
pub use session::{
    API_KEY_LIFETIME_MAX, LINK_LIFETIME, MAILED_LINK_LIFETIME, PROOF_RECENT_MAX,
    SESSION_ABSOLUTE_MAX, SESSION_IDLE_MAX, SESSION_TOUCH_INTERVAL, SessionState, SessionTimes,
};
pub use throttle::{
    Attempt, THROTTLE_ACCOUNT_FREE_FAILURES, THROTTLE_ADDRESS_FREE_FAILURES, THROTTLE_DELAY_FIRST,
    THROTTLE_DELAY_MAX, THROTTLE_FREE_FAILURES, THROTTLE_MEMORY, THROTTLE_SUBJECTS_MAX, Throttle,
    ThrottleSubject, Throttled,
};
pub use token::{TokenDigest, TokenKind};
pub use watch::{
    DENIED_MAX, DENIED_WINDOW, EXPORT_ROWS_MAX, EXPORT_WINDOW, EXPORTS_MAX, Finding,
    HOURS_KNOWN_MIN, REFUSED_KEYS_MAX, REFUSED_KEYS_WINDOW, STUFFING_ACCOUNTS_MAX,
    STUFFING_FAILURES_MAX, STUFFING_WINDOW, SignIn, TOLD_AGAIN, TRAVEL_KM_MIN,
    TRAVEL_KM_PER_HOUR_MAX, WATCHED_MAX, Watch, WatchSubject, judge_sign_in, network_of,
};
