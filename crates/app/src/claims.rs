//! Claiming: a device that a tenant above prepared becomes a customer's own, by its name and the
//! secret it told. It is a new device there and comes in as before; what it was stays with whoever
//! prepared it, under their keys, and neither reads the other's.

use std::net::IpAddr;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use parking_lot::Mutex;
use serde_json::json;
use veritwin_access::{Action, Attempt, Kind, Rate, RateLimiter, Resource, Throttle, jobs};
use veritwin_domain::{ClaimRequest, CredentialId, DeviceId, OpContext, Secret, TenantId};
use veritwin_keys::{constant_time_eq, hmac_sha256};
use veritwin_metastore::{
    ClaimWindow, Credential, CredentialFacts, Device, DeviceMove, MoveState, TakenCredential,
    TenantTx,
};

use crate::activity::actor_text;
use crate::change::Change;
use crate::claim_lists::{away, refuse_moved};
use crate::claim_moves::{check_moves, offered_by};
use crate::device_credentials::CREDENTIALS_PER_DEVICE_MAX;
use crate::devices::{KIND_CHARS_MAX, check_name, check_text, recorded};
use crate::error::found;
use crate::model::{ClaimInput, DeviceInput, MovedDevice};
use crate::tree::Quota;
use crate::{App, Error, Result};

/// Shortest secret of a device that is to be claimed, unless its name alone is enough.
const CLAIM_SECRET_CHARS_MIN: usize = 8;
const CLAIM_SECRET_BYTES_MAX: usize = 256;
/// For how long a device may be claimed that does not say, as in ThingsBoard.
const CLAIM_DURATION_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const CLAIM_DURATION_MIN: Duration = Duration::from_secs(1);
const CLAIM_DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often a device asks to be claimed.
const DEVICE_OFFERS: Rate = Rate::new(1, 10);
/// How often it is asked with one credential: a gateway's is that of all devices behind it.
const GATEWAY_OFFERS: Rate = Rate::new(10, 256);
/// How often a move is tried again that gave way to another writer of the same rows.
pub(crate) const COLLISIONS_MAX: usize = 3;
/// Under which key secrets are compared: the same after a restart.
const SECRET_KEY: &str = "device claims v1";
/// Whether a device may be claimed by its name alone.
pub(crate) const SETTING: &str = "claiming";

const UNKNOWN: Error = Error::NotFound("device that waits to be claimed by this name and secret");
const NEEDS_SECRET: &str = "secretKey: needs 8 characters or more, or the organisation allows \
                            its devices to be claimed by their names alone";
const NAME_TAKEN: &str = "a device of this name is there already: rename that one first";
const NO_ROOM: &str = "the device that this was here before has no place for its credentials: \
                       revoke some first";

/// Who claims is slowed down when guessing, and so is a device that asks too often.
pub(crate) struct Claims {
    throttle: Mutex<Throttle>,
    offers: Mutex<RateLimiter<(TenantId, DeviceId)>>,
    of_gateways: Mutex<RateLimiter<(TenantId, CredentialId)>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            throttle: Mutex::default(),
            offers: Mutex::new(RateLimiter::new("device_offers_per_second")),
            of_gateways: Mutex::new(RateLimiter::new("gateway_offers_per_second")),
        }
    }
}

/// Whether a device has a place for so many credentials more.
pub(crate) async fn has_place(tx: &TenantTx, device: DeviceId, more: usize) -> Result<bool> {
    let credentials = tx.credentials(device).await?;
    let in_force = credentials.iter().filter(|one| one.revoked_at.is_none()).count();
    Ok(in_force + more <= CREDENTIALS_PER_DEVICE_MAX)
}

pub(crate) async fn by_name_alone(tx: &TenantTx) -> Result<bool> {
    Ok(tx.setting(SETTING).await?.is_some_and(|setting| setting.body == b"by name alone"))
}

fn check_duration(asked: Option<Duration>) -> Result<Duration> {
    let duration = asked.unwrap_or(CLAIM_DURATION_DEFAULT);
    if (CLAIM_DURATION_MIN..=CLAIM_DURATION_MAX).contains(&duration) {
        return Ok(duration);
    }
    let (min, max) = (CLAIM_DURATION_MIN.as_millis(), CLAIM_DURATION_MAX.as_millis());
    Err(Error::invalid_at("durationMs", format!("must be {min} to {max}, or leave it out")))
}

impl App {
    fn claim_digest(
        &self,
        (tenant, device): (TenantId, DeviceId),
        secret: &Secret<String>,
    ) -> Result<[u8; 32]> {
        let key = self.0.keys.platform_subkey(SECRET_KEY)?;
        let ids = [&tenant.as_bytes()[..], device.as_bytes()].concat();
        Ok(hmac_sha256(key.expose(), &[&ids[..], secret.expose().as_bytes()].concat()))
    }

