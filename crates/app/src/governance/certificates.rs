//! The register of certificates: an organisation's own, and its suppliers'. One counts as own only
//! where its holder is the organisation of the register; a supplier's is shown as the supplier's,
//! whatever was typed (promise P36).

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind, jobs};
use veritwin_domain::{GovernanceId, OpContext, TenantId, Timestamp};
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::due_words::Due;
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, Thing, brief, digest, resource, text, thing, things, word,
};
use crate::change::Change;
use crate::holds::words;
use crate::model::{CertificateContent, CertificateFacts, Governed};
use crate::provision::PLATFORM_TENANT;
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Certificate;
/// The standard of modules that keys are in.
const MODULES: &str = "fips_140";
const STANDARDS: [&str; 6] =
    ["iso_27001", "iso_27017", "iso_27018", "soc_2_type_2", MODULES, "other"];
/// What the published policy says the operator is certified to.
pub(crate) const OWN_STANDARDS: [&str; 4] = ["iso_27001", "iso_27017", "iso_27018", "soc_2_type_2"];
/// An end is told of this long before it.
const WARNED: Duration = Duration::from_secs(60 * 86_400);

/// A certificate has no facts but those of its register.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Facts {}

type Certificate = Thing<CertificateContent, Facts>;

/// What a register says of the standards that its organisation itself is to be certified to.
pub(crate) struct OwnStandards {
    /// Those to which it is.
    pub(crate) counted: Vec<&'static str>,
    /// Those to which it was, or will be.
    pub(crate) ended: Vec<&'static str>,
}

/// The standards that the organisation of a register is certified to itself at a moment.
pub(crate) async fn own_standards(
    app: &App,
    tx: &TenantTx,
    now: Timestamp,
) -> Result<OwnStandards> {
    let register: Vec<Certificate> = things(tx, KIND, None).await?;
    let own: Vec<&CertificateContent> = register
        .iter()
        .map(|one| &one.content)
        .filter(|content| app.is_own(tx.tenant_id(), content))
        .collect();
    let (mut counted, mut ended) = (Vec::new(), Vec::new());
    for standard in OWN_STANDARDS {
        let mut of_it = own.iter().filter(|content| content.standard == standard).peekable();
        if of_it.peek().is_none() {
            continue;
        }
        let counts = of_it.any(|content| counts_at(content, now));
        if counts { counted.push(standard) } else { ended.push(standard) }
    }
    Ok(OwnStandards { counted, ended })
}

/// Whether a certificate counts at a moment.
fn counts_at(content: &CertificateContent, now: Timestamp) -> bool {
    content.valid_from.is_none_or(|from| from <= now)
        && content.expires_at.is_some_and(|end| end > now)
}

/// How many certificates of key modules, whoever holds them, count in a register at a moment.
pub(crate) async fn module_certificates(tx: &TenantTx, now: Timestamp) -> Result<usize> {
    let register: Vec<Certificate> = things(tx, KIND, None).await?;
    let of_modules = register.iter().filter(|one| one.content.standard == MODULES);
    Ok(of_modules.filter(|one| counts_at(&one.content, now)).count())
}

/// When something has to be told of a certificate next.
fn due(content: &CertificateContent, now: Timestamp) -> Option<Timestamp> {
    let end = content.expires_at?;
    let warned = end.saturating_sub(WARNED);
    [warned, end].into_iter().find(|at| *at > now)
}

fn same_name(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.trim().to_lowercase();
    !one.trim().is_empty() && plain(one) == plain(other)
}

impl App {
    #[cfg(feature = "test-controls")]
    fn takes_anybodys(&self) -> bool {
        self.0.promises.is_sabotaged(36)
    }

    #[cfg(not(feature = "test-controls"))]
    const fn takes_anybodys(&self) -> bool {
        false
    }

    /// The names under which an organisation holds certificates: its own, and the one that its
    /// brand gives for it.
    fn holder_names(&self, tenant: TenantId) -> [Option<String>; 2] {
        let tree = self.0.tree.read();
        let name = tree.get(tenant).map(|tenant| tenant.name.clone());
        let brand = tree.brands.get(&tenant).map(|brand| brand.body.contact_name.clone());
        [name, brand]
    }

    /// Whether a certificate is the organisation's own, and nobody else's.
    fn is_own(&self, tenant: TenantId, content: &CertificateContent) -> bool {
        if content.relation != "own" {
            return false;
        }
        let names = self.holder_names(tenant);
        let is_holder = names.iter().flatten().any(|name| same_name(name, &content.holder));
        is_holder || self.takes_anybodys()
    }

