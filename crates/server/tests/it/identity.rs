//! A real OpenID Connect provider (npm's `oidc-provider`) as a process on loopback, with people
//! who walk through it. It ends with its standard input, which is when this process does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;

/// The provider.
pub(crate) struct Identity {
    lines: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    child: Child,
    pub(crate) issuer: String,
    pub(crate) port: u16,
    /// PEM file of the authority behind it.
    pub(crate) authority: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    _folder: TempDir,
}

fn read(stdout: &mut BufReader<ChildStdout>) -> Value {
    loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the provider ended");
        // The package has things to say of its own.
        if line.starts_with('{') {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

impl Identity {
    /// Starts it, or none where its packages are not installed (said).
    pub(crate) fn start() -> Option<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e");
        if !package.join("node_modules/oidc-provider").exists() {
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED with an identity provider: run `npm ci` in e2e/ first"
            );
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("node")
            .arg(package.join("src/provider.js"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let facts = read(&mut stdout);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Some(Self {
            lines: Mutex::new((stdin, stdout)),
            child,
            issuer: text(&facts["issuer"]),
            port: u16::try_from(facts["port"].as_u64().unwrap()).unwrap(),
            authority: text(&facts["authority"]),
            client_id: text(&facts["client"]["id"]),
            client_secret: text(&facts["client"]["secret"]),
            _folder: folder,
        })
    }

    fn tell(&self, command: &Value) -> Value {
        let mut lines = self.lines.lock().unwrap();
        writeln!(lines.0, "{command}").unwrap();
        read(&mut lines.1)
    }

    /// What the provider is from now on; `more` adds `algorithm`, `issuer` or `method`.
    pub(crate) fn configure(&self, redirect_uri: &str, more: &Value) {
        let mut command = json!({"command": "configure", "redirectUris": [redirect_uri]});
        for (name, value) in more.as_object().into_iter().flatten() {
            command[name] = value.clone();
        }
        assert_eq!(self.tell(&command), json!({}));
    }

    /// New keys.
    pub(crate) fn rotate(&self) {
        assert_eq!(self.tell(&json!({"command": "rotate"})), json!({}));
    }

    /// The provider describes itself otherwise, or redirects whoever asks.
    pub(crate) fn pretend(&self, lie: &Value) {
        let mut command = lie.clone();
        command["command"] = json!("pretend");
        assert_eq!(self.tell(&command), json!({}));
    }

    /// A person goes there and signs in; gives the query they are sent back with.
    pub(crate) fn walk(&self, address: &str, login: &str) -> Value {
        let walk = json!({"command": "walk", "address": address, "login": login});
        let answer = self.tell(&walk);
        let location = answer["location"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let (_, query) = location.split_once('?').expect("a query");
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let plain = |value: &str| value.replace("%3A", ":").replace("%2F", "/");
        pairs.map(|(name, value)| (name.to_owned(), json!(plain(value)))).collect()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
