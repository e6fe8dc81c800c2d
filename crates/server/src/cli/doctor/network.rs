//! Checks of ports, control socket and archive. Connections are opened and closed; nothing is sent.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use veritwin_outpost::archive::{RunFile, start_problem};

use super::Finding;
use crate::archive_remote::ArchiveRemote;
use crate::config::{Archive, Config};
use crate::control::{self, Request};
use crate::datadir::Paths;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What is needed of `run.json`.
#[derive(Debug, Deserialize)]
pub(super) struct RunJson {
    https: String,
    mqtts: String,
    pub(super) pid: u32,
}

/// Ports that a stopped platform will want.
pub(super) fn free_ports(config: &Config) -> Vec<Finding> {
    let wanted = [
        ("http", config.http.bind.as_str(), config.http.port),
        ("mqtt", config.mqtt.bind.as_str(), config.mqtt.port),
        ("archive", config.archive.bind.as_str(), config.archive.port),
    ];
    let mut findings: Vec<_> =
        wanted.into_iter().map(|(name, bind, port)| free_port(name, bind, port)).collect();
    for (at, (name, bind, port)) in wanted.into_iter().enumerate() {
        let others = wanted[..at].iter().filter(|other| port != 0 && other.2 == port);
        findings.extend(others.filter(|other| share(bind, other.1)).map(|other| {
            let finding = format!("{} and {name} are both to listen on port {port}", other.0);
            let advice = format!("set {}.port or {name}.port to another number", other.0);
            Finding::error("ports", finding, advice)
        }));
    }
    findings
}

/// Whether two addresses have one port in common: they are one, or one of them is all addresses.
fn share(one: &str, other: &str) -> bool {
    let is_all = |bind: &str| {
        bind.trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
    };
    one == other || is_all(one) || is_all(other)
}

fn free_port(name: &'static str, bind: &str, port: u16) -> Finding {
    const CHECK: &str = "ports";
    if port == 0 {
        return Finding::ok(CHECK, format!("{name}: a free port is picked at the start"));
    }
    match std::net::TcpListener::bind((bind, port)) {
        Ok(_) => Finding::ok(CHECK, format!("{name}: {bind}:{port} is free")),
        Err(error) => {
            let finding = format!("{name}: {bind}:{port} cannot be used: {error}");
            let advice = match error.kind() {
                ErrorKind::AddrInUse => format!(
                    "another program listens there (`ss -ltnp 'sport = :{port}'` shows it): stop \
                     it or set {name}.port"
                ),
                ErrorKind::PermissionDenied => format!(
                    "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or set {name}.port"
                ),
                _ => format!("{name}.bind must be an address of this machine"),
            };
            Finding::error(CHECK, finding, advice)
        }
    }
}

