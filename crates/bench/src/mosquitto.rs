//! mosquitto as the peer: a process of our own with a TLS listener on the loopback interface, no
//! persistence and no log, ended when the benchmark is over.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// Where Debian's package puts it.
pub const MOSQUITTO: &str = "/usr/sbin/mosquitto";
/// It listens within this many looks, 50 ms apart.
const LOOKS_MAX: usize = 100;

/// A certificate for the peer's listener. It is for the same server name and from the same
/// authority as the platform's.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// A running mosquitto.
#[derive(Debug)]
pub(crate) struct Mosquitto {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) pid: u32,
    _child: Child,
    _directory: tempfile::TempDir,
}

impl Mosquitto {
    /// Whether it can be run here.
    pub(crate) fn is_installed() -> bool {
        Path::new(MOSQUITTO).exists()
    }

    /// Starts it, with TLS where there is a certificate. `more` are further lines for its
    /// configuration.
    pub(crate) async fn start(files: Option<&PeerCertificate>, more: &str) -> Result<Self> {
        let directory = tempfile::tempdir().context("a directory for mosquitto's configuration")?;
        let port = free_port()?;
        let configuration = directory.path().join("mosquitto.conf");
        std::fs::write(&configuration, text(files, port, more))
            .context("mosquitto's configuration")?;
        let child = Command::new(MOSQUITTO)
            .arg("-c")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {MOSQUITTO}"))?;
        let pid = child.id().context("mosquitto ended at once")?;
        let address = format!("127.0.0.1:{port}");
        let name = version().await;
        let mut mosquitto = Self { name, address, pid, _child: child, _directory: directory };
        mosquitto.wait().await?;
        Ok(mosquitto)
    }

    async fn wait(&mut self) -> Result<()> {
        for _ in 0..LOOKS_MAX {
            if let Some(status) = self._child.try_wait()? {
                bail!("mosquitto ended with {status}: check that it can read the certificate");
            }
            if TcpStream::connect(&self.address).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        bail!("mosquitto does not listen on {}", self.address)
    }
}

pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("a free port for a peer")?;
    Ok(listener.local_addr()?.port())
}

fn text(files: Option<&PeerCertificate>, port: u16, more: &str) -> String {
    // Started by root it would change its user, who cannot read our key.
    let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
    let tls = files.map_or_else(String::new, |files| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!("certfile {certificate}\nkeyfile {key}\n")
    });
    format!(
        "{user}listener {port} 127.0.0.1\n{tls}allow_anonymous true\n\
         persistence false\nlog_dest none\nconnection_messages false\nset_tcp_nodelay true\n\
         max_queued_messages 0\n{more}"
    )
}

/// `mosquitto 2.0.11`, or just the name.
async fn version() -> String {
    let help = Command::new(MOSQUITTO).arg("-h").output().await;
    let help = help.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let first = help.unwrap_or_default().lines().next().unwrap_or_default().to_owned();
    match first.strip_prefix("mosquitto version ") {
        Some(version) => format!("mosquitto {version}"),
        None => "mosquitto".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_tls_where_there_is_a_certificate() {
        let (certificate, key) = (PathBuf::from("/c.pem"), PathBuf::from("/k.pem"));
        let files = PeerCertificate { certificate, key };
        let secured = text(Some(&files), 1234, "");
        assert!(secured.contains("listener 1234 127.0.0.1\ncertfile /c.pem\nkeyfile /k.pem\n"));
        let plain = text(None, 1234, "max_inflight_messages 1000\n");
        assert!(!plain.contains("file /") && plain.ends_with("\nmax_inflight_messages 1000\n"));
    }
}
