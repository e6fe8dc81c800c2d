//! Reading the activity record: filters, search, export. Asking is recorded like everything else.

use std::collections::HashMap;

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{ActivityId, OpContext, RequestId, TenantId, UserId};
use veritwin_metastore::{Activity, ActivityFilter, Page as StorePage, TenantTx, every_row};

use crate::activity::{ActorName, Details, Envelope};
use crate::change::Change;
use crate::model::{ActivityQuery, ActivityView, Page, PageRequest};
use crate::transfers::FlowWay;
use crate::{App, Error, Result};

/// Most records that one search looks through; the page then says where to go on.
const SEARCHED_MAX: usize = 20_000;
/// Longest text to search for, in characters.
const SEARCH_CHARS_MAX: usize = 100;
/// Longest beginning of an action.
const ACTION_CHARS_MAX: usize = 64;
/// Most records of one export; a longer one is asked for in parts.
pub(crate) const EXPORT_ROWS_MAX: usize = 50_000;

/// Names of actors by their texts.
pub(crate) type Names = HashMap<String, String>;

pub(crate) async fn names(tx: &TenantTx) -> Result<Names> {
    let mut names = Names::new();
    for member in every_row(|page| async move { tx.members(&page).await }).await? {
        let shown = member.user.name.filter(|name| !name.is_empty()).unwrap_or(member.user.email);
        names.insert(ActorName::User(member.user.id).to_string(), shown);
    }
    for key in every_row(|page| async move { tx.api_keys(&page).await }).await? {
        names.insert(ActorName::ApiKey(key.id).to_string(), format!("API key {}", key.name));
    }
    Ok(names)
}

fn view(
    row: Activity,
    names: &Names,
    answering: impl Fn(TenantId) -> Option<String>,
) -> Result<ActivityView> {
    let damaged = |_| Error::Internal("an activity record is damaged".to_owned());
    let envelope: Envelope = serde_json::from_slice(&row.envelope).map_err(damaged)?;
    let details: Option<Details> =
        row.details.map(|bytes| serde_json::from_slice(&bytes).map_err(damaged)).transpose()?;
    let details = details.unwrap_or_default();
    Ok(ActivityView {
        id: row.id,
        at: row.at,
        actor: names.get(&envelope.actor).cloned().unwrap_or(envelope.actor),
        // Their names are not shown: whom they belong to is.
        actor_of: envelope.acts_from.and_then(|id| id.parse().ok()).and_then(answering),
        actor_id: row.actor,
        action: envelope.action,
        resource: details.resource,
        outcome: envelope.outcome,
        request: envelope.request.parse().unwrap_or(RequestId::from_bytes([0; 16])),
        address: envelope.address,
        browser: envelope.browser,
        system: envelope.system,
        session: envelope.session,
        country: envelope.country,
        city: envelope.city,
        times: envelope.times,
        before: details.before,
        after: details.after,
    })
}

fn holds_text(view: &ActivityView, wanted: &str) -> bool {
    let optional =
        [&view.address, &view.browser, &view.system, &view.session, &view.country, &view.city];
    let change = [&view.before, &view.after].into_iter().flatten().map(ToString::to_string);
    [&view.actor, &view.action, &view.resource, &view.outcome]
        .into_iter()
        .chain(optional.into_iter().flatten())
        .cloned()
        .chain(change)
        .any(|text| text.to_lowercase().contains(wanted))
}

/// A list request as the store takes it.
pub(crate) fn store_page(page: &PageRequest) -> Result<StorePage> {
    let after = page
        .cursor
        .as_deref()
        .map(|text| {
            text.parse().map_err(|_| Error::invalid_at("cursor", "not a cursor of this list"))
        })
        .transpose()?;
    let limit = u32::try_from(page.rows()).unwrap_or(u32::MAX);
    Ok(StorePage { limit, after })
}

/// What an action may begin with: a part of a word of the policies.
pub(crate) fn check_action(action: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_');
    if action.is_empty() || action.len() > ACTION_CHARS_MAX || !action.bytes().all(fits) {
        let detail = "expected the beginning of an action, such as `device.` or `rule.write`";
        return Err(Error::invalid_at("action", detail));
    }
    Ok(())
}

fn filter(query: &ActivityQuery) -> Result<(ActivityFilter, Option<String>)> {
    if let Some(action) = &query.action {
        check_action(action)?;
    }
    if let Some(outcome) = &query.outcome
        && !["done", "denied", "not_found", "failed"].contains(&outcome.as_str())
    {
        let detail = "must be one of done, denied, not_found, failed";
        return Err(Error::invalid_at("outcome", detail));
    }
    let search = query.search.as_ref().map(|text| text.trim().to_lowercase());
    let search = search.filter(|text| !text.is_empty());
    if search.as_ref().is_some_and(|text| text.chars().count() > SEARCH_CHARS_MAX) {
        return Err(Error::invalid_at("q", format!("at most {SEARCH_CHARS_MAX} characters")));
    }
    let filter = ActivityFilter {
        actor: query.actor,
        action: query.action.clone(),
        outcome: query.outcome.clone(),
        from: query.from,
        to: query.to,
    };
    Ok((filter, search))
}