    /// Whether a window is open to whoever knows the device's name.
    pub(crate) fn is_by_name_alone(&self, tenant: TenantId, window: &ClaimWindow) -> Result<bool> {
        let none = self.claim_digest((tenant, window.device), &Secret::new(String::new()))?;
        Ok(constant_time_eq(&none, &window.secret_digest))
    }

    /// Lets a device be claimed for a while, as it asks itself or the gateway that it is behind.
    #[boxed]
    pub async fn offer_device(
        &self,
        (tenant, device, credential): (TenantId, DeviceId, CredentialId),
        request: ClaimRequest,
    ) -> Result<()> {
        self.refuse_unserved(tenant)?;
        let context = self.device_context(tenant, device, credential);
        let resource = Resource::device(tenant, device);
        self.authorize(&context, Action::DeviceOffer, &resource)?;
        let duration = check_duration(request.duration)?;
        let secret = &request.secret;
        check_text("secretKey", secret.expose(), CLAIM_SECRET_BYTES_MAX)?;
        let chars = secret.expose().chars().count();
        let is_short = chars > 0 && chars < CLAIM_SECRET_CHARS_MIN;
        if is_short || secret.expose().len() > CLAIM_SECRET_BYTES_MAX {
            let (min, max) = (CLAIM_SECRET_CHARS_MIN, CLAIM_SECRET_BYTES_MAX);
            let detail = format!("needs {min} characters or more, and {max} bytes at most");
            return Err(Error::invalid_at("secretKey", detail));
        }
        let now = self.clock().monotonic();
        self.0.claims.of_gateways.lock().take((tenant, credential), 1, GATEWAY_OFFERS, now)?;
        self.0.claims.offers.lock().take((tenant, device), 1, DEVICE_OFFERS, now)?;
        let gone = self.refuse_claimed(&context, device).await?;
        let tx = self.0.store.begin(&context).await?;
        if chars == 0 && !by_name_alone(&tx).await? {
            return Err(Error::Forbidden(NEEDS_SECRET.to_owned()));
        }
        let known = tx.device_held(device).await?;
        let gateway = offered_by(&tx, &known, credential).await?;
        refuse_moved(&tx, device, gone).await?;
        check_moves(&tx, &known, gateway).await?;
        let window = ClaimWindow {
            device,
            secret_digest: self.claim_digest((tenant, device), secret)?,
            opened_at: context.at,
            expires_at: context.at.saturating_add(duration),
        };
        tx.claim_window_open(&window).await?;
        tx.commit().await?;
        self.note(&context, Action::DeviceOffer, &resource, "done");
        Ok(())
    }

    /// What guesses are counted by: the device with the person, and the person with the address.
    /// The name counts inside the person's own tenant, so that nobody locks out another.
    fn claim_attempts(&self, context: &OpContext, name: &str) -> [Attempt; 2] {
        let subject = |what: &str, text: &[u8]| {
            let tenant = context.tenant.as_bytes();
            hmac_sha256(&self.0.attempt_key, &[what.as_bytes(), &tenant[..], text].concat())
        };
        let person = subject("claim by ", actor_text(&context.actor.kind).as_bytes());
        let device = subject("claim of ", name.to_lowercase().as_bytes());
        let address = context.origin.address.map(|address| match address {
            IpAddr::V4(address) => subject("claim from ", &address.octets()),
            IpAddr::V6(address) => subject("claim from ", &address.octets()[..8]),
        });
        [Attempt::new(device, Some(person)), Attempt::new(person, address)]
    }

    fn begin_claim(&self, attempts: &[Attempt; 2]) -> Result<()> {
        let (mut throttle, now) = (self.0.claims.throttle.lock(), self.clock().monotonic());
        let [device, person] = attempts;
        let begun = throttle.attempt(device, now).and_then(|()| {
            throttle.attempt(person, now).inspect_err(|_| throttle.withdrawn(device))
        });
        begun.map_err(|throttled| Error::Busy { retry_after: throttled.retry_after })
    }

    /// What was looked at was right, or could not be looked at. It forgives no guess.
    fn withdraw_claim(&self, attempts: &[Attempt; 2]) {
        let mut throttle = self.0.claims.throttle.lock();
        attempts.iter().for_each(|attempt| throttle.withdrawn(attempt));
    }

