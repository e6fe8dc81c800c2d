//! Where somebody stands in what is not theirs: alert rules that mail their address, invitations to
//! it, and what devices hold that are said to be theirs. They are looked for by whoever answers a
//! request of access, and by whoever erases.

use async_recursion::async_recursion as boxed;
use serde_json::{Value, json};
use veritwin_alerting::Rule;
use veritwin_domain::{DeviceId, LinkId, OpContext, RelayMessage, Value as Reading};
use veritwin_governance::streams::DeviceStatements;
use veritwin_metastore::{
    AttributeScope, Attributes, LinkKind, OneTimeLink, StoredCall, TenantTx, every_row,
    normalise_email,
};

use super::Subject;
use crate::links::Payload;
use crate::rules::{all_rules, stored as rule_of};
use crate::stream_book::stored;
use crate::{App, Result};

/// Invitations that are looked through at a time.
const LINKS_AT_ONCE: u64 = 1_000;

/// An invitation with what it says.
pub(crate) type Invitation = (LinkId, OneTimeLink, Payload);

/// Whether an address is somebody's: as accounts are compared, and not by letters that only look
/// the same.
fn is_same(given: &str, email: &str) -> bool {
    let plain = |text: &str| normalise_email(text).ok();
    plain(given).is_some_and(|given| plain(email) == Some(given))
}

fn plain(value: &Reading) -> Value {
    match value {
        Reading::Double(number) => Value::from(*number),
        Reading::Integer(number) => Value::from(*number),
        Reading::Boolean(flag) => Value::from(*flag),
        Reading::Text(text) | Reading::Json(text) => Value::from(&**text),
    }
}

fn invitation((_, link, payload): &Invitation) -> Value {
    json!({
        "table": "one_time_links",
        "email": payload.email,
        "name": payload.name,
        "role": payload.role,
        "at": link.created_at.to_string(),
        "expires_at": link.expires_at.to_string(),
        "used_at": link.used_at.map(|at| at.to_string()),
    })
}

fn attributes((device, stored): &(DeviceId, Attributes)) -> Result<Vec<Value>> {
    let scope = crate::attributes::decode(&stored.body)?;
    let shown = |(key, value): (String, Reading)| {
        json!({
            "table": "attributes",
            "device_id": device.to_string(),
            "scope": stored.scope.as_str(),
            "key": key,
            "value": plain(&value),
        })
    };
    Ok(scope.into_iter().map(shown).collect())
}

fn call(stored: &StoredCall) -> Result<Value> {
    let call = crate::calls::view(stored)?;
    Ok(json!({
        "table": "device_calls",
        "device_id": call.device.to_string(),
        "at": call.created_at.to_string(),
        "state": call.state,
        "method": call.method,
        "params": call.params,
        "answer": call.answer,
    }))
}

fn retained(message: &RelayMessage) -> Value {
    let text = std::str::from_utf8(&message.payload).ok();
    json!({
        "table": "retained_messages",
        "device_id": message.device.to_string(),
        "at": message.received_at.to_string(),
        "topic": &*message.topic,
        "text": text,
        "bytes": text.is_none().then(|| hex::encode(&message.payload)),
    })
}

impl App {
    /// The rules of a tenant that mail an address that is meant, as they are stored.
    pub(crate) async fn rules_that(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&TenantTx, &str) -> bool,
    ) -> Result<Vec<(veritwin_metastore::Rule, Rule)>> {
        let tx = self.0.store.read(context).await?;
        let mut found = Vec::new();
        for row in all_rules(&tx).await? {
            let rule = rule_of(&row)?;
            if rule.notify_emails.iter().any(|email| is_theirs(&tx, email)) {
                found.push((row, rule));
            }
        }
        Ok(found)
    }

    /// The invitations into a tenant to an address that is meant, whether they were used or not.
    pub(crate) async fn invitations_that(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&TenantTx, &str) -> bool,
    ) -> Result<Vec<Invitation>> {
        let tx = self.0.store.read(context).await?;
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = tx.links_written(LinkKind::Invitation, after, LINKS_AT_ONCE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some(*last);
            for (id, link) in page {
                let Some(link) = link else { continue };
                let Ok(payload) = serde_json::from_slice::<Payload>(&link.payload) else {
                    continue;
                };
                if payload.email.as_deref().is_some_and(|email| is_theirs(&tx, email)) {
                    found.push((id, link, payload));
                }
            }
        }
    }

    /// The devices of a tenant that are said to be somebody's who is meant.
    pub(crate) async fn devices_of(
        &self,
        context: &OpContext,
        is_theirs: impl Fn(&str) -> bool,
    ) -> Result<Vec<DeviceId>> {
        let tx = &self.0.store.read(context).await?;
        let rows = every_row(|page| async move { tx.stream_statements(&page).await }).await?;
        let mut devices = Vec::new();
        for row in rows {
            let said: DeviceStatements = stored(&row.body)?;
            if said.person.as_deref().is_some_and(&is_theirs) {
                devices.push(row.device);
            }
        }
        Ok(devices)
    }

    /// Which rules mail the address.
    pub(super) async fn assemble_rules(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(email) = &subject.email else { return Ok(Vec::new()) };
        let is_theirs = |_: &TenantTx, given: &str| is_same(given, email);
        let mut rows = Vec::new();
        for (row, rule) in self.rules_that(context, is_theirs).await? {
            let id = row.id.to_string();
            rows.push(json!({"rule_id": id, "rule": rule.name, "mails": email}));
        }
        Ok(rows)
    }

    /// Invitations to the address.
    pub(super) async fn assemble_invitations(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(email) = &subject.email else { return Ok(Vec::new()) };
        let is_theirs = |_: &TenantTx, given: &str| is_same(given, email);
        let found = self.invitations_that(context, is_theirs).await?;
        Ok(found.iter().map(invitation).collect())
    }

    /// What the person's devices hold beside readings.
    #[boxed]
    pub(super) async fn assemble_devices(
        &self,
        context: &OpContext,
        subject: &Subject,
    ) -> Result<Vec<Value>> {
        let Some(person) = subject.person.as_deref().map(str::trim) else {
            return Ok(Vec::new());
        };
        let devices = self.devices_of(context, |named: &str| named.trim() == person).await?;
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.retained_of(context.tenant, &devices).await?;
        let mut rows: Vec<Value> = held.iter().map(|one| retained(one)).collect();
        let tx = &self.0.store.read(context).await?;
        for one in &tx.attributes_of(&devices, AttributeScope::ALL).await? {
            rows.extend(attributes(one)?);
        }
        for device in devices {
            let calls = every_row(|page| async move { tx.calls(device, &page).await }).await?;
            for one in &calls {
                rows.push(call(one)?);
            }
        }
        Ok(rows)
    }
}
