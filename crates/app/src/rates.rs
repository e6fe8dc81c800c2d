//! How often people, programs, devices and whole tenants may ask and send. A plan sets the rates
//! of its tenants; without one, or where it says nothing, the configured ones hold.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_access::{Rate, RateExceeded, RateLimiter};
use veritwin_domain::{
    ActorKind, ApiKeyId, DeviceId, IdState, OpContext, TenantId, UserId, address_party,
    count_text_bytes,
};

use crate::model::PlanLimits;
use crate::{App, Result};

/// Failed sign-ins of devices from one address: a fleet behind one address may hold one device
/// that asks again and again.
const FAILED_LOGINS: Rate = Rate::new(10, 100);

/// The rates that hold where a plan says nothing.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Requests of a person.
    pub user_requests: Rate,
    /// Requests of an API key.
    pub api_key_requests: Rate,
    /// Requests of everybody in a tenant together.
    pub tenant_requests: Rate,
    /// Messages of a device.
    pub device_messages: Rate,
    /// Messages of all devices of a tenant together.
    pub tenant_messages: Rate,
    /// Readings of a device.
    pub device_readings: Rate,
    /// Readings of all devices of a tenant together.
    pub tenant_readings: Rate,
    /// Sealed bytes that a tenant may put into the ledger's archive in a day (UTC).
    pub ledger_bytes_per_day: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            user_requests: Rate::new(200, 2_000),
            api_key_requests: Rate::new(200, 2_000),
            tenant_requests: Rate::new(1_000, 5_000),
            device_messages: Rate::new(50_000, 100_000),
            tenant_messages: Rate::new(200_000, 400_000),
            device_readings: Rate::new(100_000, 200_000),
            tenant_readings: Rate::new(500_000, 1_000_000),
            ledger_bytes_per_day: 64 << 30,
        }
    }
}

/// What was read from a device's connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages.
    pub messages: u32,
    /// Readings and attributes in them, as [`veritwin_domain::count_readings`] and
    /// [`veritwin_domain::count_attributes`] have them.
    pub readings: u32,
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Gate {
    rates: Rates,
    users: Mutex<RateLimiter<UserId>>,
    api_keys: Mutex<RateLimiter<ApiKeyId>>,
    tenants: Mutex<RateLimiter<TenantId>>,
    devices: Mutex<RateLimiter<(TenantId, DeviceId), IdState>>,
    senders: Mutex<RateLimiter<TenantId, IdState>>,
    device_readings: Mutex<RateLimiter<(TenantId, DeviceId), IdState>>,
    tenant_readings: Mutex<RateLimiter<TenantId, IdState>>,
    failed_logins: Mutex<RateLimiter<IpAddr>>,
}

impl Gate {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            users: Mutex::new(RateLimiter::new("user_requests_per_second")),
            api_keys: Mutex::new(RateLimiter::new("api_key_requests_per_second")),
            tenants: Mutex::new(RateLimiter::new("tenant_requests_per_second")),
            devices: Mutex::new(RateLimiter::by_id("device_messages_per_second")),
            senders: Mutex::new(RateLimiter::by_id("tenant_messages_per_second")),
            device_readings: Mutex::new(RateLimiter::by_id("device_readings_per_second")),
            tenant_readings: Mutex::new(RateLimiter::by_id("tenant_readings_per_second")),
            failed_logins: Mutex::new(RateLimiter::new("failed_device_logins_per_second")),
        }
    }
}

fn planned(default: Rate, planned: Option<u64>) -> Rate {
    match planned {
        Some(per_second) => default.scaled_to(u32::try_from(per_second).unwrap_or(u32::MAX)),
        None => default,
    }
}

impl App {
    pub(crate) fn plan_limits(&self, tenant: TenantId) -> PlanLimits {
        self.0.tree.read().plan(tenant).map(|plan| plan.limits).unwrap_or_default()
    }

    /// Counts a request of somebody who is known by now; refuses it over a rate, by its name.
    pub fn count_request(&self, context: &OpContext) -> Result<()> {
        let now = self.clock().monotonic();
        let gate = &self.0.gate;
        let counted = match context.actor.kind {
            ActorKind::User { user, .. } => {
                gate.users.lock().take(user, 1, gate.rates.user_requests, now)
            }
            ActorKind::ApiKey(key) => {
                gate.api_keys.lock().take(key, 1, gate.rates.api_key_requests, now)
            }
            _ => Ok(()),
        };
        let rate = planned(
            gate.rates.tenant_requests,
            self.plan_limits(context.tenant).requests_per_second,
        );
        let counted = counted.and_then(|()| gate.tenants.lock().take(context.tenant, 1, rate, now));
        counted.map_err(refused)
    }

