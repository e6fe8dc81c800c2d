//! Alert rules: list, write, delete. A change reaches the evaluator within a second.

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind, Reach, Resource};
use veritwin_alerting::{Condition, Operator, Rule, RuleLimits, Scope, Severity};
use veritwin_domain::{Key, OpContext, Place, RuleId, Secret};
use veritwin_metastore::{TenantTx, every_row};

use crate::access::place_of;
use crate::change::Change;
use crate::directory::TenantDevices;
use crate::error::found;
use crate::model::{RuleCondition, RuleInput, RuleScope, RuleView};
use crate::rights::missing;
use crate::rule_sight::give_sight;
use crate::{App, Error, Result};

/// Most rules of a tenant.
const RULES_MAX: usize = 1000;

/// Why a change of a rule is refused that would keep it off streams.
const KEPT_OFF: &str = "this rule watches personal streams and those that nobody declared; changed \
    by you it would watch open streams only, because you may not read the others where it watches. \
    To accept that, send sees_closed false";

/// A rule as a change of it is recorded.
pub(crate) fn recorded(row: &veritwin_metastore::Rule) -> Option<serde_json::Value> {
    serde_json::from_slice(&row.body).ok()
}

fn seconds(field: &'static str, value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::invalid_at(field, "too long"))
}

fn key(text: &str) -> Result<Key> {
    Key::new(text).map_err(|error| Error::invalid_at("condition.key", error.to_string()))
}

fn scope(scope: RuleScope) -> Result<Scope> {
    match (scope.device_id, scope.device_type, scope.twin_id) {
        (None, None, None) => Ok(Scope::All),
        (Some(device), None, None) => Ok(Scope::Device(device)),
        (None, Some(kind), None) => Ok(Scope::DeviceType(kind)),
        (None, None, Some(twin)) => Ok(Scope::Twin(twin)),
        _ => Err(Error::invalid_at("scope", "give at most one of device_id, device_type, twin_id")),
    }
}

fn parse(id: RuleId, input: RuleInput) -> Result<Rule> {
    let severity: Severity = input
        .severity
        .parse()
        .map_err(|_| Error::invalid_at("severity", "must be critical, high, medium or low"))?;
    let condition = match input.condition {
        RuleCondition::Threshold { key: series, op, threshold, hysteresis, for_seconds } => {
            let operator: Operator = op
                .parse()
                .map_err(|_| Error::invalid_at("condition.op", "must be gt, ge, lt or le"))?;
            let for_seconds = seconds("condition.for_seconds", for_seconds)?;
            Condition::Threshold {
                key: key(&series)?,
                operator,
                threshold,
                hysteresis,
                for_seconds,
            }
        }
        RuleCondition::NoData { key: series, after_seconds } => Condition::NoData {
            key: series.as_deref().map(key).transpose()?,
            after_seconds: seconds("condition.after_seconds", after_seconds)?,
        },
    };
    let rule = Rule {
        id,
        name: input.name.trim().to_owned(),
        severity,
        enabled: input.enabled,
        scope: scope(input.scope)?,
        condition,
        notify_emails: input.notify_emails.into_iter().map(Secret::into_exposed).collect(),
        what_helps: input.what_helps,
        sees_closed: Some(false),
        sees_closed_anywhere: false,
        sees_closed_twin: None,
    };
    if let Some(index) =
        rule.notify_emails.iter().position(|email| !veritwin_outbound::mail::is_address(email))
    {
        let at = format!("notify_emails[{index}]");
        return Err(Error::invalid_at(at, "expected the form name@host"));
    }
    rule.validate(&RuleLimits::default())
        .map_err(|error| Error::invalid_at(error.field, error.problem))?;
    Ok(rule)
}

fn view(rule: Rule, version: u64) -> RuleView {
    let mut scope = RuleScope::default();
    match rule.scope {
        Scope::All => {}
        Scope::Device(device) => scope.device_id = Some(device),
        Scope::DeviceType(kind) => scope.device_type = Some(kind),
        Scope::Twin(twin) => scope.twin_id = Some(twin),
    }
    let condition = match rule.condition {
        Condition::Threshold { key, operator, threshold, hysteresis, for_seconds } => {
            RuleCondition::Threshold {
                key: key.to_string(),
                op: operator.as_str().to_owned(),
                threshold,
                hysteresis,
                for_seconds: u64::from(for_seconds),
            }
        }
        Condition::NoData { key, after_seconds } => RuleCondition::NoData {
            key: key.map(|key| key.to_string()),
            after_seconds: u64::from(after_seconds),
        },
    };
    RuleView {
        id: rule.id,
        rule: RuleInput {
            name: rule.name,
            severity: rule.severity.as_str().to_owned(),
            enabled: rule.enabled,
            scope,
            condition,
            notify_emails: rule.notify_emails.into_iter().map(Secret::new).collect(),
            what_helps: rule.what_helps,
            sees_closed: Some(rule.sees_closed == Some(true)),
        },
        version: i64::try_from(version).unwrap_or(i64::MAX),
    }
}

