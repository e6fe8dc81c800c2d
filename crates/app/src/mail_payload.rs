//! A queued mail, as it is stored: what it is about, to whom, its words and its files, and what it
//! tells of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use veritwin_domain::{AlertId, TenantId};

use crate::alert_mail::Digest;
use crate::mail::MailNote;
use crate::mail_kinds::MessageKind;
use crate::route_mail::RoutedMail;

/// A queued mail.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MailPayload {
    /// What it is about: a kind of the closed list.
    #[serde(default = "MessageKind::of_older_build")]
    pub(crate) kind: MessageKind,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// The alert it tells of.
    #[serde(default)]
    pub(crate) alert: Option<String>,
    /// Where the answer goes, if not to whoever answers for the tenant.
    #[serde(default)]
    pub(crate) reply_to: Option<String>,
    /// The tenant in whose brand it speaks, if it is about an account and so of no tenant.
    #[serde(default)]
    pub(crate) voice: Option<TenantId>,
    /// What it has gathered about an alert.
    #[serde(default)]
    pub(crate) digest: Option<Digest>,
    /// What it tells of messages that a rule sent on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) routed: Option<RoutedMail>,
    /// The person and the version of the policy whose notice it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<(String, u64)>,
    /// Its recipient is outside the organisation: the gate for flows is asked before it leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_outside: bool,
    /// Why it still waits.
    #[serde(default)]
    pub(crate) waits: Option<MailNote>,
    /// Files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) files: Vec<AttachedFile>,
}

/// A file that goes with a mail.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AttachedFile {
    pub(crate) name: String,
    /// Its bytes, base64.
    pub(crate) content: String,
}

impl AttachedFile {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), content: STANDARD.encode(bytes) }
    }
}

impl MailPayload {
    /// An empty mail of a kind.
    pub(crate) fn of(kind: MessageKind) -> Self {
        Self {
            kind,
            to: String::new(),
            subject: String::new(),
            text: String::new(),
            alert: None,
            reply_to: None,
            voice: None,
            digest: None,
            routed: None,
            is_outside: false,
            waits: None,
            notice: None,
            files: Vec::new(),
        }
    }

    /// The alerts it tells of.
    pub(crate) fn alerts(&self) -> Vec<AlertId> {
        let gathered = self.digest.iter().flat_map(|digest| &digest.alerts);
        let single = self.alert.iter().filter(|_| self.digest.is_none());
        gathered.chain(single).filter_map(|alert| alert.parse().ok()).collect()
    }
}
