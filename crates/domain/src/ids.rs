//! One type per entity, so that an alert's id cannot be passed where a device's is wanted.
//! Every id is 128 bits in UUID version 7 layout (RFC 9562): time-ordered, then random.

use std::fmt;
use std::str::FromStr;

use crate::{Rng, Timestamp};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 hexadecimal digits in the 8-4-4-4-12 form")]
pub struct IdError;

fn parse_uuid(text: &str) -> Result<[u8; 16], IdError> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return Err(IdError);
    }
    let mut out = [0u8; 16];
    let mut nibble_count = 0usize;
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return Err(IdError);
            }
            continue;
        }
        let nibble = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return Err(IdError),
        };
        out[nibble_count / 2] = (out[nibble_count / 2] << 4) | nibble;
        nibble_count += 1;
    }
    Ok(out)
}

fn format_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn uuid_v7(at: Timestamp, rng: &dyn Rng) -> [u8; 16] {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
}

macro_rules! define_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new id: 48 bits of Unix milliseconds, then 74 random bits (RFC 9562, version 7).
            pub fn generate(at: Timestamp, rng: &dyn Rng) -> Self {
                Self(uuid_v7(at, rng))
            }

            /// The id made of these 16 bytes, as stored.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes to store.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format_uuid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                format_uuid(&self.0, f)?;
                f.write_str(")")
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text: std::borrow::Cow<'de, str> =
                    serde::Deserialize::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

define_ids! {
    /// One row of the activity record.
    ActivityId;
    /// One alert, from the moment it became active to its end.
    AlertId;
    /// A program's API key.
    ApiKeyId;
    /// A certificate authority whose certificates let a tenant's devices in.
    AuthorityId;
    /// One sealed ledger batch.
    BatchId;
    /// A request of a data subject, with its clocks.
    CaseId;
    /// A call to a device that is kept until its end.
    CallId;
    /// One connection of a device.
    ConnectionId;
    /// What a person said about a purpose: a consent, or its withdrawal.
    ConsentId;
    /// One credential of one device (a token, a password, a certificate).
    CredentialId;
    /// A destruction of readings that somebody asked for.
    DestructionId;
    /// A device. Sensors that share a connection and a credential are keys of one device.
    DeviceId;
    /// A profile of devices: how their payloads are decoded.
    DeviceProfileId;
    /// A key that a store-and-forward edge signs its batches with.
    EdgeKeyId;
    /// One evidence record of a promise check.
    EvidenceId;
    /// A thing of the governance workspace: a policy, a risk, a control, a breach and others.
    GovernanceId;
    /// A grant of a role over a part of a tenant.
    GrantId;
    /// A group of devices.
    GroupId;
    /// A role of a tenant's own.
    CustomRoleId;
    /// A firmware or software package.
    PackageId;
    /// Something an account signs in with besides its password: a passkey, an authenticator.
    FactorId;
    /// A one-time link, an invitation among them.
    LinkId;
    /// A record that is sealed in the ledger.
    LedgerItemId;
    /// A sealed file: log file, segment, archive payload.
    FileId;
    /// A support grant: what a customer opens to support, until when.
    SupportGrantId;
    /// A hold on activity records.
    HoldId;
    /// An import of readings.
    ImportId;
    /// A sequence of mails of checkpoints to an auditor.
    MailingId;
    /// A mail that was sent.
    SentMailId;
    /// A security incident.
    IncidentId;
    /// The random id under which a tenant's ledger log is served.
    LogId;
    /// A message that somebody sent to whoever answers for a tenant.
    MessageId;
    /// A plan: named limits of tenants.
    PlanId;
    /// What lets devices come in by themselves: a provisioning profile.
    ProvisionProfileId;
    /// An entry of one of an organisation's registers.
    RegisterEntryId;
    /// One request through any listener, for tracing.
    RequestId;
    /// A place outside to which a tenant's messages go.
    RouteDestinationId;
    /// A message on its way to such a place, or parked.
    RouteMessageId;
    /// A rule that says which messages go where.
    RouteRuleId;
    /// An alert rule.
    RuleId;
    /// A sign-in session.
    SessionId;
    /// A declaration of streams: one act of one person or program.
    StreamActId;
    /// A declaration for a group of streams.
    StreamRuleId;
    /// A site: one building or plant with its twin.
    SiteId;
    /// A tenant: the customer; the unit of isolation, keys, ledger and residency.
    TenantId;
    /// A support ticket.
    TicketId;
    /// A person's account.
    UserId;
    /// A part of a tenant: twins and groups of devices.
    WorkspaceId;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn text_form_round_trips_and_bad_text_is_refused() {
        let id =
            DeviceId::generate(Timestamp::from_micros(1_700_000_000_000_000), &SeededRng::new(7));
        assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
        assert_eq!(&id.to_string()[14..15], "7");
        for bad in [
            "",
            "x",
            "0188-",
            "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz",
            "018bcfe5680070008000000000000000",
        ] {
            assert_eq!(bad.parse::<DeviceId>(), Err(IdError), "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let rng = SeededRng::new(1);
        let early = AlertId::generate(Timestamp::from_micros(1_000_000), &rng);
        let late = AlertId::generate(Timestamp::from_micros(2_000_000), &rng);
        assert!(early < late);
    }
}
