//! Who may do what. Decides only: it opens no connection, reads no store and keeps no record.
//! Rights are written in `policies/*.cedar`; code names the exact action on the exact resource.

mod action;
mod authorizer;
mod facets;
pub mod jobs;
mod matrix;
mod resource;
mod session;
mod throttle;
mod token;

pub use action::Action;
pub use authorizer::{Authorizer, Denied, PolicyError};
pub use facets::{Explained, FacetSays, Reach, Says};
pub use matrix::{Matrix, MatrixRow};
pub use resource::{Kind, Resource};
pub use session::{
    API_KEY_LIFETIME_MAX, LINK_LIFETIME, SESSION_ABSOLUTE_MAX, SESSION_IDLE_MAX,
    SESSION_TOUCH_INTERVAL, SessionState, SessionTimes,
};
pub use throttle::{
    THROTTLE_DELAY_FIRST, THROTTLE_DELAY_MAX, THROTTLE_FREE_FAILURES, THROTTLE_MEMORY,
    THROTTLE_SUBJECTS_MAX, Throttle, ThrottleSubject, Throttled,
};
pub use token::{TokenDigest, TokenKind};