async fn is_reachable(address: &str) -> Result<(), String> {
    let connect = tokio::net::TcpStream::connect(address);
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Ports that a running platform holds.
pub(super) async fn held_ports(run: Option<&RunJson>) -> Vec<Finding> {
    const CHECK: &str = "ports";
    let Some(run) = run else {
        let advice = "wait until it has started; its log says what it waits for";
        return vec![Finding::warning(
            CHECK,
            "there is no run.json: it does not listen yet",
            advice,
        )];
    };
    let mut findings = Vec::new();
    let addresses =
        [("https", run.https.trim_start_matches("https://")), ("mqtts", run.mqtts.as_str())];
    for (name, address) in addresses {
        findings.push(match is_reachable(address).await {
            Ok(()) => Finding::ok(CHECK, format!("{name}: {address} answers")),
            Err(error) => Finding::error(
                CHECK,
                format!("{name}: {address} does not answer: {error}"),
                "check that http.public_name leads to this machine, and the firewall",
            ),
        });
    }
    findings
}

/// What the running platform says of itself.
pub(super) async fn control_socket(paths: &Paths) -> Vec<Finding> {
    const CHECK: &str = "control socket";
    let path = paths.control_socket();
    let call = control::call(&path, Request::new("status", json!({})));
    match tokio::time::timeout(CONNECT_TIMEOUT, call).await {
        Ok(Ok(facts)) => {
            let version = facts["version"].as_str().unwrap_or("?").to_owned();
            let answers = if version == env!("CARGO_PKG_VERSION") {
                Finding::ok(CHECK, format!("version {version} answers"))
            } else {
                let finding = format!("version {version} runs, this is another one");
                Finding::warning(CHECK, finding, "restart the platform with this program")
            };
            let mut findings = vec![answers];
            findings.extend(jobs(&facts));
            findings
        }
        Ok(Err(error)) => {
            let advice = "restart the platform, as the same user as this command";
            vec![Finding::error(CHECK, format!("{error:#}"), advice)]
        }
        Err(_) => {
            let advice = "restart the platform; its log says what it waits for";
            vec![Finding::error(CHECK, format!("{} does not answer", path.display()), advice)]
        }
    }
}

/// Jobs that do not get on, and tenants that one of them waits for.
fn jobs(facts: &Value) -> Vec<Finding> {
    const CHECK: &str = "jobs";
    let mut findings = Vec::new();
    if let Some(problem) = facts["problem"].as_str() {
        let advice = if problem.contains("disk is full") {
            "free space on it: the platform goes on by itself"
        } else {
            "restart the platform; its log says what the job ran into"
        };
        findings.push(Finding::error(CHECK, problem.to_owned(), advice));
    }
    for held in facts["held_up"].as_array().into_iter().flatten() {
        let text = |key: &str| held[key].as_str().unwrap_or("?").to_owned();
        let (job, tenant, since) = (text("job"), text("tenant"), text("since"));
        let finding = format!("{job} waits for tenant {tenant} since {since}: {}", text("reason"));
        let advice = "mend what the reason names: the log keeps what this tenant sends, up to \
                      log.spool_bytes_max, and then refuses it; the others go on";
        findings.push(Finding::warning(CHECK, finding, advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "all get on, and no tenant is held up"));
    }
    findings
}

pub(super) async fn archive(paths: &Paths, config: &Archive, is_running: bool) -> Finding {
    const CHECK: &str = "archive";
    match ArchiveRemote::of(config) {
        Ok(None) => {}
        Ok(Some(remote)) => return remote_archive(&remote).await,
        Err(error) => {
            let advice = "name its address and its certificate, or neither";
            return Finding::error(CHECK, format!("{error:#}"), advice);
        }
    }
    if let Some(problem) = start_problem(&paths.archive()) {
        let advice = "readings are taken and wait to be sealed: put the archive's folder back from \
                      its backup; the platform starts it again by itself";
        return Finding::error(CHECK, format!("it does not start: {problem}"), advice);
    }
    if !is_running {
        return Finding::ok(CHECK, "runs as a child process when the platform runs");
    }
    let advice = "the platform starts it again by itself; its log says why it ended";
    let Some(run) = RunFile::read(&paths.archive()) else {
        return Finding::error(CHECK, "the ledger archive does not run", advice);
    };
    match is_reachable(&run.archive).await {
        Ok(()) => Finding::ok(
            CHECK,
            format!(
                "{} answers; it runs on this host under this user, which limits its neutrality",
                run.archive
            ),
        ),
        Err(error) => {
            Finding::error(CHECK, format!("{} does not answer: {error}", run.archive), advice)
        }
    }
}

async fn remote_archive(remote: &ArchiveRemote) -> Finding {
    const CHECK: &str = "archive";
    let address = remote.address();
    match is_reachable(&address).await {
        Ok(()) => Finding::ok(CHECK, format!("{address} of another party answers")),
        Err(error) => {
            let advice = "readings are taken and wait to be sealed until its operator mends it";
            Finding::error(CHECK, format!("{address} does not answer: {error}"), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn stuck_jobs_and_held_tenants_are_named() {
        let ok = jobs(&json!({"problem": null, "held_up": []}));
        assert_eq!((ok.len(), ok[0].level), (1, Level::Ok));
        let held = json!({"job": "ledger", "tenant": "t1", "since": "now", "reason": "revoked"});
        let found = jobs(&json!({"problem": "the job mail has ended", "held_up": [held]}));
        assert_eq!((found[0].level, found[1].level), (Level::Error, Level::Warning));
        assert!(found[1].finding.contains("tenant t1") && found[1].finding.contains("revoked"));
    }

    #[test]
    fn one_port_for_two_is_an_error() {
        let check = |http: (&str, u16), archive: (&str, u16), expect: usize| {
            let mut config = Config::default();
            config.mqtt.port = 0;
            (config.http.bind, config.http.port) = (http.0.to_owned(), http.1);
            (config.archive.bind, config.archive.port) = (archive.0.to_owned(), archive.1);
            let found = free_ports(&config);
            let both = |finding: &&Finding| finding.finding.contains("both to listen");
            assert_eq!(found.iter().filter(both).count(), expect, "{found:?}");
        };
        check(("127.0.0.1", 7443), ("127.0.0.1", 7443), 1);
        check(("0.0.0.0", 7443), ("127.0.0.1", 7443), 1);
        check(("127.0.0.1", 7443), ("::", 7443), 1);
        check(("127.0.0.1", 7443), ("127.0.0.2", 7443), 0);
        check(("127.0.0.1", 7443), ("127.0.0.1", 7444), 0);
        check(("127.0.0.1", 0), ("127.0.0.1", 0), 0);
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind");
        let port = taken.local_addr().expect("address").port();
        let finding = free_port("mqtt", "127.0.0.1", port);
        assert_eq!(finding.level, Level::Error);
        assert!(finding.advice.is_some_and(|advice| advice.contains("mqtt.port")));
        assert_eq!(free_port("http", "127.0.0.1", 0).level, Level::Ok);
        assert_eq!(free_port("http", "198.51.100.7", 8443).level, Level::Error);
    }
}
