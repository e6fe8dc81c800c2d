//! The exact actions, one per use case, each with the kind of resource it is done to. A new use
//! case adds a line here, a line in the schema, and a decision in the policies.

use std::fmt;
use std::str::FromStr;

use crate::Kind;

macro_rules! define_actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal on $kind:ident;)+) => {
        /// What is done. The text form is the Cedar action, the activity record's action and the
        /// scope's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)+ }

        impl Action {
            /// Every action there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name used in policies, records and documents.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The kind of resource this action is done to.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }
        }
    };
}

impl Action {
    /// Whether it takes many records or readings away at once: refused of a session that is asked
    /// to prove itself again.
    pub const fn takes_away(self) -> bool {
        matches!(self, Self::ActivityExport | Self::TelemetryExport)
    }

    /// Whether a person has to have proved who they are a short while ago: acts that destroy, give
    /// rights, let somebody in or shut somebody out, and every act that takes two people. Letting
    /// support in asks for it too, in its use case: taking it back is the same action and does
    /// not.
    pub const fn needs_recent_proof(self) -> bool {
        matches!(
            self,
            Self::AccountSecure
                | Self::ApiKeyCreate
                | Self::ApiKeyDelete
                | Self::BreachNotify
                | Self::CertificateWrite
                | Self::CollectionWrite
                | Self::CredentialDelete
                | Self::CredentialUpdate
                | Self::DestructionCreate
                | Self::DeviceDelete
                | Self::DeviceReturn
                | Self::GovernanceApprove
                | Self::GrantWrite
                | Self::HoldApprove
                | Self::HoldRelease
                | Self::IdentityProviderWrite
                | Self::KeyManage
                | Self::LegalPublish
                | Self::PlanWrite
                | Self::ProvisioningWrite
                | Self::RegisterApprove
                | Self::RegisterWrite
                | Self::RequestFulfil
                | Self::RetentionWrite
                | Self::RoleWrite
                | Self::RouteWrite
                | Self::SessionLeave
                | Self::SupportBreakGlass
                | Self::TenantCreateBelow
                | Self::TenantDelete
                | Self::TenantExport
                | Self::TenantInviteBelow
                | Self::TenantUpdate
                | Self::TenantUpdateBelow
                | Self::TwinDelete
                | Self::UserDelete
                | Self::UserErase
                | Self::UserInvite
                | Self::UserUpdate
        )
    }

    /// Whether it is done to the person's account, which may belong to other tenants too: a sign-in
    /// that one tenant's provider vouches for does not reach it.
    pub const fn reaches_account(self) -> bool {
        matches!(
            self,
            Self::AccountSecure
                | Self::AccountUpdate
                | Self::ConsentGive
                | Self::SessionJoin
                | Self::SessionSwitch
        )
    }

    /// Whether a person may do it who still has to set up the second factor their tenant asks for.
    pub const fn is_open_without_second_factor(self) -> bool {
        matches!(
            self,
            Self::AccountRead
                | Self::AccountSecure
                | Self::ConsentWithdraw
                | Self::SessionConfirm
                | Self::SessionDelete
                | Self::SessionRead
        )
    }
}