    /// Claims a device of a tenant above for the context's own, by its name there and the secret
    /// that it told. Live connections that it has are for the caller to end.
    #[boxed]
    pub async fn claim_device(
        &self,
        context: &OpContext,
        input: ClaimInput,
    ) -> Result<MovedDevice> {
        let resource = self.authorize_all(context, Action::DeviceClaim, Kind::Device)?;
        if !self.reach(context, Action::DeviceCreate, Kind::Device)?.is_whole() {
            let detail = "claiming makes a device: that takes the right in the whole tenant";
            return Err(Error::Forbidden(detail.to_owned()));
        }
        let name = check_name(&input.name)?;
        check_text("type", &input.kind, KIND_CHARS_MAX)?;
        let attempts = self.claim_attempts(context, &name);
        self.begin_claim(&attempts)?;
        let found = self.find_claimed(context, &name, &input.secret).await;
        let found = found.inspect_err(|_| self.withdraw_claim(&attempts))?;
        let Some(former) = found else {
            self.note(context, Action::DeviceClaim, &resource, "not_found");
            return Err(UNKNOWN);
        };
        self.withdraw_claim(&attempts);
        for _ in 0..COLLISIONS_MAX {
            match self.move_claimed(context, (&name, &input), former).await {
                Err(error) if error.is_collision() => {}
                done => return done,
            }
        }
        self.move_claimed(context, (&name, &input), former).await
    }

    /// The device of a tenant above that has this name, waits to be claimed and told this secret;
    /// the nearest, if there are several. As much is done for a name that nobody has.
    async fn find_claimed(
        &self,
        context: &OpContext,
        name: &str,
        secret: &Secret<String>,
    ) -> Result<Option<(TenantId, DeviceId)>> {
        let all: Vec<_> = self.0.tree.read().upwards(context.tenant).skip(1).collect();
        let mut tx = self.0.store.read_platform(&self.above(context)).await?;
        let mut found = None;
        for tenant in all {
            let window = tx.claim_window_named(tenant, name).await?;
            let device = window.map_or(DeviceId::from_bytes([0; 16]), |window| window.device);
            let digest = self.claim_digest((tenant, device), secret)?;
            let kept = window.map_or([0; 32], |window| window.secret_digest);
            let is_open = window.is_some_and(|window| context.at < window.expires_at);
            if !constant_time_eq(&digest, &kept) || !is_open {
                continue;
            }
            // A name is enough only while whoever prepared it says so, whatever waits.
            let inside = tx.inside(tenant).await?;
            if !secret.expose().is_empty() || by_name_alone(&inside).await? {
                found = found.or(Some((tenant, device)));
            }
            tx = inside.above().await?;
        }
        Ok(found)
    }

    /// The row that a claimed device gets: the one it had when it was here before, or a new one.
    async fn claimed_row(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (name, kind): (String, String),
        former: (TenantId, DeviceId),
    ) -> Result<(Device, bool)> {
        let known = tx.device_moved_from(former.0, former.1).await?;
        if let Some(known) = known.filter(|known| known.state == MoveState::GivenBack)
            && away(tx, known.device).await?.is_none()
        {
            return Ok((tx.device_held(known.device).await?, false));
        }
        if tx.device_by_name(&name).await?.is_some() {
            return Err(Error::Conflict(NAME_TAKEN.to_owned()));
        }
        let count = tx.usage().await?.devices + 1;
        self.check_quota(context.tenant, Quota::Devices, count)?;
        let input = DeviceInput { name, kind, ..DeviceInput::default() };
        Ok((self.new_device(context, input)?, true))
    }

    /// Moves a device, in one transaction over both tenants.
    async fn move_claimed(
        &self,
        context: &OpContext,
        (name, input): (&str, &ClaimInput),
        (partner, id): (TenantId, DeviceId),
    ) -> Result<MovedDevice> {
        let tx = self.0.store.begin_platform(&self.above_as(context)).await?;
        let tx = tx.inside(partner).await?;
        // In the order in which everybody takes them: the device, its credentials, its window. Of
        // several who are here at once one finds it, and somebody else may have been first.
        let former = found(tx.device_held(id).await)?.ok_or(UNKNOWN)?;
        let digest = self.claim_digest((partner, id), &input.secret)?;
        let is_open = |window: &ClaimWindow| {
            context.at < window.expires_at && constant_time_eq(&digest, &window.secret_digest)
        };
        tx.claim_window(id).await?.filter(is_open).ok_or(UNKNOWN)?;
        check_moves(&tx, &former, former.gateway).await?;
        // A source of a public zone stays one: nobody takes it elsewhere.
        if self.is_in_zone(partner, id) {
            return Err(UNKNOWN);
        }
        let taken = tx.credentials_take(id, context.at).await?;
        if !tx.claim_window_close(id).await? {
            return Err(UNKNOWN);
        }
        let tx = tx.above().await?.inside(context.tenant).await?;
        let asked = (name.to_owned(), input.kind.clone());
        let (mut device, is_new) = self.claimed_row(&tx, context, asked, (partner, id)).await?;
        let tx = tx.above().await?.inside(partner).await?;
        if former.gateway.is_some() {
            // It speaks for it no longer.
            tx.device_put_behind(id, None).await?;
        }
        self.keep_move(&tx, context, (id, MoveState::Away), (context.tenant, device.id)).await?;
        let organisation = self.branch_name(partner, context.tenant);
        let change = Change::from_to(
            json!({"name": former.name, "gateway": former.gateway, "organisation": null}),
            json!({"name": former.name, "gateway": null, "organisation": organisation}),
        );
        self.record_elsewhere(&tx, Action::DeviceClaim, id, change).await?;
        let tx = tx.above().await?.inside(context.tenant).await?;
        if is_new {
            device.is_gateway = former.is_gateway;
            tx.device_create(&device).await?;
        } else if !has_place(&tx, device.id, taken.len()).await? {
            return Err(Error::Conflict(NO_ROOM.to_owned()));
        }
        let all: Vec<_> = taken.iter().collect();
        self.give_credentials(&tx, context, device.id, &all).await?;
        self.keep_move(&tx, context, (device.id, MoveState::Here), (partner, id)).await?;
        let own = Resource::device(context.tenant, device.id);
        let change = Change::to(recorded(&device));
        self.record_change(&tx, context, Action::DeviceClaim, &own, change).await?;
        tx.commit().await?;
        self.moved(&taken, (partner, id), (context.tenant, device.id));
        Ok(MovedDevice { device: device.id, left: (partner, id) })
    }

