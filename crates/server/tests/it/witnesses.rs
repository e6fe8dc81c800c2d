//! A ledger with a witness: it cosigns what grows, exports and served logs show that, and whoever
//! requires another witness as well is told.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use veritwin_verify::{KeyAlgorithm, VerifierKey};

use crate::harness::{Mode, Options, Output, Platform, files_below, wait_for};

const UNMET: i32 = 12;

/// A witness in a folder of its own.
struct Witness {
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Witness {
    /// Its certificate and key are made; it does not run.
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut witness = Self { folder: tempfile::tempdir().unwrap(), port, running: None };
        witness.start(&[]);
        witness.kill();
        witness
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let binary = std::env::var_os("VERITWIN_TEST_BINARY");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_veritwin").into());
        let mut command = Command::new(binary);
        command.args(["witness", name, "--config"]).arg(self.path("witness.toml"));
        command.stdin(Stdio::null());
        command
    }

    fn start(&mut self, logs: &[&str]) {
        let place = self.folder.path().display();
        let (port, logs) = (self.port, json!(logs));
        let text = format!(
            "directory = \"{place}/witness\"\nroot_key = \"{place}/root.key\"\n\
             listen = \"127.0.0.1:{port}\"\nnames = [\"127.0.0.1\"]\n\
             name = \"witness.example/w1\"\nlogs = {logs}\n"
        );
        fs::write(self.path("witness.toml"), text).unwrap();
        let run = self.path("witness/run.json");
        let _ = fs::remove_file(&run);
        self.running = Some(self.command("serve").stdout(Stdio::null()).spawn().unwrap());
        wait_for("the witness to listen", || run.exists().then_some(()));
    }

    fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    fn ask(&self, name: &str) -> Value {
        let output = self.command(name).arg("--json").output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A policy that requires it.
    fn policy(&self, key: &str) -> PathBuf {
        let path = self.path("policy");
        let text = format!("witness w1 {key} https://127.0.0.1:{}\nquorum w1\n", self.port);
        fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_witness_cosigns_what_grows_and_whoever_verifies_sees_it() {
    let mut witness = Witness::new();
    let key = witness.ask("key")["vkey"].as_str().unwrap().to_owned();
    let policy = witness.policy(&key);
    let certificate = witness.path("witness/certificate.pem");
    let options = Options::default()
        .environment("VERITWIN__WITNESS__POLICY", policy.to_str().unwrap())
        .environment("VERITWIN__WITNESS__AUTHORITIES", certificate.to_str().unwrap())
        .environment("VERITWIN__WITNESS__INTERVAL_SECONDS", "1");
    let platform = Platform::start(Mode::Serve, options);
    let tenant = platform.tenant();
    let device = tenant.device("witnessed");
    tenant.send(&device, &json!({"t": 1})).expect(200);
    tenant.sealed(1);
    let ledger = tenant.get("/v1/ledger").expect(200);
    assert_eq!(ledger["witness"]["witnessed_size"], 0, "{ledger}");
    let vkey = ledger["vkey"].as_str().unwrap().to_owned();

    let keys = platform.cli(&["ledger", "keys"]).done();
    assert!(keys.lines().any(|line| line == vkey), "{keys}");
    witness.start(&[&vkey]);
    let ledger = wait_for("a cosignature", || {
        let ledger = tenant.get("/v1/ledger").expect(200);
        (ledger["witness"]["witnessed_size"].as_u64()? > 0).then_some(ledger)
    });
    let shown = ledger["witness"]["policy"].as_str().unwrap();
    assert_eq!(shown, format!("witness w1 {key}\nquorum w1\n"), "no address of a witness");

    let out = platform.scratch("witnessed");
    let folder = out.to_str().unwrap().to_owned();
    platform.cli(&["ledger", "export", &folder, "--tenant", &tenant.id]).done();
    let verify = |log: &str, policy: &str, more: &[&str]| -> Output {
        let arguments = ["ledger", "verify", log, "--vkey", &vkey, "--policy", policy];
        platform.cli(&[arguments.as_slice(), more].concat())
    };
    let required = policy.to_str().unwrap();
    let seen = verify(&folder, required, &[]);
    assert_eq!(seen.code, 0, "{seen:?}");
    assert!(seen.stdout.contains("witnessed up to"), "{seen:?}");

    // The same from afar, for an auditor.
    let made = json!({"name": "auditor", "role": "auditor"});
    let made = tenant.post("/v1/api-keys", &made).expect(201);
    let file = platform.scratch("auditor.key");
    fs::write(&file, made["secret"].as_str().unwrap()).unwrap();
    let https = platform.run()["https"].as_str().unwrap();
    let url = format!("{https}/ledger/{}", ledger["log_id"].as_str().unwrap());
    let ca = platform.data().join(platform.run()["ca"].as_str().unwrap());
    let access = ["--ca", ca.to_str().unwrap(), "--api-key-file", file.to_str().unwrap()];
    let served = verify(&url, required, &access);
    assert_eq!(served.code, 0, "{served:?}");
    assert!(served.stdout.contains("witnessed up to"), "{served:?}");

    // One witness is not two, and a cosignature with another bit is none.
    let other = VerifierKey::new("witness.example/w2", KeyAlgorithm::CosignatureV1, [9; 32]);
    let both = witness.path("both");
    let text = format!("witness w1 {key}\nwitness w2 {}\n", other.unwrap());
    fs::write(&both, text + "group both all w1 w2\nquorum both\n").unwrap();
    assert_eq!(verify(&folder, both.to_str().unwrap(), &[]).code, UNMET);
    let mut changed = 0;
    for file in files_below(&out.join("published")) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if !text.contains("witness.example/w1") {
            continue;
        }
        let place = text.trim_end().len() - 8;
        let letter = if text.as_bytes()[place] == b'B' { "C" } else { "B" };
        fs::write(&file, [&text[..place], letter, &text[place + 1..]].concat()).unwrap();
        changed += 1;
    }
    assert!(changed > 0, "a cosigned checkpoint");
    assert_eq!(verify(&folder, required, &[]).code, UNMET);

    witness.kill();
    let cosigned = witness.ask("logs");
    assert!(cosigned["items"][0]["tree_size"].as_u64().unwrap() > 0, "{cosigned}");
}
