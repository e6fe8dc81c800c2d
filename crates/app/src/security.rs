//! The watch over access: feeds the rules of `access` with what happens, and turns what they find
//! into a security alert, an incident, mail, and where it fits the wish that a session prove
//! itself again. Found or not, the request goes on as its own rules say.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use veritwin_access::{Action, Finding, Kind, SignIn, Watch, jobs, judge_sign_in, network_of};
use veritwin_domain::{
    AlertId, IncidentId, OpContext, Origin, PlatformContext, Rng, Role, SessionId, TenantId,
    Timestamp, UserId, address_party,
};
use veritwin_governance::Language;
use veritwin_keys::hmac_sha256;
use veritwin_metastore::{
    Activity, ActivityFilter, Incident, MailRank, Member, NewMail, Page, PlatformTx, SecurityAlert,
    TenantTx, every_row,
};

use crate::activity::{Envelope, actor_id, actor_text};
use crate::languages::language_of;
use crate::mail::{MailPayload, mail_key};
use crate::mail_bounds::Sender;
use crate::mail_kinds::MessageKind;
use crate::promises::PROBE_TENANT;
use crate::provision::{PLATFORM_TENANT, is_nobodys};
use crate::security_words::{Say, SecurityMail, title};
use crate::{App, Error, Result};

/// Findings that are written down at once; more wait for nobody and are counted.
const RAISING_MAX: usize = 64;
/// Earlier sign-ins that a new one is compared with.
const SIGN_INS_COMPARED: u32 = 30;
/// An incident takes up further alerts of its kind for this long.
const INCIDENT_TAKES_UP: Duration = Duration::from_secs(86_400);
/// Tenants that one attack on accounts is told to.
const TOLD_TENANTS_MAX: usize = 16;

/// Findings without their address: a keyed digest stands for it.
pub(crate) struct Security {
    key: [u8; 32],
    watch: Mutex<Watch>,
    /// Tenants whose accounts an address failed at lately; cleared with each finding.
    targets: Mutex<Vec<([u8; 32], TenantId)>>,
    raising: Arc<Semaphore>,
}

/// Failed accounts whose tenants are remembered.
const TARGETS_MAX: usize = 4096;

impl Security {
    pub(crate) fn new(rng: &dyn Rng) -> Self {
        let mut key = [0; 32];
        rng.fill(&mut key);
        Self {
            key,
            watch: Mutex::default(),
            targets: Mutex::default(),
            raising: Arc::new(Semaphore::new(RAISING_MAX)),
        }
    }

    fn digest(&self, address: Option<IpAddr>) -> [u8; 32] {
        let party = address.map(|address| address_party(address).to_string()).unwrap_or_default();
        hmac_sha256(&self.key, party.as_bytes())
    }

    fn remember_target(&self, address: [u8; 32], tenant: TenantId) {
        let mut targets = self.targets.lock();
        if targets.contains(&(address, tenant)) {
            return;
        }
        if targets.len() >= TARGETS_MAX {
            targets.drain(..TARGETS_MAX / 4);
        }
        targets.push((address, tenant));
    }

    fn take_targets(&self, address: [u8; 32]) -> BTreeSet<TenantId> {
        let mut targets = self.targets.lock();
        let found: BTreeSet<TenantId> = targets
            .iter()
            .filter(|(known, _)| *known == address)
            .map(|(_, tenant)| *tenant)
            .take(TOLD_TENANTS_MAX)
            .collect();
        targets.retain(|(known, _)| *known != address);
        found
    }
}

/// Something that was found, to be written down.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) tenant: TenantId,
    pub(crate) kind: Finding,
    /// What was seen, by name.
    pub(crate) facts: Vec<(String, String)>,
    /// The session to ask for a proof.
    pub(crate) session: Option<SessionId>,
}

fn count(found: &Found) {
    let kind = found.kind.as_str();
    if found.tenant == PROBE_TENANT {
        tracing::debug!(kind, "a live check staged an anomalous access, and it was found");
    } else {
        tracing::warn!(kind, "anomalous access");
        metrics::counter!("veritwin_security_findings_total", "kind" => kind).increment(1);
    }
}

