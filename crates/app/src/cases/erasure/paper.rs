//! The certificate of an erasure and the letter about it: what was erased in each store, what
//! stays and why, until when a backup of before could be opened, and what such a paper cannot
//! prove. Neither names the person.

use serde_json::{Value, json};
use veritwin_domain::{OpContext, Timestamp};

use super::Moved;
use crate::backup::KEYRING_HORIZON;
use crate::cases::body::Case;
use crate::cases::letters::{self, Letter};
use crate::destructions::Body;
use crate::error::found;
use crate::subject::{Eraser, STORES};
use crate::{App, Error, Result};

/// What every certificate says of itself.
const PROVES: &str = "that the steps above were recorded as done, in this order and at these \
                      times; not that no copy exists of what was read or exported before";

/// What the destruction of readings leaves, as its certificate says name by name.
const OF_READINGS: &str = "what the ledger sealed, alerts, messages on their way, attributes and \
                           retained messages of devices that are not theirs alone, and files that \
                           were exported before";

fn counts(met: &[(String, u64)]) -> Value {
    met.iter().map(|(what, count)| (what.clone(), Value::from(*count))).collect()
}

/// What stays, and why, store by store.
fn stays(case: &Case) -> Vec<(&'static str, &'static str)> {
    let kept = STORES.iter().filter(|store| match store.eraser {
        Eraser::Stays(_) | Eraser::Records | Eraser::Requests | Eraser::Registers => true,
        Eraser::Declarations => case.body.person.is_some(),
        _ => false,
    });
    let of_readings = case.body.destruction.map(|_| ("readings", OF_READINGS));
    kept.map(|store| (store.name, store.eraser.words())).chain(of_readings).collect()
}

/// The statement: JSON with its fields in one order.
fn statement(case: &Case, (destruction, at): (Option<Value>, Timestamp), tenant: &str) -> Value {
    let steps = case.body.steps.iter().map(|step| {
        let store = STORES.iter().find(|store| store.name == step.name);
        json!({
            "step": step.name,
            "done_at": Timestamp::from_micros(step.at).to_string(),
            "met": counts(&step.met),
            "how": store.map(|store| store.eraser.words()),
        })
    });
    let stays = stays(case).into_iter().map(|(name, why)| (name.to_owned(), Value::from(why)));
    json!({
        "type": "veritwin certificate of erasure",
        "version": 1,
        "id": case.row.id.to_string(),
        "tenant": tenant,
        "subject": case.body.pseudonym,
        "received_at": case.row.received_at.to_string(),
        "erased_at": at.to_string(),
        "steps": steps.collect::<Vec<_>>(),
        "destruction": destruction,
        "backup_horizon": at.saturating_add(KEYRING_HORIZON).to_string(),
        "stays": stays.collect::<serde_json::Map<String, Value>>(),
        "proves": PROVES,
    })
}

impl App {
    /// Signs what was done, and writes it where no backup reaches.
    pub(super) async fn certify_erasure(
        &self,
        context: &OpContext,
        mut case: Case,
    ) -> Result<Moved> {
        let destruction = match case.body.destruction {
            None => None,
            Some(id) => {
                let stored = self.0.store.read(context).await?.destruction(id).await?;
                let paper = Body::read(&stored.body)?.certificate;
                let digest = paper.map(|paper| hex::encode(paper.digest()));
                Some(json!({"id": id.to_string(), "certificate_sha256": digest}))
            }
        };
        let tenant = context.tenant.to_string();
        let said = |origin: &str| {
            let mut said = statement(&case, (destruction, context.at), &tenant);
            said["log_origin"] = Value::from(origin);
            said
        };
        let certificate = self.sign_certificate(context.tenant, said).await?;
        case.body.certificate = Some(certificate);
        self.journal_erasure(context, &case)?;
        let tx = self.0.store.begin(context).await?;
        self.save_case(&tx, &mut case, context.at).await?;
        tx.commit().await?;
        Ok(Moved::On)
    }

    /// What the person is told.
    pub(super) async fn erasure_letter(&self, context: &OpContext, case: &Case) -> Result<Letter> {
        let Some(certificate) = &case.body.certificate else {
            return Err(Error::Internal("an erasure has no certificate".to_owned()));
        };
        let is_elsewhere = match case.row.user {
            None => false,
            Some(user) => {
                let tx = self.0.store.read_platform(&self.above(context)).await?;
                found(tx.user(user).await)?.is_some()
            }
        };
        let digest = hex::encode(certificate.digest());
        let authority = self.named_authority(None)?;
        let kept = stays(case);
        let shown = (digest.as_str(), authority.as_str());
        Ok(letters::erased(case, (kept.as_slice(), is_elsewhere), shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::body::StepDone;
    use crate::cases::body::tests::case;
    use crate::cases::erasure::COUNTED;
    use crate::cases::erasure::stores::Met;

    #[test]
    fn a_certificate_says_what_was_met_and_names_nobody() {
        let at = Timestamp::from_micros(1_800_000_000_000_000);
        let mut one = case(at);
        one.body.email = Some("ada@site.example".to_owned());
        one.body.person = Some("Ada".to_owned());
        let met = vec![("sessions".to_owned(), 2)];
        let step =
            |name: &str, met: Met| StepDone { name: name.to_owned(), at: at.as_micros(), met };
        one.body.steps = vec![step(COUNTED, met), step("mails", vec![("erased".to_owned(), 3)])];
        let said = statement(&one, (None, at), "t");
        assert_eq!(said["steps"][0]["met"], json!({"sessions": 2}));
        assert_eq!(said["steps"][1]["met"]["erased"], 3);
        assert!(said["steps"][1]["how"].is_string());
        assert!(said["stays"]["records"].is_string(), "{said}");
        assert!(said["stays"]["backups"].is_string(), "{said}");
        let text = said.to_string();
        assert!(!text.contains("ada@") && !text.contains("Ada"), "{text}");
    }
}
