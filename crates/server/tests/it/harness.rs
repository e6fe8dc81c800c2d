//! Runs the built binary in a folder of its own, on free ports, and ends it whatever happens: a
//! guard process kills it when the test process is gone. Waiting is always for a condition.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, Http, client_tls};
use crate::mqtt::{Mqtt, Version};
use crate::postgres_server;
use crate::tenant::Tenant;

/// Longest wait for anything; a machine under load is slow, not wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
pub(crate) fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    patiently(condition).unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// The same; none where patience ends, so that the caller can say how it stood.
pub(crate) fn patiently<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let value = condition();
        if value.is_some() || started.elapsed() >= PATIENCE {
            return value;
        }
        pause(POLL);
    }
}

/// When promises are checked: `due`, or only when `asked`. Builds with `test-controls` know it.
const CHECKS: &str = "VERITWIN_TEST_CHECKS";

/// The only place that lets time pass, between two looks at a condition.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Milliseconds since 1970, for readings that are to be current.
pub(crate) fn now_ms() -> i64 {
    use veritwin_domain::Clock;
    veritwin_domain::SystemClock::new().now().as_millis()
}

/// Which command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Serve,
    Demo,
}

/// What a platform is started with besides its folder and ports.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Further arguments, such as `--simulated-clock`.
    pub(crate) arguments: Vec<String>,
    /// Further environment.
    pub(crate) environment: Vec<(String, String)>,
    /// The PostgreSQL database, if it is one.
    pub(crate) database: Option<String>,
}

impl Options {
    /// Keeps the records in a new PostgreSQL database; none where PostgreSQL is not installed.
    pub(crate) fn postgres() -> Option<Self> {
        let server = postgres_server::server()?;
        let name = server.database();
        let options = Self { database: Some(name.clone()), ..Self::default() };
        let url = |role: &str| server.url(role, &name);
        let options =
            options.environment("VERITWIN__DATABASE__URL", &url(postgres_server::RUNTIME));
        Some(options.environment("VERITWIN__DATABASE__OWNER_URL", &url(postgres_server::OWNER)))
    }

    /// Where the records of a test are kept that does not care: `VERITWIN_TEST_DATABASE=postgres`
    /// runs the whole suite on PostgreSQL.
    fn anywhere(self) -> Self {
        let wanted = std::env::var("VERITWIN_TEST_DATABASE").unwrap_or_default();
        if wanted != "postgres" || self.database.is_some() {
            return self;
        }
        let postgres = Self::postgres().expect("PostgreSQL is installed");
        Self {
            arguments: self.arguments,
            environment: [postgres.environment, self.environment].concat(),
            database: postgres.database,
        }
    }

    pub(crate) fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }
}

struct Running {
    child: Child,
    guard: Child,
}

impl Running {
    /// Ends the guard, so that it never acts on a number that another process has by then.
    fn release(&mut self) {
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.release();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a platform listens; changes when it starts again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    /// `host:port`.
    pub(crate) https: String,
    /// `host:port`.
    pub(crate) mqtts: String,
    /// `host:port`.
    pub(crate) archive: String,
}

/// A finished command.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Standard output of a command that has to succeed.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// JSON of a command that has to succeed.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("the output is JSON")
    }
}

/// A platform as a process.
pub(crate) struct Platform {
    mode: Mode,
    options: Options,
    folder: TempDir,
    running: Option<Running>,
    run: Value,
    ports: Arc<Mutex<Ports>>,
    http: Option<Http>,
    made: AtomicU32,
    start_time: Duration,
}

impl Platform {
    /// Starts a platform in a new folder and waits until it listens.
    pub(crate) fn start(mode: Mode, options: Options) -> Self {
        let mut platform = Self::new(mode, options);
        platform.start_again();
        platform
    }

    /// A new folder, in which nothing runs yet.
    pub(crate) fn new(mode: Mode, options: Options) -> Self {
        Self {
            mode,
            options: options.anywhere(),
            folder: tempfile::tempdir().unwrap(),
            running: None,
            run: Value::Null,
            ports: Arc::default(),
            http: None,
            made: AtomicU32::new(0),
            start_time: Duration::ZERO,
        }
    }

    /// The PostgreSQL database, if its records are in one.
    pub(crate) fn database(&self) -> Option<&str> {
        self.options.database.as_deref()
    }

    /// A `serve` that checks its promises by itself.
    pub(crate) fn checking() -> Self {
        Self::start(Mode::Serve, Options::default().environment(CHECKS, "due"))
    }

    /// A `serve` with nothing special.
    pub(crate) fn serve() -> Self {
        Self::start(Mode::Serve, Options::default())
    }

