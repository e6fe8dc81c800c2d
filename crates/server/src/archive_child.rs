//! The ledger archive as a child process of a standalone platform: its own keys, port and folder.
//! It ends when the platform's end of its standard input closes, so it never outlives it, and it
//! is started again when it stops by itself.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;
use veritwin_app::{App, ArchiveAccess, Job, JobWatch};
use veritwin_domain::Secret;
use veritwin_outpost::archive::{
    BucketConfig, ClientTrust, RunFile, generate_client, start_problem,
};

use crate::datadir::{Paths, write_private, write_public};

/// How long the child may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Between questions to a running child.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
const RESTART_WAIT: Duration = Duration::from_secs(1);
/// The wait doubles up to this while the child does not start.
const RESTART_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the child may take to finish when it is asked to.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What the child reads at its start.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveFile {
    /// Its own directory.
    pub(crate) directory: PathBuf,
    /// Its own root key file, outside the directory.
    pub(crate) root_key: PathBuf,
    /// Where to listen.
    pub(crate) listen: String,
    /// Names and addresses for its certificate.
    pub(crate) names: Vec<String>,
    /// The certificates of the one platform that it serves (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Or the platforms that it serves, each with logs of its own: SHA-256 over their certificates,
    /// in hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) clients: Vec<String>,
    /// Most logs of each of `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_logs_max: Option<usize>,
    /// Days for which every leaf is kept at least, whatever a platform states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum_period_days: Option<u32>,
    /// Most bytes of leaves and payloads of each of `clients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_bytes_max: Option<u64>,
    /// Most bytes of leaves and payloads of each log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log_bytes_max: Option<u64>,
    /// Ends when standard input closes.
    #[serde(default)]
    pub(crate) stop_with_stdin: bool,
    /// Certificates that took the place of one of `clients`: the new fingerprint, and the first
    /// that the platform had, by which its logs are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) renewed: BTreeMap<String, String>,
    /// Where journal, tiles and payloads are, if not in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<BucketFile>,
}

/// A bucket that speaks S3.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketFile {
    /// Its name.
    name: String,
    /// In front of every object's name.
    #[serde(default)]
    front: String,
    /// `https://HOST`; none for that of AWS in the region.
    #[serde(default)]
    endpoint: String,
    /// Its region.
    region: String,
    /// Who asks.
    access_key_id: String,
    /// A file with the key that requests are signed with.
    secret_access_key_file: PathBuf,
    /// Whether every object is locked in compliance mode for `minimum_period_days`.
    #[serde(default = "locked")]
    object_lock: bool,
}

const fn locked() -> bool {
    true
}

impl BucketFile {
    fn config(&self) -> anyhow::Result<BucketConfig> {
        let file = &self.secret_access_key_file;
        let secret = std::fs::read_to_string(file)
            .with_context(|| format!("bucket.secret_access_key_file: {}", file.display()))?;
        Ok(BucketConfig {
            name: self.name.clone(),
            front: self.front.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: Secret::new(secret.trim().to_owned()),
            is_locked: self.object_lock,
        })
    }
}

impl ArchiveFile {
    /// The bucket, if there is one.
    pub(crate) fn bucket(&self) -> anyhow::Result<Option<BucketConfig>> {
        self.bucket.as_ref().map(BucketFile::config).transpose()
    }

    /// Whom it serves: one platform by its certificates, or several by fingerprint.
    pub(crate) fn trust(&self) -> anyhow::Result<ClientTrust> {
        match (&self.client_certificate, self.clients.as_slice()) {
            (Some(_), []) if self.client_logs_max.is_some() => {
                bail!("client_logs_max goes with clients")
            }
            (Some(_), []) if self.client_bytes_max.is_some() => {
                bail!("client_bytes_max goes with clients")
            }
            (Some(_), []) if !self.renewed.is_empty() => bail!("renewed goes with clients"),
            (Some(path), []) => Ok(ClientTrust::CertificateFile(path.clone())),
            (None, [_, ..]) => {
                let known = self.clients.iter().chain(self.renewed.keys());
                let fingerprints = known.map(|text| fingerprint(text));
                Ok(ClientTrust::Fingerprints(fingerprints.collect::<anyhow::Result<_>>()?))
            }
            _ => bail!("either client_certificate or clients has to say whom the archive serves"),
        }
    }

