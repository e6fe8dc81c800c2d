//! The checks of `doctor`. Each looks at one thing and answers with findings; none changes a thing.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::process::Resource;
use veritwin_app::{is_given_by_systemd, is_private};
use veritwin_domain::{Clock, SystemClock, Timestamp};

use super::Finding;
use super::certificates::certificates;
use super::network::{RunJson, archive, control_socket, free_ports, held_ports};
use crate::cli::commands::show_age;
use crate::config::Config;
use crate::datadir::{Paths, root_key_dir_of};
use crate::stores::root_passphrase;
use crate::{process, web};

const GIB: u64 = 1 << 30;
/// Below this the log soon refuses readings.
const DISK_BYTES_ERROR: u64 = GIB / 4;
const DISK_BYTES_WARNING: u64 = 2 * GIB;
/// Files younger than the clock by more than this show that it was set back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);
/// A jump of the clock by more than this ahead stops destruction and expiry.
const CLOCK_AHEAD: Duration = Duration::from_secs(400 * 86_400);
/// Nothing here was built before this year.
const CLOCK_NOT_BEFORE: &str = "2026-01-01T00:00:00Z";
/// Files that the platform needs beside its connections.
const OWN_FILES: u64 = 1024;
/// Files whose time is looked at.
const FILES_LOOKED_AT_MAX: usize = 10_000;

/// Runs every check.
pub(super) async fn all(
    data: &Path,
    config: &Config,
    is_running: bool,
) -> anyhow::Result<Vec<Finding>> {
    let paths = Paths::new(data);
    let mut findings = vec![directory(data)];
    if data.join("instance.json").exists() {
        findings.extend(root_key(data, config));
        findings.extend(passphrase(config, is_running));
        findings.push(clock(data));
        findings.extend(super::stores::stores(data, is_running));
    }
    findings.push(disk(data));
    let run = std::fs::read(paths.run_json()).ok();
    let run: Option<RunJson> = run.and_then(|text| serde_json::from_slice(&text).ok());
    if is_running {
        findings.extend(control_socket(&paths).await);
        findings.extend(held_ports(run.as_ref()).await);
    } else {
        findings.extend(free_ports(config));
    }
    findings.extend(super::database::database(config).await);
    findings.extend(super::segments::segments(config, is_running).await);
    findings.extend(certificates(&paths, config));
    findings.push(archive(&paths, &config.archive, is_running).await);
    findings.push(core_dumps(run.as_ref().filter(|_| is_running)));
    findings.push(open_files(config));
    findings.push(super::proxies::proxies(config));
    findings.push(pages());
    Ok(findings)
}

fn directory(data: &Path) -> Finding {
    const CHECK: &str = "data directory";
    let shown = data.display();
    let meta = match std::fs::metadata(data) {
        Ok(meta) => meta,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = "`veritwin serve` makes it; or name another with --data";
            return Finding::warning(CHECK, format!("{shown} does not exist yet"), advice);
        }
        Err(error) => {
            let advice = "run this as the user that the platform runs as";
            return Finding::error(CHECK, format!("cannot look at {shown}: {error}"), advice);
        }
    };
    if !meta.is_dir() {
        return Finding::error(CHECK, format!("{shown} is not a directory"), "name a directory");
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own && own != 0 {
        let finding = format!("{shown} belongs to user {}, this is user {own}", meta.uid());
        return Finding::error(CHECK, finding, format!("chown -R {own} {shown}"));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let finding = format!("{shown} can be entered by other users (mode {mode:o})");
        return Finding::error(CHECK, finding, format!("chmod 700 {shown}"));
    }
    if !data.join("instance.json").exists() {
        let advice = "`veritwin serve` needs an empty or new directory";
        return Finding::warning(CHECK, format!("{shown} holds no platform yet"), advice);
    }
    Finding::ok(CHECK, format!("{shown}, mode {mode:o}"))
}

fn root_key(data: &Path, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "root key";
    let dir = match root_key_dir_of(data, config.keys.root_dir.as_deref()) {
        Ok(dir) => dir,
        Err(error) => {
            let advice = "set keys.root_dir to a folder outside the data directory";
            return vec![Finding::error(CHECK, format!("{error:#}"), advice)];
        }
    };
    let mut findings = Vec::new();
    let inside = |path: &Path| {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(path).starts_with(real(data))
    };
    if inside(&dir) {
        let finding = format!("{} is inside the data directory", dir.display());
        let advice = "move it out and set keys.root_dir: who copies the directory must not get \
                      the key that opens it";
        findings.push(Finding::error(CHECK, finding, advice));
    }
    let is_passphrase =
        config.keys.passphrase_file.is_some() || config.keys.passphrase_keyring.is_some();
    let key = dir.join(if is_passphrase { "root.salt" } else { "root.key" });
    let shown = key.display();
    match std::fs::metadata(&key) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let finding = format!("{shown} is missing");
            let advice = "restore it from its backup or set keys.root_dir: without it nothing in \
                          the directory can be read";
            findings.push(Finding::error(CHECK, finding, advice));
        }
        Err(error) => {
            let advice = "run this as the user that the platform runs as";
            findings.push(Finding::error(
                CHECK,
                format!("cannot look at {shown}: {error}"),
                advice,
            ));
        }
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            if !is_private(&key, &meta) {
                let finding = format!("{shown} can be read by other users (mode {mode:o})");
                findings.push(Finding::error(CHECK, finding, format!("chmod 600 {shown}")));
            }
        }
    }
    if findings.is_empty() {
        let from = if is_given_by_systemd(&key) { ", given by systemd" } else { "" };
        findings.push(Finding::ok(CHECK, format!("{shown}, outside the data directory{from}")));
    }
    findings
}

