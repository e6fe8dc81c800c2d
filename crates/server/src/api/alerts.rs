//! Alerts: list, read, acknowledge.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use veritwin_app::model::{
    AlertCount, AlertFilter, AlertOrder, AlertPage, AlertQuery, AlertView, MailNote,
};

use super::auth::Caller;
use super::body::{self, Json, ListBody, PageQuery, Path, Query};
use super::{Answer, Api, Problem, words};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(acknowledge_many))
        .routes(routes!(read))
        .routes(routes!(acknowledge))
}

/// One step in an alert's life.
#[derive(Serialize, ToSchema)]
struct EventBody {
    at: String,
    /// `raised`, `cleared` or `acknowledged`; of mail `notified`, `not_mailed` or, for what is
    /// still in the queue, `mail_waits`.
    #[schema(schema_with = words::alert_event)]
    kind: &'static str,
    /// Who, for what people do.
    by: Option<String>,
    comment: Option<String>,
    /// Why it ended, if not by its value: `data_returned`, `rule_changed` or `device_removed`.
    reason: Option<String>,
    /// How many changes before it were not kept, and are told by this one.
    left_out: Option<u64>,
    /// Of mail: to whom, and why not.
    mail: Option<EventMailBody>,
}

/// How it went with a mail about an alert.
#[derive(Serialize, ToSchema)]
struct EventMailBody {
    /// The recipient's address, masked: `d…@site.example`.
    to: Option<String>,
    /// Why it did not get there, or still waits: `refused` by the server, no `address`, `given_up`
    /// after ten tries, `too_old`, `no_server` was configured, over `mails_waiting_max`;
    /// `no_connection`, `tls`, `sign_in`, `unsigned`, `deferred`.
    reason: Option<String>,
    /// The mail server's reply code.
    code: Option<String>,
    /// How many mails this stands for, if not one.
    count: Option<u64>,
}

impl From<MailNote> for EventMailBody {
    fn from(note: MailNote) -> Self {
        let MailNote { to, reason, code, count } = note;
        Self { to, reason, code, count }
    }
}

/// An alert.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertBody {
    id: String,
    rule_id: String,
    rule_name: String,
    /// `critical`, `high`, `medium` or `low`.
    #[schema(schema_with = words::severity)]
    severity: &'static str,
    /// `active_unacknowledged`, `active_acknowledged`, `cleared_unacknowledged` or `cleared`.
    #[schema(schema_with = words::alert_state)]
    state: &'static str,
    device_id: String,
    device_name: String,
    key: Option<String>,
    unit: Option<String>,
    twin_id: Option<String>,
    space_id: Option<String>,
    storey_id: Option<String>,
    /// What the message says, to be worded in another language from the other facts:
    /// `alert.what.above`, `at_or_above`, `below`, `at_or_below`, `no_data`.
    code: Option<String>,
    /// What, where, since when, how sure.
    message: String,
    value: Option<f64>,
    threshold: Option<f64>,
    raised_at: String,
    cleared_at: Option<String>,
    acknowledged_at: Option<String>,
    acknowledged_by: Option<String>,
    /// What usually helps.
    what_helps: String,
    events: Vec<EventBody>,
}

impl From<AlertView> for AlertBody {
    fn from(view: AlertView) -> Self {
        Self {
            id: view.id.to_string(),
            rule_id: view.rule_id.to_string(),
            rule_name: view.rule_name,
            severity: view.severity,
            state: view.state,
            device_id: view.device_id.to_string(),
            device_name: view.device_name.to_string(),
            key: view.key.map(|key| key.to_string()),
            unit: view.unit,
            twin_id: view.placement.twin_id.map(|id| id.to_string()),
            space_id: view.placement.space_id,
            storey_id: view.storey_id,
            code: view.code,
            message: view.message,
            value: view.value,
            threshold: view.threshold,
            raised_at: body::time(view.raised_at),
            cleared_at: view.cleared_at.map(body::time),
            acknowledged_at: view.acknowledged_at.map(body::time),
            acknowledged_by: view.acknowledged_by,
            what_helps: view.what_helps,
            events: view
                .events
                .into_iter()
                .map(|event| EventBody {
                    at: body::time(event.at),
                    kind: event.kind,
                    by: event.by,
                    comment: event.comment,
                    reason: event.reason,
                    left_out: event.left_out,
                    mail: event.mail.map(EventMailBody::from),
                })
                .collect(),
        }
    }
}

/// Which alerts are wanted; everything given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
struct ListQuery {
    /// `attention` (active and unacknowledged), `active`, `unacknowledged`, `open` (the default) or
    /// `all`.
    filter: Option<String>,
    /// `critical`, `high`, `medium`, `low`, or several of them with commas between.
    severity: Option<String>,
    /// About one device.
    device_id: Option<String>,
    /// About devices that were bound to one twin.
    twin_id: Option<String>,
    /// `newest` (the default) first, or by `urgency`: what waits for a person first, then the
    /// worst, then the newest.
    order: Option<String>,
    /// As given by the page before.
    cursor: Option<String>,
    /// Rows of a page, at most 500.
    limit: Option<usize>,
}

