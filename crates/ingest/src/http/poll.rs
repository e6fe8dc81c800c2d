//! Long polls: a device that waits for one attribute update or call. While it waits it is linked
//! like a connected device; 408 when nothing came in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use veritwin_domain::{Key, LimitExceeded, Value};

use super::device::{json, parameter};
use super::problem::Problem;
use super::{Api, Authenticated, LONG_POLLS_MAX, TENANT_LONG_POLLS_MAX};
use crate::attached::Attached;
use crate::link::DeviceLink;
use crate::model::{DeviceSession, Downlink, Transport};
use crate::payload::{changes_json, rpc_json};

/// Wait when the request names none, or 0, and the longest it may name.
const WAIT_MILLIS_DEFAULT: u64 = 20_000;
const WAIT_MILLIS_MAX: u64 = 300_000;

/// Attributes that changed while somebody waited, none where they are deleted; the later change of
/// one counts.
#[derive(Default)]
struct Changes(BTreeMap<Key, Option<Value>>);

impl Changes {
    fn take(&mut self, downlink: Downlink) {
        match downlink {
            Downlink::AttributesUpdated(entries) => {
                self.0.extend(entries.into_iter().map(|(key, value)| (key, Some(value))));
            }
            Downlink::AttributesDeleted(keys) => {
                self.0.extend(keys.into_iter().map(|key| (key, None)));
            }
            Downlink::Rpc(_) | Downlink::OfChild { .. } | Downlink::ChildGone(_) => {}
        }
    }

    fn json(self) -> String {
        let (mut set, mut deleted) = (Vec::new(), Vec::new());
        for (key, value) in self.0 {
            match value {
                Some(value) => set.push((key, value)),
                None => deleted.push(key),
            }
        }
        changes_json(&set, &deleted)
    }
}

pub(super) async fn attributes(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    wait(&api, session, query.as_deref(), (true, false)).await
}

pub(super) async fn rpc(
    State(api): State<Arc<Api>>,
    Authenticated(session): Authenticated,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    wait(&api, session, query.as_deref(), (false, true)).await
}

async fn wait(
    api: &Api,
    session: Arc<DeviceSession>,
    query: Option<&str>,
    (wants_attributes, wants_rpc): (bool, bool),
) -> Result<Response, Problem> {
    let millis = match parameter(query, "timeout").filter(|text| text != "0") {
        None => WAIT_MILLIS_DEFAULT,
        Some(text) => {
            text.parse().ok().filter(|millis| *millis <= WAIT_MILLIS_MAX).ok_or_else(|| {
                let detail = "timeout: expected milliseconds, at most 300000";
                Problem::new(StatusCode::BAD_REQUEST, detail)
            })?
        }
    };
    let over = |name, max| {
        let limit = LimitExceeded { name, max, actual: max + 1 };
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, limit.to_string());
        problem.retry_after(5)
    };
    let own = api.tenant_polls.of(session.tenant, || Semaphore::new(TENANT_LONG_POLLS_MAX));
    let Ok(_own) = own.try_acquire() else {
        return Err(over("tenant_long_polls_max", TENANT_LONG_POLLS_MAX));
    };
    let Ok(_permit) = api.polls.try_acquire() else {
        return Err(over("long_polls_max", LONG_POLLS_MAX));
    };
    let new_link = if wants_rpc { DeviceLink::of_call } else { DeviceLink::new };
    let (link, mut end) = new_link(Transport::Http);
    link.set_interests(wants_attributes, wants_rpc);
    let device = Arc::clone(&session);
    let attached = Attached::new(Arc::clone(&api.parts.sink), session, link).await;
    if wants_rpc {
        api.parts.sink.listens(&device);
    }
    let first = tokio::select! {
        first = timeout(Duration::from_millis(millis), end.downlinks.recv()) => first,
        _ = end.close.wait_for(Option::is_some) => Ok(None),
    };
    attached.detach().await;
    match first {
        Ok(Some(first @ (Downlink::AttributesUpdated(_) | Downlink::AttributesDeleted(_)))) => {
            // What else came meanwhile: of one change, what it sets and what it deletes.
            let mut changes = Changes::default();
            changes.take(first);
            while let Ok(more) = end.downlinks.try_recv() {
                changes.take(more);
            }
            Ok(json(changes.json()))
        }
        Ok(Some(Downlink::Rpc(request))) => {
            api.parts.sink.call_delivered(&device, request.id);
            Ok(json(rpc_json(&request, true)))
        }
        // What is for others comes over the gateway's connection.
        Ok(Some(Downlink::OfChild { .. } | Downlink::ChildGone(_)) | None) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the wait was ended by the platform")
                .retry_after(5))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came in time")),
    }
}
