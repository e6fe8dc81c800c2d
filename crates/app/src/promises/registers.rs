//! P07, P08, P10, P11, P21, P37 and P39: what the registers say is
//! compared with what happens, in a tenant of nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use veritwin_access::jobs;
use veritwin_domain::{OpContext, RegisterEntryId, TenantId};
use veritwin_keys::verify_signature;
use veritwin_metastore::{RegisterKind, RegisterState};
use veritwin_outbound::register::{DestinationKind, Row};

use super::run::InApp;
use super::{PROBE_CUSTOMER, PROBE_TENANT, PlatformProbe, ProbeAnswer};
use crate::analytics::figures;
use crate::processing::{CLAUSES, missing_clauses};
use crate::provision::PLATFORM_TENANT;
use crate::registers::Fields;
use crate::transfers::{FlowWay, Flows};
use crate::{App, Error, Result};

const VERSION: u32 = 1;
/// With what mails hold.
const PROVIDERS_VERSION: u32 = 2;
/// Codes that are nobody's (ISO 3166-1, user-assigned).
const HOME: &str = "XA";
const ABROAD: &str = "XB";
/// Who enters what the checks enter.
const BY: &str = "check";

fn failed(summary: &str, place: impl Into<String>) -> ProbeAnswer {
    let place = place.into();
    ProbeAnswer::Failed { summary: summary.to_owned(), facts: Vec::new(), place }
}

fn passed(summary: &str, facts: &[(&str, usize)]) -> ProbeAnswer {
    let facts = facts.iter().map(|(name, count)| ((*name).to_owned(), count.to_string()));
    ProbeAnswer::Passed { summary: summary.to_owned(), facts: facts.collect() }
}

pub(super) fn probes(app: &App) -> [Arc<dyn PlatformProbe>; 7] {
    [
        InApp::shared(app, 7, VERSION, |app: App| async move { app.check_disclosure().await }),
        InApp::shared(app, 8, VERSION, |app: App| async move { app.check_agreement().await }),
        InApp::shared(
            app,
            10,
            PROVIDERS_VERSION,
            |app: App| async move { app.check_providers().await },
        ),
        InApp::shared(app, 11, VERSION, |app: App| async move { app.check_transfer().await }),
        InApp::shared(app, 21, VERSION, |app: App| async move { app.check_figures() }),
        InApp::shared(app, 37, VERSION, |app: App| async move { app.check_flows().await }),
        InApp::shared(app, 39, VERSION, |app: App| async move { app.check_residency() }),
    ]
}

fn fields(of: &[(&str, &str)]) -> Fields {
    let fields = of.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Fields::entered(fields.collect::<BTreeMap<_, _>>(), BY)
}

impl App {
    /// What one person did, and what nine did, is not told; what ten did is.
    fn check_figures(&self) -> Result<ProbeAnswer> {
        let counts = [1u64, 9, 10].map(|actors| (actors.to_string(), 1000, actors));
        let told = figures(counts.to_vec(), self.analytics_group_min());
        let is_right = told.figures.len() == 1 && told.suppressed == 2;
        if !is_right {
            return Ok(failed("Figures of a small group are told.", "analytics"));
        }
        Ok(passed("Figures of one person and of a small group are not told.", &[]))
    }

    async fn nobody(&self) -> Result<OpContext> {
        self.ensure_probe_tenant().await?;
        Ok(self.job_in(jobs::PROMISES, PROBE_TENANT))
    }

    async fn forget_entry(&self, context: &OpContext, id: RegisterEntryId) -> Result<()> {
        let tx = self.0.store.begin(context).await?;
        tx.register_entry_delete(id).await?;
        Ok(tx.commit().await?)
    }

    /// An entry of nobody, carried out before anybody approved it, and again right after.
    async fn carried_out_early(&self, kind: RegisterKind, of: &[(&str, &str)]) -> Result<bool> {
        let context = self.nobody().await?;
        let made = self.put_entry(&context, (kind, fields(of)), None).await?;
        let unapproved = self.carry_out_entry(&context, made.id).await.is_ok();
        let by_one = self.approve_entry(&context, made.id, BY.to_owned()).await.is_ok();
        let is_early = match (unapproved, kind) {
            (false, RegisterKind::BusinessTransfer) => {
                self.approve_entry(&context, made.id, "two".to_owned()).await?;
                // Its notice has been out for no time at all.
                self.carry_out_entry(&context, made.id).await.is_ok()
            }
            (early, _) => early,
        };
        self.forget_entry(&context, made.id).await?;
        Ok(is_early || by_one)
    }

