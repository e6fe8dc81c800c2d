//! What the tasks need from the system. As root on Debian it is installed; otherwise the exact
//! command is printed and nothing is guessed.

use anyhow::bail;

use crate::run;

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// Where Debian keeps the library below SQLCipher; `.cargo/config.toml` names the folder too.
const LIBCRYPTO: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu/libcrypto.a"
} else {
    "/usr/lib/x86_64-linux-gnu/libcrypto.a"
};

/// To build: a C compiler, Node for the pages, and OpenSSL's libcrypto, or what builds it.
pub(crate) fn build_needs() -> Vec<Need> {
    let mut needs = vec![need("cc", "gcc"), need("node", "nodejs"), need("npm", "npm")];
    if std::env::var_os("OPENSSL_NO_VENDOR").is_some_and(|value| value == "0") {
        needs.extend([need("perl", "perl"), need("make", "make")]);
    } else {
        needs.push(need(LIBCRYPTO, "libssl-dev"));
    }
    needs
}

/// To build libFuzzer.
pub(crate) const FUZZ: [Need; 2] = [need("cc", "gcc"), need("c++", "g++")];

/// To test against real parts.
pub(crate) const TEST: [Need; 16] = [
    need("/usr/bin/chromium", "chromium"),
    need("certutil", "libnss3-tools"),
    need("/usr/lib/postgresql/15/bin/postgres", "postgresql"),
    need("nats-server", "nats-server"),
    need("mosquitto", "mosquitto"),
    need("mosquitto_sub", "mosquitto-clients"),
    need("dovecot", "dovecot-imapd"),
    need("aiosmtpd", "python3-aiosmtpd"),
    need("openssl", "openssl"),
    need("pebble", "pebble"),
    need("softhsm2-util", "softhsm2"),
    need("curl", "curl"),
    need("runuser", "util-linux"),
    need("go", "golang-go"),
    need("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go", "golang-golang-x-mod-dev"),
    need("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", "fonts-noto-cjk"),
];

/// Makes sure that every program is there.
pub(crate) fn ensure(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !run::exists(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let root = run::output(run::command(&run::root(), "id", &["-u"]))? == b"0\n";
    if !root || !run::exists("apt-get") {
        bail!(
            "missing: {}. Install them first, on Debian: sudo apt-get install -y --no-install-recommends {}",
            missing.iter().map(|need| need.program).collect::<Vec<_>>().join(", "),
            packages.join(" ")
        );
    }
    run::run(apt(&["update", "-q"]))?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    run::run(apt(&arguments))?;
    let still: Vec<&str> =
        missing.iter().filter(|need| !run::exists(need.program)).map(|need| need.program).collect();
    if !still.is_empty() {
        bail!("still missing after installing {}: {}", packages.join(" "), still.join(", "));
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> std::process::Command {
    let mut command = run::command(&run::root(), "apt-get", arguments);
    // Daemons of the packages are started by the tests themselves, never by their installation.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}
