//! P49: people of each role ask for the end of a tenant of nobody, and no end of anybody was
//! decided by one person without the wait. P50: an account of nobody loses its last organisation
//! and has to be gone everywhere, and of organisations that ended nothing may be left.

use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{OpContext, Role, Timestamp, UserId};
use veritwin_keys::ShredUnit;
use veritwin_metastore::{
    Line, Realm, StoredTenantEnd, TenantEndState, User, every_row, tenant_tables_of_people,
};

use super::run::InApp;
use super::{PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::ends::{ANSWERING, EndBody, SOLE_WAIT};
use crate::error::found;
use crate::{App, Error, Result};

const WHO_ENDS: u8 = 49;
const GONE: u8 = 50;
/// With people who ask.
const WHO_ENDS_VERSION: u32 = 2;
const VERSION: u32 = 1;
/// Why they ask.
const REASON: &str = "promise check";
/// Account data is gone so long after the end at the latest.
const GONE_WITHIN: Duration = Duration::from_secs(30 * 86_400);
/// What the addresses of this check's accounts begin with.
const ADDRESS: &str = "ended-";
/// How long somebody is a member who counts as known.
const KNOWN_FOR: Duration = Duration::from_secs(90 * 86_400);

pub(super) fn who_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(
        app,
        WHO_ENDS,
        WHO_ENDS_VERSION,
        |app: App| async move { app.check_who_ends().await },
    )
}

pub(super) fn gone_probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, GONE, VERSION, |app: App| async move { app.check_gone().await })
}

fn line(number: u8, since: Timestamp) -> Line {
    let user = UserId::from_bytes([number; 16]);
    Line { user, since, by_operator: true, inviters: Vec::new(), is_cut: false }
}

/// Whether an end was decided by two people, or after the wait of one.
fn is_rightly_decided(stored: &StoredTenantEnd, body: &EndBody) -> bool {
    // Of one that a restored backup did not know it was found out before.
    let Some(decided_at) = body.decided_at else {
        return stored.state == TenantEndState::Asked || body.destruction.is_some();
    };
    match body.approved_by {
        Some(by) => by != body.requested_by,
        None => {
            let waited = Timestamp::from_micros(decided_at).since(stored.asked_at);
            body.is_sole && waited >= SOLE_WAIT
        }
    }
}