impl ListQuery {
    fn parsed(&self) -> Answer<AlertQuery> {
        let filter = match self.filter.as_deref() {
            None | Some("open") => AlertFilter::Open,
            Some("attention") => AlertFilter::Attention,
            Some("active") => AlertFilter::Active,
            Some("unacknowledged") => AlertFilter::Unacknowledged,
            Some("all") => AlertFilter::All,
            Some(_) => {
                let detail = "filter must be attention, active, unacknowledged, open or all";
                return Err(Problem::invalid(detail).at("filter"));
            }
        };
        let order = match self.order.as_deref() {
            None | Some("newest") => AlertOrder::Newest,
            Some("urgency") => AlertOrder::Urgency,
            Some(_) => {
                return Err(Problem::invalid("order must be newest or urgency").at("order"));
            }
        };
        let severities = self.severity.iter().flat_map(|words| words.split(','));
        Ok(AlertQuery {
            filter,
            severities: severities.map(|word| word.trim().to_owned()).collect(),
            device: body::maybe_id_at("device_id", self.device_id.as_deref())?,
            twin: body::maybe_id_at("twin_id", self.twin_id.as_deref())?,
            order,
        })
    }
}

/// How many alerts of a list are of one severity and in one state.
#[derive(Serialize, ToSchema)]
struct AlertCountBody {
    #[schema(schema_with = words::severity)]
    severity: &'static str,
    #[schema(schema_with = words::alert_state)]
    state: &'static str,
    count: u64,
}

/// A page of alerts.
#[derive(Serialize, ToSchema)]
struct AlertPageBody {
    /// The rows.
    items: Vec<AlertBody>,
    /// Opaque; null on the last page.
    next_cursor: Option<String>,
    /// How many the whole list has. Given with its first page, null with the others.
    total: Option<u64>,
    /// The same by severity and state, without those that there are none of.
    counts: Option<Vec<AlertCountBody>>,
}

impl From<AlertPage> for AlertPageBody {
    fn from(AlertPage { page, counts }: AlertPage) -> Self {
        let total = counts.as_ref().map(|counts| counts.iter().map(|one| one.count).sum());
        let body =
            |AlertCount { severity, state, count }| AlertCountBody { severity, state, count };
        Self {
            items: page.items.into_iter().map(AlertBody::from).collect(),
            next_cursor: page.next_cursor,
            total,
            counts: counts.map(|counts| counts.into_iter().map(body).collect()),
        }
    }
}

/// Lists alerts, the newest or the most urgent first; with the first page how many there are.
#[utoipa::path(get, path = "/v1/alerts", tag = "alerts", params(ListQuery),
    responses((status = 200, body = AlertPageBody), (status = 400)))]
async fn list(
    State(api): State<Api>,
    Caller(context): Caller,
    Query(query): Query<ListQuery>,
) -> Answer<axum::Json<AlertPageBody>> {
    let wanted = query.parsed()?;
    let page = PageQuery { cursor: query.cursor, limit: query.limit }.into();
    Ok(axum::Json(api.app.list_alerts(&context, &wanted, &page).await?.into()))
}

/// Reads an alert with its life so far.
#[utoipa::path(get, path = "/v1/alerts/{id}", tag = "alerts", params(("id" = String, Path)),
    responses((status = 200, body = AlertBody), (status = 404)))]
async fn read(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
) -> Answer<axum::Json<AlertBody>> {
    Ok(axum::Json(api.app.alert(&context, body::id(&id)?).await?.into()))
}

/// An acknowledgement.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct AcknowledgeBody {
    /// At most 1,000 characters.
    comment: Option<String>,
}

/// Acknowledges an alert.
#[utoipa::path(post, path = "/v1/alerts/{id}/acknowledge", tag = "alerts",
    params(("id" = String, Path)), request_body = AcknowledgeBody,
    responses((status = 200, body = AlertBody), (status = 404), (status = 409)))]
async fn acknowledge(
    State(api): State<Api>,
    Caller(context): Caller,
    Path(id): Path<String>,
    Json(body): Json<AcknowledgeBody>,
) -> Answer<axum::Json<AlertBody>> {
    let alert = api.app.acknowledge_alert(&context, body::id(&id)?, body.comment).await?;
    Ok(axum::Json(alert.into()))
}

/// An acknowledgement of several alerts.
#[derive(Deserialize, ToSchema)]
struct AcknowledgeManyBody {
    /// At most 500.
    ids: Vec<String>,
    /// At most 1,000 characters.
    comment: Option<String>,
}

/// Acknowledges several alerts, all of them or none.
#[utoipa::path(post, path = "/v1/alerts/acknowledge", tag = "alerts",
    request_body = AcknowledgeManyBody,
    responses((status = 200, body = ListBody<AlertBody>), (status = 404), (status = 409)))]
async fn acknowledge_many(
    State(api): State<Api>,
    Caller(context): Caller,
    Json(body): Json<AcknowledgeManyBody>,
) -> Answer<axum::Json<ListBody<AlertBody>>> {
    let ids = body.ids.iter().map(|id| body::id(id)).collect::<Result<Vec<_>, _>>()?;
    let alerts = api.app.acknowledge_alerts(&context, &ids, body.comment).await?;
    Ok(axum::Json(ListBody::whole(alerts.into_iter().map(AlertBody::from).collect())))
}