/// Where the passphrase comes from that the root key is made of, and whether it is there.
fn passphrase(config: &Config, is_running: bool) -> Option<Finding> {
    const CHECK: &str = "passphrase";
    let from = match config.keys.passphrase_file.as_deref() {
        Some(path) if is_given_by_systemd(path) => format!("{}, given by systemd", path.display()),
        Some(path) => format!("in the file {}", path.display()),
        None => "in the kernel's keyrings".to_owned(),
    };
    match root_passphrase(config) {
        Ok(None) => None,
        Ok(Some(_)) => Some(Finding::ok(CHECK, from)),
        Err(error) => {
            let finding = format!("{error:#}");
            let advice = "the platform does not start without it. Each user, and each session, has \
                          keyrings of its own, and what systemd gives is there while the service \
                          runs: look as the user that the platform runs as";
            // It is needed at the start alone.
            Some(if is_running {
                Finding::warning(CHECK, finding, advice)
            } else {
                Finding::error(CHECK, finding, advice)
            })
        }
    }
}

/// The nearest folder that exists.
fn existing(path: &Path) -> &Path {
    let mut at = path;
    while !at.exists() {
        match at.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => at = parent,
            None => return Path::new("."),
        }
    }
    at
}

fn disk(data: &Path) -> Finding {
    const CHECK: &str = "disk";
    let at = existing(data);
    let stat = match rustix::fs::statvfs(at) {
        Ok(stat) => stat,
        Err(error) => {
            let finding = format!("cannot ask for free space of {}: {error}", at.display());
            return Finding::warning(CHECK, finding, "look with df");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let shown = format!("{:.1} GiB free on {}", free as f64 / GIB as f64, at.display());
    let advice = "free some space: a full disk stops every reading, and none is acknowledged";
    if stat.f_files > 0 && stat.f_favail < 1000 {
        return Finding::error(CHECK, format!("{} inodes left", stat.f_favail), advice);
    }
    if free < DISK_BYTES_ERROR {
        Finding::error(CHECK, shown, advice)
    } else if free < DISK_BYTES_WARNING {
        Finding::warning(CHECK, shown, advice)
    } else {
        Finding::ok(CHECK, shown)
    }
}

/// The newest time of a file that the platform writes.
fn newest(data: &Path) -> Option<Timestamp> {
    let folders = ["", "log", "keyring", "archive"];
    let entries = folders.iter().filter_map(|name| std::fs::read_dir(data.join(name)).ok());
    let files = entries.flatten().filter_map(Result::ok).take(FILES_LOOKED_AT_MAX);
    let seconds = files.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.mtime()).max()?;
    Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000)))
}

fn clock(data: &Path) -> Finding {
    check_clock(SystemClock::new().now(), newest(data), data.join("clock.json").exists())
}

fn check_clock(now: Timestamp, newest: Option<Timestamp>, is_simulated: bool) -> Finding {
    const CHECK: &str = "clock";
    const ADVICE: &str = "set the machine's clock (chrony or systemd-timesyncd keep it right)";
    let not_before = Timestamp::parse_rfc3339(CLOCK_NOT_BEFORE).unwrap_or(Timestamp::EPOCH);
    if now < not_before {
        return Finding::error(CHECK, format!("the machine says {now}"), ADVICE);
    }
    if let Some(newest) = newest {
        let behind = newest.since(now);
        if behind > CLOCK_TOLERANCE {
            let finding = format!(
                "the machine says {now}, but files were written {} later: the clock was set back",
                show_age(behind)
            );
            return Finding::error(CHECK, finding, ADVICE);
        }
        let ahead = now.since(newest);
        if ahead > CLOCK_AHEAD {
            let finding = format!("nothing was written for {} before {now}", show_age(ahead));
            let advice = "if the platform did run meanwhile, the clock is ahead: set it";
            return Finding::warning(CHECK, finding, advice);
        }
    }
    let kind = if is_simulated { "; this directory runs on a simulated clock" } else { "" };
    Finding::ok(CHECK, format!("{now}{kind}"))
}

