//! What the ledger's answer says of witnesses and time stamps.

use serde::Serialize;
use utoipa::ToSchema;
use veritwin_app::model::{StampView, WitnessView};

use super::body;

/// How far the log is witnessed.
#[derive(Serialize, ToSchema)]
pub(super) struct WitnessBody {
    /// The witnesses that the platform's policy names; empty: nobody witnesses.
    witnesses: Vec<WitnessSeenBody>,
    /// The policy (C2SP tlog-policy).
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// What a witness, or what was published before, contradicts of the log as the archive has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    contradicted: Option<String>,
    /// Entries up to which the policy is met.
    witnessed_size: u64,
    /// Entries after that.
    unwitnessed: u64,
    /// Entries up to which the log stands in the log of logs.
    in_log_of_logs: u64,
    /// When a checkpoint was published last.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
}

/// A witness and the newest published checkpoint.
#[derive(Serialize, ToSchema)]
struct WitnessSeenBody {
    name: String,
    /// It has cosigned that checkpoint.
    cosigned: bool,
}

/// A time stamp.
#[derive(Serialize, ToSchema)]
pub(super) struct StampBody {
    /// Entries that it covers.
    tree_size: u64,
    /// When they were there at the latest.
    at: String,
}

impl From<WitnessView> for WitnessBody {
    fn from(view: WitnessView) -> Self {
        let seen = view.witnesses.into_iter();
        let seen = seen.map(|one| WitnessSeenBody { name: one.name, cosigned: one.cosigned });
        Self {
            witnesses: seen.collect(),
            policy: view.policy,
            contradicted: view.contradicted,
            witnessed_size: view.witnessed_size,
            unwitnessed: view.unwitnessed,
            in_log_of_logs: view.in_log_of_logs,
            published_at: view.published_at.map(body::time),
        }
    }
}

impl From<StampView> for StampBody {
    fn from(view: StampView) -> Self {
        Self { tree_size: view.size, at: body::time(view.at) }
    }
}
