//! What is taken out of a text that stays: a name out of what was declared, an address and where it
//! was done from out of a record. What was done, and when, stays.

use serde_json::Value;
use veritwin_metastore::{Activity, HoldScope};

use super::stores::written;
use super::whom::Whom;
use crate::activity::{Details, Envelope};
use crate::{Error, Result};

/// What stands in the place of a text that tells of the person.
const ERASED: &str = "[erased]";

/// Takes the name out of everything that says whose a device is; whether it was in it.
pub(super) fn drop_person(value: &mut Value, is_theirs: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => {
            let named = members.get("person").and_then(Value::as_str);
            let is_named = named.is_some_and(is_theirs);
            if is_named {
                members.remove("person");
            }
            members.values_mut().fold(is_named, |all, one| all | drop_person(one, is_theirs))
        }
        Value::Array(items) => {
            items.iter_mut().fold(false, |all, one| all | drop_person(one, is_theirs))
        }
        _ => false,
    }
}

/// Takes out every text that tells of the person; whether there was one.
fn drop_text(value: &mut Value, is_theirs: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) if is_theirs(text.as_str()) => {
            *value = Value::from(ERASED);
            true
        }
        Value::Object(members) => {
            members.values_mut().fold(false, |all, one| all | drop_text(one, is_theirs))
        }
        Value::Array(items) => {
            items.iter_mut().fold(false, |all, one| all | drop_text(one, is_theirs))
        }
        _ => false,
    }
}

/// Whether a hold keeps a record as it is.
pub(super) fn is_kept(hold: &HoldScope, record: &Activity) -> bool {
    hold.actor.is_none_or(|actor| record.actor == Some(actor))
        && hold.action.as_ref().is_none_or(|start| record.action.starts_with(start.as_str()))
        && hold.from.is_none_or(|from| from <= record.at)
        && hold.to.is_none_or(|to| record.at < to)
        && (hold.records.is_empty() || hold.records.contains(&record.id))
}

/// A record without what tells of the person; none if there is nothing to take out.
pub(super) fn scrubbed(
    record: &Activity,
    whom: &Whom,
    is_theirs: &dyn Fn(&str) -> bool,
) -> Result<Option<Activity>> {
    let damaged = |_: serde_json::Error| Error::Internal("a record is damaged".to_owned());
    let mut envelope: Envelope = serde_json::from_slice(&record.envelope).map_err(damaged)?;
    let is_own = whom.user.is_some_and(|user| record.actor == Some(*user.as_bytes()));
    let mut is_changed = false;
    if is_own {
        for part in [
            &mut envelope.address,
            &mut envelope.browser,
            &mut envelope.system,
            &mut envelope.session,
            &mut envelope.country,
            &mut envelope.city,
        ] {
            is_changed |= part.take().is_some();
        }
    }
    let details = record.details.as_deref().map(serde_json::from_slice::<Details>);
    let mut details = details.transpose().map_err(damaged)?;
    if let Some(details) = &mut details {
        for part in [&mut details.before, &mut details.after].into_iter().flatten() {
            is_changed |= drop_text(part, is_theirs);
        }
    }
    if !is_changed {
        return Ok(None);
    }
    Ok(Some(Activity {
        envelope: written(&envelope)?,
        details: details.as_ref().map(written).transpose()?,
        ..record.clone()
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use veritwin_domain::{ActivityId, Timestamp, UserId};

    use super::*;

    #[test]
    fn a_name_goes_wherever_it_says_whose_a_device_is() {
        let is_theirs = |text: &str| text == "Ada";
        let mut act = json!({"by": "user:1", "steps": [
            {"about": "stream", "before": {"person": "Ada"}, "after": {"person": "Bob"}},
            {"about": "rule", "id": "Ada"},
        ]});
        assert!(drop_person(&mut act, &is_theirs));
        assert_eq!(act["steps"][0]["before"], json!({}));
        assert_eq!(act["steps"][0]["after"]["person"], "Bob");
        assert_eq!(act["steps"][1]["id"], "Ada");
        assert!(!drop_person(&mut act, &is_theirs));
        let mut change = json!({"email": "Ada", "roles": ["viewer", "Ada"]});
        assert!(drop_text(&mut change, &is_theirs));
        assert_eq!(change, json!({"email": ERASED, "roles": ["viewer", ERASED]}));
        assert!(!drop_text(&mut change, &is_theirs));
    }

    #[test]
    fn a_record_keeps_what_was_done_and_loses_where_it_was_done_from() {
        let user = UserId::from_bytes([3; 16]);
        let envelope = Envelope {
            actor: format!("user:{user}"),
            action: "twin.read".to_owned(),
            address: Some("192.0.2.7".to_owned()),
            city: Some("Leeds".to_owned()),
            ..Envelope::default()
        };
        let record = Activity {
            id: ActivityId::from_bytes([1; 16]),
            at: Timestamp::from_micros(5),
            actor: Some(*user.as_bytes()),
            action: "twin.read".to_owned(),
            outcome: "done".to_owned(),
            envelope: serde_json::to_vec(&envelope).expect("JSON"),
            details: None,
        };
        let nobody = |_: &str| false;
        let whom = Whom { user: Some(user), ..Whom::default() };
        let less = scrubbed(&record, &whom, &nobody).expect("read").expect("changed");
        let text = String::from_utf8(less.envelope.clone()).expect("text");
        assert!(text.contains("twin.read") && !text.contains("192.0.2.7"), "{text}");
        assert!(!text.contains("Leeds"), "{text}");
        assert_eq!(scrubbed(&less, &whom, &nobody).expect("read"), None);
        let other = Whom { user: Some(UserId::from_bytes([4; 16])), ..Whom::default() };
        assert_eq!(scrubbed(&record, &other, &nobody).expect("read"), None);
        let hold = |from: i64| HoldScope {
            from: Some(Timestamp::from_micros(from)),
            ..HoldScope::default()
        };
        assert!(is_kept(&hold(5), &record) && !is_kept(&hold(6), &record));
    }
}