define_actions! {
    /// Ask why somebody may or may not do something.
    AccessExplain = "access.explain" on Access;
    /// Take activity records away as CSV or JSON.
    ActivityExport = "activity.export" on Activity;
    /// Read one's own account: sessions, passkeys, how one signs in.
    AccountRead = "account.read" on Session;
    /// Ask for a new password, take a mailed link up.
    AccountRecover = "account.recover" on Platform;
    /// Change how one signs in: password, e-mail, passkeys, codes, sessions.
    AccountSecure = "account.secure" on Session;
    /// Change one's own name.
    AccountUpdate = "account.update" on Session;
    /// List the activity records.
    ActivityRead = "activity.read" on Activity;
    /// Delete activity records past their time.
    ActivityPurge = "activity.purge" on Activity;
    /// Acknowledge an alert.
    AlertAcknowledge = "alert.acknowledge" on Alert;
    /// Raise, clear and write down alerts.
    AlertEvaluate = "alert.evaluate" on Alert;
    /// List alerts.
    AlertList = "alert.list" on Alert;
    /// Read one alert with its events.
    AlertRead = "alert.read" on Alert;
    /// Read aggregated figures of how the service is used.
    AnalyticsRead = "analytics.read" on Tenant;
    /// Create an API key.
    ApiKeyCreate = "api_key.create" on ApiKey;
    /// Revoke an API key.
    ApiKeyDelete = "api_key.delete" on ApiKey;
    /// List API keys (never their secrets).
    ApiKeyList = "api_key.list" on ApiKey;
    /// Read a device's attributes.
    AttributeRead = "attribute.read" on Device;
    /// Report client attributes, as the device.
    AttributeReport = "attribute.report" on Device;
    /// Write shared and server attributes.
    AttributeWrite = "attribute.write" on Device;
    /// Tell an authority, people or a controller of a breach.
    BreachNotify = "breach.notify" on Incident;
    /// Read one's own brand.
    BrandRead = "brand.read" on Tenant;
    /// Show the brand of a host name.
    BrandShow = "brand.show" on Platform;
    /// Change one's own brand.
    BrandWrite = "brand.write" on Tenant;
    /// Read which of one's host names have certificates of their own, and until when.
    CertificateRead = "certificate.read" on Tenant;
    /// Put a certificate of one's own host name in place, or take it away.
    CertificateWrite = "certificate.write" on Tenant;
    /// Move the simulated clock.
    ClockAdvance = "clock.advance" on Platform;
    /// See how public zones are set, and what they let out.
    CollectionRead = "collection.read" on Tenant;
    /// Set public zones; let people in who give their details of their own will.
    CollectionWrite = "collection.write" on Tenant;
    /// Agree to a purpose, and give the optional field that serves it.
    ConsentGive = "consent.give" on Session;
    /// Read what people of the tenant agreed to.
    ConsentRead = "consent.read" on User;
    /// Record for a person that they withdrew a consent.
    ConsentRecord = "consent.record" on User;
    /// Use an optional field of a person for its purpose.
    ConsentUse = "consent.use" on User;
    /// Withdraw a consent of one's own.
    ConsentWithdraw = "consent.withdraw" on Session;
    /// Withdraw a consent by the link in a mail.
    ConsentWithdrawByLink = "consent.withdraw_by_link" on Platform;
    /// Delete a message that was dealt with.
    ContactDelete = "contact.delete" on Tenant;
    /// Read the messages to one's own tenant.
    ContactRead = "contact.read" on Tenant;
    /// Write to whoever answers for a tenant.
    ContactSend = "contact.send" on Platform;
    /// Give a device another credential.
    CredentialCreate = "credential.create" on Device;
    /// Revoke a device's credential.
    CredentialDelete = "credential.delete" on Device;
    /// List a device's credentials (never their secrets).
    CredentialList = "credential.list" on Device;
    /// Say until when a device's credential counts; disable it or enable it again.
    CredentialUpdate = "credential.update" on Device;
    /// Read profiles of devices: how their payloads are decoded, and what they were before.
    DecoderRead = "decoder.read" on Tenant;
    /// Make, change, try or delete profiles of devices, and say which devices have them.
    DecoderWrite = "decoder.write" on Tenant;
    /// Destroy readings for ever.
    DestructionCreate = "destruction.create" on Keys;
    /// See what a destruction would meet, how far one is, and its certificate.
    DestructionRead = "destruction.read" on Keys;
    /// Find the device behind a presented credential.
    DeviceAuthenticate = "device.authenticate" on Platform;
    /// Claim a device that waits to be claimed: it is the tenant's own then.
    DeviceClaim = "device.claim" on Device;
    /// Send a command (RPC) to a device.
    DeviceCommand = "device.command" on Device;
    /// Create a device.
    DeviceCreate = "device.create" on Device;
    /// Delete a device.
    DeviceDelete = "device.delete" on Device;
    /// Create and change devices from an inventory file.
    DeviceImport = "device.import" on Device;
    /// List devices.
    DeviceList = "device.list" on Device;
    /// Let oneself be claimed for a while, as the device.
    DeviceOffer = "device.offer" on Device;
    /// Note when a device was last seen.
    DevicePresence = "device.presence" on Device;
    /// Let a device in that comes by itself.
    DeviceProvision = "device.provision" on Platform;
    /// Read one device.
    DeviceRead = "device.read" on Device;
    /// Give a device that was claimed back to whoever prepared it, or take it back from there.
    DeviceReturn = "device.return" on Device;
    /// Call the platform's side, or answer its call, as the device.
    DeviceRpc = "device.rpc" on Device;
    /// Speak for the devices behind it, and make them, as a gateway.
    DeviceSpeakFor = "device.speak_for" on Device;
    /// Change a device.
    DeviceUpdate = "device.update" on Device;
    /// Approve a policy that somebody else wrote; accept a risk.
    GovernanceApprove = "governance.approve" on Governance;
    /// Say that one has read a policy.
    GovernanceAttest = "governance.attest" on Governance;
    /// Read risks, controls, evidence, tasks and every policy, with their history.
    GovernanceRead = "governance.read" on Governance;
    /// Read the policies in force, certificates and notices.
    GovernanceSee = "governance.see" on Governance;
    /// Write policies, risks, controls, evidence, tasks and certificates.
    GovernanceWrite = "governance.write" on Governance;
    /// List grants.
    GrantRead = "grant.read" on Access;
    /// Give somebody a role over a part of the tenant, or take it away.
    GrantWrite = "grant.write" on Access;
    /// List groups of devices and workspaces.
    GroupRead = "group.read" on Access;
    /// Make, change or delete groups of devices and workspaces.
    GroupWrite = "group.write" on Access;
    /// Approve a hold that somebody else asked for.
    HoldApprove = "hold.approve" on Hold;
    /// List holds on activity records.
    HoldList = "hold.list" on Hold;
    /// End a hold before its time.
    HoldRelease = "hold.release" on Hold;
    /// Ask for a hold on activity records.
    HoldRequest = "hold.request" on Hold;
    /// Read through which provider one's people may sign in (never its secret).
    IdentityProviderRead = "identity_provider.read" on Tenant;
    /// Set, change or remove that provider.
    IdentityProviderWrite = "identity_provider.write" on Tenant;
    /// List security alerts and incidents.
    IncidentList = "incident.list" on Incident;
    /// Open an incident.
    IncidentOpen = "incident.open" on Incident;
    /// Raise a security alert and its incident.
    IncidentRaise = "incident.raise" on Incident;
    /// Read one incident with its notes.
    IncidentRead = "incident.read" on Incident;
    /// Note, acknowledge or close an incident.
    IncidentUpdate = "incident.update" on Incident;
    /// Withdraw an invitation.
    InvitationDelete = "invitation.delete" on User;
    /// List the invitations that are open.
    InvitationList = "invitation.list" on User;
    /// Read the keys' status.
    KeyRead = "key.read" on Keys;
    /// Rotate, revoke, restore or destroy keys.
    KeyManage = "key.manage" on Keys;
    /// Search what is sealed, and take evidence of it away.
    LedgerEvidence = "ledger.evidence" on Ledger;
    /// Write the ledger out for an auditor.
    LedgerExport = "ledger.export" on Ledger;
    /// Say which auditors are mailed checkpoints.
    LedgerMail = "ledger.mail" on Ledger;
    /// Destroy what of the ledger is past its audit period.
    LedgerMaintain = "ledger.maintain" on Ledger;
    /// Read ledger entries, proofs and a reading's papers.
    LedgerRead = "ledger.read" on Ledger;
    /// Seal batches into the ledger.
    LedgerSeal = "ledger.seal" on Ledger;
    /// Publish a version of the policy and the texts beside it.
    LegalPublish = "legal.publish" on Tenant;
    /// Read which versions there are, and who was told of them.
    LegalRead = "legal.read" on Tenant;
    /// Show a published text.
    LegalShow = "legal.show" on Platform;
    /// Look into a one-time link.
    LinkInspect = "link.inspect" on Platform;
    /// Issue a one-time administrator link.
    LinkIssue = "link.issue" on Platform;
    /// Redeem a one-time link.
    LinkRedeem = "link.redeem" on Platform;
    /// Read figures of the running platform, one's own part of them.
    MetricsRead = "metrics.read" on System;
    /// Send queued mail.
    MailSend = "mail.send" on Platform;
    /// Say that one saw an announcement.
    NoticeSee = "notice.see" on Session;
    /// Tell one's own people and the tenants below of the service.
    NoticeWrite = "notice.write" on Governance;
    /// Read the plans one may give.
    PlanRead = "plan.read" on Tenant;
    /// Make, change or delete a plan.
    PlanWrite = "plan.write" on Tenant;
    /// Make somebody an owner, or take that away.
    OwnerAppoint = "owner.appoint" on User;
    /// See which packages there are, and which devices are to have them.
    PackageRead = "package.read" on Device;
    /// Keep and delete firmware and software packages.
    PackageWrite = "package.write" on Device;
    /// Run a promise's check now.
    PromiseCheck = "promise.check" on Promise;
    /// Read the promises' states.
    PromiseRead = "promise.read" on Promise;
    /// Read how devices come in by themselves: authorities, revocation lists, profiles.
    ProvisioningRead = "provisioning.read" on Tenant;
    /// Set, change or take away how devices come in by themselves.
    ProvisioningWrite = "provisioning.write" on Tenant;
    /// Approve what somebody else entered into a register.
    RegisterApprove = "register.approve" on Tenant;
    /// Read the registers: flows, sub-processors, instructions, disclosures, agreements.
    RegisterRead = "register.read" on Tenant;
    /// Enter into the registers, and end what is entered.
    RegisterWrite = "register.write" on Tenant;
    /// Do what a data subject asked for: copy, restrict, object, correct, erase.
    RequestFulfil = "request.fulfil" on Case;
    /// Exercise one's own rights over one's data, and see what became of it.
    RequestOwn = "request.own" on Session;
    /// Read requests of data subjects, with their clocks.
    RequestRead = "request.read" on Case;
    /// Ask for a right without an account, and confirm that one is who one says.
    RequestSend = "request.send" on Platform;
    /// Write a request down, acknowledge, verify, extend, answer or refuse it.
    RequestWrite = "request.write" on Case;
    /// See how long readings are kept, and what is at its end.
    RetentionRead = "retention.read" on Keys;
    /// Change how long readings are kept.
    RetentionWrite = "retention.write" on Keys;
    /// List roles and what they may do.
    RoleRead = "role.read" on Access;
    /// Make, change or delete roles of the tenant's own.
    RoleWrite = "role.write" on Access;
    /// Open, send again and discard messages that could not be delivered; send a sample.
    RouteDeliver = "route.deliver" on Tenant;
    /// See to which places messages go, by which rules, and how it went.
    RouteRead = "route.read" on Tenant;
    /// Say which messages go to which places outside.
    RouteWrite = "route.write" on Tenant;
    /// List rules.
    RuleList = "rule.list" on Rule;
    /// Read one rule.
    RuleRead = "rule.read" on Rule;
    /// Create, change or delete a rule.
    RuleWrite = "rule.write" on Rule;
    /// Prove again who one is.
    SessionConfirm = "session.confirm" on Session;
    /// Sign in.
    SessionCreate = "session.create" on Platform;
    /// Sign out.
    SessionDelete = "session.delete" on Session;
    /// Take up an invitation into another tenant.
    SessionJoin = "session.join" on Session;
    /// Leave the tenant of the session.
    SessionLeave = "session.leave" on Session;
    /// Delete expired sessions and links.
    SessionPurge = "session.purge" on Platform;
    /// Read one's own session.
    SessionRead = "session.read" on Session;
    /// Go to another tenant one belongs to.
    SessionSwitch = "session.switch" on Session;
    /// Declare streams, make rules for them, take declarations back.
    StreamDeclare = "stream.declare" on Telemetry;
    /// See which streams there are, and what is declared of each.
    StreamRead = "stream.read" on Telemetry;
    /// Ask for, or approve, access to a tenant that did not ask for it.
    SupportBreakGlass = "support.break_glass" on SupportDesk;
    /// Open tickets; grant and revoke support access.
    SupportManage = "support.manage" on Support;
    /// Read tickets, grants and support's steps.
    SupportRead = "support.read" on Support;
    /// See what customers granted, and enter it.
    SupportServe = "support.serve" on SupportDesk;
    /// Back up, restore, migrate, diagnose.
    SystemMaintain = "system.maintain" on Platform;
    /// Read version, certificates, listeners and stores.
    SystemRead = "system.read" on System;
    /// Take readings away as a file.
    TelemetryExport = "telemetry.export" on Telemetry;
    /// Flush, compact and expire telemetry.
    TelemetryMaintain = "telemetry.maintain" on Telemetry;
    /// Read series declared non-personal.
    TelemetryRead = "telemetry.read" on Telemetry;
    /// Read series declared personal, and those not declared yet.
    TelemetryReadPersonal = "telemetry.read_personal" on Telemetry;
    /// Write readings.
    TelemetryWrite = "telemetry.write" on Device;
    /// Create a tenant.
    TenantCreate = "tenant.create" on Platform;
    /// Create a tenant below one's own.
    TenantCreateBelow = "tenant.create_below" on Tenant;
    /// Ask for the end of one's own tenant, agree to it, or take that back.
    TenantDelete = "tenant.delete" on Tenant;
    /// Take everything of one's own tenant away.
    TenantExport = "tenant.export" on Tenant;
    /// Invite the first administrator of a tenant below one's own.
    TenantInviteBelow = "tenant.invite_below" on Tenant;
    /// List all tenants.
    TenantList = "tenant.list" on Platform;
    /// List the tenants below one's own.
    TenantListBelow = "tenant.list_below" on Tenant;
    /// Read one's own tenant.
    TenantRead = "tenant.read" on Tenant;
    /// Change one's own tenant.
    TenantUpdate = "tenant.update" on Tenant;
    /// Change name, plan, state or host names of a tenant below one's own.
    TenantUpdateBelow = "tenant.update_below" on Tenant;
    /// Bind a device to a space or element, or release it.
    TwinBind = "twin.bind" on Twin;
    /// Delete a twin.
    TwinDelete = "twin.delete" on Twin;
    /// Import a twin, or replace its source.
    TwinImport = "twin.import" on Twin;
    /// List twins.
    TwinList = "twin.list" on Twin;
    /// Read a twin: model, graph, geometry, source.
    TwinRead = "twin.read" on Twin;
    /// Store a twin's converted geometry.
    TwinWriteGeometry = "twin.write_geometry" on Twin;
    /// Remove a user from the tenant.
    UserDelete = "user.delete" on User;
    /// Destroy the account of a child.
    UserErase = "user.erase" on User;
    /// Invite a user.
    UserInvite = "user.invite" on User;
    /// List users.
    UserList = "user.list" on User;
    /// Change a user's roles.
    UserUpdate = "user.update" on User;
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Action {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|action| action.as_str() == text).ok_or(())
    }
}