fn core_dumps(run: Option<&RunJson>) -> Finding {
    const CHECK: &str = "core dumps";
    const ADVICE: &str = "run it where setrlimit and prctl are allowed: keys live in its memory";
    if let Err(error) = process::forbid_core_dumps() {
        return Finding::error(CHECK, format!("{error:#}"), ADVICE);
    }
    let Some(run) = run else {
        return Finding::ok(CHECK, "can be disabled here");
    };
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", run.pid)).unwrap_or_default();
    match core_limit(&limits) {
        Some("0") => Finding::ok(CHECK, "disabled in the running platform"),
        Some(limit) => {
            let finding = format!("the running platform may dump {limit} bytes of memory");
            Finding::error(CHECK, finding, ADVICE)
        }
        None => Finding::warning(
            CHECK,
            "cannot look at the running platform's limits",
            "run this as the user that the platform runs as",
        ),
    }
}

/// The soft limit of `Max core file size` in `/proc/PID/limits` (proc(5)).
fn core_limit(limits: &str) -> Option<&str> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"))?;
    line.split_whitespace().next()
}

fn open_files(config: &Config) -> Finding {
    const CHECK: &str = "open files";
    let connections = config.http.connections_max.saturating_add(config.mqtt.connections_max);
    let wanted = (connections as u64).saturating_add(OWN_FILES);
    match rustix::process::getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < wanted => Finding::warning(
            CHECK,
            format!("at most {limit}, and {connections} connections need {wanted}"),
            format!("set LimitNOFILE={wanted} in the service, or lower the connections_max"),
        ),
        Some(limit) => Finding::ok(CHECK, format!("at most {limit}")),
        None => Finding::ok(CHECK, "without limit"),
    }
}

fn pages() -> Finding {
    const CHECK: &str = "web pages";
    if web::is_built() {
        Finding::ok(CHECK, "in this program")
    } else {
        let advice = "build with `cargo xtask demo`, which builds them first";
        Finding::error(CHECK, "not in this program", advice)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Level;
    use super::*;

    #[test]
    fn directories_and_root_keys() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let data = dir.path().join("data");
        assert_eq!(directory(&data).level, Level::Warning);
        std::fs::create_dir(&data).expect("create");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode");
        };
        mode(&data, 0o755);
        let open = directory(&data);
        assert_eq!((open.level, open.advice.is_some()), (Level::Error, true));
        mode(&data, 0o700);
        let identity = json!({"format": 1, "instance": "x"}).to_string();
        std::fs::write(data.join("instance.json"), identity).expect("write");
        assert_eq!(directory(&data).level, Level::Ok);

        let keys = dir.path().join("keys");
        let mut config = Config::default();
        config.keys.root_dir = Some(keys.clone());
        assert!(root_key(&data, &config)[0].finding.contains("missing"));
        std::fs::create_dir(&keys).expect("create");
        std::fs::write(keys.join("root.key"), [1; 32]).expect("write");
        mode(&keys.join("root.key"), 0o640);
        assert!(root_key(&data, &config)[0].finding.contains("mode 640"));
        mode(&keys.join("root.key"), 0o600);
        assert_eq!(root_key(&data, &config)[0].level, Level::Ok);
        config.keys.root_dir = Some(data.join("keys"));
        assert!(root_key(&data, &config)[0].finding.contains("inside the data directory"));

        let file = dir.path().join("passphrase");
        assert_eq!(passphrase(&config, false), None);
        config.keys.passphrase_file = Some(file.clone());
        let level = |config: &Config, is_running| {
            passphrase(config, is_running).expect("a passphrase is configured").level
        };
        assert_eq!((level(&config, false), level(&config, true)), (Level::Error, Level::Warning));
        std::fs::write(&file, "correct horse battery").expect("write");
        mode(&file, 0o600);
        let found = passphrase(&config, false).expect("a passphrase is configured");
        assert!(found.level == Level::Ok && found.finding.contains("in the file"), "{found:?}");
        config.keys.passphrase_keyring = Some("veritwin".to_owned());
        assert_eq!(level(&config, false), Level::Error, "there may be one source");
    }

    #[test]
    fn clocks() {
        let at = |text: &str| Timestamp::parse_rfc3339(text).expect("time");
        let check = |now: &str, newest: Option<&str>, level: Level| {
            assert_eq!(check_clock(at(now), newest.map(at), false).level, level, "{now}");
        };
        check("1970-01-01T00:00:10Z", None, Level::Error);
        check("2027-01-01T00:00:00Z", Some("2026-12-31T23:59:00Z"), Level::Ok);
        check("2027-01-01T00:00:00Z", Some("2027-01-01T00:00:30Z"), Level::Ok);
        check("2027-01-01T00:00:00Z", Some("2027-01-01T01:00:00Z"), Level::Error);
        check("2037-01-01T00:00:00Z", Some("2027-01-01T00:00:00Z"), Level::Warning);
    }

    #[test]
    fn limits_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max core file size        0                    0                    bytes\n";
        assert_eq!(core_limit(limits), Some("0"));
        assert_eq!(core_limit(""), None);
    }
}
