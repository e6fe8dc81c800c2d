//! Calls to devices that are kept, sealed, until their end: sent in their order, one at a time,
//! when the device listens, and again after a crash. At least once: whoever must not do it twice
//! looks at the number.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as Line, OwnedMutexGuard};
use veritwin_access::{Action, Resource, jobs};
use veritwin_domain::{CallId, CredentialId, DeviceId, OpContext, Shared, TenantId, Timestamp};
use veritwin_metastore::{CallState, StoredCall, TenantTx};

use crate::change::Change;
use crate::devices::check_text;
use crate::model::{CallInput, CallToSend, CallView, Page, PageRequest};
use crate::records::store_page;
use crate::tree::over;
use crate::{App, DeviceCommand, Error, Result};

/// Most calls to one device of which something can still become.
pub const DEVICE_CALLS_MAX: usize = 100;
/// Most calls of a tenant of which something can still become.
pub const TENANT_CALLS_MAX: u64 = 10_000;
/// Most calls of a tenant that are kept, those that ended included.
pub const TENANT_CALLS_KEPT_MAX: u64 = 100_000;
/// Longest parameters and longest answer of a call, in bytes.
pub const CALL_BYTES_MAX: usize = 64 * 1024;
/// Longest time for a call.
pub const CALL_LASTS_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Most times that a call is sent again.
pub const CALL_RETRIES_MAX: u32 = 100;
const METHOD_CHARS_MAX: usize = 128;
/// Calls are kept so long after their end.
const CALLS_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// The first number of a call that is kept: below it are those that are waited for at once. Clients
/// that read numbers of 32 bits with a sign read these.
pub const CALL_NUMBER_MIN: u32 = 1 << 30;
const CALL_NUMBER_MAX: u64 = (1 << 31) - 1;

/// Where those wait that change calls of a device: what one of them has read stays so until it has
/// written.
pub(crate) type CallLines = Shared<(TenantId, DeviceId), Line<()>>;

#[derive(Serialize, Deserialize)]
struct Body {
    method: String,
    params: String,
    two_way: bool,
    retries: u32,
    answer: Option<String>,
    error: Option<String>,
}

fn body_of(call: &StoredCall) -> Result<Body> {
    serde_json::from_slice(&call.body)
        .map_err(|_| Error::Internal("a stored call is damaged".to_owned()))
}

fn bytes_of(body: &Body) -> Result<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| Error::Internal(error.to_string()))
}

pub(crate) fn view(call: &StoredCall) -> Result<CallView> {
    let Body { method, params, two_way, retries, answer, error } = body_of(call)?;
    Ok(CallView {
        id: call.id,
        device: call.device,
        state: call.state.as_str(),
        method,
        params,
        two_way,
        answer,
        error,
        attempts: call.attempts,
        retries,
        expires_at: call.expires_at,
        created_at: call.created_at,
        updated_at: call.updated_at,
    })
}

/// A call as it is recorded: what it asks for is not.
fn recorded(call: &StoredCall, body: &Body) -> serde_json::Value {
    serde_json::json!({
        "call": call.id,
        "method": body.method,
        "two_way": body.two_way,
        "state": call.state.as_str(),
    })
}

/// Keeps a call with another body.
async fn put(tx: &TenantTx, mut call: StoredCall, body: &Body) -> Result<()> {
    call.body = bytes_of(body)?;
    Ok(tx.call_put(&call).await?)
}

/// A call that was withdrawn, for the checks that ask for others' things.
pub(crate) fn withdrawn(id: CallId, device: DeviceId, at: Timestamp) -> Result<StoredCall> {
    let body = Body {
        method: "probe".to_owned(),
        params: "{}".to_owned(),
        two_way: false,
        retries: 0,
        answer: None,
        error: None,
    };
    Ok(StoredCall {
        id,
        device,
        number: u64::from(CALL_NUMBER_MIN),
        state: CallState::Deleted,
        body: bytes_of(&body)?,
        attempts: 0,
        expires_at: at,
        created_at: at,
        updated_at: at,
    })
}

impl App {
    async fn calls_turn(&self, device: (TenantId, DeviceId)) -> OwnedMutexGuard<()> {
        self.0.call_lines.of(device, Line::default).lock_owned().await
    }

    /// A command that may be sent to the device by this actor.
    pub(crate) async fn check_command(
        &self,
        context: &OpContext,
        id: DeviceId,
        method: &str,
    ) -> Result<Resource> {
        if method.is_empty() {
            return Err(Error::invalid_at("method", "needs a name"));
        }
        check_text("method", method, METHOD_CHARS_MAX)?;
        self.authorize_device(context, Action::DeviceCommand, id).await
    }

    /// Whether the actor may send this command to the device.
    #[boxed]
    pub async fn authorize_command(
        &self,
        context: &OpContext,
        id: DeviceId,
        method: &str,
    ) -> Result<DeviceCommand> {
        let resource = self.check_command(context, id, method).await?;
        let tx = self.0.store.begin(context).await?;
        tx.device(id).await?;
        self.record(&tx, context, Action::DeviceCommand, &resource).await?;
        tx.commit().await?;
        Ok(DeviceCommand { tenant: context.tenant, device: id })
    }

