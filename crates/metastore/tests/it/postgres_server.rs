//! A private PostgreSQL server on a Unix socket in a temporary directory, for the tests of several
//! crates: started once per process, ended with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The role that owns databases and applies the schema.
pub(crate) const OWNER: &str = "owner_role";
/// The role that a platform works as.
pub(crate) const RUNTIME: &str = "runtime_role";

/// Starts the server, waits until it answers, prints its directory, and stops it when its input
/// ends, which is when this process does, or when anything before that fails.
const SCRIPT: &str = r#"
set -e
cd /
bin=$1
dir=$(mktemp -d /tmp/veritwin-pg.XXXXXX)
trap '"$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1; rm -rf "$dir"' EXIT
"$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale --no-sync >/dev/null
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "-k $dir -c listen_addresses='' -c fsync=off \
  -c synchronous_commit=off -c full_page_writes=off -c max_connections=500" start >/dev/null
"$bin/psql" -h "$dir" -U postgres -d postgres -q -v ON_ERROR_STOP=1 \
  -c "CREATE ROLE owner_role LOGIN CREATEROLE" -c "CREATE ROLE runtime_role LOGIN NOINHERIT"
echo "$dir"
cat >/dev/null
"#;

pub(crate) struct Server {
    directory: String,
    bin: String,
    _watch: Child,
}

/// The server, or none where PostgreSQL is not installed (said once).
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(start).as_ref()
}

fn bin() -> Option<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(debian.into_iter().rev());
    let whole = |place: &std::path::PathBuf| {
        ["initdb", "pg_ctl", "psql"].iter().all(|program| place.join(program).exists())
    };
    places.find(whole).map(|place| place.display().to_string())
}

fn start() -> Option<Server> {
    let Some(bin) = bin() else {
        // Past the test harness's capture, so that a run without PostgreSQL shows it.
        let _ = writeln!(std::io::stderr(), "SKIPPED on PostgreSQL: it is not installed");
        return None;
    };
    let root = Command::new("id").arg("-u").output().expect("id").stdout.starts_with(b"0\n");
    // The server refuses to run as root.
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", "sh"]);
        command
    } else {
        Command::new("sh")
    };
    let mut watch = command
        .args(["-c", SCRIPT, "sh", &bin])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    let output = watch.stdout.as_mut().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let directory = line.trim().to_owned();
    assert!(!directory.is_empty(), "PostgreSQL did not start");
    Some(Server { directory, bin, _watch: watch })
}

impl Server {
    /// Where its files and socket are.
    #[allow(dead_code, reason = "not every crate looks at the files")]
    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@localhost/{database}?host={}", self.directory)
    }

    /// A new database of the owner's.
    pub(crate) fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("records_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} OWNER {OWNER}");
        self.sql("postgres", "postgres", &create).expect("a database");
        name
    }

    /// Runs SQL as a role; the rows as text, or what the server said.
    pub(crate) fn sql(&self, role: &str, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(format!("{}/psql", self.bin))
            .args(["-h", &self.directory, "-U", role, "-d", database])
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .stdin(Stdio::null())
            .output()
            .expect("psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}
