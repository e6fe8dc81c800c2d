//! One person over every store: which store holds what about people, who assembles it for them, and
//! how it ends. A table that is not named here fails a test, so that no store is forgotten.

mod assemble;
mod bundle;
mod elsewhere;
mod mails;
mod read_back;
#[cfg(test)]
mod tests;
mod words;

use veritwin_domain::UserId;

pub(crate) use bundle::{check_copy, unzipped};
pub(crate) use read_back::readings_of;

/// Whom the stores are asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The account.
    pub(crate) user: Option<UserId>,
    /// The address.
    pub(crate) email: Option<String>,
    /// How personal streams name the person.
    pub(crate) person: Option<String>,
}

/// Who assembles what a store holds about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assembler {
    /// The account's own row.
    Account,
    /// Rows that refer to the account, column by column.
    Rows,
    /// Rows that refer to the account, and invitations to the address.
    SignIn,
    /// Records of what the account did.
    Records,
    /// Alert rules that mail the address.
    Rules,
    /// Mails to the address.
    Mails,
    /// Messages from the address.
    Messages,
    /// Requests of the account or address.
    Requests,
    /// What is declared to be the person's.
    Declarations,
    /// What devices hold that are declared to be the person's.
    Devices,
    /// The readings that are about the person.
    Readings,
    /// What the account agreed to, the fields that rest on it, and what it was told of changes.
    Consents,
    /// What was entered into registers by the account, and details that the person gave.
    Registers,
    /// Nothing in it is about a person, and why.
    Nothing(&'static str),
}

/// Who takes away what a store holds about somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Eraser {
    /// The account goes with its key, and what refers to it.
    Account,
    /// The same, and invitations to the address.
    SignIn,
    /// The address goes out of alert rules.
    Rules,
    /// Mails to the address are removed, sent or not.
    Mails,
    /// Messages from the address are removed.
    Messages,
    /// Requests name nobody any more, and end two years after they were closed.
    Requests,
    /// Records lose what tells of the person, and end on day 90.
    Records,
    /// Details that the person gave are removed.
    Registers,
    /// What devices hold that were declared to be the person's is removed.
    Devices,
    /// The name goes out of what was declared.
    Declarations,
    /// The readings are destroyed with their keys.
    Readings,
    /// It stays, and why: ids in it stand for nobody any more.
    Stays(&'static str),
    /// There is nothing to take away.
    Nothing,
}

impl Eraser {
    /// How what is in a store ends.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Account => "goes with the account and its key",
            Self::SignIn => "goes with the account and its key; invitations to the address go",
            Self::Rules => "the address goes out of rules, which mail it no more",
            Self::Mails => "mails to the address are removed, or end after 90 days",
            Self::Messages => "messages from the address are removed",
            Self::Requests => {
                "requests name nobody once they are erased, and are kept for two years"
            }
            Self::Records => {
                "what was done stays for 90 days, or as long as a hold lasts, without where it was \
                 done from; the id in it stands for nobody"
            }
            Self::Registers => AS_ENTRY,
            Self::Devices => {
                "attributes, calls and retained messages of devices that are said to be theirs are \
                 removed"
            }
            Self::Declarations => "the name goes; what was declared stays the organisation's",
            Self::Readings => "readings are destroyed with their keys",
            Self::Stays(why) => why,
            Self::Nothing => "there is nothing to take away",
        }
    }
}

/// A store, as far as it holds something about people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SubjectStore {
    /// The name in copies and certificates.
    pub(crate) name: &'static str,
    /// Its tables; none for what is no table.
    pub(crate) tables: &'static [&'static str],
    pub(crate) assembler: Assembler,
    pub(crate) eraser: Eraser,
}

const OF_THINGS: &str = "it is about devices, buildings and the organisation";
const OF_THE_PLATFORM: &str = "it is the platform's own bookkeeping";
const AS_PROOF: &str = "fields, notices and waiting messages go with the account; what was agreed \
                        to stays as a proof: the id in it stands for nobody";
const AS_ENTRY: &str = "details that were given go, and the record that it was agreed to stays \
                        without them; entries are the organisation's, and the id in them stands \
                        for nobody";
const AS_PSEUDONYM: &str = "it is the organisation's record: the id in it stands for nobody";
const IN_COPIES: &str = "copies of before are kept as long as backups are; whatever is restored of \
                         them is erased again before anybody is listened to";

/// The part of a copy that holds what a table has of its person; none of a table in which nothing
/// is about a person.
pub(crate) fn place_in_copies(table: &str) -> Option<&'static str> {
    let store = STORES.iter().find(|store| store.tables.contains(&table))?;
    (!matches!(store.assembler, Assembler::Nothing(_))).then_some(store.name)
}