    /// Keeps a call to a device until it is delivered, answered or past its time.
    #[boxed]
    pub async fn keep_call(
        &self,
        context: &OpContext,
        device: DeviceId,
        input: CallInput,
    ) -> Result<CallView> {
        if input.params.len() > CALL_BYTES_MAX {
            let actual = input.params.len() as u64;
            return Err(over("call_bytes_max", CALL_BYTES_MAX as u64, actual));
        }
        if input.lasts.is_zero() || input.lasts > CALL_LASTS_MAX {
            let detail = "limit call_lasts_max: 1 ms to 30 days";
            return Err(Error::invalid_at("expires_in_ms", detail));
        }
        if input.retries > CALL_RETRIES_MAX {
            let detail = format!("limit call_retries_max: at most {CALL_RETRIES_MAX}");
            return Err(Error::invalid_at("retries", detail));
        }
        self.check_command(context, device, &input.method).await?;
        let _turn = self.calls_turn((context.tenant, device)).await;
        let tx = self.0.store.begin(context).await?;
        tx.device(device).await?;
        let open = tx.calls_open(device, DEVICE_CALLS_MAX as u64).await?.len();
        if open >= DEVICE_CALLS_MAX {
            return Err(over("device_kept_calls_max", DEVICE_CALLS_MAX as u64, open as u64 + 1));
        }
        let (kept, of_tenant) = tx.calls_count().await?;
        let bounds = [
            ("tenant_open_calls_max", TENANT_CALLS_MAX, of_tenant + 1),
            ("tenant_kept_calls_max", TENANT_CALLS_KEPT_MAX, kept + 1),
        ];
        if let Some((name, max, actual)) = bounds.into_iter().find(|(_, max, is)| is > max) {
            return Err(over(name, max, actual));
        }
        let last = tx.call_number_max(device).await?;
        let number = last.map_or(u64::from(CALL_NUMBER_MIN), |last| last + 1);
        if number > CALL_NUMBER_MAX {
            return Err(over("call_number_max", CALL_NUMBER_MAX, number));
        }
        let CallInput { method, params, two_way, lasts, retries } = input;
        let body = Body { method, params, two_way, retries, answer: None, error: None };
        let call = StoredCall {
            id: CallId::generate(context.at, self.rng()),
            device,
            number,
            state: CallState::Queued,
            body: bytes_of(&body)?,
            attempts: 0,
            expires_at: context.at.saturating_add(lasts),
            created_at: context.at,
            updated_at: context.at,
        };
        tx.call_put(&call).await?;
        let resource = Resource::device(context.tenant, device);
        let change = Change::to(recorded(&call, &body));
        self.record_change(&tx, context, Action::DeviceCommand, &resource, change).await?;
        tx.commit().await?;
        view(&call)
    }

    /// The kept calls to a device, newest first.
    #[boxed]
    pub async fn calls(
        &self,
        context: &OpContext,
        device: DeviceId,
        page: &PageRequest,
    ) -> Result<Page<CallView>> {
        let resource = self.authorize_device(context, Action::DeviceCommand, device).await?;
        let tx = self.0.store.read(context).await?;
        tx.device(device).await?;
        let listed = tx.calls(device, &store_page(page)?).await?;
        self.note(context, Action::DeviceCommand, &resource, "done");
        let items = listed.items.iter().map(view).collect::<Result<Vec<_>>>()?;
        Ok(Page { items, next_cursor: listed.next.map(|cursor| cursor.to_string()) })
    }

    /// One kept call.
    #[boxed]
    pub async fn call(
        &self,
        context: &OpContext,
        device: DeviceId,
        id: CallId,
    ) -> Result<CallView> {
        let resource = self.authorize_device(context, Action::DeviceCommand, device).await?;
        let tx = self.0.store.read(context).await?;
        let call = tx.call(device, id).await?;
        self.note(context, Action::DeviceCommand, &resource, "done");
        view(&call)
    }

    /// Withdraws a call. What the device has, it has.
    #[boxed]
    pub async fn withdraw_call(
        &self,
        context: &OpContext,
        device: DeviceId,
        id: CallId,
    ) -> Result<()> {
        let resource = self.authorize_device(context, Action::DeviceCommand, device).await?;
        let _turn = self.calls_turn((context.tenant, device)).await;
        let tx = self.0.store.begin(context).await?;
        let call = tx.call(device, id).await?;
        tx.call_delete(device, id).await?;
        let change = Change::from(recorded(&call, &body_of(&call)?));
        self.record_change(&tx, context, Action::DeviceCommand, &resource, change).await?;
        Ok(tx.commit().await?)
    }

