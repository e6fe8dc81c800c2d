//! Certificates of host names that are fetched by ACME: who wants it, when the next try is, and
//! what the last one came to. A try is counted before it is made, so that no restart makes more
//! of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, Secret, TenantId, Timestamp};
use veritwin_metastore::{HostOrder, PlatformTx};
use veritwin_outbound::acme::{AcmeAccount, AcmeClient, Refusal, RefusalKind, Wanted};

use crate::change::Change;
use crate::host_certificates::{HostCertificate, HostView};
use crate::tree::HOSTS_MAX;
use crate::{App, Error, Result, recorded};

type Judged<T> = std::result::Result<T, Refusal>;

/// Most tries for a host name in a day, whoever asks: authorities count too.
pub const ORDERS_PER_DAY_MAX: u64 = 5;
const DAY: Duration = Duration::from_secs(86_400);
/// The wait after the first refusal; four times as long after each further one, up to a day.
const WAIT_FIRST: Duration = Duration::from_secs(300);
/// The wait after the first refusal where nobody refused anything: the network or the authority
/// stumbled, and there is nothing that a person would have to put right first.
const WAIT_STUMBLED: Duration = Duration::from_secs(60);

/// The authority and what is under way there.
pub(crate) struct Acme {
    client: AcmeClient,
    account: tokio::sync::Mutex<Option<AcmeAccount>>,
    ordering: Mutex<HashSet<String>>,
}

impl Acme {
    pub(crate) fn new(client: AcmeClient) -> Self {
        Self { client, account: tokio::sync::Mutex::default(), ordering: Mutex::default() }
    }
}

/// How it stands with fetching the certificate of a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeState {
    /// The operator named no authority.
    Unavailable,
    /// Nobody wants it.
    Off,
    /// On its way, or about to be.
    Ordering,
    /// The last try was refused.
    Refused,
    /// In place.
    Kept,
}

impl AcmeState {
    /// The name used in the interface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Off => "off",
            Self::Ordering => "ordering",
            Self::Refused => "refused",
            Self::Kept => "kept",
        }
    }
}

/// The same with what the last try came to.
#[derive(Debug, Clone)]
pub struct AcmeView {
    /// How it stands.
    pub state: AcmeState,
    /// The last refusal, unless a certificate came after it.
    pub refusal: Option<Refusal>,
    /// When the next try is, renewals included.
    pub next_try: Option<Timestamp>,
}

impl AcmeView {
    const fn plain(state: AcmeState) -> Self {
        Self { state, refusal: None, next_try: None }
    }
}

/// An order that was counted and is under way until this goes.
#[derive(Debug)]
pub struct OrderUnderWay {
    app: App,
    tenant: TenantId,
    host: String,
}

impl OrderUnderWay {
    /// The host name.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Drop for OrderUnderWay {
    fn drop(&mut self) {
        if let Some(acme) = &self.app.0.acme {
            acme.ordering.lock().remove(&self.host);
        }
    }
}

/// What is to be ordered now, and when to look again.
#[derive(Debug, Default)]
pub struct DueOrders {
    /// Host names, the longest due first.
    pub hosts: Vec<String>,
    /// When the next one is due.
    pub next: Option<Timestamp>,
}

/// How long is waited after this many refusals in a row.
fn wait_after(refusals: u64) -> Duration {
    let doublings = u32::try_from(refusals.saturating_sub(1)).unwrap_or(u32::MAX).min(5);
    WAIT_FIRST.saturating_mul(4u32.saturating_pow(doublings)).min(DAY)
}

fn day_end(order: &HostOrder) -> Timestamp {
    order.day_at.saturating_add(DAY)
}

/// Begins a new day of counting where the last one is over.
fn roll_day(order: &mut HostOrder, now: Timestamp) {
    if now >= day_end(order) || order.day_at > now {
        (order.day_at, order.day_tries) = (now, 0);
    }
}

/// No earlier than the day's bound allows.
fn within_bound(order: &HostOrder, at: Timestamp) -> Timestamp {
    if order.day_tries < ORDERS_PER_DAY_MAX { at } else { at.max(day_end(order)) }
}

