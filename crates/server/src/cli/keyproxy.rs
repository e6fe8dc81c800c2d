//! `veritwin keyproxy`: the program with which a customer holds its own key. It reads its own
//! configuration and never the platform's.

mod file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use veritwin_domain::{Clock, Rng, SystemClock, TenantId, Timestamp};
use veritwin_outpost::keyproxy::{
    self, KeyProxy, KeyProxyConfig, KeyProxyStatus, NewKey, ProxyKey,
};

use super::serve::{prepare, runtime};
use super::{BadArguments, print, print_json};
use crate::process::Signals;

/// A proxy that has said nothing for longer does not run, or cannot write.
const SILENT_SECONDS_MAX: i64 = 15;

#[derive(Args, Debug)]
pub(crate) struct KeyProxyPlace {
    /// The key proxy's own configuration (TOML).
    #[arg(long, value_name = "FILE", env = "VERITWIN_KEYPROXY_CONFIG")]
    config: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl KeyProxyPlace {
    fn config(&self) -> anyhow::Result<KeyProxyConfig> {
        file::read(&self.config)
    }
}

#[derive(Subcommand)]
pub(crate) enum KeyProxyCommand {
    /// Makes directory, root key and certificate. A proxy that is there already stays as it is;
    /// when its names have changed it gets another certificate.
    #[command(after_help = "Example: veritwin keyproxy init --config /etc/veritwin/keyproxy.toml")]
    Init(KeyProxyPlace),
    /// Runs the proxy until it is told to stop.
    #[command(after_help = "Example: veritwin keyproxy serve --config /etc/veritwin/keyproxy.toml")]
    Serve {
        #[command(flatten)]
        place: KeyProxyPlace,
        /// Logs as JSON.
        #[arg(long)]
        log_json: bool,
    },
    /// Says how the proxy is: whether it runs, its keys, what it answered.
    #[command(after_help = "Example: veritwin keyproxy status --config \
                            /etc/veritwin/keyproxy.toml --json")]
    Status(KeyProxyPlace),
    /// Checks the record of uses from its first line: exit 1 when it was altered.
    #[command(after_help = "Example: veritwin keyproxy log --config /etc/veritwin/keyproxy.toml")]
    Log(KeyProxyPlace),
    /// The keys that the proxy holds.
    #[command(
        subcommand,
        after_help = "Example: veritwin keyproxy key add --config /etc/veritwin/keyproxy.toml"
    )]
    Key(KeyCommand),
    /// Who may ask: access keys, as of AWS, with which requests are signed.
    #[command(
        subcommand,
        after_help = "Example: veritwin keyproxy credential add platform --config \
                      /etc/veritwin/keyproxy.toml"
    )]
    Credential(CredentialCommand),
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and prints its id. In a token, where one is configured.
    #[command(after_help = "Example: veritwin keyproxy key add building-7 --tenant ID --config \
                      /etc/veritwin/keyproxy.toml")]
    Add {
        /// Its id; a random one by default.
        id: Option<String>,
        /// A tenant that it may be used for; every one by default. May be given several times.
        #[arg(long, value_name = "ID")]
        tenant: Vec<TenantId>,
        /// The label of a key that is in the token already.
        #[arg(long)]
        label: Option<String>,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
    /// Lists the keys.
    #[command(after_help = "Example: veritwin keyproxy key list --config FILE")]
    List(KeyProxyPlace),
    /// Lets a key be used again.
    #[command(after_help = "Example: veritwin keyproxy key enable building-7 --config FILE")]
    Enable {
        /// The key's id.
        id: String,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
    /// Lets a key be used no more, until it is enabled.
    #[command(after_help = "Example: veritwin keyproxy key disable building-7 --config FILE")]
    Disable {
        /// The key's id.
        id: String,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
    /// Destroys a key, for ever: nothing that is sealed under it opens again.
    #[command(
        after_help = "Example: veritwin keyproxy key destroy building-7 --confirm building-7 \
                      --config FILE"
    )]
    Destroy {
        /// The key's id.
        id: String,
        /// The key's id once more.
        #[arg(long, value_name = "ID")]
        confirm: String,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
}

#[derive(Subcommand)]
pub(crate) enum CredentialCommand {
    /// Makes a credential and prints its secret, once.
    #[command(after_help = "Example: veritwin keyproxy credential add platform --config FILE")]
    Add {
        /// What it is for.
        name: String,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
    /// Lists the credentials, without their secrets.
    #[command(after_help = "Example: veritwin keyproxy credential list --config FILE")]
    List(KeyProxyPlace),
    /// Lets its holder in no more, with the next request.
    #[command(after_help = "Example: veritwin keyproxy credential remove ACCESSKEY --config FILE")]
    Remove {
        /// The access key id.
        access_key: String,
        #[command(flatten)]
        place: KeyProxyPlace,
    },
}

pub(crate) fn run(command: KeyProxyCommand) -> anyhow::Result<ExitCode> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rng: Arc<dyn Rng> = Arc::new(veritwin_app::system_rng());
    match command {
        KeyProxyCommand::Init(place) => init(&place, &rng)?,
        KeyProxyCommand::Serve { place, log_json } => serve(&place, log_json, clock, rng)?,
        KeyProxyCommand::Status(place) => status(&place, clock.as_ref(), &rng)?,
        KeyProxyCommand::Log(place) => return log(&place),
        KeyProxyCommand::Key(command) => key(command, clock.as_ref(), &rng)?,
        KeyProxyCommand::Credential(command) => credential(command, clock.as_ref(), &rng)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn init(place: &KeyProxyPlace, rng: &Arc<dyn Rng>) -> anyhow::Result<()> {
    let config = place.config()?;
    keyproxy::init(&config, rng)?;
    let certificate = keyproxy::certificate_path(&config);
    if place.json {
        return print_json(&json!({"directory": config.directory, "certificate": certificate}));
    }
    print(&format!("The key proxy is in {}", config.directory.display()));
    print(&format!("Callers have to trust {}", certificate.display()));
    print("Next: veritwin keyproxy key add, then veritwin keyproxy credential add");
    Ok(())
}

fn serve(
    place: &KeyProxyPlace,
    log_json: bool,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
) -> anyhow::Result<()> {
    prepare(log_json)?;
    let config = place.config()?;
    runtime()?.block_on(async move {
        let mut signals = Signals::listen()?;
        let proxy = KeyProxy::bind(config, clock, rng).await?;
        print(&format!("The key proxy listens at https://{}", proxy.address()));
        print(&format!("SHA-256 {}", proxy.fingerprint()));
        proxy.run(async move { signals.come().await }).await?;
        Ok(())
    })
}

/// Whether the proxy runs, as far as what it last said tells: it says something every two seconds.
fn running(said: &KeyProxyStatus, now: Timestamp) -> String {
    let seconds = now.as_micros().saturating_sub(said.at_us) / 1_000_000;
    match (said.running, seconds) {
        (false, _) => "no".to_owned(),
        (true, ..=SILENT_SECONDS_MAX) => "yes".to_owned(),
        (true, _) => format!("not heard for {seconds} s"),
    }
}

fn shown(key: &ProxyKey) -> serde_json::Value {
    json!({
        "id": key.id,
        "state": key.state.as_str(),
        "tenants": key.tenants.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "label": key.label,
        "made_at": Timestamp::from_micros(key.made_at_us).to_string(),
        "changed_at": Timestamp::from_micros(key.changed_at_us).to_string(),
    })
}

fn print_key(key: &ProxyKey) {
    let for_whom = match key.tenants.len() {
        0 => "every tenant".to_owned(),
        count => format!("{count} tenants"),
    };
    let since = Timestamp::from_micros(key.changed_at_us);
    print(&format!("{}  {} since {since}, for {for_whom}", key.id, key.state.as_str()));
}

fn status(place: &KeyProxyPlace, clock: &dyn Clock, rng: &Arc<dyn Rng>) -> anyhow::Result<()> {
    let config = place.config()?;
    let keys = keyproxy::keys(&config, rng)?;
    let said = keyproxy::status(&config.directory)?.unwrap_or_default();
    if place.json {
        let keys = keys.iter().map(shown).collect::<Vec<_>>();
        return print_json(&json!({"proxy": said, "keys": keys}));
    }
    print(&format!("Running           {}", running(&said, clock.now())));
    if !said.address.is_empty() {
        print(&format!("Address           {}", said.address));
        print(&format!("Certificate       {}", said.certificate_sha256));
        print(&format!("Well              {}", if said.well { "yes" } else { "no" }));
    }
    for (answer, count) in &said.answers {
        print(&format!("Answered          {answer}: {count}"));
    }
    keys.iter().for_each(print_key);
    Ok(())
}

fn log(place: &KeyProxyPlace) -> anyhow::Result<ExitCode> {
    let config = place.config()?;
    let summary = keyproxy::verify_uses(&config.directory)?;
    let code = if summary.broken_at.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if place.json {
        print_json(&summary)?;
        return Ok(code);
    }
    let (uses, refused) = (summary.uses, summary.refused);
    print(&format!("{uses} uses, {refused} of them refused"));
    if let (Some(first), Some(last)) = (&summary.first_at, &summary.last_at) {
        print(&format!("From {first} to {last}"));
    }
    match &summary.broken_at {
        None => print("Each line follows from the one before"),
        Some(at) => print(&format!("The record was altered: {at} does not follow")),
    }
    Ok(code)
}

fn key(command: KeyCommand, clock: &dyn Clock, rng: &Arc<dyn Rng>) -> anyhow::Result<()> {
    match command {
        KeyCommand::Add { id, tenant, label, place } => {
            let new = NewKey { id, tenants: tenant, label };
            let made = keyproxy::add_key(&place.config()?, new, clock, rng)?;
            if place.json {
                return print_json(&shown(&made));
            }
            print(&made.id);
        }
        KeyCommand::List(place) => {
            let keys = keyproxy::keys(&place.config()?, rng)?;
            if place.json {
                return print_json(&keys.iter().map(shown).collect::<Vec<_>>());
            }
            keys.iter().for_each(print_key);
        }
        KeyCommand::Enable { id, place } => {
            keyproxy::set_key_enabled(&place.config()?, &id, true, clock, rng)?;
            done(&place, &id, "enabled")?;
        }
        KeyCommand::Disable { id, place } => {
            keyproxy::set_key_enabled(&place.config()?, &id, false, clock, rng)?;
            done(&place, &id, "disabled")?;
        }
        KeyCommand::Destroy { id, confirm, place } => {
            if id != confirm {
                let detail = "--confirm has to be the id of the key that is destroyed for ever";
                return Err(BadArguments(detail.to_owned()).into());
            }
            keyproxy::destroy_key(&place.config()?, &id, clock, rng)?;
            done(&place, &id, "destroyed")?;
        }
    }
    Ok(())
}

fn done(place: &KeyProxyPlace, id: &str, state: &str) -> anyhow::Result<()> {
    if place.json {
        return print_json(&json!({"id": id, "state": state}));
    }
    print(&format!("{id} is {state}"));
    Ok(())
}

fn credential(
    command: CredentialCommand,
    clock: &dyn Clock,
    rng: &Arc<dyn Rng>,
) -> anyhow::Result<()> {
    match command {
        CredentialCommand::Add { name, place } => {
            let made = keyproxy::add_credential(&place.config()?, &name, clock, rng)?;
            if place.json {
                return print_json(&json!({
                    "access_key": made.access_key,
                    "secret_access_key": made.secret.expose(),
                }));
            }
            print(&format!("Access key id      {}", made.access_key));
            print(&format!("Secret, shown once {}", made.secret.expose()));
        }
        CredentialCommand::List(place) => {
            let all = keyproxy::credentials(&place.config()?, rng)?;
            if place.json {
                let rows = all.iter().map(|one| {
                    let made_at = Timestamp::from_micros(one.made_at_us).to_string();
                    json!({"access_key": one.access_key, "name": one.name, "made_at": made_at})
                });
                return print_json(&rows.collect::<Vec<_>>());
            }
            for one in all {
                let since = Timestamp::from_micros(one.made_at_us);
                print(&format!("{}  {} since {since}", one.access_key, one.name));
            }
        }
        CredentialCommand::Remove { access_key, place } => {
            keyproxy::remove_credential(&place.config()?, &access_key, rng)?;
            done(&place, &access_key, "removed")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_was_killed_is_not_said_to_run() {
        let said = KeyProxyStatus { running: true, at_us: 5_000_000, ..KeyProxyStatus::default() };
        let at = |seconds: i64| running(&said, Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!((at(5), at(20)), ("yes".to_owned(), "yes".to_owned()));
        assert_eq!(at(65), "not heard for 60 s");
        let stopped = KeyProxyStatus { running: false, ..said.clone() };
        assert_eq!(running(&stopped, Timestamp::from_micros(0)), "no");
    }
}
