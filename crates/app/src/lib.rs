//! The use cases and background jobs of the platform. Every use case takes the operation context
//! first, authorises the exact action on the exact resource, does its work, and leaves one
//! activity record. There is no other way to the stores.

mod access;
mod account;
mod acme;
mod activity;
mod alert_job;
mod alert_mail;
mod alert_place;
mod alert_present;
mod alert_state;
mod alerts;
mod analytics;
mod api_keys;
mod attempts;
mod attribute_lines;
mod attributes;
mod audit;
mod authorities;
mod backup;
mod bindings;
mod brands;
mod calls;
mod cases;
mod certificate_ends;
mod change;
mod claim_lists;
mod claim_moves;
mod claim_returns;
mod claims;
mod config_parts;
mod connections;
mod consent_links;
mod consent_record;
mod consent_views;
mod consent_words;
mod consents;
mod contact;
mod context;
mod credential_digests;
mod customer_keys;
mod decode_work;
mod decoders;
mod desk;
mod destruction_certificate;
mod destruction_job;
mod destruction_replay;
mod destruction_scope;
mod destructions;
mod device_credentials;
mod device_login;
mod device_passwords;
mod device_profiles;
mod devices;
mod directory;
mod disk_room;
mod domains;
mod edges;
mod effects;
mod ends;
mod error;
mod evidence;
mod explain;
mod exports;
mod factors;
mod figures;
#[cfg(feature = "test-controls")]
mod full_disk;
mod gateway_names;
mod gateways;
mod geo;
mod governance;
mod grants;
mod hashing;
mod held;
mod history;
mod history_read;
mod holds;
mod host_certificates;
mod how;
mod idempotency;
mod imports;
mod incidents;
mod ingest;
mod inventory;
mod invitation_scopes;
mod invitations;
mod inviters;
mod job_board;
#[cfg(test)]
mod job_tests;
mod kept;
mod key_level;
mod knock;
mod lanes;
mod languages;
mod lately;
mod ledger;
mod ledger_end;
mod ledger_erased;
mod ledger_head;
mod ledger_job;
mod ledger_keys;
mod ledger_lookup;
mod ledger_mail;
mod ledger_mail_files;
mod ledger_mail_to;
mod ledger_open;
mod ledger_public;
mod ledger_record;
mod ledger_seal;
mod legal;
mod legal_notices;
mod legal_versions;
mod limits;
mod lineage;
mod link_accounts;
mod links;
mod live;
mod log_cut;
mod mail;
mod mail_bounds;
mod mail_keys;
mod mail_kinds;
mod mail_names;
mod mail_payload;
mod maintenance;
mod meter;
pub mod model;
mod model_view;
mod objects;
mod open;
mod operations;
mod packages;
mod pages;
mod papers;
mod partners;
mod parts;
mod people;
mod place_changes;
mod plan_form;
mod plan_routes;
mod png;
mod population;
mod processing;
mod profile_samples;
mod promises;
mod provider_client;
mod provider_flow;
mod provider_sign_in;
mod providers;
mod provision;
mod provision_device;
mod provisioning;
mod publish;
mod quota;
mod rates;
mod recorded;
mod records;
mod recovery;
mod redact;
mod refusals;
mod registers;
mod reset_mail;
mod retained;
mod retention;
mod retention_rules;
mod rights;
mod root_key;
mod route_attributes;
mod route_body;
mod route_delivery;
mod route_expression;
mod route_job;
mod route_mail;
mod route_match;
mod route_parked;
mod route_places;
mod route_pressure;
mod route_queue;
mod route_rules;
mod route_topic;
mod route_turns;
mod routes;
mod rule_sight;
mod rule_streams;
mod rules;
mod safe_again;
mod schedule;
mod screening;
mod scrub;
mod security;
mod security_words;
mod segments;
mod sent_mails;
mod session_log;
mod shipping;
mod shred_journal;
mod sight;
mod sign_in;
mod simulations;
mod sms;
mod sparkplug;
mod storage;
mod store_check;
mod stream_acts;
mod stream_book;
mod stream_heads;
mod stream_steps;
mod stream_subjects;
mod streams;
mod subject;
mod submit;
mod support;
mod system;
mod tables;
mod tenant_networks;
mod theme;
mod traffic;
mod transfers;
mod tree;
mod trust;
mod twins;
mod two_people;
mod upgrade;
mod upkeep;
mod usage;
mod wording;
mod zones;

