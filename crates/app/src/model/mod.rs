//! What use cases take and give back. Plain values without a wire format: each edge has its own.

mod alerts;
mod assurance;
mod calls;
mod cases;
mod consents;
mod destructions;
mod device_profiles;
mod devices;
mod edges;
mod ends;
mod governance;
mod imports;
mod ledger;
mod mails;
mod networks;
mod page;
mod partners;
mod people;
mod processing;
mod providers;
mod provisioning;
mod registers;
mod retention;
mod routes;
mod security;
pub(crate) mod stored_time;
mod streams;
mod telemetry;
mod twins;
mod zones;

pub use alerts::{
    AlertCount, AlertEventView, AlertFilter, AlertOrder, AlertPage, AlertQuery, AlertView,
    MailNote, RuleCondition, RuleInput, RuleScope, RuleView,
};
pub use assurance::{Figure, HeldView, KeyView, PromiseView};
pub use calls::{
    CallInput, CallToSend, CallView, PackageInput, PackagePiece, PackageTargets, PackageView,
    PieceWanted,
};
pub use cases::{
    CaseEventView, CaseStep, CaseStepView, CaseView, DeskCaseInput, FormCaseInput, OwnCaseInput,
};
pub use consents::{
    AnnouncementView, ConsentInput, ConsentRecordView, ConsentView, LegalText, LegalVersionInput,
    LegalVersionView, NoticeView, PrivacyView, PurposeView, SubProcessor,
};
pub use destructions::{
    CheckedCertificate, DestructionCounts, DestructionInput, DestructionPreview, DestructionScope,
    DestructionView,
};
pub use device_profiles::{
    DecoderFault, DecoderFigures, DecoderRefusal, DecoderRule, DeviceProfileInput,
    DeviceProfileVersionView, DeviceProfileView, NotDecoded, PayloadToDecode, SamplePayload,
    SampleResult,
};
pub use devices::{
    AttributesChange, AttributesView, ConnectionView, CredentialChange, CredentialInput,
    CredentialView, DeviceChange, DeviceFilter, DeviceInput, DevicePage, DeviceView, GatewayChange,
    InventoryOutcome, MadeCredential, NewCredential, Placement, RefusalView,
};
pub use edges::{EdgeAnswer, EdgeKeyInput, EdgeKeyView, EdgeOutcome, EdgeSender};
pub use ends::{KeptRow, KeptSource, MailboxInput, MailboxView, TenantEndView};
pub use governance::{
    BreachContent, BreachFacts, BreachNoticeInput, BreachNoticeView, BreachPlaces, BreachTextView,
    CertificateContent, CertificateFacts, ControlContent, ControlFacts, EvidenceContent,
    EvidenceFacts, FrameworkContent, FrameworkFacts, GovernanceChangeView, Governed, HeatSquare,
    NoticeContent, NoticeFacts, OnboardingStep, PolicyContent, PolicyFacts, RiskContent, RiskFacts,
    TaskContent,
};
pub use imports::{
    ExportBegun, ExportPage, ExportQuery, ExportSeries, ImportInput, ImportRefusedRow, ImportStep,
    ImportView,
};
pub use ledger::{
    ErasedView, EvidenceBundle, EvidenceHit, EvidenceInput, EvidencePage, EvidenceQuery,
    LedgerEntryView, LedgerPlaceView, LedgerProofView, LedgerView, PapersCredential, PapersView,
    SealedReading, StampView, WitnessSeen, WitnessView,
};
pub use mails::{MailKeyView, MailingEvery, MailingInput, MailingTo, MailingView, SentMailView};
pub use networks::{NetworksInput, NetworksView};
pub use page::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, Page, PageRequest};
pub use partners::{
    AnsweredBy, Belonging, BrandInput, BrandView, ContactInput, ContactView, DayUsageView,
    DaysRange, ExpiringView, Face, ImportWrapping, KeyLevel, PlacedTenant, PlanInput, PlanLimits,
    PlanView, ProviderKind, ProviderSettings, QuotaView, RetentionWait, RouteLimits, Service,
    TenantChange, TenantExpiringView, TenantInput, TenantRank, TenantUsageView, UsageCounts,
    UsageLevels, UsageReport, UsageView, Waits, Writer,
};
pub use people::{
    AccountView, ApiKeyView, CustomRoleView, Erasure, ExplainView, ExplainedRight, GrantView,
    GroupInput, GroupView, HolderOf, InvitationView, Invited, Invitee, LinkKind, LinkView,
    NewApiKey, NewAuthenticator, NewGrant, OpenSession, OwnRights, PasskeyRequest, PasskeyView,
    RightView, RightsOn, RoleInput, RoleOf, RolesView, SessionView, SignedIn, TenantView, UserView,
    Welcome, WorkspaceInput, WorkspaceView,
};
pub use processing::{AgreementView, FiguresView, JurisdictionView, ProcessingView, UseFigure};
pub use providers::{
    ProviderInput, ProviderOffer, ProviderReturn, ProviderStart, ProviderStarted, ProviderView,
};
pub use provisioning::{
    AuthorityInput, AuthorityView, ClaimInput, ClaimState, ClaimedDevice, ClaimsView,
    DeviceClaimView, LandingInput, MovedDevice, ProfileChange, ProfileInput, ProfileView,
    ProvisionStrategy, WaitingDevice,
};
pub use registers::{RegisterInput, RegisterView, TrustPageView};
pub use retention::{RetentionEnd, RetentionInput, RetentionRule, RetentionView};
pub use routes::{
    MadeRouteDestination, RouteAttribute, RouteDestinationInput, RouteDestinationView, RouteKind,
    RouteMatch, RouteParkedQuery, RouteParkedView, RouteRuleInput, RouteRuleView, RouteSample,
};
pub use security::{
    ActivityQuery, ActivityView, DeskGrant, HoldInput, HoldScope, HoldView, IncidentNoteView,
    IncidentView, SecurityAlertView, SupportGrantView, SupportView, TicketView,
};
pub use streams::{
    DeclarationInput, StreamActStep, StreamActView, StreamCounts, StreamPage, StreamQuery,
    StreamRuleInput, StreamRuleView, StreamState, StreamSubject, StreamTarget, StreamView,
    SubjectQuery, SubjectStreamView,
};
pub use telemetry::{
    AS_OF_SERIES_MAX, Aggregate, BucketQuery, BucketRow, BucketView, Buckets, CalendarUnit, Fill,
    HistoryData, HistoryQuery, HistorySeries, LatestFilter, LatestView, PERCENTILE_MAX,
    POINTS_PER_SERIES_MAX, PointView, QualityFilter, SERIES_PER_QUERY_MAX, SeriesId, StatsView,
    TableDevice, Weekday, Zone,
};
pub use twins::{
    ElementView, GraphQuery, ModelView, SpaceView, StoreyView, TwinCounts, TwinOutcome, TwinView,
};
pub use veritwin_collection::{
    BUDGET_SQUARES_PER_YEAR, Book as ZoneBook, Measure, MeasureKind, ZoneConfig,
};
pub use zones::{OptInDetails, OptInInput, OptInView, ZoneInput, ZoneView};
