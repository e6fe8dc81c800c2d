//! P09: an end customer's request lands with its partner and not with the platform. The check
//! writes as a customer of a partner, both of nobody, and looks into both inboxes.

use std::sync::Arc;

use veritwin_domain::{Role, Secret, TenantId};

use super::nobody::{PARTNER_NAME as NAME, PROBE_CUSTOMER, PROBE_PARTNER};
use super::run::InApp;
use super::{PlatformProbe, ProbeAnswer};
use crate::model::{AnsweredBy, ContactInput, Writer};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Result};

const PROMISE: u8 = 9;
const VERSION: u32 = 2;

/// The check.
pub(super) fn probe(app: &App) -> Arc<dyn PlatformProbe> {
    InApp::shared(app, PROMISE, VERSION, |app: App| async move { app.check_partners().await })
}

/// What was found. Where the promise is broken, it may be anybody who is named: that is not told.
fn answer(answered_by: &AnsweredBy, with_partner: usize, with_platform: usize) -> ProbeAnswer {
    let is_named = !answered_by.is_platform && answered_by.name == NAME;
    let facts = vec![
        ("named as answering".to_owned(), if is_named { NAME } else { "another" }.to_owned()),
        ("with the partner".to_owned(), with_partner.to_string()),
        ("with the platform".to_owned(), with_platform.to_string()),
    ];
    if is_named && with_partner == 1 && with_platform == 0 {
        let summary = "A request of a partner's customer lands with the partner alone.";
        return ProbeAnswer::Passed { summary: summary.to_owned(), facts };
    }
    ProbeAnswer::Failed {
        summary: "A request of a partner's customer does not land with the partner.".to_owned(),
        facts,
        place: "POST /v1/contact".to_owned(),
    }
}

impl App {
    async fn check_partners(&self) -> Result<ProbeAnswer> {
        self.ensure_probe_tree().await?;
        let mut nonce = [0u8; 16];
        self.rng().fill(&mut nonce);
        let text = format!("{NAME} {}", hex::encode(nonce));
        let customer = self.open_probe_identity(PROBE_CUSTOMER, NAME, Role::Administrator).await?;
        let shown = self.placed_tenant(&customer.context).await;
        let platform = self.above(&customer.context);
        self.close_probe_identity(&customer).await?;
        let answered_by = shown?.answered_by;
        let input = ContactInput {
            email: Secret::new("probe@customer.invalid".to_owned()),
            text: Secret::new(text.clone()),
        };
        self.send_contact(&platform, Writer::In(PROBE_CUSTOMER), input).await?;
        let with_partner = self.take_messages(PROBE_PARTNER, &text).await?;
        let with_platform = self.take_messages(PLATFORM_TENANT, &text).await?;
        Ok(answer(&answered_by, with_partner, with_platform))
    }

    /// Counts the messages with this text and deletes them.
    async fn take_messages(&self, tenant: TenantId, text: &str) -> Result<usize> {
        let identity = self.open_probe_identity(tenant, NAME, Role::Administrator).await?;
        let taken = async {
            let mut found = self.all_contact(&identity.context).await?;
            found.retain(|message| message.text.expose() == text);
            for message in &found {
                self.close_contact(&identity.context, message.id).await?;
            }
            Ok::<usize, crate::Error>(found.len())
        };
        let taken = taken.await;
        self.close_probe_identity(&identity).await?;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &str, is_platform: bool) -> AnsweredBy {
        let told = || Some(format!("at {name}"));
        AnsweredBy { is_platform, name: name.to_owned(), email: told(), address: told() }
    }

    #[test]
    fn only_the_checks_own_partner_is_named() {
        let passed = answer(&by(NAME, false), 1, 0);
        assert!(matches!(passed, ProbeAnswer::Passed { .. }), "{passed:?}");
        for (name, is_platform) in [("Somebody's Facility Ltd", false), (NAME, true)] {
            let failed = answer(&by(name, is_platform), 1, 0);
            let said = format!("{failed:?}");
            assert!(matches!(failed, ProbeAnswer::Failed { .. }), "{said}");
            assert!(!said.contains(name) && said.contains("another"), "{said}");
        }
        for (with_partner, with_platform) in [(0, 1), (1, 1), (0, 0), (2, 0)] {
            let failed = answer(&by(NAME, false), with_partner, with_platform);
            assert!(matches!(failed, ProbeAnswer::Failed { .. }), "{failed:?}");
        }
    }
}
