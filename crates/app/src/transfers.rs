//! Where an organisation's data may go (promises P37, P39): one gate that routing, exports, support
//! and sub-processors ask. Without an entry in the register of flows nothing leaves a jurisdiction
//! that the organisation pinned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use veritwin_access::jobs;
use veritwin_domain::{OpContext, TenantId, Timestamp};
use veritwin_metastore::{RegisterEntry, RegisterKind, RegisterState};

use crate::geo::is_local;
use crate::provision::{PLATFORM_TENANT, is_own};
use crate::registers::Fields;
use crate::{App, Error, Result};

/// As an entry has it where nobody knows the country (ISO 3166-1, user-assigned).
pub(crate) const UNKNOWN: &str = "ZZ";
/// Where a pin stays that cannot be read: nowhere.
const UNREADABLE: &str = "??";

/// By which way something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FlowWay {
    /// By a rule to a place outside.
    Routing,
    /// Taken away by a person or program elsewhere.
    Export,
    /// Seen by support elsewhere.
    Support,
    /// Kept or handled by a sub-processor.
    Subprocessor,
}

impl FlowWay {
    /// Every way there is.
    pub(crate) const ALL: [Self; 4] =
        [Self::Routing, Self::Export, Self::Support, Self::Subprocessor];

    /// The word that entries have for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Export => "export",
            Self::Support => "support",
            Self::Subprocessor => "subprocessor",
        }
    }
}

/// A flow that is entered and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    way: FlowWay,
    /// A country, or of routing the host.
    to: String,
    review_at: Timestamp,
}

/// What an organisation has entered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flows {
    /// The jurisdiction that its data is to stay in.
    home: Option<String>,
    /// Whether it is said by what that is shown.
    is_evidenced: bool,
    flows: Vec<Flow>,
}

impl Flows {
    pub(crate) fn of(entries: &[RegisterEntry]) -> Self {
        let mut all = Self::default();
        for entry in entries.iter().filter(|entry| entry.state == RegisterState::InForce) {
            let fields = Fields::read(&entry.body).unwrap_or_default();
            match entry.kind {
                RegisterKind::Residency => {
                    // A pin that cannot be read closes the gate, and does not open it.
                    let home = fields.get("jurisdiction").unwrap_or(UNREADABLE);
                    all.home = Some(home.to_owned());
                    all.is_evidenced = fields.get("statement").is_some();
                }
                RegisterKind::Flow => all.flows.extend(flow(entry, &fields)),
                _ => {}
            }
        }
        all
    }

    pub(crate) fn home(&self) -> Option<&str> {
        self.home.as_deref()
    }

    pub(crate) const fn is_evidenced(&self) -> bool {
        self.is_evidenced
    }

    /// Whether something may leave by a way, to a country or, of routing, to a host.
    fn permits(&self, way: FlowWay, to: &str, now: Timestamp) -> bool {
        let Some(home) = &self.home else { return true };
        if way != FlowWay::Routing && to == home {
            return true;
        }
        let is_it = |flow: &&Flow| flow.way == way && flow.to == to && flow.review_at > now;
        self.flows.iter().any(|flow| is_it(&flow))
    }
}

fn flow(entry: &RegisterEntry, fields: &Fields) -> Option<Flow> {
    let way = fields.get("way")?;
    let way = FlowWay::ALL.into_iter().find(|known| known.as_str() == way)?;
    let to = match way {
        FlowWay::Routing => fields.get("host")?.to_lowercase(),
        _ => fields.get("jurisdiction")?.to_owned(),
    };
    Some(Flow { way, to, review_at: entry.review_at? })
}

/// What every organisation has entered.
#[derive(Debug, Default)]
pub(crate) struct FlowBoard {
    of: RwLock<HashMap<TenantId, Arc<Flows>>>,
    /// What is committed last is put last.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

impl FlowBoard {
    pub(crate) fn put(&self, tenant: TenantId, flows: Flows) {
        let mut all = self.of.write();
        if flows == Flows::default() {
            all.remove(&tenant);
        } else {
            all.insert(tenant, Arc::new(flows));
        }
    }

    pub(crate) fn of(&self, tenant: TenantId) -> Option<Arc<Flows>> {
        self.of.read().get(&tenant).cloned()
    }

    /// How many different places organisations and the operator name.
    pub(crate) fn places(&self) -> usize {
        let all = self.of.read();
        all.values().filter_map(|flows| flows.home()).collect::<HashSet<_>>().len()
    }

    /// Every organisation that pinned a jurisdiction, with it.
    pub(crate) fn pins(&self) -> Vec<(TenantId, String)> {
        let all = self.of.read();
        all.iter().filter_map(|(tenant, flows)| Some((*tenant, flows.home.clone()?))).collect()
    }
}

impl App {
    /// Brings what is entered to memory, before anything can leave.
    pub(crate) async fn load_flows(&self) -> Result<()> {
        let tx = self.0.store.read_platform(&self.job(jobs::ROUTES)).await?;
        let kinds = [RegisterKind::Residency, RegisterKind::Flow];
        let entries = tx.register_entries_of_all(&kinds).await?;
        drop(tx);
        let mut of: HashMap<TenantId, Vec<RegisterEntry>> = HashMap::new();
        for (tenant, entry) in entries {
            of.entry(tenant).or_default().push(entry);
        }
        for (tenant, entries) in of {
            self.0.routes.flows.put(tenant, Flows::of(&entries));
        }
        Ok(())
    }

