//! What an alert rule may watch (promise P04). An alert says that a value passed a line, so a rule
//! of somebody who may not read closed streams where it watches is kept off them: it would answer
//! what its writer may not ask. What was found is kept with the rule, where people see it.

use std::collections::{BTreeMap, HashMap};

use veritwin_access::{Action, Resource};
use veritwin_alerting::{Rule, Scope};
use veritwin_domain::{ActorKind, DeviceId, OpContext, Place, Role, RuleId, SiteId};
use veritwin_metastore::{ActivityFilter, Device, Page, TenantTx};

use crate::access::place_of;
use crate::activity::{ActorName, Details, Envelope, resource_text};
use crate::change::Change;
use crate::error::found;
use crate::rules::{all_rules, recorded, stored};
use crate::sight::Sight;
use crate::{App, Error, Result};

/// Most records that are looked through for who wrote rules of before.
const RECORDS_MAX: usize = 10_000;

/// Whether somebody may have rules that watch closed streams of a place. What a job of the platform
/// writes asks for nobody.
fn sees_closed(context: &OpContext, sight: &Sight, place: Place<'_>) -> bool {
    is_platform(context) || sight.sees_personal_at(place)
}

const fn is_platform(context: &OpContext) -> bool {
    matches!(context.actor.kind, ActorKind::Job(_) | ActorKind::LocalOperator)
}

/// The twin of a device's place throughout which somebody may read closed streams.
fn twin_seen(sight: &Sight, place: Place<'_>) -> Option<SiteId> {
    let Place::Device { twin, .. } = place else { return None };
    twin.filter(|twin| sight.sees_personal_throughout(*twin))
}

/// Notes with a rule whether whoever writes it may read closed streams wherever it is to watch. One
/// that watches what it watched asks nothing new, whoever gave it another name or switched it off.
pub(crate) fn give_sight(
    context: &OpContext,
    sight: &Sight,
    place: Place<'_>,
    (known, rule): (Option<&Rule>, &mut Rule),
) {
    let asks_the_same =
        |known: &&Rule| (&known.scope, &known.condition) == (&rule.scope, &rule.condition);
    let known = known.filter(asks_the_same);
    (rule.sees_closed, rule.sees_closed_anywhere, rule.sees_closed_twin) =
        if sees_closed(context, sight, place) {
            let sees_everything = is_platform(context) || sight.sees_everything();
            (Some(true), sees_everything, twin_seen(sight, place))
        } else if let Some(known) = known {
            (known.sees_closed, known.sees_closed_anywhere, known.sees_closed_twin)
        } else {
            (Some(false), false, None)
        };
}

/// Whether a rule for a device alone may watch it where it was put, by what its writer may read.
fn goes_along(rule: &Rule, device: &Device) -> bool {
    let is_inside = rule.sees_closed_twin.is_some() && rule.sees_closed_twin == device.twin;
    rule.sees_closed_anywhere || is_inside
}

/// Whether a device stands elsewhere, for rights.
pub(crate) fn is_elsewhere(stood: &Device, device: &Device) -> bool {
    place_of(stood) != place_of(device)
}

/// Whether it was an owner or administrator, by what they are now, or the platform itself.
async fn is_in_charge(tx: &TenantTx, actor: &str) -> Result<bool> {
    let rules = |role: &Role| matches!(role, Role::Owner | Role::Administrator);
    Ok(match ActorName::read(actor) {
        Some(ActorName::LocalOperator | ActorName::Job(_)) => true,
        Some(ActorName::User(id)) => {
            found(tx.member(id).await)?.is_some_and(|member| member.roles.iter().any(rules))
        }
        Some(ActorName::ApiKey(id)) => {
            found(tx.api_key(id).await)?.is_some_and(|key| rules(&key.role))
        }
        Some(ActorName::Support(_) | ActorName::Device(_) | ActorName::Anonymous) | None => false,
    })
}

