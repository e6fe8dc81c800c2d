//! What stands beside the ledger's figures: OpenSSL's SHA-256, and the Merkle log of Go's checksum
//! database (`golang.org/x/mod/sumdb/tlog`), where they are installed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;
use veritwin_verify::TlogProof;

use crate::entry::Peer;

/// Where Debian keeps Go's packages (`golang-golang-x-mod-dev`).
const GOPATH: &str = "/usr/share/gocode";
const TLOG: &str = "src/golang.org/x/mod/sumdb/tlog";
const PROGRAM: &str = include_str!("tlog.go");

/// What `openssl speed` says of SHA-256 with blocks of the same size, on one core.
pub(super) async fn openssl_sha256(block_bytes: usize) -> Option<Peer> {
    let bytes = block_bytes.to_string();
    let arguments = ["speed", "-mr", "-evp", "sha256", "-seconds", "2", "-bytes", &bytes];
    let output = Command::new("openssl").args(arguments).output().await.ok()?;
    let version = Command::new("openssl").arg("version").output().await.ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let name = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
    Some(Peer { name, value: speed_of(&String::from_utf8_lossy(&output.stdout))? / 1e9 })
}

/// Bytes a second out of the machine-readable form: `+F:22:sha256:1234567890.12`.
fn speed_of(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("+F:"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

/// What Go's log does in a second of one core.
pub(super) struct Tlog {
    /// Entries of a log that it goes over.
    pub(super) entries_per_s: Peer,
    /// Inclusion paths that it verifies.
    pub(super) paths_per_s: Peer,
}

#[derive(Deserialize)]
struct Figures {
    entries_per_s: f64,
    paths_per_s: f64,
}

/// Measures Go's log with the same log and the same proof. None where it is not installed; one that
/// is and does not run is an error, so that no figure is missing without a word.
pub(super) async fn tlog(folder: &Path, log: &Path, proof: &TlogProof) -> Result<Option<Tlog>> {
    if !Path::new(GOPATH).join(TLOG).is_dir() {
        return Ok(None);
    }
    let version = Command::new("go").arg("version").output().await.context("go version")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let name = format!("tlog, {}", version.split(' ').nth(2).unwrap_or("of Go"));
    let figures = run(folder, log, proof).await.context("Go's tlog is installed and fails")?;
    let Figures { entries_per_s, paths_per_s } = figures;
    let peer = |value| Peer { name: name.clone(), value };
    Ok(Some(Tlog { entries_per_s: peer(entries_per_s), paths_per_s: peer(paths_per_s) }))
}

async fn run(folder: &Path, log: &Path, proof: &TlogProof) -> Result<Figures> {
    let (program, source) = (folder.join("tlog"), folder.join("tlog.go"));
    let proof_file = folder.join("deep.proof");
    std::fs::write(&source, PROGRAM)?;
    std::fs::write(&proof_file, proof.to_text())?;
    let built = Command::new("go")
        .args(["build", "-o"])
        .args([&program, &source])
        .env("GO111MODULE", "off")
        .env("GOPATH", GOPATH)
        .env("GOCACHE", folder.join("go-cache"))
        .env("GOTOOLCHAIN", "local")
        .output()
        .await?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    // One core, as ours is counted.
    let mut command = Command::new(&program);
    let ran = command.arg(log).arg(&proof_file).env("GOMAXPROCS", "1").output().await?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).context("its figures")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openssl_lines() {
        let text = "+DT:sha256:2:16384\n+R:2000:sha256:2.00\n+H:16384\n+F:22:sha256:512000000.5\n";
        assert_eq!(speed_of(text), Some(512_000_000.5));
        assert_eq!(speed_of("nothing"), None);
    }
}