    /// What an organisation is held to: its own pin. Without one it is, for everything but routing,
    /// the place where the operator says that the platform stands.
    fn held_to(&self, tenant: TenantId, way: FlowWay) -> Option<Arc<Flows>> {
        let board = &self.0.routes.flows;
        let own = board.of(tenant);
        let is_pinned = own.as_ref().is_some_and(|own| own.home.is_some());
        if is_pinned || way == FlowWay::Routing || is_own(tenant) {
            return own;
        }
        let Some(home) = board.of(PLATFORM_TENANT).and_then(|place| place.home.clone()) else {
            return own;
        };
        let own = own.map(|own| Flows::clone(&own)).unwrap_or_default();
        Some(Arc::new(Flows { home: Some(home), ..own }))
    }

    /// Refuses the pin of a place in which nothing stands, once the operator has said where all
    /// does: it could not be kept, and would break a promise in the eyes of everybody.
    pub(crate) fn check_pin(&self, tenant: TenantId, pin: Option<&str>) -> Result<()> {
        let place = self.0.routes.flows.of(PLATFORM_TENANT);
        match (place.as_ref().and_then(|place| place.home()), pin) {
            (Some(home), Some(pin)) if tenant != PLATFORM_TENANT && pin != home => {
                let why = format!("the platform stands in {home}: nothing can be kept elsewhere");
                Err(Error::Conflict(why))
            }
            _ => Ok(()),
        }
    }

    /// The gate: whether something of a tenant may leave by a way, to a country, or of routing to a
    /// host. What is refused is counted.
    pub(crate) fn check_flow(&self, tenant: TenantId, way: FlowWay, to: &str) -> Result<()> {
        let Some(flows) = self.held_to(tenant, way) else { return Ok(()) };
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(37) {
            return Ok(());
        }
        if flows.permits(way, to, self.clock().now()) {
            return Ok(());
        }
        metrics::counter!("veritwin_flows_blocked_total", "way" => way.as_str()).increment(1);
        Err(Error::Forbidden(format!(
            "the register of flows has no entry in force for {} to {to}: the data stays in {}",
            way.as_str(),
            flows.home().unwrap_or_default()
        )))
    }

    /// The same of a mail to somebody outside, by the host of their address.
    pub(crate) fn check_flow_by_mail(&self, tenant: TenantId, address: &str) -> Result<()> {
        let host = address.rsplit_once('@').map_or(address, |(_, host)| host);
        self.check_flow(tenant, FlowWay::Routing, &host.to_lowercase())
    }

    /// The same for whoever asks, by the country of their address. What is not known is no country
    /// that anything may go to without an entry for it.
    pub(crate) fn check_flow_to(&self, context: &OpContext, way: FlowWay) -> Result<()> {
        self.check_flow_from(context, context.tenant, way)
    }

    /// The same of another tenant's data.
    pub(crate) fn check_flow_from(
        &self,
        context: &OpContext,
        tenant: TenantId,
        way: FlowWay,
    ) -> Result<()> {
        let country = match context.origin.address {
            // The platform itself: nothing leaves it.
            None => return Ok(()),
            // A network of its own stands where it stands.
            Some(address) if is_local(address) => {
                let place = self.0.routes.flows.of(PLATFORM_TENANT);
                place.and_then(|place| place.home.clone())
            }
            Some(address) => self.0.geo.place(address).and_then(|place| place.country),
        };
        self.check_flow(tenant, way, country.as_deref().unwrap_or(UNKNOWN))
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::RegisterEntryId;

    use super::*;

    fn entry(kind: RegisterKind, fields: &[(&str, &str)], review_us: i64) -> RegisterEntry {
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        RegisterEntry {
            id: RegisterEntryId::from_bytes([1; 16]),
            kind,
            state: RegisterState::InForce,
            body: Fields::entered(fields.collect(), "somebody").to_store().expect("stored"),
            book: None,
            review_at: Some(Timestamp::from_micros(review_us)),
            version: 1,
            created_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn nothing_leaves_without_an_entry_in_force() {
        let home = entry(RegisterKind::Residency, &[("jurisdiction", "GB")], 0);
        let export = entry(RegisterKind::Flow, &[("way", "export"), ("jurisdiction", "JP")], 100);
        let hook = [("way", "routing"), ("host", "Hooks.example"), ("jurisdiction", "GB")];
        let hook = entry(RegisterKind::Flow, &hook, 100);
        let ended = RegisterEntry { state: RegisterState::Ended, ..export.clone() };
        let flows = Flows::of(&[home.clone(), export, hook]);
        let at = |us: i64| Timestamp::from_micros(us);
        let check = |flows: &Flows, way: FlowWay, to: &str, now: i64, expect: bool| {
            assert_eq!(flows.permits(way, to, at(now)), expect, "{way:?} {to} {now}");
        };
        check(&flows, FlowWay::Export, "GB", 5, true);
        check(&flows, FlowWay::Export, "JP", 5, true);
        check(&flows, FlowWay::Export, "JP", 100, false);
        check(&flows, FlowWay::Export, "US", 5, false);
        check(&flows, FlowWay::Support, "JP", 5, false);
        check(&flows, FlowWay::Routing, "hooks.example", 5, true);
        check(&flows, FlowWay::Routing, "GB", 5, false);
        let pin = home.clone();
        check(&Flows::of(&[home, ended]), FlowWay::Export, "JP", 5, false);
        check(&Flows::default(), FlowWay::Export, "JP", 5, true);
        let damaged = RegisterEntry { body: b"no entry".to_vec(), ..pin };
        check(&Flows::of(&[damaged]), FlowWay::Export, "GB", 5, false);
    }
}