    pub(crate) async fn keep_move(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        (device, state): (DeviceId, MoveState),
        (other_tenant, other_device): (TenantId, DeviceId),
    ) -> Result<()> {
        let moved_at = context.at;
        let one = DeviceMove { device, other_tenant, other_device, state, moved_at };
        Ok(tx.device_move_put(&one).await?)
    }

    /// Records a move where the actor is nobody: the tenant learns of it, and not of them.
    pub(crate) async fn record_elsewhere(
        &self,
        tx: &TenantTx,
        action: Action,
        device: DeviceId,
        change: Change,
    ) -> Result<()> {
        let context = self.job_in(jobs::INGEST, tx.tenant_id());
        let resource = Resource::device(tx.tenant_id(), device);
        self.record_change(tx, &context, action, &resource, change).await
    }

    /// Gives a device what it came in with elsewhere, as credentials of its own. What people there
    /// called them stays there.
    pub(crate) async fn give_credentials(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        device: DeviceId,
        taken: &[&TakenCredential],
    ) -> Result<()> {
        for one in taken {
            let facts = one.credential.facts.clone();
            let credential = Credential {
                id: CredentialId::generate(context.at, self.rng()),
                device,
                facts: CredentialFacts { name: String::new(), ..facts },
                created_at: context.at,
                used_at: None,
                ..one.credential.clone()
            };
            let hash = one.secret_hash.as_ref();
            tx.credential_create(&credential, one.lookup_digest, hash).await?;
        }
        Ok(())
    }

    /// A move is durable: what knew the device where it was forgets it, and log-ins that were under
    /// way end.
    pub(crate) fn moved(
        &self,
        taken: &[TakenCredential],
        left: (TenantId, DeviceId),
        came: (TenantId, DeviceId),
    ) {
        let now = self.clock().monotonic();
        for one in taken {
            self.0.logins.ended.note(*one.credential.id.as_bytes(), (), now);
        }
        for (tenant, device) in [left, came] {
            self.0.logins.forget_device(device);
            self.note_devices_changed(tenant, None);
        }
    }

    /// The tenant directly below one under which another stands: no more is seen of it from there.
    pub(crate) fn branch_name(&self, above: TenantId, below: TenantId) -> Option<String> {
        let tree = self.0.tree.read();
        let direct = tree.upwards(below).find(|one| tree.parent(*one) == Some(above))?;
        tree.get(direct).map(|tenant| tenant.name.clone())
    }

    /// A tenant and all below it: an authority of the one vouches for devices that were claimed
    /// from it.
    pub fn tenants_vouched_for(&self, tenant: TenantId) -> Vec<TenantId> {
        self.0.tree.read().with_all_below(tenant)
    }

    /// Whether an authority of one tenant vouches for devices of another: for its own, and for
    /// those that were claimed from it by a tenant below. No other has a credential that leads to
    /// the authority.
    pub(crate) fn vouches_for(&self, authority: TenantId, owner: TenantId) -> bool {
        self.0.tree.read().upwards(owner).any(|above| above == authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_bounds_and_a_default() {
        let seconds = |seconds: u64| Some(Duration::from_secs(seconds));
        for (asked, expect) in [
            (None, seconds(86_400)),
            (seconds(60), seconds(60)),
            (seconds(0), None),
            (seconds(604_800), seconds(604_800)),
            (seconds(604_801), None),
        ] {
            assert_eq!(check_duration(asked).ok(), expect, "{asked:?}");
        }
    }
}