pub(crate) fn stored(row: &veritwin_metastore::Rule) -> Result<Rule> {
    Rule::from_bytes(&row.body).map_err(|error| Error::Internal(format!("stored rule: {error}")))
}

/// Every rule of a tenant.
pub(crate) async fn all_rules(tx: &TenantTx) -> Result<Vec<veritwin_metastore::Rule>> {
    Ok(every_row(|page| async move { tx.rules(&page).await }).await?)
}

async fn check_scope(tx: &TenantTx, rule: &Rule) -> Result<()> {
    match rule.scope {
        Scope::Device(device) => {
            tx.device(device).await.map(|_| ()).map_err(missing("scope.device_id"))
        }
        Scope::Twin(twin) => tx.twin(twin).await.map(|_| ()).map_err(missing("scope.twin_id")),
        Scope::All | Scope::DeviceType(_) => Ok(()),
    }
}

/// A rule stands where its device or twin does; one for everything is the whole tenant's.
fn place_of_rule<'a>(devices: &'a TenantDevices, rule: &Rule) -> Place<'a> {
    match rule.scope {
        Scope::Device(id) => devices.get(id).map_or(Place::Tenant, |device| place_of(device)),
        Scope::Twin(twin) => Place::Twin(twin),
        Scope::All | Scope::DeviceType(_) => Place::Tenant,
    }
}

/// The device that a rule is for alone, as it stands in this transaction: what is in memory may not
/// know yet that it was put elsewhere. Whoever puts it elsewhere waits until the rule is written,
/// and finds it then.
async fn stands_in(tx: &TenantTx, rule: &Rule) -> Result<Option<veritwin_metastore::Device>> {
    let Scope::Device(id) = rule.scope else { return Ok(None) };
    found(tx.device_held(id).await)
}

fn confine(reach: &Reach, devices: &TenantDevices, rule: &Rule) -> Result<()> {
    let is_inside = reach.covers(place_of_rule(devices, rule));
    if is_inside { Ok(()) } else { Err(Error::NotFound("rule")) }
}

/// What a rule is to be about has to be in reach. A thing out of reach is as good as not there.
fn confine_new(reach: &Reach, devices: &TenantDevices, rule: &Rule) -> Result<()> {
    if reach.covers(place_of_rule(devices, rule)) {
        return Ok(());
    }
    match rule.scope {
        Scope::Device(_) | Scope::Twin(_) => {
            let at = if matches!(rule.scope, Scope::Twin(_)) { "twin_id" } else { "device_id" };
            let detail = "there is no such thing in this tenant";
            Err(Error::invalid_at(format!("scope.{at}"), detail))
        }
        Scope::All | Scope::DeviceType(_) => {
            Err(Error::Forbidden(format!("{} on the whole tenant", Action::RuleWrite)))
        }
    }
}

impl App {
    /// Lists rules.
    #[boxed]
    pub async fn list_rules(&self, context: &OpContext) -> Result<Vec<RuleView>> {
        let reach = self.reach(context, Action::RuleList, Kind::Rule)?;
        let resource = Resource::all(context.tenant, Kind::Rule);
        let devices = self.tenant_devices(context).await?;
        let tx = self.0.store.read(context).await?;
        let rows = all_rules(&tx).await?;
        self.note(context, Action::RuleList, &resource, "done");
        let mut views = Vec::new();
        for row in &rows {
            let rule = stored(row)?;
            if reach.covers(place_of_rule(&devices, &rule)) {
                views.push(view(rule, row.version));
            }
        }
        Ok(views)
    }

    /// Reads a rule.
    #[boxed]
    pub async fn rule(&self, context: &OpContext, id: RuleId) -> Result<RuleView> {
        let resource = Resource::rule(context.tenant, id);
        let reach = self.reach(context, Action::RuleRead, Kind::Rule)?;
        let devices = self.tenant_devices(context).await?;
        let tx = self.0.store.read(context).await?;
        let row = tx.rule(id).await?;
        confine(&reach, &devices, &stored(&row)?)?;
        self.note(context, Action::RuleRead, &resource, "done");
        Ok(view(stored(&row)?, row.version))
    }

