//! Lists of alerts: by state, severity, device and building, the newest or the most urgent first,
//! in pages, with their counts. Every order and count here is read from an index.

use std::collections::{BTreeMap, HashSet};

use async_recursion::async_recursion as boxed;
use sea_orm::sea_query::Expr;
use veritwin_domain::{DeviceId, SiteId};

use super::alerts::{Alert, AlertSeverity, AlertState, TABLE, load};
use crate::query::{ONE_OF_MAX, Select, is_set, one_of};
use crate::{Cursor, Error, Listed, Page, Result, TenantTx};

/// In which state alerts are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertFilter {
    /// Whose condition holds, and that nobody has acknowledged.
    Attention,
    /// Whose condition holds.
    Active,
    /// That nobody has acknowledged.
    Unacknowledged,
    /// That are not over and done.
    Open,
    /// All.
    #[default]
    All,
}

impl AlertFilter {
    const fn states(self) -> &'static [AlertState] {
        use AlertState::{ActiveAcknowledged, ActiveUnacknowledged, ClearedUnacknowledged};
        match self {
            Self::Attention => &[ActiveUnacknowledged],
            Self::Active => &[ActiveUnacknowledged, ActiveAcknowledged],
            Self::Unacknowledged => &[ActiveUnacknowledged, ClearedUnacknowledged],
            Self::Open => &[ActiveUnacknowledged, ActiveAcknowledged, ClearedUnacknowledged],
            Self::All => AlertState::ALL,
        }
    }
}

/// Which alerts are wanted; everything given must hold.
#[derive(Debug, Clone, Default)]
pub struct AlertQuery<'a> {
    /// In these states.
    pub filter: AlertFilter,
    /// Of one of these severities; empty: of any.
    pub severities: &'a [AlertSeverity],
    /// About this device.
    pub device: Option<DeviceId>,
    /// About a device that is bound to this twin; of those that are over: that was.
    pub twin: Option<SiteId>,
    /// About one of these devices, at most 10,000.
    pub among: Option<&'a HashSet<DeviceId>>,
}

/// In which order alerts come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlertOrder {
    /// The newest first.
    #[default]
    Newest,
    /// What waits for a person first, then the worst, then the newest.
    Urgency,
}

/// How many alerts there are of one severity in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCount {
    /// The severity.
    pub severity: AlertSeverity,
    /// The state.
    pub state: AlertState,
    /// How many.
    pub count: u64,
}

/// The states by how much they need a person.
const STATES_BY_URGENCY: [AlertState; 4] = [
    AlertState::ActiveUnacknowledged,
    AlertState::ClearedUnacknowledged,
    AlertState::ActiveAcknowledged,
    AlertState::Cleared,
];

/// Every state with every severity, the most urgent first; its place is its rank.
fn ranks() -> impl Iterator<Item = (u8, AlertState, AlertSeverity)> {
    let pairs = STATES_BY_URGENCY
        .iter()
        .flat_map(|state| AlertSeverity::ALL.iter().map(|severity| (*state, *severity)));
    (0u8..).zip(pairs).map(|(rank, (state, severity))| (rank, state, severity))
}

fn rank_of(alert: &Alert) -> u8 {
    let mut all = ranks();
    let own = all.find(|(_, state, severity)| (*state, *severity) == (alert.state, alert.severity));
    own.map_or(u8::MAX, |(rank, ..)| rank)
}

impl AlertQuery<'_> {
    fn holds(&self, state: AlertState, severity: AlertSeverity) -> bool {
        self.filter.states().contains(&state)
            && (self.severities.is_empty() || self.severities.contains(&severity))
    }

    /// Narrows to devices and building.
    fn place(&self, mut select: Select) -> Result<Select> {
        if let Some(devices) = self.among {
            if devices.len() > ONE_OF_MAX {
                let reason = "the devices shown are more than can be listed here (10000)";
                return Err(Error::Invalid { what: "devices", reason });
            }
            select = select.filter(one_of("device_id", devices.iter().copied()));
        }
        if let Some(device) = self.device {
            select = select.eq("device_id", device);
        }
        if let Some(twin) = self.twin {
            select = select.eq("twin_id", twin);
        }
        Ok(select)
    }

    /// Narrows to everything.
    fn narrow(&self, select: Select) -> Result<Select> {
        let mut select = self.place(select)?;
        if self.filter != AlertFilter::All {
            select = select.filter(one_of("state", self.filter.states().iter().copied()));
        }
        if !self.severities.is_empty() {
            select = select.filter(one_of("severity", self.severities.iter().copied()));
        }
        Ok(select)
    }
}