pub use acme::{AcmeState, AcmeView, DueOrders, ORDERS_PER_DAY_MAX, OrderUnderWay};
pub use analytics::ANALYTICS_GROUP_MIN;
pub use backup::{
    AccessReview, BackupMade, BackupPlan, BackupProgress, BackupStatus, BackupSummary,
    KEYRING_HORIZON, KeyringSummary, Moment, MomentSummary, RestorePlan, RestoreSummary,
    RestoredKey, RestoredTenant, backup_instance, restore,
};
pub use brands::Door;
pub use calls::{
    CALL_BYTES_MAX, CALL_LASTS_MAX, CALL_NUMBER_MIN, CALL_RETRIES_MAX, DEVICE_CALLS_MAX,
    TENANT_CALLS_KEPT_MAX, TENANT_CALLS_MAX,
};
pub use config_parts::{Operator, Outbound};
pub use connections::ConnectionEnd;
pub use consent_record::{CheckedConsent, check_consent};
pub use consents::CONSENTS_PER_DAY_MAX;
pub use context::{
    Arrival, BasicLogin, DeviceCommand, DeviceLogin, Placed, RefusedPart, Submission, WriterLogin,
};
pub use customer_keys::{
    CustomerKeyView, KEY_IMPORT_LIFE, KEY_REVOKE_WORD, KEY_TTL_DEFAULT_S, KEY_TTL_MAX_S,
    KeyChangeView, KeyImportView, KeyResealView, KeyServiceInput, KeyServiceView, KeyTestView,
};
pub use decoders::DecoderCounts;
pub use destruction_certificate::check_certificate;
pub use edges::{EDGE_KEYS_PER_DEVICE_MAX, EdgeKept, EdgeOffer, EdgeTurn};
pub use error::{Error, Result, RowError};
pub use explain::Asked;
pub use exports::{EXPORT_NAMES_MAX, EXPORT_PAGE_POINTS_MAX, EXPORT_SERIES_MAX};
pub use gateways::{ChildWanted, GATEWAY_DEVICES_MAX, GATEWAY_NAMES_MAX};
pub use governance::{CATALOGUE_BYTES_MAX, CatalogueFile, StatementLine};
pub use history_read::HistoryReader;
pub use host_certificates::{HOST_CHAIN_BYTES_MAX, HostCertificate, HostView};
pub use idempotency::Idempotent;
pub use imports::{IMPORT_PLAN_BYTES_MAX, IMPORT_REFUSED_KEPT_MAX, IMPORTS_MAX};
pub use invitations::{INVITATION_FILE_BYTES_MAX, INVITATIONS_MAX};
pub use job_board::{Job, JobWatch};
pub use key_level::key_level;
pub use knock::Knock;
pub use ledger::ArchiveAccess;
pub use live::{LiveEntry, LiveEvent, LiveReading, TwinChange};
pub use open::{App, Config};
pub use packages::{
    PACKAGE_BYTES_MAX, PACKAGE_PIECE_BYTES_MAX, PACKAGE_TARGETS_MAX, PACKAGES_MAX,
    TENANT_PACKAGES_BYTES_MAX, Told,
};
pub use population::{Population, populated_email};
pub use promises::{
    AccessFixture, IsolationFixture, PlatformProbe, ProbeAnswer, ProbePerson, RefusedFixture,
    RoleFixture, SearchedFiles, StreamFixture,
};
pub use publish::{PUBLISHED_AT_ONCE_MAX, PublishConfig, StampConfig, WITNESSES_MAX};
pub use quota::QUOTA_WARNED_PERCENT;
pub use rates::{Load, Rates};
pub use registers::TRANSFER_NOTICE_DAYS;
pub use retained::{
    RETAINED_BYTES_MAX, RETAINED_MESSAGE_BYTES_MAX, RETAINED_MESSAGES_MAX, RetainedPage,
};
pub use route_topic::TopicBroker;
pub use scrub::{ScrubConfig, ScrubFinding, ScrubRun, ScrubStatus, last_scrub};
pub use segments::ask_segments;
pub use session_log::SessionEntry;
pub use shipping::{S3Access, ShipConfig, ShipStatus};
pub use sight::SeenStreams;
pub use sign_in::{Proof, SecondFactor};
pub use store_check::{StoreLook, Stored, kept_cuts, look_at};
pub use submit::ROOM_TIMEOUT;
pub use system::Vault;
pub use tables::{TABLE_PAGE_POINTS_MAX, TableReader};
pub use traffic::WatchedDevice;
pub use trust::{CheckedTrustPage, TRUST_PAGE_BYTES_MAX, check_trust_page};
pub use upgrade::{SchemaUpgrade, database_gaps};
pub use veritwin_access::passkey::{Assertion, PASSKEY_ALGORITHMS, Registration, RelyingParty};
pub use veritwin_access::x509::{CERTIFICATE_BYTES_MAX, CERTIFICATES_BETWEEN_MAX};
pub use veritwin_access::{Rate, RateExceeded, RateLimiter};
pub use veritwin_governance::{Block, BlockKind, Document, Generated, Language, OptionalField};
pub use veritwin_keys::{Passphrase, is_given_by_systemd, is_private};
pub use veritwin_metastore::{PendingStep, RouteLane, WallGap};
pub use veritwin_outbound::acme::{AcmeConfig, Refusal, RefusalKind};
pub use veritwin_outbound::mail::MailConfig;
pub use veritwin_outbound::sms::{SmsConfig, SmsForm};
pub use veritwin_telemetry::{BucketConfig, LATEST_AHEAD_MAX, LatestSize};
pub use zones::{ZONE_DEVICES_MAX, ZONES_MAX};

/// The operating system's randomness.
pub fn system_rng() -> impl veritwin_domain::Rng {
    veritwin_keys::SystemRng
}
