//! `cargo xtask test`: every check in one go, cheapest first, with a line of totals at the end.
//! Beside the build of all Rust code the pages are checked, and what the tests talk to is fetched.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::bail;

use crate::{demo, install, python, run, tidy, web};

/// The switches that break features on purpose, for the sabotage tests. The browser's binary is
/// the same one: one build for all tests.
const TEST_FEATURES: &str = "veritwin-server/test-controls";
/// The same with SQL, which brings DataFusion in.
const SQL_FEATURES: &str = "veritwin-server/test-controls,veritwin-server/sql";
/// Tests that are about SQL, and those that walk all endpoints.
const SQL_TESTS: [&str; 6] = ["sql::", "encode::", "session::", "text::", "wanted::", "roles::"];

/// What to leave out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Runs the browser tests.
    pub(crate) browser: bool,
    /// Runs every test of the server on PostgreSQL too, not only those about records.
    pub(crate) postgres_whole: bool,
    /// Builds and tests the server with SQL as well.
    pub(crate) sql: bool,
}

/// Tests of the server that are mostly about records; the others differ little by database.
const POSTGRES_TESTS: [&str; 4] = ["alerts::", "isolation::", "ledger::", "start::"];

#[derive(Debug, Default)]
struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    /// Adds a libtest line: `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add_libtest(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result:") else { return };
        let mut words = rest.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let Ok(count) = word.parse::<u64>() else { continue };
            match words.peek().map(|next| next.trim_end_matches(';')) {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.skipped += count,
                _ => {}
            }
        }
    }

    /// Takes the tests that said so (`name: why`, a test perhaps more than once) out of those that
    /// passed.
    fn add_skipped(&mut self, said: &str) {
        let names: BTreeSet<&str> =
            said.lines().filter_map(|line| line.split(": ").next()).collect();
        let count = names.len() as u64;
        self.passed = self.passed.saturating_sub(count);
        self.skipped += count;
    }

    /// Adds the browser tests' line (`totals: 3 passed, 0 failed`) or vitest's
    /// (`Tests  1 failed | 47 passed (48)`).
    fn add_plain(&mut self, line: &str) {
        let line = line.trim();
        let Some(rest) = line.strip_prefix("totals: ").or_else(|| line.strip_prefix("Tests "))
        else {
            return;
        };
        for part in rest.split([',', '|']) {
            let mut words = part.split_whitespace();
            let Some(count) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("skipped") => self.skipped += count,
                _ => {}
            }
        }
    }
}

/// Runs tests of libtest. Those that find that they cannot run here leave lines in a file, as
/// libtest calls them passed.
fn libtest(mut command: Command, totals: &mut Totals) -> anyhow::Result<bool> {
    let file = run::target_dir().join("tests-skipped");
    fs::create_dir_all(run::target_dir())?;
    fs::write(&file, "")?;
    command.env("VERITWIN_TEST_SKIPPED", &file);
    let passed = run::run_watched(command, |line| totals.add_libtest(line))?;
    let said = fs::read_to_string(&file)?;
    for line in &said.lines().collect::<BTreeSet<_>>() {
        run::say(&format!("skipped: {line}"));
    }
    totals.add_skipped(&said);
    Ok(passed)
}

struct Steps {
    totals: Totals,
    broken: Vec<&'static str>,
}

impl Steps {
    fn step(&mut self, name: &'static str, work: impl FnOnce(&mut Totals) -> anyhow::Result<bool>) {
        let started = Instant::now();
        let outcome = work(&mut self.totals);
        self.end(name, started.elapsed().as_secs(), outcome);
    }

    fn end(&mut self, name: &'static str, seconds: u64, outcome: anyhow::Result<bool>) {
        match outcome {
            Ok(true) => run::say(&format!("{name}: ok ({seconds} s)")),
            Ok(false) => {
                run::say(&format!("{name}: FAILED ({seconds} s)"));
                self.broken.push(name);
            }
            Err(error) => {
                run::say(&format!("{name}: FAILED ({seconds} s): {error:#}"));
                self.broken.push(name);
            }
        }
    }

    fn take(&mut self, beside: Beside) {
        let Beside { name, seconds, outcome } = beside;
        let outcome = outcome.map(|(passed, said)| {
            for line in said.lines() {
                run::print(line);
                self.totals.add_plain(line);
            }
            passed
        });
        self.end(name, seconds, outcome);
    }
}

/// A step that ran beside another one. What it said is shown after that one.
struct Beside {
    name: &'static str,
    seconds: u64,
    outcome: anyhow::Result<(bool, String)>,
}

impl Beside {
    fn run(name: &'static str, command: Command) -> Self {
        let started = Instant::now();
        let outcome = run::run_kept(command);
        Self { name, seconds: started.elapsed().as_secs(), outcome }
    }
}

/// What the build of all Rust code needs nothing of: fetches what the tests talk to, and checks the
/// pages.
fn beside_the_build() -> (anyhow::Result<()>, [Beside; 2]) {
    let prepared = python::install();
    // The step that needs them tries again and fails with the reason.
    let _ = web::packages("e2e");
    let web = run::root().join("web");
    let checks = [("web types", "typecheck"), ("web tests", "test")].map(|(name, script)| {
        Beside::run(name, run::command(&web, "npm", &["run", "--silent", script]))
    });
    (prepared, checks)
}

