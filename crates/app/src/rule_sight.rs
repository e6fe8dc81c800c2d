//! What an alert rule may watch (promise P04). An alert says that a value passed a line, so a rule
//! of somebody who may not read closed streams where it watches is kept off them: it would answer
//! what its writer may not ask.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use veritwin_access::{Action, Resource};
use veritwin_alerting::Rule;
use veritwin_domain::{ActorKind, OpContext, Place, Role, RuleId};
use veritwin_metastore::{ActivityFilter, Error as StoreError, Page, TenantTx};

use crate::activity::{Details, Envelope, resource_text};
use crate::kept::Kept;
use crate::sight::Sight;
use crate::{App, Result};

/// Most records that are looked through for who wrote rules of before.
const RECORDS_MAX: usize = 10_000;

/// Of the rules that do not say it: those whose writers may read closed streams.
pub(crate) type RulesBefore = Kept<HashSet<RuleId>>;

/// Whether who writes a rule may read closed streams wherever it is to watch. What a job of the
/// platform writes asks for nobody.
pub(crate) fn sees_closed(context: &OpContext, sight: &Sight, place: Place<'_>) -> bool {
    matches!(context.actor.kind, ActorKind::Job(_) | ActorKind::LocalOperator)
        || sight.sees_personal_at(place)
}

/// Whether it was an owner or administrator, by what they are now.
async fn is_in_charge(tx: &TenantTx, actor: &str) -> Result<bool> {
    let rules = |role: &Role| matches!(role, Role::Owner | Role::Administrator);
    let found = match actor.split_once(':') {
        Some(("job", _)) => return Ok(true),
        Some(("user", id)) => match id.parse() {
            Ok(id) => tx.member(id).await.map(|member| member.roles.iter().any(rules)),
            Err(_) => return Ok(false),
        },
        Some(("api_key", id)) => match id.parse() {
            Ok(id) => tx.api_key(id).await.map(|key| rules(&key.role)),
            Err(_) => return Ok(false),
        },
        _ => return Ok(false),
    };
    match found {
        Err(StoreError::NotFound { .. }) => Ok(false),
        other => Ok(other?),
    }
}

/// Who wrote rules last, by the records, as far back as is looked.
async fn writers(tx: &TenantTx, asked: &HashMap<String, RuleId>) -> Result<Vec<(RuleId, String)>> {
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
    Ok(found.into_iter().collect())
}

impl App {
    /// Rules that were written before it was asked who may see what: those of an owner or
    /// administrator see closed streams, all others do not.
    pub(crate) async fn fill_sight(
        &self,
        context: &OpContext,
        tx: &TenantTx,
        rules: &mut BTreeMap<RuleId, Rule>,
    ) -> Result<()> {
        if rules.values().all(|rule| rule.sees_closed.is_some()) {
            return Ok(());
        }
        let seeing = match self.0.rules_before.get(context.tenant) {
            Ok(known) => known,
            Err(ticket) => {
                let unknown = rules.values().filter(|rule| rule.sees_closed.is_none());
                let named = |rule: &Rule| {
                    (resource_text(&Resource::rule(context.tenant, rule.id)), rule.id)
                };
                let asked: HashMap<String, RuleId> = unknown.map(named).collect();
                let mut seeing = HashSet::new();
                for (rule, actor) in writers(tx, &asked).await? {
                    if is_in_charge(tx, &actor).await? {
                        seeing.insert(rule);
                    }
                }
                let seeing = Arc::new(seeing);
                self.0.rules_before.put(ticket, &seeing);
                seeing
            }
        };
        for rule in rules.values_mut().filter(|rule| rule.sees_closed.is_none()) {
            rule.sees_closed = Some(seeing.contains(&rule.id));
        }
        Ok(())
    }
}