    async fn check_disclosure(&self) -> Result<ProbeAnswer> {
        let of = [("authority", "a"), ("law", "l"), ("scope", "s"), ("jurisdiction", HOME)];
        if self.carried_out_early(RegisterKind::Disclosure, &of).await? {
            let summary = "A disclosure was carried out that no second person approved.";
            return Ok(failed(summary, "register of disclosures"));
        }
        Ok(passed("Without an approved entry nothing is disclosed.", &[]))
    }

    async fn check_transfer(&self) -> Result<ProbeAnswer> {
        let past = "2020-01-01T00:00:00Z";
        let of = [("acquirer", "a"), ("effective_at", past), ("notice", "n")];
        if self.carried_out_early(RegisterKind::BusinessTransfer, &of).await? {
            let summary = "A transfer of the business went through before its notice was out.";
            return Ok(failed(summary, "register of transfers"));
        }
        Ok(passed("A transfer waits for its approval and for its notice.", &[]))
    }

    /// Every provider that may be called has to be in the operator's register of sub-processors,
    /// with a signed agreement. Payments have no provider: the feature is not there.
    async fn check_providers(&self) -> Result<ProbeAnswer> {
        let context = self.job_in(jobs::PROMISES, PLATFORM_TENANT);
        let tx = self.0.store.read(&context).await?;
        let entries = tx.register_entries(RegisterKind::Subprocessor).await?;
        drop(tx);
        let mut signed: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries.iter().filter(|one| one.state == RegisterState::InForce) {
            let fields = Fields::read(&entry.body)?;
            if fields.get("agreement") == Some("signed") {
                let name = fields.get("name").unwrap_or_default().to_owned();
                signed.extend(fields.get("host").map(|host| (host.to_lowercase(), name)));
            }
        }
        let is_called =
            |row: &Row| row.kind == DestinationKind::SubProcessor && !row.destination.is_loopback();
        let rows = self.0.egress.rows().into_iter().filter(is_called);
        let mut called: Vec<String> = rows.map(|row| row.destination.host).collect();
        called.sort();
        called.dedup();
        if let Some(host) = called.iter().find(|host| !signed.contains_key(*host)) {
            let summary = "A provider may be called with whom no signed agreement is entered.";
            return Ok(failed(summary, host.clone()));
        }
        let is_published =
            |host: &&String| signed.get(*host).is_some_and(|name| self.is_sub_processor(name));
        if let Some(host) = called.iter().find(|host| !is_published(host)) {
            let summary = "A provider may be called that the policy in force does not name.";
            return Ok(failed(summary, host.clone()));
        }
        let mut facts = match self.check_mailed().await? {
            Ok(facts) => facts,
            Err(place) => {
                let summary = "A mail holds a field that is not on the list of its kind.";
                return Ok(failed(summary, place));
            }
        };
        facts.push(("providers that may be called".to_owned(), called.len().to_string()));
        facts.push(("payment providers".to_owned(), "none is connected".to_owned()));
        let summary = match called.len() {
            0 => "No provider is called, and mails hold what is on the list of their kind.",
            _ => {
                "Every provider that may be called is entered with a signed agreement, and mails \
                 hold what is on the list of their kind."
            }
        };
        Ok(ProbeAnswer::Passed { summary: summary.to_owned(), facts })
    }

    async fn check_agreement(&self) -> Result<ProbeAnswer> {
        let context = self.nobody().await?;
        let (text, key, signature) = self.try_agreement(&context).await?;
        if let Some(letter) = missing_clauses(&text).first() {
            return Ok(failed("An agreement lacks what Article 28(3) asks for.", *letter));
        }
        let damaged = |_| Error::Internal("a signature is not of its form".to_owned());
        let (mut public, mut signed) = ([0u8; 32], [0u8; 64]);
        hex::decode_to_slice(&key, &mut public).map_err(damaged)?;
        hex::decode_to_slice(&signature, &mut signed).map_err(damaged)?;
        if !verify_signature(&public, text.as_bytes(), &signed) {
            return Ok(failed("An agreement's signature is not right.", "agreement"));
        }
        Ok(passed("An agreement says everything, and is signed.", &[("clauses", CLAUSES.len())]))
    }