impl App {
    /// The tenant's activity record, newest first. A search that finds too little within its
    /// bound answers what it found and a cursor to go on with.
    #[boxed]
    pub async fn list_activity(
        &self,
        context: &OpContext,
        query: &ActivityQuery,
    ) -> Result<Page<ActivityView>> {
        let resource = self.authorize_all(context, Action::ActivityRead, Kind::Activity)?;
        let mut page = self.find_activity(context, query, query.page.rows(), SEARCHED_MAX).await?;
        self.name_support(context, &mut page.items).await?;
        self.note(context, Action::ActivityRead, &resource, "done");
        Ok(page)
    }

    /// The same records to take away; who takes very much is noticed.
    #[boxed]
    pub async fn export_activity(
        &self,
        context: &OpContext,
        query: &ActivityQuery,
        format: &'static str,
    ) -> Result<Vec<ActivityView>> {
        let resource = self.authorize_all(context, Action::ActivityExport, Kind::Activity)?;
        self.check_flow_to(context, FlowWay::Export)?;
        let mut page = self.find_activity(context, query, EXPORT_ROWS_MAX, usize::MAX).await?;
        self.name_support(context, &mut page.items).await?;
        if page.next_cursor.is_some() {
            let limit = veritwin_domain::LimitExceeded {
                name: "activity_export_rows_max",
                max: EXPORT_ROWS_MAX,
                actual: EXPORT_ROWS_MAX + 1,
            };
            return Err(limit.into());
        }
        let tx = self.0.store.begin(context).await?;
        let what = Change::to(json!({"rows": page.items.len(), "format": format}));
        self.record_change(&tx, context, Action::ActivityExport, &resource, what).await?;
        tx.commit().await?;
        self.watch_taken(context, page.items.len() as u64, true);
        Ok(page.items)
    }

    /// Says who of the platform's staff it was: they are no members of the tenant.
    async fn name_support(&self, context: &OpContext, items: &mut [ActivityView]) -> Result<()> {
        let mut known: HashMap<UserId, String> = HashMap::new();
        for item in items {
            let staff = item.actor.strip_prefix("support:").and_then(|id| id.parse().ok());
            let Some(staff) = staff else { continue };
            if let std::collections::hash_map::Entry::Vacant(name) = known.entry(staff) {
                let tx = self.0.store.read_platform(&self.above(context)).await?;
                let user = tx.user(staff).await.ok();
                let shown = user
                    .map(|user| user.name.filter(|name| !name.is_empty()).unwrap_or(user.email));
                name.insert(shown.unwrap_or_else(|| "former member of the staff".to_owned()));
            }
            item.actor = format!("Support: {}", known.get(&staff).map_or("", String::as_str));
        }
        Ok(())
    }

    async fn find_activity(
        &self,
        context: &OpContext,
        query: &ActivityQuery,
        wanted: usize,
        searched_max: usize,
    ) -> Result<Page<ActivityView>> {
        let (filter, search) = filter(query)?;
        let mut page = store_page(&query.page)?;
        page.limit = match search {
            Some(_) => veritwin_metastore::PAGE_ROWS_MAX,
            None => u32::try_from(wanted).unwrap_or(u32::MAX),
        };
        self.flush_activity().await;
        let tx = self.0.store.read(context).await?;
        let names = names(&tx).await?;
        let mut items = Vec::new();
        let mut searched = 0;
        loop {
            let listed = tx.activity(&filter, &page).await?;
            for row in listed.items {
                searched += 1;
                let cursor = row.cursor();
                let view = view(row, &names, |id| {
                    let tree = self.0.tree.read();
                    tree.stands_above(id, context.tenant).then(|| tree.answering(id).name)
                })?;
                if search.as_ref().is_some_and(|text| !holds_text(&view, text)) {
                    continue;
                }
                items.push(view);
                if items.len() >= wanted {
                    page.after = Some(cursor);
                    let next_cursor = self.more(&tx, &filter, &page).await?;
                    return Ok(Page { items, next_cursor });
                }
            }
            match listed.next {
                None => return Ok(Page { items, next_cursor: None }),
                Some(next) if searched >= searched_max => {
                    return Ok(Page { items, next_cursor: Some(next.to_string()) });
                }
                Some(next) => page.after = Some(next),
            }
        }
    }

    /// The cursor, when anything lies behind it.
    async fn more(
        &self,
        tx: &TenantTx,
        filter: &ActivityFilter,
        page: &StorePage,
    ) -> Result<Option<String>> {
        let probe = StorePage { limit: 1, after: page.after.clone() };
        let is_more = !tx.activity(filter, &probe).await?.items.is_empty();
        Ok(page.after.as_ref().filter(|_| is_more).map(ToString::to_string))
    }

    /// The ids of a tenant's records, for the checks of promises.
    pub(crate) async fn activity_ids(
        &self,
        context: &OpContext,
        filter: &ActivityFilter,
    ) -> Result<Vec<ActivityId>> {
        self.flush_activity().await;
        let tx = self.0.store.read(context).await?;
        let listed = tx.activity(filter, &StorePage::whole()).await?;
        Ok(listed.items.into_iter().map(|row| row.id).collect())
    }
}