    pub(crate) fn ledger_bytes_per_day(&self) -> u64 {
        self.0.gate.rates.ledger_bytes_per_day
    }

    fn tenant_messages_rate(&self, tenant: TenantId) -> Rate {
        let usual = self.0.gate.rates.tenant_messages;
        planned(usual, self.plan_limits(tenant).messages_per_second)
    }

    /// Counts messages of a device, or of a program that writes for devices of its tenant, before
    /// they are taken: over a rate they are refused and cost nothing.
    pub fn admit_messages(
        &self,
        tenant: TenantId,
        device: Option<DeviceId>,
        messages: u32,
    ) -> Result<()> {
        let now = self.clock().monotonic();
        let gate = &self.0.gate;
        if let Some(device) = device {
            let rate = gate.rates.device_messages;
            gate.devices.lock().take((tenant, device), messages, rate, now).map_err(refused)?;
        }
        let rate = self.tenant_messages_rate(tenant);
        gate.senders.lock().take(tenant, messages, rate, now).map_err(refused)
    }

    /// Counts readings before they are taken, all of them, however many: whoever has taken more
    /// than its buckets held is refused until that is paid for. Asked with none before a body is
    /// decoded, so that whoever is in debt costs no work.
    pub fn admit_readings(
        &self,
        tenant: TenantId,
        device: Option<DeviceId>,
        readings: u32,
    ) -> Result<()> {
        let now = self.clock().monotonic();
        let gate = &self.0.gate;
        let (of_device, of_tenant) = (gate.rates.device_readings, gate.rates.tenant_readings);
        // What the tenant's bucket refuses costs the device nothing.
        let mut tenants = gate.tenant_readings.lock();
        tenants.owe(tenant, 0, of_tenant, now).map_err(refused)?;
        if let Some(device) = device {
            let mut devices = gate.device_readings.lock();
            devices.owe((tenant, device), readings, of_device, now).map_err(refused)?;
        }
        tenants.owe(tenant, readings, of_tenant, now).map_err(refused)
    }

    /// Counts what was read from a device's connection: how long it has to be held back.
    pub fn pace(&self, tenant: TenantId, device: Option<DeviceId>, load: Load) -> Duration {
        let now = self.clock().monotonic();
        let gate = &self.0.gate;
        let Load { messages, readings } = load;
        let rate = self.tenant_messages_rate(tenant);
        let mut hold = gate.senders.lock().charge(tenant, messages, rate, now);
        let rate = gate.rates.tenant_readings;
        hold = hold.max(gate.tenant_readings.lock().charge(tenant, readings, rate, now));
        if let Some(device) = device {
            let party = (tenant, device);
            let rate = gate.rates.device_messages;
            hold = hold.max(gate.devices.lock().charge(party, messages, rate, now));
            let rate = gate.rates.device_readings;
            hold = hold.max(gate.device_readings.lock().charge(party, readings, rate, now));
        }
        hold
    }

    /// Counts the stored attributes of a device that a message makes the platform write again, as
    /// text of readings. What it comes to is owed by whatever the device sends next.
    pub(crate) fn count_rewritten(&self, tenant: TenantId, device: DeviceId, bytes: usize) {
        let load = Load { messages: 0, readings: count_text_bytes(bytes) };
        self.pace(tenant, Some(device), load);
    }

    /// Refuses to look up a credential for an address from which too many were unknown.
    pub(crate) fn check_device_logins(&self, address: Option<IpAddr>) -> Result<()> {
        let Some(address) = address else { return Ok(()) };
        let now = self.clock().monotonic();
        let mut failed = self.0.gate.failed_logins.lock();
        failed.take(address_party(address), 0, FAILED_LOGINS, now).map_err(refused)
    }

    /// Counts an unknown credential of a device; good ones cost nothing.
    pub(crate) fn count_failed_device_login(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let now = self.clock().monotonic();
        let mut failed = self.0.gate.failed_logins.lock();
        failed.charge(address_party(address), 1, FAILED_LOGINS, now);
    }
}

fn refused(exceeded: RateExceeded) -> crate::Error {
    metrics::counter!("veritwin_rate_refusals_total", "limit" => exceeded.name).increment(1);
    crate::Error::Rate(exceeded)
}
