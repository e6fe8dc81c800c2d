//! Certificates and revocation lists by which devices come in, told of before they end: each once
//! as a security alert of its tenant, with mail to its administrators. The alert is written before
//! it is noted that it was told: after a crash in between it is told again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use veritwin_access::{Finding, jobs};
use veritwin_domain::{TenantId, Timestamp};
use veritwin_metastore::TenantTx;

use crate::security::{Found, fact};
use crate::{App, Error, Result};

/// A certificate is told of this long before it ends.
const CERTIFICATE_WARNED: Duration = Duration::from_secs(30 * 86_400);
/// A revocation list is told of this long before its next update: it is made anew often.
const REVOCATION_WARNED: Duration = Duration::from_secs(3 * 86_400);
/// Most certificates of devices that are told of before the first of them ends; more end too.
const TOLD_MAX: usize = 5000;
/// Most facts of one alert.
const FACTS_MAX: usize = 20;
const SETTING: &str = "device_certificates_told";

/// What was told of, and until when it counted.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told(BTreeMap<String, i64>);

impl Told {
    /// What is new of what ends; what ended or was renewed is forgotten.
    fn look(&mut self, ending: &BTreeMap<String, Timestamp>) -> Vec<(String, Timestamp)> {
        let ends = |name: &String| ending.get(name).map(|end| end.as_micros());
        self.0.retain(|name, end| ends(name) == Some(*end));
        let mut new = Vec::new();
        for (name, end) in ending {
            if self.0.insert(name.clone(), end.as_micros()).is_none() {
                new.push((name.clone(), *end));
            }
        }
        new
    }
}

impl App {
    /// Tells tenants of what ends soon and was not told of.
    pub(crate) async fn warn_of_certificates(&self) {
        let tenants: Vec<TenantId> = self.0.tree.read().ids().collect();
        for tenant in tenants {
            match self.warn_tenant(tenant).await {
                // A tenant whose keys are denied is told when they are not.
                Ok(()) => {}
                Err(error) if error.is_withheld() => {}
                Err(error) => {
                    tracing::warn!(%tenant, %error, "ending certificates were not told of");
                }
            }
        }
    }

    async fn warn_tenant(&self, tenant: TenantId) -> Result<()> {
        let context = self.job_in(jobs::RETENTION, tenant);
        let tx = self.0.store.read(&context).await?;
        let ending = ending(&tx, context.at).await?;
        let setting = tx.setting(SETTING).await?;
        drop(tx);
        let version = setting.as_ref().map_or(0, |setting| setting.version);
        let known = setting.and_then(|setting| serde_json::from_slice(&setting.body).ok());
        let before: Told = known.unwrap_or_default();
        let mut told = Told(before.0.clone());
        let new = told.look(&ending);
        if told == before {
            return Ok(());
        }
        if !new.is_empty() {
            let kind = Finding::CertificatesEnding;
            let found = Found { tenant, kind, facts: facts(&new), session: None };
            self.raise_finding(&found).await?;
        }
        let body = serde_json::to_vec(&told).map_err(|error| Error::Internal(error.to_string()))?;
        let tx = self.0.store.begin(&context).await?;
        tx.setting_put(SETTING, &body, Some(version)).await?;
        Ok(tx.commit().await?)
    }
}

/// What is told: the first by name, of the others how many.
fn facts(new: &[(String, Timestamp)]) -> Vec<(String, String)> {
    let mut facts: Vec<_> = new.iter().take(FACTS_MAX).map(|(name, end)| fact(name, end)).collect();
    let more = new.len().saturating_sub(FACTS_MAX);
    if new.len() >= TOLD_MAX {
        facts.push(fact("more", format!("at least {more}")));
    } else if more > 0 {
        facts.push(fact("more", more));
    }
    facts
}

/// What of a tenant ends soon, by what it is.
async fn ending(tx: &TenantTx, now: Timestamp) -> Result<BTreeMap<String, Timestamp>> {
    let soon = now.saturating_add(CERTIFICATE_WARNED);
    let mut ending = BTreeMap::new();
    for authority in tx.device_authorities().await? {
        if authority.disabled_at.is_some() {
            continue;
        }
        if authority.valid_until > now && authority.valid_until <= soon {
            ending.insert(format!("authority {}", authority.id), authority.valid_until);
        }
        let list = authority.revocation_until;
        let list = list.filter(|end| *end <= now.saturating_add(REVOCATION_WARNED));
        if let Some(end) = list {
            ending.insert(format!("revocation list of authority {}", authority.id), end);
        }
    }
    for one in tx.certificates_ending((now, soon), TOLD_MAX as u64).await? {
        let name = format!("certificate {} of device {}", one.credential, one.device);
        ending.insert(name, one.ends_at);
    }
    Ok(ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_names_the_first_and_counts_the_others() {
        let new = |count: usize| -> Vec<(String, Timestamp)> {
            (0..count).map(|one| (one.to_string(), Timestamp::from_micros(1))).collect()
        };
        assert_eq!(facts(&new(FACTS_MAX)).len(), FACTS_MAX);
        assert_eq!(facts(&new(FACTS_MAX + 7)).last(), Some(&fact("more", 7)));
        let many = facts(&new(TOLD_MAX));
        assert!(many.last().is_some_and(|(_, text)| text.starts_with("at least")));
    }

    #[test]
    fn what_ends_soon_is_told_once_and_again_after_it_was_renewed() {
        let at = Timestamp::from_micros;
        let ending = |all: &[(&str, i64)]| -> BTreeMap<String, Timestamp> {
            all.iter().map(|(name, end)| ((*name).to_owned(), at(*end))).collect()
        };
        let mut told = Told::default();
        assert_eq!(told.look(&ending(&[("a", 1)])), [("a".to_owned(), at(1))]);
        assert!(told.look(&ending(&[("a", 1)])).is_empty());
        let both = ending(&[("a", 2), ("b", 1)]);
        assert_eq!(told.look(&both), [("a".to_owned(), at(2)), ("b".to_owned(), at(1))]);
        assert!(told.look(&ending(&[])).is_empty());
        assert_eq!(told, Told::default());
    }
}
