//! InfluxDB 1 as the peer: a process of our own on the loopback interface, written to and asked
//! over its HTTP interface, ended when the benchmark is over.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::mosquitto::free_port;
use crate::process::cpu_seconds;

/// Where Debian's package puts it.
pub const INFLUXD: &str = "/usr/bin/influxd";
/// It answers within this many looks, 100 ms apart.
const LOOKS_MAX: usize = 100;
/// Its memory is written to files within this many looks, one second apart.
const SETTLE_LOOKS_MAX: usize = 120;

/// A running InfluxDB.
#[derive(Debug)]
pub(crate) struct Influx {
    pub(crate) name: String,
    address: String,
    pid: u32,
    _child: Child,
    directory: tempfile::TempDir,
}

impl Influx {
    /// Whether it can be run here.
    pub(crate) fn is_installed() -> bool {
        Path::new(INFLUXD).exists()
    }

    pub(crate) async fn start(below: &Path) -> Result<Self> {
        let directory = tempfile::tempdir_in(below).context("a directory for InfluxDB")?;
        let (port, rpc) = (free_port()?, free_port()?);
        let configuration = directory.path().join("influxdb.conf");
        std::fs::write(&configuration, text(directory.path(), port, rpc))?;
        let child = Command::new(INFLUXD)
            .arg("-config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {INFLUXD}"))?;
        let pid = child.id().context("InfluxDB ended at once")?;
        let name = version().await;
        let address = format!("127.0.0.1:{port}");
        let influx = Self { name, address, pid, _child: child, directory };
        for _ in 0..LOOKS_MAX {
            if influx.call("GET", "/ping", "").await.is_ok() {
                influx.call("POST", "/query?q=CREATE%20DATABASE%20bench", "").await?;
                return Ok(influx);
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("InfluxDB does not answer on {}", influx.address)
    }

    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds(self.pid)
    }

    /// Writes lines whose times are in milliseconds.
    pub(crate) async fn write(&self, lines: &str) -> Result<()> {
        self.call("POST", "/write?db=bench&precision=ms", lines).await.map(|_| ())
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn query(&self, text: &str) -> Result<String> {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.call("GET", &format!("/query?db=bench&epoch=ms&q={encoded}"), "").await?;
        ensure!(!answer.contains("\"error\""), "InfluxDB refused a question");
        Ok(answer)
    }

    /// Waits until its memory is in files and merged, then says how many bytes they have.
    pub(crate) async fn settled_bytes(&self) -> Result<u64> {
        let data = self.directory.path().join("data");
        let mut seen = 0;
        let mut same = 0;
        for _ in 0..SETTLE_LOOKS_MAX {
            sleep(Duration::from_secs(1)).await;
            let now = bytes_below(&data)?;
            same = if now == seen && now > 0 { same + 1 } else { 0 };
            seen = now;
            if same >= 20 {
                break;
            }
        }
        Ok(seen)
    }

    async fn call(&self, method: &str, target: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "InfluxDB answered {status} to {method}");
        Ok(answer)
    }
}

fn bytes_below(directory: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Files are merged and deleted while this looks.
        let Ok(meta) = entry.metadata() else { continue };
        total += if meta.is_dir() { bytes_below(&entry.path())? } else { meta.len() };
    }
    Ok(total)
}

fn text(directory: &Path, port: u16, rpc: u16) -> String {
    let directory = directory.display();
    format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n\
         [meta]\ndir = \"{directory}/meta\"\n\
         [data]\ndir = \"{directory}/data\"\nwal-dir = \"{directory}/wal\"\n\
         index-version = \"tsi1\"\nquery-log-enabled = false\n\
         cache-snapshot-write-cold-duration = \"5s\"\n\
         compact-full-write-cold-duration = \"10s\"\n\
         [monitor]\nstore-enabled = false\n\
         [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\nmax-body-size = 0\n"
    )
}

/// `InfluxDB 1.6.7`, or just the name.
async fn version() -> String {
    let output = Command::new(INFLUXD).arg("version").output().await;
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let output = output.unwrap_or_default();
    let word = output.split_whitespace().nth(1).unwrap_or_default();
    let version = word.trim_start_matches('v').split('~').next().unwrap_or_default();
    format!("InfluxDB {version}").trim_end().to_owned()
}
