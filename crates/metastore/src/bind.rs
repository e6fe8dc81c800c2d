//! Domain types as bound values and read columns. Whatever does not read back is damage, never a
//! default.

use sea_orm::sea_query::Value;
use sea_orm::{QueryResult, TryGetable};
use veritwin_domain::{
    ActivityId, AlertId, ApiKeyId, AuthorityId, CallId, CaseId, ConnectionId, ConsentId,
    CredentialId, CustomRoleId, Declaration, DestructionId, DeviceId, DeviceProfileId, EdgeKeyId,
    EvidenceId, FactorId, GovernanceId, GrantId, GroupId, HoldId, ImportId, IncidentId,
    LedgerItemId, LinkId, LogId, MailingId, MessageId, PackageId, PlanId, ProvisionProfileId,
    RegisterEntryId, Role, RouteDestinationId, RouteMessageId, RouteRuleId, RuleId, SentMailId,
    SessionId, SiteId, StreamActId, StreamRuleId, SupportGrantId, TenantId, TicketId, Timestamp,
    UserId, WorkspaceId,
};

use crate::{Error, Result};

/// A value that a column can hold.
pub(crate) trait Bind {
    fn bind(self) -> Value;
}

/// A value that a column can give back.
pub(crate) trait Load: Sized {
    type Stored: TryGetable;
    fn load(stored: Self::Stored) -> Option<Self>;
}

macro_rules! ids {
    ($($name:ident)+) => {$(
        impl Bind for $name {
            fn bind(self) -> Value {
                Value::Bytes(Some(self.as_bytes().to_vec()))
            }
        }
        impl Bind for Option<$name> {
            fn bind(self) -> Value {
                Value::Bytes(self.map(|id| id.as_bytes().to_vec()))
            }
        }
        impl Load for $name {
            type Stored = Vec<u8>;
            fn load(stored: Vec<u8>) -> Option<Self> {
                stored.try_into().ok().map(Self::from_bytes)
            }
        }
    )+};
}

ids! {
    ActivityId AlertId ApiKeyId AuthorityId CallId CaseId ConnectionId ConsentId CredentialId
    CustomRoleId DestructionId DeviceId DeviceProfileId EdgeKeyId EvidenceId FactorId
    GovernanceId GrantId GroupId HoldId ImportId IncidentId LedgerItemId LinkId LogId MailingId
    MessageId PackageId PlanId ProvisionProfileId RegisterEntryId RouteDestinationId
    RouteMessageId RouteRuleId RuleId SentMailId SessionId SiteId StreamActId StreamRuleId
    SupportGrantId TenantId TicketId UserId WorkspaceId
}

macro_rules! plain {
    ($($name:ty => $variant:ident as $stored:ty, $into:expr, $from:expr;)+) => {$(
        impl Bind for $name {
            fn bind(self) -> Value {
                #[allow(clippy::redundant_closure_call)]
                Value::$variant(Some(($into)(self)))
            }
        }
        impl Bind for Option<$name> {
            fn bind(self) -> Value {
                Value::$variant(self.map($into))
            }
        }
        impl Load for $name {
            type Stored = $stored;
            fn load(stored: $stored) -> Option<Self> {
                #[allow(clippy::redundant_closure_call)]
                ($from)(stored)
            }
        }
    )+};
}

plain! {
    bool => Bool as bool, |flag| flag, Some;
    i64 => BigInt as i64, |number| number, Some;
    u64 => BigInt as i64, |number: u64| i64::try_from(number).unwrap_or(i64::MAX),
        |stored: i64| u64::try_from(stored).ok();
    Timestamp => BigInt as i64, |at: Timestamp| at.as_micros(),
        |stored| Some(Timestamp::from_micros(stored));
    [u8; 16] => Bytes as Vec<u8>, |bytes: [u8; 16]| bytes.to_vec(),
        |stored: Vec<u8>| stored.try_into().ok();
    [u8; 32] => Bytes as Vec<u8>, |bytes: [u8; 32]| bytes.to_vec(),
        |stored: Vec<u8>| stored.try_into().ok();
    Vec<u8> => Bytes as Vec<u8>, |bytes| bytes, Some;
    String => String as String, |text| text, Some;
    Role => String as String, |role: Role| role.as_str().to_owned(),
        |stored: String| stored.parse().ok();
    Declaration => String as String, |declaration: Declaration| declaration.as_str().to_owned(),
        |stored: String| Declaration::parse(&stored);
}

/// Declares an enum that is stored as text.
macro_rules! stored_enum {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stored and shown name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// From the name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl $crate::bind::Bind for $name {
            fn bind(self) -> sea_orm::sea_query::Value {
                sea_orm::sea_query::Value::String(Some(self.as_str().to_owned()))
            }
        }

        impl $crate::bind::Load for $name {
            type Stored = String;
            fn load(stored: String) -> Option<Self> {
                Self::parse(&stored)
            }
        }
    };
}
pub(crate) use stored_enum;

/// Shows a row's ids and states and none of its content.
macro_rules! opaque_debug {
    ($name:ident { $($field:ident),* }) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use opaque_debug;

/// One row as the database gave it.
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) result: QueryResult,
}

impl Row {
    pub(crate) fn get<T: Load>(&self, column: &str) -> Result<T> {
        let stored = self
            .result
            .try_get_by::<T::Stored, _>(column)
            .map_err(|error| Error::from_db(error, self.table))?;
        T::load(stored).ok_or(Error::Corrupt { what: self.table })
    }

    pub(crate) fn maybe<T: Load>(&self, column: &str) -> Result<Option<T>> {
        let stored = self
            .result
            .try_get_by::<Option<T::Stored>, _>(column)
            .map_err(|error| Error::from_db(error, self.table))?;
        stored.map(|stored| T::load(stored).ok_or(Error::Corrupt { what: self.table })).transpose()
    }
}

/// Longest name of a consumer, setting or promise.
const CODE_BYTES_MAX: usize = 64;

/// Checks a name that code made up (never a user's text): lower or upper case letters, digits,
/// dots, underscores and hyphens.
pub(crate) fn code(what: &'static str, text: &str) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > CODE_BYTES_MAX || !text.bytes().all(fits) {
        let reason = "expected 1 to 64 letters, digits, dots, underscores or hyphens";
        return Err(Error::Invalid { what, reason });
    }
    Ok(text.to_owned())
}
