//! P32: every stored password hash, and one made now by the way every password takes, is Argon2id
//! with at least the published parameters.

use std::sync::Arc;

use veritwin_access::jobs;
use veritwin_domain::Secret;
use veritwin_keys::password;

use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::{App, Result};

const PROMISE: u8 = 32;
const VERSION: u32 = 1;

pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_passwords().await })
}

/// Memory, passes and lanes of `m=19456,t=2,p=1`; none when it has another form.
fn costs(parameters: &str) -> Option<[u64; 3]> {
    let mut costs = [0u64; 3];
    let mut fields = parameters.split(',');
    for (cost, name) in costs.iter_mut().zip(["m=", "t=", "p="]) {
        *cost = fields.next()?.strip_prefix(name)?.parse().ok()?;
    }
    fields.next().is_none().then_some(costs)
}

/// Whether `argon2id$v=19$m=..,t=..,p=..` is at least as slow as what is published.
fn is_strong(parameters: &str) -> bool {
    let published = costs(password::PARAMETERS);
    let own = parameters.strip_prefix("argon2id$v=19$").and_then(costs);
    match (own, published) {
        (Some(own), Some(published)) => own.iter().zip(published).all(|(own, least)| *own >= least),
        _ => false,
    }
}

/// The public part of a hash in PHC form: algorithm, version and parameters, nothing after them.
fn public_part(hash: &str) -> String {
    let parts: Vec<&str> = hash.split('$').skip(1).take(3).collect();
    if parts.len() == 3 { parts.join("$") } else { "not a PHC string".to_owned() }
}

impl App {
    async fn check_passwords(&self) -> Result<ProbeAnswer> {
        let tx = self.0.store.read_platform(&self.job(jobs::PROMISES)).await?;
        let stored = tx.password_parameters().await?;
        drop(tx);
        let mut random = [0u8; 16];
        self.rng().fill(&mut random);
        let fresh = self.hash_password(Secret::new(hex::encode(random))).await?;
        let fresh = public_part(fresh.expose());
        let accounts: u64 = stored.values().sum();
        let mut facts = vec![
            ("published parameters".to_owned(), format!("argon2id {}", password::PARAMETERS)),
            ("a hash made now".to_owned(), fresh.replace('$', " ")),
            ("stored hashes".to_owned(), accounts.to_string()),
        ];
        for (parameters, count) in &stored {
            facts
                .push((format!("stored with {}", parameters.replace('$', " ")), count.to_string()));
        }
        if !is_strong(&fresh) {
            return Ok(ProbeAnswer::Failed {
                summary: "A password that is set now gets a weaker hash than published.".to_owned(),
                facts,
                place: "password hashing".to_owned(),
            });
        }
        let weak: u64 =
            stored.iter().filter(|(parameters, _)| !is_strong(parameters)).map(|(_, n)| n).sum();
        if weak > 0 {
            return Ok(ProbeAnswer::Failed {
                summary: format!(
                    "{weak} of {accounts} stored password hashes are weaker than published."
                ),
                facts,
                place: "table users, column password_hash".to_owned(),
            });
        }
        let summary = if accounts == 0 {
            "No password is stored yet; one set now gets Argon2id with at least the published \
             parameters."
                .to_owned()
        } else {
            format!(
                "{accounts} stored password hashes, and one made now, are Argon2id with at least \
                 the published parameters."
            )
        };
        Ok(ProbeAnswer::Passed { summary, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaker_hashes_are_told_from_stronger_ones() {
        for strong in ["argon2id$v=19$m=19456,t=2,p=1", "argon2id$v=19$m=65536,t=3,p=4"] {
            assert!(is_strong(strong), "{strong}");
        }
        for weak in [
            "argon2id$v=19$m=8,t=1,p=1",
            "argon2id$v=19$m=65536,t=1,p=1",
            "argon2i$v=19$m=19456,t=2,p=1",
            "argon2id$v=16$m=19456,t=2,p=1",
            "argon2id$v=19$m=19456,t=2",
            "argon2id$v=19$m=19456,t=2,p=1,x=2",
            "",
        ] {
            assert!(!is_strong(weak), "{weak}");
        }
        assert_eq!(
            public_part("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA"),
            "argon2id$v=19$m=8,t=1,p=1"
        );
        assert_eq!(public_part("hunter2"), "not a PHC string");
    }
}
