//! A ledger archive of another party: it admits the platform by its certificate, seals what waited,
//! lets no leaf go early, and serves a stopped platform's command line as well.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Mode, Options, Platform, wait_for};

/// The archive, in a folder of its own.
struct Archive {
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Archive {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { folder: tempfile::tempdir().unwrap(), port, running: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it for the platform with this certificate; without one for nobody there is.
    fn start(&mut self, platform: &Platform, fingerprint: &str) {
        let (place, port) = (self.folder.path().display(), self.port);
        let text = format!(
            "directory = \"{place}/archive\"\nroot_key = \"{place}/root.key\"\n\
             listen = \"127.0.0.1:{port}\"\nnames = [\"127.0.0.1\"]\n\
             clients = [\"{fingerprint}\"]\nminimum_period_days = 365\n"
        );
        let config = self.path("archive.toml");
        fs::write(&config, text).unwrap();
        let run = self.path("archive/run.json");
        let _ = fs::remove_file(&run);
        let mut command = platform.command();
        command.args(["archive", "serve", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.running = Some(command.spawn().unwrap());
        wait_for("the archive to listen", || run.exists().then_some(()));
    }

    fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }
}

fn fingerprint(pem: &str) -> String {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    veritwin_verify::sha256(&der).to_string()
}

#[test]
fn an_archive_of_another_party_seals_what_waited_for_it() {
    let mut archive = Archive::new();
    let certificate = archive.path("archive/certificate.pem");
    let options = Options::default()
        .environment("VERITWIN__ARCHIVE__URL", &format!("https://127.0.0.1:{}", archive.port))
        .environment("VERITWIN__ARCHIVE__CERTIFICATE", certificate.to_str().unwrap());
    let mut platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("sealed elsewhere");
    tenant.send(&device, &json!({"t": 1})).expect(200);
    tenant.get("/v1/ledger").problem(503);

    let client = fs::read_to_string(platform.data().join("archive-pairing/client.pem")).unwrap();
    let own = fingerprint(&client);
    // For somebody else: the platform is not admitted.
    archive.start(&platform, &"0b".repeat(32));
    let shown = format!("{}:{}:{}", &own[..2], &own[2..4], &own[4..6]).to_uppercase();
    wait_for("its fingerprint", || platform.stderr().contains(&shown).then_some(()));
    tenant.get("/v1/ledger").problem(503);
    archive.kill();
    archive.start(&platform, &own);
    tenant.sealed(1);
    let ledger = tenant.get("/v1/ledger").expect(200);
    assert_eq!(ledger["archive"]["connected"], true, "{ledger}");
    assert!(!platform.data().join("archive/archive").exists(), "it has no archive of its own");

    // It is killed and comes back: what waited is sealed behind what was there.
    let size = ledger["tree_size"].as_u64().unwrap();
    archive.kill();
    tenant.send(&device, &json!({"t": 2})).expect(200);
    archive.start(&platform, &own);
    tenant.sealed(size + 1);

    let id = tenant.id.clone();
    platform.stop();
    let out = platform.scratch("export");
    let folder = out.to_str().unwrap();
    platform.cli(&["ledger", "export", folder, "--tenant", &id]).done();
    assert_eq!(platform.cli(&["ledger", "verify", folder]).code, 0);
}