    /// The call that a device is to be sent now, noted as sent. None while one is on its way;
    /// `again` when that one was lost with its connection.
    #[boxed]
    pub async fn next_call(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
        again: bool,
    ) -> Result<Option<CallToSend>> {
        let context = self.call_context((tenant, device), credential)?;
        let rows_max = DEVICE_CALLS_MAX as u64;
        if self.0.store.read(&context).await?.calls_open(device, rows_max).await?.is_empty() {
            return Ok(None);
        }
        let _turn = self.calls_turn((tenant, device)).await;
        let tx = self.0.store.begin(&context).await?;
        for mut call in tx.calls_open(device, rows_max).await? {
            match call.state {
                CallState::Sent if !again && call.expires_at > context.at => return Ok(None),
                CallState::Sent | CallState::Queued => {}
                _ => continue,
            }
            let mut body = body_of(&call)?;
            if call.expires_at <= context.at {
                call.state = CallState::Expired;
            } else if call.attempts > u64::from(body.retries) {
                call.state = CallState::Failed;
                body.error = Some(format!("not delivered in {} attempts", call.attempts));
            } else {
                call.state = CallState::Sent;
                call.attempts += 1;
                let number = u32::try_from(call.number).unwrap_or(u32::MAX);
                tx.call_put(&call).await?;
                tx.commit().await?;
                let Body { method, params, .. } = body;
                let expires_at = call.expires_at;
                return Ok(Some(CallToSend { id: call.id, number, method, params, expires_at }));
            }
            put(&tx, call, &body).await?;
        }
        tx.commit().await?;
        Ok(None)
    }

    /// A call was not sent after all: it waits again, and the attempt does not count.
    #[boxed]
    pub async fn call_unsent(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
        id: CallId,
    ) -> Result<()> {
        let context = self.call_context((tenant, device), credential)?;
        let _turn = self.calls_turn((tenant, device)).await;
        let tx = self.0.store.begin(&context).await?;
        let mut call = tx.call(device, id).await?;
        if call.state == CallState::Sent {
            call.state = CallState::Queued;
            call.attempts = call.attempts.saturating_sub(1);
            tx.call_put(&call).await?;
        }
        Ok(tx.commit().await?)
    }

    /// A device has a call.
    #[boxed]
    pub async fn call_delivered(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
        number: u32,
    ) -> Result<()> {
        let context = self.call_context((tenant, device), credential)?;
        let _turn = self.calls_turn((tenant, device)).await;
        let tx = self.0.store.begin(&context).await?;
        let Some(mut call) = tx.call_by_number(device, number.into()).await? else {
            return Ok(());
        };
        if call.state != CallState::Sent {
            return Ok(());
        }
        let two_way = body_of(&call)?.two_way;
        call.state = if two_way { CallState::Delivered } else { CallState::Successful };
        tx.call_put(&call).await?;
        Ok(tx.commit().await?)
    }

    /// A device answers a kept call; durable when this returns.
    #[boxed]
    pub async fn answer_call(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
        (number, answer): (u32, String),
    ) -> Result<()> {
        let context = self.call_context((tenant, device), credential)?;
        let _turn = self.calls_turn((tenant, device)).await;
        let tx = self.0.store.begin(&context).await?;
        let found = tx.call_by_number(device, number.into()).await?;
        let Some(mut call) = found.filter(|call| call.state.is_open()) else {
            return Err(Error::NotFound("call"));
        };
        let mut body = body_of(&call)?;
        call.state = CallState::Successful;
        match self.check_kept("answer", &answer) {
            // Nothing that a source says is kept.
            Ok(()) if self.is_in_zone(tenant, device) => {
                body.error = Some("the device is a source of a public zone".to_owned());
            }
            Ok(()) => body.answer = Some(answer),
            Err(refused) => body.error = Some(refused.told()),
        }
        put(&tx, call, &body).await?;
        Ok(tx.commit().await?)
    }

    /// What a device does with calls to it, it does itself.
    fn call_context(
        &self,
        (tenant, device): (TenantId, DeviceId),
        credential: CredentialId,
    ) -> Result<OpContext> {
        let context = self.device_context(tenant, device, credential);
        self.authorize(&context, Action::DeviceRpc, &Resource::device(tenant, device))?;
        Ok(context)
    }

    /// Deletes what a device was called for, and what it answered; how many calls there were.
    pub(crate) async fn forget_calls(&self, context: &OpContext, device: DeviceId) -> Result<u64> {
        let _turn = self.calls_turn((context.tenant, device)).await;
        let tx = self.0.store.begin(context).await?;
        let count = tx.calls_delete_of(device).await?;
        tx.commit().await?;
        Ok(count)
    }

    /// Ends calls that are past their time, and deletes those whose end is long ago.
    pub(crate) async fn tend_calls(&self) -> Result<()> {
        let context = self.job(jobs::RETENTION);
        if self.0.store.read_platform(&context).await?.calls_due(context.at).await? == 0 {
            return Ok(());
        }
        let tx = self.0.store.begin_platform(&context).await?;
        tx.calls_expire(context.at).await?;
        Ok(tx.commit().await?)
    }

    /// Calls that ended before this are deleted.
    pub(crate) const fn calls_kept() -> Duration {
        CALLS_KEPT
    }
}