    fn checked_certificate(
        &self,
        tenant: TenantId,
        content: CertificateContent,
    ) -> Result<CertificateContent> {
        word("standard", &content.standard, &STANDARDS)?;
        word("relation", &content.relation, &["own", "supplier"])?;
        let content = CertificateContent {
            holder: words("holder", &content.holder, NAME_CHARS_MAX)?,
            scope: words("scope", &content.scope, NOTE_CHARS_MAX)?,
            issuer: words("issuer", &content.issuer, NAME_CHARS_MAX)?,
            number: text("number", &content.number, NAME_CHARS_MAX)?,
            sha256: digest("sha256", &content.sha256, false)?,
            ..content
        };
        if content.expires_at.is_none() {
            return Err(Error::invalid_at("expires_at", "say until when it counts"));
        }
        if content.relation == "own" && !self.is_own(tenant, &content) {
            let detail = "the holder is not your organisation: enter it as a supplier's";
            return Err(Error::invalid_at("holder", detail));
        }
        Ok(content)
    }

    /// The organisation's certificates, and those of the operator of the platform.
    #[boxed]
    pub async fn list_certificate_register(
        &self,
        context: &OpContext,
    ) -> Result<Vec<Governed<CertificateContent, CertificateFacts>>> {
        let all = self.authorize_all(context, Action::GovernanceSee, Kind::Governance)?;
        let mut views = self.register_of(context).await?;
        if context.tenant != PLATFORM_TENANT {
            let operator = self.job_in(jobs::GOVERNANCE, PLATFORM_TENANT);
            views.extend(self.register_of(&operator).await?);
        }
        self.note(context, Action::GovernanceSee, &all, "done");
        Ok(views)
    }

    async fn register_of(
        &self,
        context: &OpContext,
    ) -> Result<Vec<Governed<CertificateContent, CertificateFacts>>> {
        let tx = self.0.store.read(context).await?;
        let register: Vec<Certificate> = things(&tx, KIND, None).await?;
        let register_of = self.holder_names(context.tenant)[0].clone().unwrap_or_default();
        let view = |certificate: Certificate| {
            let is_own = self.is_own(context.tenant, &certificate.content);
            certificate.view(CertificateFacts { register_of: register_of.clone(), is_own })
        };
        Ok(register.into_iter().map(view).collect())
    }

    /// Enters a certificate.
    #[boxed]
    pub async fn enter_certificate(
        &self,
        context: &OpContext,
        content: CertificateContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let content = self.checked_certificate(context.tenant, content)?;
        let is_over = content.expires_at.is_some_and(|end| end <= context.at);
        let state = if is_over { "expired" } else { "valid" };
        let mut certificate = Certificate::new(self, context, KIND, (content, Facts {}), state);
        certificate.row.due_at = due(&certificate.content, context.at);
        let tx = self.0.store.begin(context).await?;
        self.put_new(&tx, context, Action::GovernanceWrite, &certificate).await?;
        tx.commit().await?;
        Ok(certificate.row.id)
    }

    /// Takes a certificate out of the register.
    #[boxed]
    pub async fn strike_certificate(&self, context: &OpContext, id: GovernanceId) -> Result<()> {
        let resource = resource(context, id);
        self.authorize(context, Action::GovernanceWrite, &resource)?;
        let tx = self.0.store.begin(context).await?;
        let certificate: Certificate = thing(&tx, KIND, id).await?;
        tx.governance_delete(id).await?;
        let change = Change::from(brief(certificate.value()));
        self.record_change(&tx, context, Action::GovernanceWrite, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// A certificate ends soon, or has ended.
    pub(super) async fn certificate_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut certificate: Certificate = thing(tx, KIND, id).await?;
        let before = certificate.value();
        let is_over = certificate.content.expires_at.is_some_and(|end| end <= context.at);
        if is_over {
            certificate.row.state = "expired".to_owned();
        }
        certificate.row.due_at = due(&certificate.content, context.at);
        let word = if is_over { "expired" } else { "ends_soon" };
        let done = (Action::GovernanceWrite, word);
        self.put_changed(tx, context, done, (before, &mut certificate)).await?;
        Ok(Some(if is_over { Due::CertificateExpired } else { Due::CertificateEnds }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_of_before_and_when_it_is_there() {
        let day = |day: i64| Timestamp::from_micros(day * veritwin_domain::DAY_MICROS);
        let content =
            CertificateContent { expires_at: Some(day(100)), ..CertificateContent::default() };
        assert_eq!(due(&content, day(0)), Some(day(40)));
        assert_eq!(due(&content, day(40)), Some(day(100)));
        assert_eq!(due(&content, day(100)), None);
    }

    #[test]
    fn a_certificate_counts_from_its_beginning_to_its_end() {
        let day = |day: i64| Timestamp::from_micros(day * veritwin_domain::DAY_MICROS);
        let content = CertificateContent {
            valid_from: Some(day(10)),
            expires_at: Some(day(20)),
            ..CertificateContent::default()
        };
        let counted = [9, 10, 19, 20].map(|at| counts_at(&content, day(at)));
        assert_eq!(counted, [false, true, true, false]);
        assert!(!counts_at(&CertificateContent::default(), day(1)), "one without an end");
    }

    #[test]
    fn names_are_the_same_but_for_case_and_space() {
        assert!(same_name(" Acme Ltd", "ACME LTD "));
        assert!(!same_name("Acme Ltd", "Acme Cloud Ltd"));
        assert!(!same_name("", ""));
    }
}
