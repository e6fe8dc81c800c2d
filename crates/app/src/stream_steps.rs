//! One step of an act on streams, as it is carried out: said, or taken back.

use veritwin_domain::{DeviceId, StreamRuleId, Timestamp};
use veritwin_governance::streams::{DeviceStatements, StreamRules, Verdict};
use veritwin_metastore::{Device, StreamRule, TenantTx};

use crate::error::found;
use crate::rights::bounded;
use crate::stream_acts::{STREAM_RULES_MAX, Said, Step};
use crate::stream_book::{StreamBook, judged, said_in, say_in, to_store};
use crate::streams::{Among, STATEMENTS_MAX, STREAMS_SAID_MAX};
use crate::{Error, Result};

/// What counts for a stream of a device as it stands in a transaction.
fn verdict<'a>(
    rules: &'a StreamRules,
    device: &'a Device,
    said: &'a DeviceStatements,
    key: Option<&str>,
) -> Verdict<'a> {
    rules.judge(judged(device, Some(said)), key)
}

/// When somebody closed a stream that is closed by a declaration.
fn closed_since(
    rules: &StreamRules,
    device: &Device,
    said: &DeviceStatements,
    key: Option<&str>,
) -> Timestamp {
    let closed =
        verdict(rules, device, said, key).statement.filter(|statement| statement.is_personal);
    closed.map_or(Timestamp::MIN, |statement| Timestamp::from_micros(statement.at_us))
}

/// Refuses steps that would bring back more statements than a tenant adds to.
pub(crate) fn bound_steps(book: &StreamBook, steps: &[Step]) -> Result<()> {
    let adds = |step: &&Step| match step {
        Step::Stream { before, after, .. } => {
            before.statement.is_none() && after.statement.is_some()
        }
        Step::Rule { .. } => false,
    };
    match steps.iter().filter(adds).count() {
        0 => Ok(()),
        added => bounded("statements_max", STATEMENTS_MAX, book.statements() + added),
    }
}

/// Carries out one step of an act of `since`, with the rules as they stand before the act; refused
/// where something else was said of it since, or where it would open what somebody has closed
/// since.
pub(crate) async fn carry_out(
    tx: &TenantTx,
    (among, rules): (&Among, &StreamRules),
    (step, since): (&Step, Timestamp),
    at: Timestamp,
) -> Result<()> {
    let changed = || Error::Conflict("it was declared again since; nothing was taken back".into());
    match step {
        Step::Stream { device, key, before, after } => {
            let id: DeviceId = device.parse().map_err(|_| Error::NotFound("device"))?;
            // What was said of a device that is gone went with it.
            let Some(mut device) = found(tx.device(id).await)? else { return Ok(()) };
            if !among.has(&device) {
                return Err(Error::NotFound("declaration"));
            }
            let mut said = said_in(tx, id).await?;
            let (now, key) = (Said::of(&device, &said, key.as_deref()), key.as_deref());
            // Whose device it is stays, unless it was said together with this.
            let names = before.person != after.person;
            if (now.declaration, &now.statement) != (before.declaration, &before.statement)
                || (names && now.person != before.person)
            {
                return Err(changed());
            }
            let stood = device.declaration;
            let after = Said {
                person: if names { after.person.clone() } else { now.person },
                ..after.clone()
            };
            let closed_at = closed_since(rules, &device, &said, key);
            after.put(&mut device, &mut said, key);
            if after.statement.is_some() {
                bounded("streams_said_max", STREAMS_SAID_MAX, said.streams.len())?;
            }
            if closed_at > since && verdict(rules, &device, &said, key).is_open() {
                return Err(changed());
            }
            if device.declaration != stood {
                tx.device_update(&device, None).await?;
            }
            say_in(tx, id, &said).await
        }
        Step::Rule { id, before, after } => {
            let id: StreamRuleId = id.parse().map_err(|_| Error::NotFound("rule"))?;
            let known = rules.iter().find(|(known, _)| *known == id).map(|(_, rule)| rule);
            if known != before.as_ref() {
                return Err(changed());
            }
            if known.is_some() {
                tx.stream_rule_delete(id).await?;
            }
            if let Some(rule) = after {
                let mut others = rules.iter().filter(|(other, _)| *other != id);
                if others.any(|(_, other)| other.says_what(rule)) {
                    let detail = "a rule that says the same of the same streams is there already";
                    return Err(Error::Conflict(detail.to_owned()));
                }
                bounded("stream_rules_max", STREAM_RULES_MAX, rules.iter().count() + 1)?;
                let body = to_store(rule)?;
                tx.stream_rule_create(&StreamRule { id, body, created_at: at }).await?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use veritwin_domain::Declaration;
    use veritwin_governance::streams::Statement;

    use super::*;

    #[test]
    fn what_is_taken_back_brings_no_more_statements_than_the_bound() {
        let said = |is_said: bool| Said {
            declaration: Declaration::Undeclared,
            statement: is_said.then(|| Statement {
                is_personal: false,
                subject: None,
                by: "user:1".to_owned(),
                at_us: 1,
            }),
            person: None,
        };
        let step = |before: bool, after: bool| {
            let key = Some("flow".to_owned());
            Step::stream(DeviceId::from_bytes([1; 16]), key, said(before), said(after))
        };
        let check = |statements: usize, steps: &[(bool, bool)], fits: bool| {
            let book = StreamBook::counting(statements, HashMap::new());
            let steps: Vec<Step> =
                steps.iter().map(|(before, after)| step(*before, *after)).collect();
            assert_eq!(bound_steps(&book, &steps).is_ok(), fits, "{statements} {}", steps.len());
        };
        check(STATEMENTS_MAX - 1, &[(false, true), (true, true), (true, false)], true);
        check(STATEMENTS_MAX - 1, &[(false, true), (false, true)], false);
        check(STATEMENTS_MAX, &[(false, true)], false);
        check(STATEMENTS_MAX + 9, &[(true, false), (true, true)], true);
    }
}