    /// The first certificate of whom shows a later one.
    pub(crate) fn renewals(&self) -> anyhow::Result<HashMap<[u8; 32], [u8; 32]>> {
        let mut renewals = HashMap::new();
        for (new, first) in &self.renewed {
            renewals.insert(fingerprint(new)?, fingerprint(first)?);
        }
        Ok(renewals)
    }
}

/// As `openssl x509 -fingerprint -sha256` writes it, with colons or without.
fn fingerprint(text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let plain = text.trim().replace(':', "");
    hex::decode_to_slice(plain, &mut bytes).with_context(|| {
        format!("clients: \"{text}\" is no SHA-256 fingerprint of a certificate in hexadecimal")
    })?;
    Ok(bytes)
}

/// How to start the child.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveOptions {
    pub(crate) bind: String,
    pub(crate) port: u16,
    pub(crate) root_key_dir: PathBuf,
    pub(crate) log_bytes_max: u64,
}

/// The platform's certificate towards the archive; made at the first start, its key sealed.
pub(crate) struct Pairing {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: Secret<String>,
}

pub(crate) fn pairing(app: &App, paths: &Paths) -> anyhow::Result<Pairing> {
    let dir = paths.archive_pairing();
    std::fs::create_dir_all(&dir)?;
    let (certificate, key) = (dir.join("client.pem"), dir.join("client.key.sealed"));
    let vault = app.vault();
    if certificate.exists() && key.exists() {
        let plain = vault.open("archive/client", &std::fs::read(&key)?)?;
        return Ok(Pairing {
            certificate_pem: std::fs::read_to_string(&certificate)?,
            key_pem: Secret::new(String::from_utf8(plain).context("archive client key")?),
        });
    }
    let pair = generate_client("veritwin platform")?;
    write_private(&key, &vault.seal("archive/client", pair.key_pem.expose().as_bytes())?)?;
    write_public(&certificate, pair.certificate_pem.as_bytes())?;
    Ok(Pairing { certificate_pem: pair.certificate_pem, key_pem: pair.key_pem })
}

fn spawn(config: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(program)
        .arg("archive")
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the ledger archive")
}

/// The archive; it may not have started yet.
pub(crate) struct ArchiveChild {
    /// None until a start went well.
    child: Option<Child>,
    /// Held open: closing it tells the child to end. (Waiting for a child would close its own.)
    lifeline: Option<ChildStdin>,
    config: PathBuf,
    directory: PathBuf,
    /// `host:port`, once it listens.
    pub(crate) address: Option<String>,
}

impl ArchiveChild {
    /// Starts the child, waits until it listens, and connects the platform to it. A child that
    /// does not start is tried again by [`Self::supervise`]; the platform goes on meanwhile.
    pub(crate) async fn start(
        app: &App,
        paths: &Paths,
        options: &ArchiveOptions,
    ) -> anyhow::Result<Self> {
        // Made before the child starts, which reads the certificate.
        pairing(app, paths)?;
        let directory = paths.archive();
        std::fs::create_dir_all(&directory)?;
        let file = ArchiveFile {
            directory: directory.clone(),
            root_key: options.root_key_dir.join("archive.key"),
            listen: format!("{}:{}", options.bind, options.port),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            client_certificate: Some(paths.archive_pairing().join("client.pem")),
            clients: Vec::new(),
            client_logs_max: None,
            client_bytes_max: None,
            minimum_period_days: None,
            log_bytes_max: Some(options.log_bytes_max),
            stop_with_stdin: true,
            renewed: BTreeMap::new(),
            bucket: None,
        };
        let config = paths.archive_pairing().join("archive.toml");
        write_private(&config, toml::to_string(&file)?.as_bytes())?;
        let mut archive = Self { child: None, lifeline: None, config, directory, address: None };
        archive.launch_noted(app, paths).await;
        Ok(archive)
    }

    /// Launches the child; that it does not start is told by the platform, and why by its log.
    async fn launch_noted(&mut self, app: &App, paths: &Paths) -> bool {
        let Err(error) = self.relaunch(app, paths).await else { return true };
        let problem = start_problem(&self.directory).unwrap_or_else(|| format!("{error:#}"));
        tracing::error!(problem, "the ledger archive does not start; sealing waits");
        app.archive_does_not_start();
        false
    }