pub(crate) fn fact(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn address_fact(origin: &Origin) -> (String, String) {
    fact("address", origin.address.map_or("unknown".to_owned(), |address| address.to_string()))
}

fn device_of(browser: Option<&str>, system: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = [browser, system].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn sign_in_of(record: &Activity) -> Option<SignIn> {
    let envelope: Envelope = serde_json::from_slice(&record.envelope).ok()?;
    Some(SignIn {
        at: record.at,
        country: envelope.country,
        device: device_of(envelope.browser.as_deref(), envelope.system.as_deref()),
        network: envelope.address.and_then(|address| address.parse().ok()).map(network_of),
    })
}

impl App {
    #[cfg(feature = "test-controls")]
    fn is_watch_broken(&self) -> bool {
        self.0.promises.is_watch_blind()
    }

    #[cfg(not(feature = "test-controls"))]
    const fn is_watch_broken(&self) -> bool {
        false
    }

    /// A sign-in failed; `known` is the account, when there is one. Called whether or not the
    /// account exists, so that both take as long.
    pub(crate) fn watch_failed_sign_in(
        &self,
        context: &PlatformContext,
        account: [u8; 32],
        tenants: &[TenantId],
    ) {
        let address = self.0.security.digest(context.origin.address);
        for tenant in tenants {
            self.0.security.remember_target(address, *tenant);
        }
        let now = context.clock.monotonic();
        let found = self.0.security.watch.lock().sign_in_failed(address, account, now);
        let Some(kind) = found else { return };
        let mut told = self.0.security.take_targets(address);
        // The tenant of nobody is attacked by the platform's own checks only.
        if !told.contains(&PROBE_TENANT) {
            told.insert(PLATFORM_TENANT);
        }
        let facts = vec![
            address_fact(&context.origin),
            fact("window", "10 minutes"),
            fact("limit", "10 accounts or 50 failures"),
        ];
        for tenant in told {
            self.raise_soon(Found { tenant, kind, facts: facts.clone(), session: None });
        }
    }

    /// An API key was refused.
    pub(crate) fn watch_refused_key(&self, context: &PlatformContext) {
        let address = self.0.security.digest(context.origin.address);
        let now = context.clock.monotonic();
        let found = self.0.security.watch.lock().key_refused(address, now);
        let Some(kind) = found else { return };
        let facts = vec![address_fact(&context.origin), fact("limit", "20 in 5 minutes")];
        self.raise_soon(Found { tenant: PLATFORM_TENANT, kind, facts, session: None });
    }

    /// An actor was refused something.
    pub(crate) fn watch_denied(&self, context: &OpContext) {
        // The check of the roles is refused a thousand times, on purpose.
        if is_nobodys(context.tenant) {
            return;
        }
        let Some(actor) = actor_id(&context.actor.kind) else { return };
        let now = context.clock.monotonic();
        let found = self.0.security.watch.lock().denied(actor, now);
        let Some(kind) = found else { return };
        self.raise_about(context, kind, fact("limit", "30 in 5 minutes"));
    }

    /// An actor took rows away.
    pub(crate) fn watch_taken(&self, context: &OpContext, rows: u64, is_export: bool) {
        let Some(actor) = actor_id(&context.actor.kind) else { return };
        let now = context.clock.monotonic();
        let found = self.0.security.watch.lock().taken(actor, rows, is_export, now);
        let Some(kind) = found else { return };
        self.raise_about(context, kind, fact("limit", "1000000 rows or 20 exports in an hour"));
    }

    fn raise_about(&self, context: &OpContext, kind: Finding, limit: (String, String)) {
        let actor = fact("actor", actor_text(&context.actor.kind));
        let session = match context.actor.kind {
            veritwin_domain::ActorKind::User { session, .. } => Some(session),
            _ => None,
        };
        let facts = vec![actor, address_fact(&context.origin), limit];
        self.raise_soon(Found { tenant: context.tenant, kind, facts, session });
    }

    /// Compares a sign-in with earlier ones of the account, in the transaction that records it.
    pub(crate) async fn watch_sign_in(
        &self,
        tx: &PlatformTx,
        context: &PlatformContext,
        tenant: TenantId,
        (user, session): (UserId, SessionId),
    ) -> Result<()> {
        let filter = ActivityFilter {
            actor: Some(*user.as_bytes()),
            action: Some(Action::SessionCreate.as_str().to_owned()),
            outcome: Some("done".to_owned()),
            ..ActivityFilter::default()
        };
        let page = Page::first(SIGN_INS_COMPARED);
        let earlier = tx.activity_of(tenant, &filter, &page).await?.items;
        let earlier: Vec<SignIn> = earlier.iter().filter_map(sign_in_of).collect();
        let origin = &context.origin;
        let place = origin.address.and_then(|address| self.0.geo.place(address));
        let now = SignIn {
            at: context.at,
            country: place.and_then(|place| place.country),
            device: device_of(origin.browser, origin.system.as_deref()),
            network: origin.address.map(network_of),
        };
        for kind in judge_sign_in(&now, &earlier) {
            if kind.asks_step_up() && !self.is_watch_broken() {
                // With the session, which nobody else sees before.
                tx.session_ask_step_up(session, context.at).await?;
            }
            let mut facts = vec![fact("account", user), address_fact(origin)];
            facts.extend(now.country.as_ref().map(|country| fact("country", country)));
            let before = earlier.iter().find_map(|one| one.country.as_ref());
            facts.extend(before.map(|country| fact("country before", country)));
            facts.extend(now.device.as_ref().map(|device| fact("device", device)));
            self.raise_soon(Found { tenant, kind, facts, session: Some(session) });
        }
        Ok(())
    }

    /// Writes a finding down, where that can be waited for.
    pub(crate) async fn raise_finding(&self, found: &Found) -> Result<()> {
        if self.is_watch_broken() {
            return Ok(());
        }
        count(found);
        self.raise_found(found).await.map(drop)
    }

    /// Writes a finding down in a task of its own: the transaction it was found in ends first.
    pub(crate) fn raise_soon(&self, found: Found) {
        if self.is_watch_broken() {
            return;
        }
        let kind = found.kind.as_str();
        count(&found);
        let Ok(turn) = Arc::clone(&self.0.security.raising).try_acquire_owned() else {
            tracing::error!(kind, "too many findings at once");
            return;
        };
        let app = self.clone();
        self.0.tasks.spawn(async move {
            let _turn = turn;
            if let Err(error) = app.raise_found(&found).await {
                tracing::error!(%error, kind = found.kind.as_str(), "a finding was not written");
            }
        });
    }

    async fn raise_found(&self, found: &Found) -> Result<IncidentId> {
        let context = self.job_in(jobs::SECURITY, found.tenant);
        let resource = self.authorize_all(&context, Action::IncidentRaise, Kind::Incident)?;
        // First: whoever takes much away is held up, whatever becomes of the alert.
        if let Some(session) = found.session.filter(|_| found.kind.asks_step_up()) {
            self.ask_step_up(session).await?;
        }
        let tx = self.0.store.begin(&context).await?;
        let kind = found.kind.as_str();
        let since = context.at.saturating_sub(INCIDENT_TAKES_UP);
        let incident = match tx.incident_open_of(kind, since).await? {
            Some(known) => known.id,
            None => self.open_found(&tx, found, context.at).await?,
        };
        let alert = SecurityAlert {
            id: AlertId::generate(context.at, self.rng()),
            incident,
            kind: kind.to_owned(),
            severity: found.kind.severity().to_owned(),
            body: serde_json::to_vec(&found.facts)
                .map_err(|error| Error::Internal(error.to_string()))?,
            raised_at: context.at,
            acknowledged_at: None,
            acknowledged_by: None,
        };
        tx.security_alert_create(&alert).await?;
        let seen: Vec<String> =
            found.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        self.note_incident(&tx, incident, ("alert", None, context.at), seen.join("; ")).await?;
        if matches!(found.kind.severity(), "critical" | "high") {
            let mail = SecurityMail::Found(found.kind);
            self.mail_administrators(&tx, mail, &alert.id.to_string()).await?;
        }
        self.record(&tx, &context, Action::IncidentRaise, &resource).await?;
        tx.commit().await?;
        Ok(incident)
    }

    async fn open_found(&self, tx: &TenantTx, found: &Found, at: Timestamp) -> Result<IncidentId> {
        let incident = Incident {
            id: IncidentId::generate(at, self.rng()),
            kind: found.kind.as_str().to_owned(),
            severity: found.kind.severity().to_owned(),
            title: title(Language::English, found.kind).to_owned(),
            opened_at: at,
            closed_at: None,
            version: 0,
        };
        tx.incident_create(&incident).await?;
        self.note_incident(tx, incident.id, ("opened", None, at), incident.title.clone()).await?;
        Ok(incident.id)
    }

    /// Asks a session to prove itself again before its next act that needs a fresh proof or takes
    /// much away.
    async fn ask_step_up(&self, session: SessionId) -> Result<()> {
        let context = self.job(jobs::SECURITY);
        let tx = self.0.store.begin_platform(&context).await?;
        tx.session_ask_step_up(session, context.at).await?;
        Ok(tx.commit().await?)
    }

    /// Queues a mail to everybody who answers for the tenant; once per event.
    pub(crate) async fn mail_administrators(
        &self,
        tx: &TenantTx,
        mail: SecurityMail,
        event: &str,
    ) -> Result<()> {
        for member in self.who_answer(tx).await? {
            self.mail_member(tx, &member, &|language| mail.say(language), event).await?;
        }
        Ok(())
    }

    /// The same from the platform itself, in the tenant's name: it is sealed under the platform's
    /// key and reaches people whose tenant's key is away.
    pub(crate) async fn mail_administrators_from_above(
        &self,
        tenant: TenantId,
        mail: SecurityMail,
        event: &str,
    ) -> Result<()> {
        let tx = self.0.store.read(&self.job_in(jobs::SECURITY, tenant)).await?;
        let mut members = Vec::new();
        for member in self.who_answer(&tx).await? {
            let language = language_of(&tx, Some(member.user.id)).await?;
            members.push((member, language));
        }
        drop(tx);
        let tx = self.0.store.begin_platform(&self.job(jobs::SECURITY)).await?;
        for (member, language) in members {
            let key = mail_key(event, &member.user.email);
            let (subject, text) = mail.say(language);
            let mail = MailPayload {
                to: member.user.email,
                subject,
                text,
                voice: Some(tenant),
                ..MailPayload::of(MessageKind::Security)
            };
            let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
            let mail = NewMail::new(MailRank::Account, &key, &body);
            tx.outbox_add(mail, Some(tenant)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The same of what others can bring about as often as they like: whose address nobody has
    /// proven gets no more of it than of other mail that it did not ask for. False if somebody has
    /// to be told another day.
    pub(crate) async fn mail_few(&self, tx: &TenantTx, say: Say<'_>, event: &str) -> Result<bool> {
        let mut all = true;
        let sender = Sender::Tenant(tx.tenant_id());
        for member in self.who_answer(tx).await? {
            if member.user.email_verified_at.is_some() {
                self.mail_member(tx, &member, say, event).await?;
                continue;
            }
            let Ok(place) = self.mail_place(sender, &member.user.email, self.clock().now()) else {
                tracing::warn!(tenant = %tx.tenant_id(), "an address has had its mails of a day");
                all = false;
                continue;
            };
            if self.mail_member(tx, &member, say, event).await? {
                place.keep();
            }
        }
        Ok(all)
    }

    /// Who answers for a tenant, if anybody is written to.
    async fn who_answer(&self, tx: &TenantTx) -> Result<Vec<Member>> {
        if self.0.mailer.is_none() || is_nobodys(tx.tenant_id()) {
            return Ok(Vec::new());
        }
        let answers = [Role::Owner, Role::Administrator, Role::SecurityLead];
        let mut members = every_row(|page| async move { tx.members(&page).await }).await?;
        members.retain(|member| member.roles.iter().any(|role| answers.contains(role)));
        Ok(members)
    }

    /// Queues a mail to a member in their language; false if it was queued before.
    async fn mail_member(
        &self,
        tx: &TenantTx,
        member: &Member,
        say: Say<'_>,
        event: &str,
    ) -> Result<bool> {
        let (subject, text) = say(language_of(tx, Some(member.user.id)).await?);
        let mail = MailPayload {
            to: member.user.email.clone(),
            subject,
            text,
            ..MailPayload::of(MessageKind::Security)
        };
        let body = serde_json::to_vec(&mail).map_err(|e| Error::Internal(e.to_string()))?;
        let key = mail_key(event, &member.user.email);
        Ok(tx.outbox_add(NewMail::new(MailRank::Account, &key, &body)).await?)
    }
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}