/// Who wrote rules last, by the records, as far back as is looked.
async fn writers(
    tx: &TenantTx,
    asked: &HashMap<String, RuleId>,
) -> Result<BTreeMap<RuleId, String>> {
    let filter = ActivityFilter {
        action: Some(Action::RuleWrite.to_string()),
        outcome: Some("done".to_owned()),
        ..ActivityFilter::default()
    };
    let (mut found, mut page, mut looked) = (BTreeMap::new(), Page::whole(), 0);
    while found.len() < asked.len() && looked < RECORDS_MAX {
        let listed = tx.activity(&filter, &page).await?;
        looked += listed.items.len();
        for record in listed.items {
            let details = record.details.and_then(|body| serde_json::from_slice(&body).ok());
            let Some(Details { resource, .. }) = details else { continue };
            let Some(rule) = asked.get(&resource) else { continue };
            if let Ok(Envelope { actor, .. }) = serde_json::from_slice(&record.envelope) {
                found.entry(*rule).or_insert(actor);
            }
        }
        let Some(next) = listed.next else { break };
        page = Page { after: Some(next), ..Page::whole() };
    }
    Ok(found)
}

async fn read_rules(tx: &TenantTx) -> Result<BTreeMap<RuleId, Rule>> {
    let rows = all_rules(tx).await?;
    rows.iter().map(|row| stored(row).map(|rule| (rule.id, rule))).collect()
}

impl App {
    /// Every rule of a tenant. Of rules that were written before it was asked who may see what,
    /// those of an owner or administrator see closed streams and all others do not, which is
    /// written into them once.
    pub(crate) async fn rules_with_sight(
        &self,
        context: &OpContext,
    ) -> Result<BTreeMap<RuleId, Rule>> {
        let tx = self.0.store.read(context).await?;
        let rules = read_rules(&tx).await?;
        let unknown: Vec<RuleId> =
            rules.values().filter(|rule| rule.sees_closed.is_none()).map(|rule| rule.id).collect();
        if unknown.is_empty() {
            return Ok(rules);
        }
        let named = |id: &RuleId| (resource_text(&Resource::rule(context.tenant, *id)), *id);
        let writers = writers(&tx, &unknown.iter().map(named).collect()).await?;
        let mut seen = Vec::with_capacity(unknown.len());
        for id in unknown {
            let sees = match writers.get(&id) {
                Some(actor) => is_in_charge(&tx, actor).await?,
                None => false,
            };
            seen.push((id, sees));
        }
        drop(tx);
        let tx = self.0.store.begin(context).await?;
        for (id, sees) in seen {
            self.write_sight(&tx, context, id, (None, sees)).await?;
        }
        let rules = read_rules(&tx).await?;
        tx.commit().await?;
        Ok(rules)
    }

    /// Writes into a rule, with a record, whether it sees closed streams; nothing where that is not
    /// what was noted any more, or the rule is gone.
    async fn write_sight(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: RuleId,
        (noted, sees): (Option<bool>, bool),
    ) -> Result<()> {
        let Some(mut row) = found(tx.rule(id).await)? else { return Ok(()) };
        let mut rule = stored(&row)?;
        if rule.sees_closed != noted {
            return Ok(());
        }
        let before = recorded(&row);
        (rule.sees_closed, rule.sees_closed_anywhere) = (Some(sees), sees);
        rule.sees_closed_twin = None;
        row.body = rule.to_bytes().map_err(|error| Error::Internal(error.to_string()))?;
        // Somebody may write it meanwhile: theirs is not overwritten.
        tx.rule_update(&row, Some(row.version)).await?;
        let change = Change { before, after: recorded(&row) };
        let resource = Resource::rule(context.tenant, id);
        self.record_change(tx, context, Action::RuleWrite, &resource, change).await
    }

    /// Devices were put elsewhere in this transaction. A rule for one of them alone is worth what
    /// its writer may read where the device stood: it goes along only where they may read it
    /// anywhere, or throughout the twin in which the device stays, or whoever put the device there
    /// may read it there.
    pub(crate) async fn rules_stay(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        sight: &Sight,
        moved: &[Device],
    ) -> Result<()> {
        let is_unseen = |device: &&Device| !sees_closed(context, sight, place_of(device));
        let moved: HashMap<DeviceId, &Device> =
            moved.iter().filter(is_unseen).map(|device| (device.id, device)).collect();
        if moved.is_empty() {
            return Ok(());
        }
        for (id, rule) in read_rules(tx).await? {
            let Scope::Device(device) = rule.scope else { continue };
            let Some(device) = moved.get(&device) else { continue };
            if rule.sees_closed == Some(true) && !goes_along(&rule, device) {
                self.write_sight(tx, context, id, (Some(true), false)).await?;
            }
        }
        Ok(())
    }
}