    async fn check_flows(&self) -> Result<ProbeAnswer> {
        // A customer in which no other check exports or enters anything meanwhile.
        self.ensure_probe_tree().await?;
        let context = self.job_in(jobs::PROMISES, PROBE_CUSTOMER);
        let home = (RegisterKind::Residency, fields(&[("jurisdiction", HOME)]));
        let found = match self.put_entry(&context, home, None).await {
            Ok(_) => self.try_flows(&context).await,
            Err(error) => Err(error),
        };
        let tx = self.0.store.begin(&context).await?;
        for kind in [RegisterKind::Residency, RegisterKind::Flow] {
            for entry in tx.register_entries(kind).await? {
                if Fields::read(&entry.body)?.is_by(BY) {
                    tx.register_entry_delete(entry.id).await?;
                }
            }
        }
        tx.commit().await?;
        self.0.routes.flows.put(PROBE_CUSTOMER, Flows::default());
        Ok(match found? {
            Some(way) => failed("Something may leave without an entry for it.", way.as_str()),
            None => {
                let summary = "Nothing leaves a pinned jurisdiction without an entry in force.";
                let place = usize::from(self.0.routes.flows.of(PLATFORM_TENANT).is_some());
                let facts = [
                    ("ways tried", FlowWay::ALL.len()),
                    ("organisations with a pin", self.pins_of_others().len()),
                    ("places of the platform entered", place),
                ];
                passed(summary, &facts)
            }
        })
    }

    /// The first way by which something may leave that should not, or may not that should.
    async fn try_flows(&self, context: &OpContext) -> Result<Option<FlowWay>> {
        let to = |way: FlowWay| if way == FlowWay::Routing { "nobody.invalid" } else { ABROAD };
        if self.check_flow_by_mail(PROBE_CUSTOMER, "somebody@elsewhere.invalid").is_ok() {
            return Ok(Some(FlowWay::Routing));
        }
        for way in FlowWay::ALL {
            if self.check_flow(PROBE_CUSTOMER, way, to(way)).is_ok() {
                return Ok(Some(way));
            }
            let of = [("way", way.as_str()), ("jurisdiction", ABROAD), ("host", to(way))];
            let review = context.at.saturating_add(Duration::from_secs(3600));
            let entry = (RegisterKind::Flow, fields(&of));
            let made = self.put_entry(context, entry, Some(review)).await?;
            if self.check_flow(PROBE_CUSTOMER, way, to(way)).is_ok() {
                return Ok(Some(way));
            }
            self.approve_entry(context, made.id, "two".to_owned()).await?;
            if self.check_flow(PROBE_CUSTOMER, way, to(way)).is_err() {
                return Ok(Some(way));
            }
        }
        Ok(None)
    }

    /// Every pin but the one that the check of P37 sets while it runs.
    fn pins_of_others(&self) -> Vec<(TenantId, String)> {
        let mut pins = self.0.routes.flows.pins();
        pins.retain(|(tenant, _)| *tenant != PROBE_CUSTOMER);
        pins
    }

    /// Everything of a platform stands in one place: that place has to be every tenant's pin.
    fn check_residency(&self) -> Result<ProbeAnswer> {
        let pins = self.pins_of_others();
        let place = pins.iter().find(|(tenant, _)| *tenant == PLATFORM_TENANT);
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(39) {
            return Ok(failed("An organisation's data stands elsewhere than it says.", "sabotage"));
        }
        let Some((_, place)) = place else {
            let reason = "the operator has not entered where the platform stands";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        };
        if let Some((tenant, pin)) = pins.iter().find(|(_, pin)| pin != place) {
            // Every tenant reads the answer: whose pin it is, is the operator's to know.
            tracing::warn!(%tenant, %pin, "an organisation is pinned elsewhere");
            let summary = "An organisation's data stands elsewhere than it says.";
            return Ok(failed(summary, "register of residency"));
        }
        let own = self.0.routes.flows.of(PLATFORM_TENANT);
        if !own.is_some_and(|own| own.is_evidenced()) {
            let reason = "the operator has not entered the hosting provider's evidence";
            return Ok(ProbeAnswer::CouldNotRun(reason.to_owned()));
        }
        // What the operator states is the evidence; nothing here measures it.
        let summary = "Every pin is the place where the operator states that the platform stands.";
        Ok(passed(summary, &[("pins", pins.len())]))
    }
}