/// `cargo test` of the workspace, always with the same selection of crates and features, so that
/// nothing is built anew. Clippy stands in the compiler's place for the workspace's own crates: the
/// one build of the tests is linted on its way, as by `cargo clippy -- -D warnings`, which would
/// check all dependencies once more for itself.
fn tests(arguments: &[&str]) -> Command {
    tests_with(TEST_FEATURES, arguments)
}

fn tests_with(features: &str, arguments: &[&str]) -> Command {
    let cargo = Path::new(env!("CARGO"));
    let mut command = run::command(&run::root(), env!("CARGO"), &["test", "--locked"]);
    command
        .args(["--workspace", "--no-fail-fast", "--features", features])
        .args(arguments)
        .env("RUSTC_WORKSPACE_WRAPPER", cargo.with_file_name("clippy-driver"))
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
        .env("CARGO_TERM_COLOR", "never");
    command
}

/// Runs everything; fails at the end when anything failed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let root = run::root();
    let cargo = env!("CARGO");
    install::ensure(&install::build_needs())?;
    install::ensure(&install::TEST)?;
    let mut steps = Steps { totals: Totals::default(), broken: Vec::new() };
    steps.step("format", |_| {
        run::run_watched(run::command(&root, cargo, &["fmt", "--all", "--check"]), |_| {})
    });
    steps.step("tidy", |_| tidy::run().map(|()| true));
    steps.step("web build", |_| web::build().map(|()| true));
    let prepared = std::thread::scope(|scope| {
        let beside = scope.spawn(beside_the_build);
        steps.step("build and lints", |_| {
            let arguments = ["--lib", "--bins", "--tests", "--examples", "--no-run"];
            run::run_watched(tests(&arguments), |_| {})
        });
        match beside.join() {
            Ok((prepared, checks)) => {
                checks.into_iter().for_each(|check| steps.take(check));
                prepared
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    prepared?;
    steps.step("tests", |totals| {
        // The server's tests sign in through the identity provider that is among these.
        web::packages("e2e")?;
        // All but documentation's, which would start a compiler for each crate: there are none.
        libtest(tests(&["--lib", "--bins", "--tests"]), totals)
    });
    steps.step("tests on PostgreSQL", |totals| {
        let mut command = tests(&["--test", "it", "--"]);
        if !options.postgres_whole {
            command.args(POSTGRES_TESTS);
        }
        command.env("VERITWIN_TEST_DATABASE", "postgres");
        libtest(command, totals)
    });
    steps.step("openapi", |_| crate::openapi::check_built().map(|()| true));
    if options.browser {
        steps.step("browser", |totals| {
            web::packages("e2e")?;
            run::run_watched(
                run::command(&root.join("e2e"), "npm", &["run", "--silent", "test"]),
                |line| totals.add_plain(line),
            )
        });
    }
    if options.sql {
        with_sql(&mut steps);
    }
    let Totals { passed, failed, skipped } = steps.totals;
    let failed = failed.max(steps.broken.len() as u64);
    if !steps.broken.is_empty() {
        run::say(&format!("failed: {}", steps.broken.join(", ")));
    }
    run::print(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// What is different in a build with SQL; last, because it takes the binary's place.
fn with_sql(steps: &mut Steps) {
    steps.step("build and lints with SQL", |_| {
        let arguments = ["--lib", "--bins", "--tests", "--examples", "--no-run"];
        run::run_watched(tests_with(SQL_FEATURES, &arguments), |_| {})
    });
    steps.step("tests of SQL", |totals| {
        let mut command = tests_with(SQL_FEATURES, &["--lib", "--test", "it", "--"]);
        command.args(SQL_TESTS);
        libtest(command, totals)
    });
    steps.step("openapi with SQL", |_| crate::openapi::check_built().map(|()| true));
}

/// The long runs, against the release binary; the tests themselves keep the profile of `test`.
pub(crate) fn soak() -> anyhow::Result<()> {
    let binary = demo::build(true)?;
    let arguments = ["test", "--locked", "--workspace", "--features", TEST_FEATURES];
    let mut command = run::command(&run::root(), env!("CARGO"), &arguments);
    command
        .args([
            "--test",
            "it",
            "--",
            "kill::",
            "storm::",
            "simulation::",
            "--include-ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env("VERITWIN_TEST_BINARY", binary)
        .env("VERITWIN_KILL_ROUNDS", "200")
        .env("VERITWIN_SIMULATION_SEEDS", "10000");
    run::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_each_runner() {
        let mut totals = Totals::default();
        totals.add_libtest(
            "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out",
        );
        totals.add_plain("totals: 10 passed, 0 failed, 4 skipped");
        totals.add_plain("      Tests  1 failed | 47 passed (48)");
        totals.add_plain("Testing 5 passed things");
        totals.add_skipped("tls::a: no openssl\ntls::a: no openssl\nshared::b: not there\n");
        assert_eq!((totals.passed, totals.failed, totals.skipped), (58, 2, 8));
    }
}