/// Every store.
pub(crate) const STORES: &[SubjectStore] = &[
    SubjectStore {
        name: "account",
        tables: &["users"],
        assembler: Assembler::Account,
        eraser: Eraser::Account,
    },
    SubjectStore {
        name: "memberships",
        tables: &["memberships", "grants", "bringers", "key_makers", "api_keys"],
        assembler: Assembler::Rows,
        eraser: Eraser::Account,
    },
    SubjectStore {
        name: "sign_in",
        tables: &[
            "sessions",
            "factors",
            "one_time_links",
            "provider_identities",
            "support_sessions",
        ],
        assembler: Assembler::SignIn,
        eraser: Eraser::SignIn,
    },
    SubjectStore {
        name: "records",
        tables: &["activity"],
        assembler: Assembler::Records,
        eraser: Eraser::Records,
    },
    SubjectStore {
        name: "acts",
        tables: &[
            "alerts",
            "alert_events",
            "activity_holds",
            "incidents",
            "incident_notes",
            "security_alerts",
            "support_tickets",
            "support_grants",
            "governance_items",
            "governance_changes",
        ],
        assembler: Assembler::Rows,
        eraser: Eraser::Stays(AS_PSEUDONYM),
    },
    // Before the mails: nothing writes another one.
    SubjectStore {
        name: "rules",
        tables: &["rules"],
        assembler: Assembler::Rules,
        eraser: Eraser::Rules,
    },
    SubjectStore {
        name: "mails",
        tables: &["outbox", "sent_mails"],
        assembler: Assembler::Mails,
        eraser: Eraser::Mails,
    },
    SubjectStore {
        name: "messages",
        tables: &["contact_messages"],
        assembler: Assembler::Messages,
        eraser: Eraser::Messages,
    },
    SubjectStore {
        name: "requests",
        tables: &["rights_cases", "rights_limits"],
        assembler: Assembler::Requests,
        eraser: Eraser::Requests,
    },
    SubjectStore {
        name: "consents",
        tables: &["account_fields", "consents", "notice_receipts", "sms_queue"],
        assembler: Assembler::Consents,
        eraser: Eraser::Stays(AS_PROOF),
    },
    SubjectStore {
        name: "registers",
        tables: &["register_entries"],
        assembler: Assembler::Registers,
        eraser: Eraser::Registers,
    },
    // What is declared says which readings and devices are the person's: these go first.
    SubjectStore {
        name: "readings",
        tables: &[],
        assembler: Assembler::Readings,
        eraser: Eraser::Readings,
    },
    SubjectStore {
        name: "devices",
        tables: &["attributes", "device_calls", "retained_messages"],
        assembler: Assembler::Devices,
        eraser: Eraser::Devices,
    },
    SubjectStore {
        name: "declarations",
        tables: &["stream_statements", "stream_rules", "stream_acts"],
        assembler: Assembler::Declarations,
        eraser: Eraser::Declarations,
    },
    SubjectStore {
        name: "ledger",
        tables: &["ledger_bundles", "ledger_items", "ledger_kept", "ledger_published"],
        assembler: Assembler::Nothing("what it sealed are the readings and records of this copy"),
        eraser: Eraser::Stays("until the end of the audit period; no entry names a person"),
    },
    SubjectStore {
        name: "objects",
        tables: &["twins", "packages", "brands"],
        assembler: Assembler::Nothing(OF_THINGS),
        eraser: Eraser::Nothing,
    },
    SubjectStore {
        name: "backups",
        tables: &[],
        assembler: Assembler::Nothing("they hold what is in this copy, as it was"),
        eraser: Eraser::Stays(IN_COPIES),
    },
    SubjectStore {
        name: "things",
        tables: &[
            "claim_windows",
            "credentials",
            "device_authorities",
            "device_connections",
            "device_groups",
            "device_moves",
            "device_profile_devices",
            "device_profile_versions",
            "device_profiles",
            "devices",
            "edge_keys",
            "group_devices",
            "import_refusals",
            "imports",
            "ledger_mailings",
            "package_assignments",
            "provision_profiles",
            "provisioned_devices",
            "rights_mailboxes",
            "route_destinations",
            "route_lanes",
            "route_messages",
            "route_rules",
            "workspace_twins",
            "workspaces",
        ],
        assembler: Assembler::Nothing(OF_THINGS),
        eraser: Eraser::Nothing,
    },
    SubjectStore {
        name: "platform",
        tables: &[
            "acme_accounts",
            "brand_hosts",
            "clock_marks",
            "consumer_offsets",
            "custom_roles",
            "destructions",
            "host_certificates",
            "host_orders",
            "idempotency_keys",
            "identity_providers",
            "legal_versions",
            "plans",
            "platform_offsets",
            "platform_settings",
            "promise_evidence",
            "settings",
            "tenant_domains",
            "tenant_ends",
            "tenants",
            "usage_days",
        ],
        assembler: Assembler::Nothing(OF_THE_PLATFORM),
        eraser: Eraser::Nothing,
    },
];