impl App {
    async fn check_who_ends(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job(jobs::PROMISES);
        let mut may = Vec::new();
        for role in Role::ALL {
            if self.gets_to_ask(role).await? {
                may.push(role.as_str());
            }
        }
        let expected: Vec<&str> = Role::ALL
            .into_iter()
            .filter(|role| ANSWERING.contains(role))
            .map(Role::as_str)
            .collect();
        let since = context.at.saturating_sub(KNOWN_FOR);
        let (one, other) = (line(1, since), line(2, since));
        let alone = self.judge_agreeing(&one, &one, context.at).is_ok();
        let by_two = self.judge_agreeing(&one, &other, context.at).is_ok();
        let tx = self.0.store.read_platform(&context).await?;
        let ends = tx.tenant_ends().await?;
        drop(tx);
        let mut wrong = 0_u32;
        for (_, stored) in &ends {
            let body = EndBody::read(&stored.body)?;
            wrong += u32::from(!is_rightly_decided(stored, &body));
        }
        let facts = vec![
            ("roles that may ask".to_owned(), may.join(", ")),
            ("one person alone agrees to their own request".to_owned(), said(alone)),
            ("a second person agrees".to_owned(), said(by_two)),
            ("ends that were asked for".to_owned(), ends.len().to_string()),
            ("of which decided without a second person or a wait".to_owned(), wrong.to_string()),
        ];
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if may != expected {
            failed("Others than owners and administrators may end an organisation.", "policies")
        } else if alone {
            failed("Whoever asks for the end can agree to it as well.", "ends of organisations")
        } else if !by_two {
            failed("A second person cannot agree to an end.", "ends of organisations")
        } else if wrong > 0 {
            failed("An end was decided by one person without a wait.", "table tenant_ends")
        } else {
            let summary = "A member cannot end an organisation; an administrator with a second \
                           one, or after 72 hours alone, can.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts: facts.clone() }
        })
    }

    /// Whether somebody with one role is let ask for the end. The tenants of the platform's own
    /// checks end for nobody: who gets as far as that is not refused for their role.
    async fn gets_to_ask(&self, role: Role) -> Result<bool> {
        let somebody = self.somebody_of(PROBE_TENANT, role);
        match self.ask_tenant_end(&somebody, REASON).await {
            Err(Error::Conflict(_)) => Ok(true),
            Err(Error::Forbidden(_)) => Ok(false),
            Err(error) => Err(error),
            Ok(_) => {
                let tx = self.0.store.begin(&self.job_in(jobs::PROMISES, PROBE_TENANT)).await?;
                tx.tenant_end_delete().await?;
                tx.commit().await?;
                Err(Error::Internal("a tenant of the platform's own checks can end".to_owned()))
            }
        }
    }

    async fn check_gone(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tenant().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_TENANT);
        self.remove_ended(&context).await?;
        let user = self.make_ended(&context).await?;
        let tx = self.0.store.begin(&context).await?;
        tx.member_remove(user).await?;
        tx.commit().await?;
        self.destroy_of_nobody(user).await?;
        let left = self.left_of(&context, user).await?;
        let (overdue, remains) = self.ends_overdue(context.at).await?;
        let facts = vec![
            ("places where the account is still found".to_owned(), left.len().to_string()),
            ("organisations past their time that are still there".to_owned(), overdue.to_string()),
            (
                "tables with rows about people of organisations that ended".to_owned(),
                remains.len().to_string(),
            ),
        ];
        let failed = |summary: &str, place: &str| ProbeAnswer::Failed {
            summary: summary.to_owned(),
            facts: facts.clone(),
            place: place.to_owned(),
        };
        Ok(if let Some(place) = left.first() {
            failed("An account that belongs to no organisation is still there.", place)
        } else if overdue > 0 {
            failed("An organisation is past its end and still there.", "table tenant_ends")
        } else if let Some(table) = remains.first() {
            failed("Rows of an organisation that ended are still there.", table)
        } else {
            let summary = "The account of an organisation that ends is gone from every store.";
            ProbeAnswer::Passed { summary: summary.to_owned(), facts: facts.clone() }
        })
    }

    /// An account that nobody can use, in the tenant of nobody alone.
    async fn make_ended(&self, context: &OpContext) -> Result<UserId> {
        let id = UserId::generate(context.at, self.rng());
        let user = User {
            id,
            realm: Realm::PLATFORM,
            email: format!("{ADDRESS}{id}@probe.invalid"),
            name: None,
            password_hash: None,
            disabled: true,
            email_verified_at: None,
            attestation: None,
            version: 0,
            created_at: context.at,
        };
        let tx = self.0.store.begin_platform(&self.job(jobs::PROMISES)).await?;
        tx.user_create(&user).await?;
        tx.membership_add(PROBE_TENANT, id, Role::Viewer).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// What an earlier run left that was cut short.
    async fn remove_ended(&self, context: &OpContext) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        let own = &tx;
        let members = every_row(|page| async move { own.members(&page).await }).await?;
        for member in members.iter().filter(|one| one.user.email.starts_with(ADDRESS)) {
            tx.member_remove(member.user.id).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Where an account is still found.
    async fn left_of(&self, context: &OpContext, user: UserId) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        if found(tx.user(user).await)?.is_some() {
            left.push("table users".to_owned());
        }
        drop(tx);
        let tx = self.0.store.read(context).await?;
        let rows = tx.rows_naming(user, 1).await?;
        left.extend(rows.iter().map(|row| format!("table {}", row.table)));
        drop(tx);
        let unit = ShredUnit::Subject(*user.as_bytes());
        if self.0.keys.list(None).iter().any(|key| key.scope.unit == unit) {
            left.push("keyring".to_owned());
        }
        Ok(left)
    }

    /// How many organisations should be gone, and tables with rows of those that are.
    async fn ends_overdue(&self, now: Timestamp) -> Result<(u32, Vec<String>)> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let (mut overdue, mut remains) = (0_u32, Vec::new());
        for (tenant, stored) in tx.tenant_ends().await? {
            let body = EndBody::read(&stored.body)?;
            if stored.state == TenantEndState::Done {
                for table in tenant_tables_of_people() {
                    if tx.tenant_has_any(tenant, table).await? {
                        remains.push(format!("table {table}"));
                    }
                }
                continue;
            }
            let ends_at = body.ends_at.map(Timestamp::from_micros);
            let is_late = ends_at.is_some_and(|at| at.saturating_add(GONE_WITHIN) < now);
            overdue += u32::from(is_late && body.waits_for.is_none());
        }
        Ok((overdue, remains))
    }
}

fn said(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
