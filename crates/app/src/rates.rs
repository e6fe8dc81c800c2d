//! How often people, programs, devices and whole tenants may ask and send. A plan sets the rates
//! of its tenants; without one, or where it says nothing, the configured ones hold.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use veritwin_access::{Rate, RateExceeded, RateLimiter};
use veritwin_domain::{ActorKind, ApiKeyId, DeviceId, OpContext, TenantId, UserId, address_party};

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
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            user_requests: Rate::new(200, 2_000),
            api_key_requests: Rate::new(200, 2_000),
            tenant_requests: Rate::new(1_000, 5_000),
            device_messages: Rate::new(50_000, 100_000),
            tenant_messages: Rate::new(200_000, 400_000),
        }
    }
}

/// How what a device sends is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Before it is taken: over the rate it is refused, and costs nothing.
    Ask,
    /// It has been taken: over the rate the sender has to be held back for the answered time.
    Charge,
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Gate {
    rates: Rates,
    users: Mutex<RateLimiter<UserId>>,
    api_keys: Mutex<RateLimiter<ApiKeyId>>,
    tenants: Mutex<RateLimiter<TenantId>>,
    devices: Mutex<RateLimiter<(TenantId, DeviceId)>>,
    senders: Mutex<RateLimiter<TenantId>>,
    failed_logins: Mutex<RateLimiter<IpAddr>>,
}

impl Gate {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            rates,
            users: Mutex::new(RateLimiter::new("user_requests_per_second")),
            api_keys: Mutex::new(RateLimiter::new("api_key_requests_per_second")),
            tenants: Mutex::new(RateLimiter::new("tenant_requests_per_second")),
            devices: Mutex::new(RateLimiter::new("device_messages_per_second")),
            senders: Mutex::new(RateLimiter::new("tenant_messages_per_second")),
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

    /// Counts messages of a device, or of a program that writes for devices of its tenant. Asked
    /// before, more than the rate is refused; charged after, the answer is how long the sender
    /// has to be held back.
    pub fn count_messages(
        &self,
        tenant: TenantId,
        device: Option<DeviceId>,
        messages: u32,
        measure: Measure,
    ) -> Result<Duration> {
        let now = self.clock().monotonic();
        let gate = &self.0.gate;
        let of_tenant =
            planned(gate.rates.tenant_messages, self.plan_limits(tenant).messages_per_second);
        let of_device = gate.rates.device_messages;
        match measure {
            Measure::Ask => {
                if let Some(device) = device {
                    let taken =
                        gate.devices.lock().take((tenant, device), messages, of_device, now);
                    taken.map_err(refused)?;
                }
                let taken = gate.senders.lock().take(tenant, messages, of_tenant, now);
                taken.map_err(refused)?;
                Ok(Duration::ZERO)
            }
            Measure::Charge => {
                let device = device.map(|device| {
                    gate.devices.lock().charge((tenant, device), messages, of_device, now)
                });
                let tenant = gate.senders.lock().charge(tenant, messages, of_tenant, now);
                Ok(tenant.max(device.unwrap_or_default()))
            }
        }
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