/// Counts a try before it is made; none when the bound of the day is reached.
fn counted(mut order: HostOrder, now: Timestamp) -> (HostOrder, bool) {
    roll_day(&mut order, now);
    let may = order.day_tries < ORDERS_PER_DAY_MAX;
    if may {
        order.day_tries += 1;
        // Holds if nothing more is heard of this try.
        let after = now.saturating_add(wait_after(order.refusals + 1));
        order.next_at = within_bound(&order, after);
    } else {
        order.next_at = day_end(&order);
    }
    (order, may)
}

fn refused(mut order: HostOrder, refusal: &Refusal, now: Timestamp) -> HostOrder {
    order.refusals = order.refusals.saturating_add(1);
    let wait = match refusal.kind {
        RefusalKind::RateLimited => DAY,
        RefusalKind::Unreachable | RefusalKind::TooSlow if order.refusals == 1 => WAIT_STUMBLED,
        _ => wait_after(order.refusals),
    };
    order.next_at = within_bound(&order, now.saturating_add(wait));
    let text = json!({"kind": refusal.kind.as_str(), "detail": refusal.detail});
    order.refusal = serde_json::to_vec(&text).ok();
    order
}

fn refusal_of(order: &HostOrder) -> Option<Refusal> {
    let text: serde_json::Value = serde_json::from_slice(order.refusal.as_deref()?).ok()?;
    let kind = text["kind"].as_str()?;
    let kind = RefusalKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    Some(Refusal::new(kind, text["detail"].as_str().unwrap_or_default()))
}

/// What a wish makes of what is known. It tries at once, but never past the day's bound, nor
/// earlier than an authority that had enough of us.
fn wanted(
    known: Option<HostOrder>,
    (tenant, host): (TenantId, &str),
    has_certificate: bool,
    now: Timestamp,
) -> HostOrder {
    let fresh = || HostOrder {
        tenant,
        host: host.to_owned(),
        is_automatic: true,
        refusals: 0,
        refusal: None,
        day_at: now,
        day_tries: 0,
        next_at: now,
    };
    let mut order = known.unwrap_or_else(fresh);
    if order.is_automatic && order.refusal.is_none() && has_certificate {
        return order;
    }
    let is_limited = refusal_of(&order).is_some_and(|last| last.kind == RefusalKind::RateLimited);
    roll_day(&mut order, now);
    let earliest = if is_limited { now.max(order.next_at) } else { now };
    let next_at = within_bound(&order, earliest);
    HostOrder { tenant, is_automatic: true, refusals: 0, next_at, ..order }
}

impl App {
    /// Has the certificate of one's own host name fetched and renewed from now on, or tried again.
    #[boxed]
    pub async fn fetch_host_certificate(
        &self,
        context: &OpContext,
        host: &str,
        now: Timestamp,
    ) -> Result<HostView> {
        self.authorize_all(context, Action::CertificateWrite, Kind::Tenant)?;
        let host = self.own_host(context, host)?;
        if self.0.acme.is_none() {
            let detail = "this platform fetches no certificates: its operator sets acme.directory";
            return Err(Error::Conflict(detail.to_owned()));
        }
        let platform = self.above_as(context);
        let tx = self.0.store.begin_platform(&platform).await?;
        let all = tx.host_certificates(HOSTS_MAX as u64).await?;
        let not_after = all.iter().find(|one| one.host == host).map(|one| one.not_after);
        let known = tx.host_order(&host).await?;
        let order = wanted(known, (context.tenant, &host), not_after.is_some(), now);
        tx.host_order_put(&order).await?;
        let change = Change::to(json!({"host": host, "by": "acme", "fetched": "from now on"}));
        let done = (Action::CertificateWrite, "done", change);
        self.record_platform_change(&tx, &platform, Some(context.tenant), done).await?;
        tx.commit().await?;
        self.host_certificates_changed();
        let acme = self.acme_view(Some(&order), not_after.is_some(), now);
        Ok(HostView { host, not_after, acme })
    }