    /// Makes a rule.
    #[boxed]
    pub async fn create_rule(&self, context: &OpContext, input: RuleInput) -> Result<RuleView> {
        let reach = self.reach(context, Action::RuleWrite, Kind::Rule)?;
        let devices = self.tenant_devices(context).await?;
        let sight = self.sight(context).await?;
        let mut rule = parse(RuleId::generate(context.at, self.rng()), input)?;
        confine_new(&reach, &devices, &rule)?;
        let tx = self.0.store.begin(context).await?;
        let stands = stands_in(&tx, &rule).await?;
        let place = stands.as_ref().map_or_else(|| place_of_rule(&devices, &rule), place_of);
        give_sight(context, &sight, place, (None, &mut rule));
        if all_rules(&tx).await?.len() >= RULES_MAX {
            let limit = veritwin_domain::LimitExceeded {
                name: "rules_max",
                max: RULES_MAX,
                actual: RULES_MAX + 1,
            };
            return Err(limit.into());
        }
        check_scope(&tx, &rule).await?;
        let row = veritwin_metastore::Rule {
            id: rule.id,
            enabled: rule.enabled,
            body: rule.to_bytes().map_err(|error| Error::Internal(error.to_string()))?,
            version: 0,
            created_at: context.at,
            updated_at: context.at,
        };
        tx.rule_create(&row).await?;
        self.rule_written(tx, context, rule.id, None).await
    }

    /// Replaces a rule. Refused where it would watch open streams only from then on, unless that
    /// is accepted.
    #[boxed]
    pub async fn replace_rule(
        &self,
        context: &OpContext,
        id: RuleId,
        input: RuleInput,
        if_version: Option<i64>,
    ) -> Result<RuleView> {
        let reach = self.reach(context, Action::RuleWrite, Kind::Rule)?;
        let devices = self.tenant_devices(context).await?;
        let sight = self.sight(context).await?;
        let tx = self.0.store.begin(context).await?;
        let mut row = tx.rule(id).await?;
        let known = stored(&row)?;
        confine(&reach, &devices, &known)?;
        let before = recorded(&row);
        let accepts = input.sees_closed == Some(false);
        let mut rule = parse(id, input)?;
        confine_new(&reach, &devices, &rule)?;
        let stands = stands_in(&tx, &rule).await?;
        let place = stands.as_ref().map_or_else(|| place_of_rule(&devices, &rule), place_of);
        give_sight(context, &sight, place, (Some(&known), &mut rule));
        let is_kept_off = known.sees_closed == Some(true) && rule.sees_closed == Some(false);
        if is_kept_off && rule.condition.key().is_some() && !accepts {
            return Err(Error::Conflict(KEPT_OFF.to_owned()));
        }
        check_scope(&tx, &rule).await?;
        row.enabled = rule.enabled;
        row.body = rule.to_bytes().map_err(|error| Error::Internal(error.to_string()))?;
        let expected = if_version.map(|version| u64::try_from(version).unwrap_or(0));
        tx.rule_update(&row, expected).await?;
        self.rule_written(tx, context, id, before).await
    }

    async fn rule_written(
        &self,
        tx: TenantTx,
        context: &OpContext,
        id: RuleId,
        before: Option<serde_json::Value>,
    ) -> Result<RuleView> {
        let row = tx.rule(id).await?;
        let resource = Resource::rule(context.tenant, id);
        let change = Change { before, after: recorded(&row) };
        self.record_change(&tx, context, Action::RuleWrite, &resource, change).await?;
        tx.commit().await?;
        self.alert_sources_changed(context.tenant);
        Ok(view(stored(&row)?, row.version))
    }

    /// Deletes a rule; its active alerts clear.
    #[boxed]
    pub async fn delete_rule(&self, context: &OpContext, id: RuleId) -> Result<()> {
        let resource = Resource::rule(context.tenant, id);
        let reach = self.reach(context, Action::RuleWrite, Kind::Rule)?;
        let devices = self.tenant_devices(context).await?;
        let tx = self.0.store.begin(context).await?;
        confine(&reach, &devices, &stored(&tx.rule(id).await?)?)?;
        let before = recorded(&tx.rule(id).await?);
        tx.rule_delete(id).await?;
        let change = Change { before, after: None };
        self.record_change(&tx, context, Action::RuleWrite, &resource, change).await?;
        tx.commit().await?;
        self.alert_sources_changed(context.tenant);
        Ok(())
    }
}