impl TenantTx {
    /// Alerts, newest first.
    #[boxed]
    pub async fn alerts(&self, filter: AlertFilter, page: &Page) -> Result<Listed<Alert>> {
        let query = AlertQuery { filter, ..AlertQuery::default() };
        self.alerts_of(&query, AlertOrder::Newest, page).await
    }

    /// The alerts that a query finds, in an order.
    #[boxed]
    pub async fn alerts_of(
        &self,
        query: &AlertQuery<'_>,
        order: AlertOrder,
        page: &Page,
    ) -> Result<Listed<Alert>> {
        match order {
            AlertOrder::Newest => self.newest_alerts(query, page).await,
            AlertOrder::Urgency => self.urgent_alerts(query, page).await,
        }
    }

    async fn newest_alerts(&self, query: &AlertQuery<'_>, page: &Page) -> Result<Listed<Alert>> {
        let mut select = query.narrow(self.select(TABLE))?;
        if let Some(cursor) = &page.after {
            let (at, id) = cursor.time()?;
            select = select.before("raised_at", at, id);
        }
        let items = self.read_alerts(select, page.rows() + 1).await?;
        let cursor = |alert: &Alert| Cursor::by_time(alert.raised_at, alert.id.as_bytes());
        Ok(Listed::cut(items, page, cursor))
    }

    /// One rank after the other, until the page is full: each is the beginning of an index range.
    async fn urgent_alerts(&self, query: &AlertQuery<'_>, page: &Page) -> Result<Listed<Alert>> {
        let after = page.after.as_ref().map(Cursor::urgency).transpose()?;
        let wanted = page.rows() + 1;
        let mut items = Vec::new();
        for (rank, state, severity) in ranks() {
            let left = wanted - items.len() as u64;
            let is_passed = after.is_some_and(|(reached, ..)| rank < reached);
            if left == 0 || is_passed || !query.holds(state, severity) {
                continue;
            }
            let mut select = query.place(self.select(TABLE))?;
            select = select.eq("state", state).eq("severity", severity);
            if let Some((_, at, id)) = after.filter(|(reached, ..)| *reached == rank) {
                select = select.before("raised_at", at, id);
            }
            items.extend(self.read_alerts(select, left).await?);
        }
        let cursor = |alert: &Alert| {
            Cursor::by_urgency(rank_of(alert), alert.raised_at, alert.id.as_bytes())
        };
        Ok(Listed::cut(items, page, cursor))
    }

    async fn read_alerts(&self, select: Select, rows: u64) -> Result<Vec<Alert>> {
        let select = select.descending("raised_at").descending("id").limit(rows);
        let vault = self.vault();
        self.core.all(select).await?.iter().map(|row| load(row, &vault)).collect()
    }

    /// How many alerts a query finds, by severity and state; what there is none of is left out.
    #[boxed]
    pub async fn alert_counts(&self, query: &AlertQuery<'_>) -> Result<Vec<AlertCount>> {
        let select = query
            .narrow(self.select(TABLE))?
            .only(Expr::cust("count(*)"), "count")
            .also(Expr::col("state"), "state")
            .also(Expr::col("severity"), "severity")
            .group_by("state")
            .group_by("severity");
        let count = |row: &crate::bind::Row| {
            let (severity, state) = (row.get("severity")?, row.get("state")?);
            Ok(AlertCount { severity, state, count: row.get("count")? })
        };
        let rows = self.core.all(select).await?;
        let mut counts = rows.iter().map(count).collect::<Result<Vec<_>>>()?;
        counts.sort_by_key(|count| (count.severity, count.state));
        Ok(counts)
    }

    /// How many alerts are active on each twin.
    #[boxed]
    pub async fn alert_counts_by_twin(&self) -> Result<BTreeMap<SiteId, u64>> {
        let select = self
            .select(TABLE)
            .filter(one_of("state", AlertFilter::Active.states().iter().copied()))
            .filter(is_set("twin_id"))
            .only(Expr::cust("count(*)"), "count")
            .also(Expr::col("twin_id"), "twin")
            .group_by("twin_id");
        let rows = self.core.all(select).await?;
        rows.iter().map(|row| Ok((row.get("twin")?, row.get("count")?))).collect()
    }
}