    /// The `serve` that tests share; each takes a tenant of its own. Nobody may stop it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Platform> = OnceLock::new();
        SHARED.get_or_init(Self::serve)
    }

    /// A command of the binary with this platform's environment.
    pub(crate) fn command(&self) -> Command {
        let binary = std::env::var_os("VERITWIN_TEST_BINARY");
        let mut command =
            Command::new(binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_veritwin").into()));
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("VERITWIN") {
                command.env_remove(key);
            }
        }
        command
            .current_dir(self.folder.path())
            .env("VERITWIN__KEYS__ROOT_DIR", self.key_dir())
            .env("VERITWIN__HTTP__PORT", "0")
            .env("VERITWIN__MQTT__PORT", "0")
            .env("VERITWIN__ARCHIVE__PORT", "0")
            .env("VERITWIN__HTTP__BIND", "127.0.0.1")
            .env("VERITWIN__MQTT__BIND", "127.0.0.1")
            .env(CHECKS, "asked")
            .envs(self.options.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Changes the environment of the next start; without a value the variable goes.
    pub(crate) fn set_environment(&mut self, key: &str, value: Option<&str>) {
        self.options.environment.retain(|(known, _)| known != key);
        let value = value.map(|value| (key.to_owned(), value.to_owned()));
        self.options.environment.extend(value);
    }

    /// Starts the process without waiting for it.
    pub(crate) fn spawn(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let stdout = File::create(self.folder.path().join("stdout")).unwrap();
        let stderr = self.folder.path().join("stderr");
        let stderr = File::options().append(true).create(true).open(stderr).unwrap();
        let name = match self.mode {
            Mode::Serve => "serve",
            Mode::Demo => "demo",
        };
        let child = self
            .command()
            .arg(name)
            .arg("--data")
            .arg(self.data())
            .args(&self.options.arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        // Its standard input ends when this process does, even by a signal.
        let guard = Command::new("sh")
            .arg("-c")
            .arg("read line; kill -9 \"$1\"; sleep 1; rm -rf \"$2\"")
            .arg("guard")
            .arg(child.id().to_string())
            .arg(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running = Some(Running { child, guard });
    }

    /// Starts the process in the same folder and waits until everything listens.
    pub(crate) fn start_again(&mut self) {
        let started = Instant::now();
        self.spawn();
        self.wait_until_ready(started);
    }

    /// Waits for `run.json` of the process that was spawned at `started`.
    pub(crate) fn wait_until_ready(&mut self, started: Instant) {
        let path = self.data().join("run.json");
        let errors = self.folder.path().join("stderr");
        let child = &mut self.running.as_mut().expect("it was spawned").child;
        self.run = wait_for("run.json", || {
            if let Some(status) = child.try_wait().unwrap() {
                let log = fs::read_to_string(&errors).unwrap_or_default();
                let tail = log.len().saturating_sub(4000);
                panic!("the platform ended at its start: {status}\n{}", &log[tail..]);
            }
            let run: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            (run["pid"] == child.id()).then_some(run)
        });
        self.start_time = started.elapsed();
        let text = |key: &str| self.run[key].as_str().unwrap_or_default().to_owned();
        *self.ports.lock().unwrap() = Ports {
            https: text("https").trim_start_matches("https://").to_owned(),
            mqtts: text("mqtts"),
            archive: text("archive"),
        };
        if self.http.is_none() {
            let ca = fs::read(self.data().join(text("ca"))).unwrap();
            self.http = Some(Http::new(Arc::clone(&self.ports), client_tls(&ca)));
        }
    }

    /// Asks the process to end and waits for it; it has to end well.
    pub(crate) fn stop(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.release();
        let pid = running.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        let status = wait_for("the platform's end", || running.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.stderr());
    }

    /// Kills the process in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.release();
        running.child.kill().unwrap();
        let status = running.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended by itself: {status}\n{}", self.stderr());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("it runs").child.id()
    }

    /// From spawning to `run.json`, of the last start.
    pub(crate) fn start_time(&self) -> Duration {
        self.start_time
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for a test's own files, outside the data directory.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn key_dir(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// What `run.json` said at the last start.
    pub(crate) fn run(&self) -> &Value {
        &self.run
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports.lock().unwrap().clone()
    }

    pub(crate) fn http(&self) -> &Http {
        self.http.as_ref().expect("it was started")
    }

    /// Everything the processes in this folder wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// What the last process wrote to standard output.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// One request over the control socket, as the command line sends it.
    pub(crate) fn control(&self, command: &str, arguments: Value) -> Result<Value, String> {
        let mut stream = UnixStream::connect(self.data().join("control.sock"))
            .map_err(|error| format!("control socket: {error}"))?;
        let request = json!({"command": command, "arguments": arguments, "body_bytes": 0});
        stream.write_all(format!("{request}\n").as_bytes()).map_err(|error| error.to_string())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        match answer.get("refused") {
            Some(reason) => Err(reason.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer["done"].clone()),
        }
    }

    /// Runs a command on this platform's directory.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let output = self
            .command()
            .args(arguments)
            .env("VERITWIN_DATA", self.data())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// A fresh tenant with an administrator and an API key: the local operator makes the tenant
    /// and a one-time link, a person redeems it.
    pub(crate) fn tenant(&self) -> Tenant {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let name = json!({"name": format!("Tenant {number}")});
        let made = self.control("create_tenant", name).unwrap();
        let link = self.control("admin_link", json!({"tenant": made["tenant"]})).unwrap();
        Tenant::redeem(self.http(), link_token(link["link"].as_str().unwrap()), number)
    }

    /// The demo's own tenant, out of `run.json`.
    pub(crate) fn demo_tenant(&self) -> Tenant {
        Tenant::of_demo(self.http(), &self.run["demo"])
    }

    /// Signs in; the answer carries the cookie.
    pub(crate) fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.http().post("/v1/session").json(&body).send()
    }

    /// An MQTT connection of a device.
    pub(crate) fn mqtt(&self, version: Version, token: &str) -> Mqtt {
        Mqtt::connect(self.http(), version, token).expect("the device may connect")
    }
}

/// The token of a one-time link.
pub(crate) fn link_token(link: &str) -> &str {
    link.trim().split_once("/welcome#").expect("a link with a token").1
}

impl Drop for Platform {
    /// The archive ends by itself after the platform; only then its folder can go.
    fn drop(&mut self) {
        drop(self.running.take());
        let archive = self.ports().archive;
        let ended = || TcpStream::connect(&archive).is_err();
        for _ in 0..400 {
            if ended() {
                break;
            }
            pause(POLL);
        }
    }
}

/// All files below a folder, sockets and the like left out.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