    /// How it stands with fetching, as the owner of the host name sees it.
    pub(crate) fn acme_view(
        &self,
        order: Option<&HostOrder>,
        has_certificate: bool,
        now: Timestamp,
    ) -> AcmeView {
        let Some(acme) = &self.0.acme else { return AcmeView::plain(AcmeState::Unavailable) };
        let Some(order) = order.filter(|order| order.is_automatic) else {
            return AcmeView::plain(AcmeState::Off);
        };
        let is_due = order.next_at <= now || acme.ordering.lock().contains(&order.host);
        let refusal = refusal_of(order);
        let state = match &refusal {
            _ if is_due && !has_certificate => AcmeState::Ordering,
            Some(_) => AcmeState::Refused,
            None if has_certificate => AcmeState::Kept,
            // A try that was cut off.
            None => AcmeState::Ordering,
        };
        AcmeView { state, refusal, next_try: Some(order.next_at) }
    }

    /// Nobody wants the certificate of this host name fetched any more; whether anybody did.
    pub(crate) async fn order_end(&self, tx: &PlatformTx, host: &str) -> Result<bool> {
        match tx.host_order(host).await? {
            Some(order) if order.is_automatic => {
                let order = HostOrder { is_automatic: false, refusal: None, ..order };
                tx.host_order_put(&order).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn has_host(&self, tenant: TenantId, host: &str) -> bool {
        self.0.tree.read().hosts.get(host) == Some(&tenant)
    }

    /// What is to be ordered now.
    #[boxed]
    pub async fn due_orders(&self, now: Timestamp) -> Result<DueOrders> {
        let Some(acme) = &self.0.acme else { return Ok(DueOrders::default()) };
        let job = self.job("acme");
        let tx = self.0.store.begin_platform(&job).await?;
        tx.host_orders_forget(now.saturating_sub(DAY)).await?;
        let all = tx.host_orders(HOSTS_MAX as u64).await?;
        tx.commit().await?;
        let ordering = acme.ordering.lock();
        let mut due = DueOrders::default();
        for order in all {
            if ordering.contains(&order.host) || !self.has_host(order.tenant, &order.host) {
                continue;
            }
            if order.next_at <= now {
                due.hosts.push(order.host);
            } else {
                due.next = Some(due.next.map_or(order.next_at, |next| next.min(order.next_at)));
            }
        }
        Ok(due)
    }

    /// Counts a try for a host name. None: nobody wants it now, or the day's bound is reached.
    #[boxed]
    pub async fn begin_order(&self, host: &str, now: Timestamp) -> Result<Option<OrderUnderWay>> {
        let Some(acme) = &self.0.acme else { return Ok(None) };
        let job = self.job("acme");
        let tx = self.0.store.begin_platform(&job).await?;
        let Some(order) = tx.host_order(host).await? else { return Ok(None) };
        let is_wanted = order.is_automatic && order.next_at <= now;
        if !is_wanted || !self.has_host(order.tenant, host) {
            return Ok(None);
        }
        let (order, may) = counted(order, now);
        // Under way before the count is seen, and no longer if the count cannot be kept.
        if may && !acme.ordering.lock().insert(order.host.clone()) {
            return Ok(None);
        }
        let under_way = may.then(|| OrderUnderWay {
            app: self.clone(),
            tenant: order.tenant,
            host: order.host.clone(),
        });
        tx.host_order_put(&order).await?;
        tx.commit().await?;
        Ok(under_way)
    }

    async fn acme_account(&self, acme: &Acme, anew: bool) -> Judged<AcmeAccount> {
        let internal = |_: veritwin_metastore::Error| {
            Refusal::new(RefusalKind::Unusable, "the account cannot be kept")
        };
        let mut known = acme.account.lock().await;
        if let Some(account) = known.as_ref().filter(|_| !anew) {
            return Ok(account.clone());
        }
        let directory = acme.client.directory();
        let job = self.job("acme");
        let tx = self.0.store.read_platform(&job).await.map_err(internal)?;
        let kept = tx.acme_account(directory).await.map_err(internal)?;
        drop(tx);
        let account = match kept.filter(|_| !anew) {
            Some(kept) => acme.client.open(&Secret::new(kept)).await?,
            None => {
                let (account, kept) = acme.client.create().await?;
                let tx = self.0.store.begin_platform(&job).await.map_err(internal)?;
                let put = tx.acme_account_put(directory, kept.expose(), job.at);
                put.await.map_err(internal)?;
                tx.commit().await.map_err(internal)?;
                account
            }
        };
        *known = Some(account.clone());
        Ok(account)
    }

    /// Orders a certificate from the authority and gives its chain, PEM. `answer` puts the answer
    /// to the challenge with this digest in place; it is gone with what is given back.
    pub async fn order_certificate<A: Send>(
        &self,
        under_way: &OrderUnderWay,
        request_der: &[u8],
        answer: impl Fn([u8; 32]) -> std::result::Result<A, String> + Send + Sync,
    ) -> Judged<String> {
        let missing = || Refusal::new(RefusalKind::Refused, "the authority knows no account");
        let acme = self.0.acme.as_ref().ok_or_else(missing)?;
        let wanted = Wanted { host: &under_way.host, request_der };
        let account = self.acme_account(acme, false).await?;
        if let Some(chain) = acme.client.order(&account, wanted, &answer).await? {
            return Ok(chain);
        }
        // The authority forgot the account, or somebody closed it there.
        let account = self.acme_account(acme, true).await?;
        acme.client.order(&account, wanted, &answer).await?.ok_or_else(missing)
    }

    /// Puts a certificate in place that was fetched; whether it is still wanted.
    #[boxed]
    pub async fn order_done(
        &self,
        under_way: OrderUnderWay,
        certificate: HostCertificate,
        next_at: Timestamp,
    ) -> Result<bool> {
        let (tenant, host) = (under_way.tenant, under_way.host.clone());
        let job = self.job("acme");
        let tx = self.0.store.begin_platform(&job).await?;
        let known = tx.host_order(&host).await?;
        let known = known.filter(|order| order.is_automatic && order.tenant == tenant);
        let Some(order) = known.filter(|_| self.has_host(tenant, &host)) else {
            return Ok(false);
        };
        let before =
            recorded::certificate_of(&tx.host_certificates(HOSTS_MAX as u64).await?, &host);
        let row = certificate.into_stored(tenant, host, job.at);
        tx.host_certificate_put(&row).await?;
        tx.host_order_put(&HostOrder { refusals: 0, refusal: None, next_at, ..order }).await?;
        let change = Change { before, after: Some(recorded::fetched(&row)) };
        let done = (Action::CertificateWrite, "done", change);
        self.record_platform_change(&tx, &job, Some(tenant), done).await?;
        tx.commit().await?;
        drop(under_way);
        self.host_certificates_changed();
        Ok(true)
    }

    /// Keeps why there is no certificate, and when the next try is.
    #[boxed]
    pub async fn order_refused(
        &self,
        under_way: OrderUnderWay,
        refusal: &Refusal,
        now: Timestamp,
    ) -> Result<()> {
        let (tenant, host) = (under_way.tenant, under_way.host.clone());
        let job = self.job("acme");
        let tx = self.0.store.begin_platform(&job).await?;
        let known = tx.host_order(&host).await?;
        if let Some(order) = known.filter(|order| order.is_automatic && order.tenant == tenant) {
            tx.host_order_put(&refused(order, refusal, now)).await?;
            let change = Change::to(json!({
                "host": host, "by": "acme", "refusal": refusal.kind.as_str(),
            }));
            let failed = (Action::CertificateWrite, "failed", change);
            self.record_platform_change(&tx, &job, Some(tenant), failed).await?;
            tx.commit().await?;
        }
        drop(under_way);
        Ok(())
    }

    /// Whether the operator named an authority.
    pub fn fetches_certificates(&self) -> bool {
        self.0.acme.is_some()
    }
}

/// Opens the client of the operator's authority.
pub(crate) fn open_acme(
    config: &crate::Config,
    egress: &Arc<veritwin_outbound::register::EgressRegister>,
) -> Result<Option<Acme>> {
    let Some(acme) = &config.acme else { return Ok(None) };
    let client = AcmeClient::new(acme.clone(), Arc::clone(egress));
    Ok(Some(Acme::new(client.map_err(|error| Error::invalid(error.to_string()))?)))
}

#[cfg(test)]
mod tests;