    async fn launch(config: &Path, directory: &Path) -> anyhow::Result<(Child, RunFile)> {
        let mut child = spawn(config)?;
        let pid = child.id();
        let listening = async {
            loop {
                if let Some(run) = RunFile::read(directory).filter(|run| Some(run.pid) == pid) {
                    return Ok(run);
                }
                if let Some(status) = child.try_wait()? {
                    bail!("the ledger archive ended at its start ({status}); its log says why");
                }
                tokio::time::sleep(POLL).await;
            }
        };
        let run = tokio::time::timeout(START_TIMEOUT, listening)
            .await
            .context("the ledger archive did not start in time")??;
        Ok((child, run))
    }

    /// Keeps the child running until `stop`, then lets it finish.
    pub(crate) async fn supervise(mut self, app: App, paths: Paths, stop: CancellationToken) {
        let watch = app.watch_job(Job::Archive);
        while !stop.is_cancelled() {
            if let Some(child) = &mut self.child {
                tokio::select! {
                    () = stop.cancelled() => break,
                    status = child.wait() => {
                        tracing::error!(?status, "the ledger archive ended; starting it again");
                    }
                    never = ask_again_and_again(&app, &watch) => match never {},
                }
                self.child = None;
            }
            let mut wait = RESTART_WAIT;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                if self.launch_noted(&app, &paths).await {
                    break;
                }
                wait = (wait * 2).min(RESTART_WAIT_MAX);
            }
        }
        drop(self.lifeline.take());
        let Some(mut child) = self.child.take() else { return };
        if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            tracing::warn!("the ledger archive did not stop in time and is ended");
            let _ = child.kill().await;
        }
    }

    async fn relaunch(&mut self, app: &App, paths: &Paths) -> anyhow::Result<()> {
        let (mut child, run) = Self::launch(&self.config, &self.directory).await?;
        connect(app, &run, &pairing(app, paths)?).await?;
        self.lifeline = child.stdin.take();
        self.child = Some(child);
        self.address = Some(run.archive);
        Ok(())
    }
}

/// Asks the archive whether it answers, for ever; each answer is a turn of its job.
pub(crate) async fn ask_again_and_again(app: &App, watch: &JobWatch) -> Infallible {
    loop {
        if app.archive_answers().await {
            watch.turned();
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

async fn connect(app: &App, run: &RunFile, pairing: &Pairing) -> anyhow::Result<()> {
    let (host, port) = run.archive.rsplit_once(':').context("the archive's address has no port")?;
    let access = ArchiveAccess {
        host: host.to_owned(),
        port: port.parse()?,
        server_certificate_pem: std::fs::read_to_string(&run.certificate)?,
        client_certificate_pem: pairing.certificate_pem.clone(),
        client_key_pem: pairing.key_pem.clone(),
        is_own: true,
    };
    Ok(app.attach_archive(access).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &str) -> anyhow::Result<ArchiveFile> {
        let common = "directory = \"a\"\nroot_key = \"k\"\nlisten = \"127.0.0.1:0\"\nnames = []\n";
        Ok(toml::from_str(&format!("{common}{lines}"))?)
    }

    fn trust(lines: &str) -> anyhow::Result<ClientTrust> {
        file(lines)?.trust()
    }

    #[test]
    fn an_archive_serves_one_platform_or_several() {
        let one = trust("client_certificate = \"client.pem\"").unwrap();
        assert!(matches!(one, ClientTrust::CertificateFile(_)));
        let colons = ["0A"; 32].join(":");
        let plain = "0b".repeat(32);
        let several = trust(&format!("clients = [\"{colons}\", \"{plain}\"]")).unwrap();
        let ClientTrust::Fingerprints(several) = several else { panic!("{several:?}") };
        assert_eq!(several, [[10; 32], [11; 32]]);
    }

    #[test]
    fn a_renewed_certificate_is_its_platforms() {
        let (first, new) = ("0a".repeat(32), "0c".repeat(32));
        let lines = format!("clients = [\"{first}\"]\n[renewed]\n{new} = \"{first}\"\n");
        let file = file(&lines).unwrap();
        let ClientTrust::Fingerprints(admitted) = file.trust().unwrap() else { panic!("{file:?}") };
        assert_eq!(admitted, [[10; 32], [12; 32]]);
        assert_eq!(file.renewals().unwrap(), [([12; 32], [10; 32])].into());
    }

    #[test]
    fn whom_it_serves_is_said_once_and_whole() {
        let plain = "0b".repeat(32);
        for lines in [
            String::new(),
            "clients = []".to_owned(),
            "clients = [\"0b\"]".to_owned(),
            format!("client_certificate = \"client.pem\"\nclients = [\"{plain}\"]"),
        ] {
            assert!(trust(&lines).is_err(), "{lines}");
        }
    }
}
