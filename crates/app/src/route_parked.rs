//! Messages that could not be delivered: listed, opened by those who may, sent again, discarded.

use async_recursion::async_recursion as boxed;
use serde_json::json;
use veritwin_access::{Action, Kind};
use veritwin_domain::{OpContext, RouteMessageId};
use veritwin_metastore::{RouteMessageState, RouteParked, RouteParkedFilter};

use crate::change::Change;
use crate::model::{Page, PageRequest, RouteParkedQuery, RouteParkedView};
use crate::records::store_page;
use crate::route_body::RouteBody;
use crate::route_queue::{ROUTE_MESSAGES_BYTES_MAX, ROUTE_MESSAGES_MAX};
use crate::{App, Error, Result};

/// Most messages that are sent again at once.
const ROUTE_REPLAYED_MAX: u64 = 1_000;

const fn filter(query: RouteParkedQuery) -> RouteParkedFilter {
    RouteParkedFilter { rule: query.rule, destination: query.destination }
}

fn view(one: &RouteParked) -> RouteParkedView {
    RouteParkedView {
        id: one.id,
        rule: one.rule,
        destination: one.destination,
        device: one.device,
        bytes: one.bytes,
        reason: one.reason.map_or("unreachable", veritwin_metastore::RouteFailure::as_str),
        status: one.status,
        created_at: one.created_at,
        parked_at: one.parked_at,
    }
}

impl App {
    /// Parked messages, newest first, without what they say.
    #[boxed]
    pub async fn parked_messages(
        &self,
        context: &OpContext,
        query: RouteParkedQuery,
        page: &PageRequest,
    ) -> Result<Page<RouteParkedView>> {
        let resource = self.authorize_all(context, Action::RouteRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let listed = tx.route_messages_parked(filter(query), &store_page(page)?).await?;
        self.note(context, Action::RouteRead, &resource, "done");
        let items = listed.items.iter().map(view).collect();
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }

    /// What a parked message says, as JSON: as much of it as may leave now.
    #[boxed]
    pub async fn parked_message(
        &self,
        context: &OpContext,
        id: RouteMessageId,
    ) -> Result<serde_json::Value> {
        let resource = self.authorize_all(context, Action::RouteDeliver, Kind::Tenant)?;
        let message = self.0.store.read(context).await?.route_message_parked(id).await?;
        let devices = self.tenant_devices(context).await?;
        let book = self.stream_book(context).await?;
        let gone = || Error::Destroyed("the device of this message was deleted".to_owned());
        let device = devices.get(message.device).ok_or_else(gone)?;
        let mut body = RouteBody::read(&message.body)?;
        if !body.keep(|key| book.is_open(device, key)) {
            let text = "nothing of this message may leave now: its streams are not open";
            return Err(Error::Conflict(text.to_owned()));
        }
        self.note(context, Action::RouteDeliver, &resource, "done");
        serde_json::to_value(&body).map_err(|error| Error::Internal(error.to_string()))
    }

    /// Sends parked messages again: one, or the oldest of those that are asked for; answers how
    /// many.
    #[boxed]
    pub async fn replay_parked(
        &self,
        context: &OpContext,
        query: RouteParkedQuery,
        one: Option<RouteMessageId>,
    ) -> Result<u64> {
        let resource = self.authorize_all(context, Action::RouteDeliver, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        tx.route_hold().await?;
        if let Some(id) = one {
            tx.route_message_parked(id).await?;
        }
        let room = tx.route_room(RouteMessageState::Waiting).await?;
        let most = ROUTE_MESSAGES_MAX.saturating_sub(room.messages).min(ROUTE_REPLAYED_MAX);
        if most == 0 || room.bytes >= ROUTE_MESSAGES_BYTES_MAX {
            let text = "as many messages wait as may: send again when some of them went";
            return Err(Error::Conflict(text.to_owned()));
        }
        let lanes = tx.route_messages_unpark(filter(query), one, most).await?;
        let mut count = 0;
        for ((rule, destination), messages) in lanes {
            tx.route_lane_retry(rule, destination).await?;
            count += messages;
        }
        let what = json!({ "replayed": count, "message": one.map(|id| id.to_string()) });
        let change = Change::to(what);
        self.record_change(&tx, context, Action::RouteDeliver, &resource, change).await?;
        tx.commit().await?;
        // The room that is left is another.
        self.route_sources_changed(context.tenant);
        Ok(count)
    }

    /// Discards a parked message; nobody gets it back.
    #[boxed]
    pub async fn discard_parked(&self, context: &OpContext, id: RouteMessageId) -> Result<()> {
        let resource = self.authorize_all(context, Action::RouteDeliver, Kind::Tenant)?;
        let tx = self.0.store.begin(context).await?;
        tx.route_hold().await?;
        let message = tx.route_message_parked(id).await?;
        tx.route_lane_lost((message.rule, message.destination), (0, 1)).await?;
        tx.route_message_delete(id).await?;
        let change = Change::from(json!({ "message": id.to_string() }));
        self.record_change(&tx, context, Action::RouteDeliver, &resource, change).await?;
        tx.commit().await?;
        Ok(())
    }
}
