//! `veritwin bench tenants`: many tenants with people in a private platform, then signing in,
//! listing and deciding, through the published API. The tenants are made in bulk first.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::{Method, StatusCode};
use serde_json::json;
use veritwin_app::{App, Population, populated_email};
use veritwin_bench::{Better, Entry};
use veritwin_domain::{Clock, Secret, SystemClock, TenantId};

use super::client::Client;
use super::{Private, Rates, Setup, new_folder};
use crate::config::Config;
use crate::datadir::DataDir;
use crate::stores;

const PASSWORD: &str = "correct horse battery staple";
/// Administrators who sign in; each of another tenant, spread over all of them.
const SIGN_INS: usize = 200;
const LISTS: usize = 2000;
const DECISION_ROUNDS: usize = 5000;
const PASSWORD_CHECKS: usize = 11;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TenantsOptions {
    pub(crate) tenants: usize,
    pub(crate) users_per_tenant: usize,
}

/// What was measured while the platform was made.
struct Made {
    tenants: Vec<TenantId>,
    populate: Duration,
    decisions: Vec<Duration>,
    passwords: Vec<Duration>,
}

async fn populate(
    root: &std::path::Path,
    options: TenantsOptions,
    clock: &Arc<dyn Clock>,
    progress: impl Fn(usize),
) -> anyhow::Result<Made> {
    let mut config = Config::default();
    config.keys.root_dir = Some(root.join("keys"));
    let rng = veritwin_app::system_rng();
    let dir = DataDir::open(&root.join("data"), None, clock.as_ref(), &rng)?;
    let app = App::open(stores::app_config(&config, &dir, Arc::clone(clock), false)?).await?;
    let context = app.local_operator();
    let population =
        Population { tenants: options.tenants, users_per_tenant: options.users_per_tenant };
    let started = clock.monotonic();
    let password = || Secret::new(PASSWORD.to_owned());
    let tenants = app.populate(&context, population, password(), progress).await?;
    let populate = clock.monotonic().saturating_sub(started);
    let mut passwords = Vec::with_capacity(PASSWORD_CHECKS);
    for _ in 0..PASSWORD_CHECKS {
        passwords.push(app.time_password(password()).await?);
    }
    let decisions = app.time_decisions(&tenants, DECISION_ROUNDS)?;
    app.close().await;
    Ok(Made { tenants, populate, decisions, passwords })
}

fn quantile_ms(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let place = (last as f64 * quantile).ceil() as usize;
    times.get(place.min(last)).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Signs in people of different tenants, one after the other; answers times and cookies.
async fn sign_in(
    client: &mut Client,
    options: TenantsOptions,
    clock: &dyn Clock,
) -> anyhow::Result<(Vec<Duration>, Vec<String>)> {
    let (mut times, mut cookies) = (Vec::new(), Vec::new());
    let count = SIGN_INS.min(options.tenants);
    for number in 0..count {
        let tenant = number * options.tenants / count;
        let email = populated_email(tenant, 0);
        let body = json!({"email": email, "password": PASSWORD});
        let started = clock.monotonic();
        let (status, cookie, _) = client.ask(Method::POST, "/v1/session", None, Some(body)).await?;
        times.push(clock.monotonic().saturating_sub(started));
        ensure!(status == StatusCode::OK, "signing in answered {status}");
        cookies.push(cookie.context("signing in gave no session")?);
    }
    Ok((times, cookies))
}

async fn list(
    client: &mut Client,
    path: &str,
    cookies: &[String],
    clock: &dyn Clock,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(LISTS);
    for number in 0..LISTS {
        let cookie = &cookies[number % cookies.len()];
        let started = clock.monotonic();
        let (status, _, _) = client.ask(Method::GET, path, Some(cookie), None).await?;
        times.push(clock.monotonic().saturating_sub(started));
        ensure!(status == StatusCode::OK, "GET {path} answered {status}");
    }
    Ok(times)
}

/// The benchmark.
pub(crate) async fn tenants(
    options: TenantsOptions,
    progress: impl Fn(usize),
) -> anyhow::Result<Vec<Entry>> {
    ensure!(
        (1..=100_000).contains(&options.tenants) && (1..=1000).contains(&options.users_per_tenant),
        "--tenants must be 1 to 100000 and --users 1 to 1000"
    );
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let root = new_folder(clock.as_ref(), &veritwin_app::system_rng())?;
    let mut made = match populate(&root, options, &clock, progress).await {
        Ok(made) => made,
        Err(error) => {
            let _ = std::fs::remove_dir_all(&root);
            return Err(error);
        }
    };
    let started = clock.monotonic();
    let private = Private::start_in(root, Setup::new(Rates::Lifted)).await?;
    let start = clock.monotonic().saturating_sub(started);
    let ca_pem = std::fs::read_to_string(private.text("ca")?)?;
    let mut client = Client::connect(&private.text("https")?, &ca_pem).await?;
    let (mut sign_ins, cookies) = sign_in(&mut client, options, clock.as_ref()).await?;
    let mut users = list(&mut client, "/v1/users", &cookies, clock.as_ref()).await?;
    let mut devices = list(&mut client, "/v1/devices", &cookies, clock.as_ref()).await?;
    let people = made.tenants.len() * options.users_per_tenant;
    let lower = |name: &str, unit, value| Entry::new(name, unit, Better::Lower, value, None);
    let rate = people as f64 / made.populate.as_secs_f64();
    Ok(vec![
        Entry::new("tenants.count", "1", Better::Higher, made.tenants.len() as f64, None),
        Entry::new("tenants.users", "1", Better::Higher, people as f64, None),
        Entry::new("tenants.populate_users_per_s", "1/s", Better::Higher, rate, None),
        lower("tenants.start_ms", "ms", start.as_secs_f64() * 1e3),
        lower("tenants.sign_in_p50_ms", "ms", quantile_ms(&mut sign_ins, 0.5)),
        lower("tenants.sign_in_p99_ms", "ms", quantile_ms(&mut sign_ins, 0.99)),
        lower("tenants.password_hash_p50_ms", "ms", quantile_ms(&mut made.passwords, 0.5)),
        lower("tenants.list_p50_ms", "ms", quantile_ms(&mut users, 0.5)),
        lower("tenants.list_p99_ms", "ms", quantile_ms(&mut users, 0.99)),
        lower("tenants.list_devices_p99_ms", "ms", quantile_ms(&mut devices, 0.99)),
        lower("tenants.authorise_p50_us", "us", quantile_ms(&mut made.decisions, 0.5) * 1e3),
        lower("tenants.authorise_p99_us", "us", quantile_ms(&mut made.decisions, 0.99) * 1e3),
    ])
}
