//! Coverage-guided fuzzing with the stable compiler: builds the targets of `fuzz/` with LLVM's
//! coverage counters, runs one or all, and says what each did. A crash is named with its file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{install, run};

/// What `cargo fuzz` asks of the compiler, without the sanitizers that only nightly has.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// One input may take so long, and the process so much memory.
const INPUT_SECONDS_MAX: u32 = 5;
const MEMORY_MB_MAX: u32 = 1024;

/// What to run.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// All when there is none.
    pub(crate) target: Option<&'a str>,
    pub(crate) seconds: u32,
    /// Instead of a run: makes the kept corpus of what was found, as small as it can be.
    pub(crate) merge: bool,
}

/// `cargo xtask fuzz`.
pub(crate) fn run(options: &Options<'_>) -> anyhow::Result<()> {
    let home = run::root().join("fuzz");
    let all = targets(&home)?;
    let chosen: Vec<&String> =
        all.iter().filter(|name| options.target.is_none_or(|wanted| wanted == **name)).collect();
    if chosen.is_empty() {
        bail!("no such target: expected one of {}", all.join(", "));
    }
    install::ensure(&install::FUZZ)?;
    let binaries = build(&home)?;
    let mut crashes = Vec::new();
    for name in chosen {
        if options.merge {
            merge(&home, &binaries, name)?;
        } else {
            crashes.extend(fuzz(&home, &binaries, name, options.seconds)?);
        }
    }
    if crashes.is_empty() {
        return Ok(());
    }
    bail!("{} crashes: {}", crashes.len(), crashes.join(", "))
}

fn targets(home: &Path) -> anyhow::Result<Vec<String>> {
    let files = std::fs::read_dir(home.join("fuzz_targets")).context("fuzz/fuzz_targets")?;
    let mut names = Vec::new();
    for file in files {
        let path = file?.path();
        names.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

/// Builds all targets and answers where they are.
fn build(home: &Path) -> anyhow::Result<PathBuf> {
    let version = run::output(run::command(home, "rustc", &["-vV"]))?;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc -vV does not name its host")?.to_owned();
    let arguments = ["build", "--locked", "--release", "--bins", "--target", &host];
    let mut command = run::command(home, env!("CARGO"), &arguments);
    let output = run::target_dir().join("fuzz");
    command.env("RUSTFLAGS", RUSTFLAGS).env("CARGO_TARGET_DIR", &output);
    run::run(command)?;
    Ok(output.join(host).join("release"))
}

/// Runs one target; answers the files of what went wrong.
fn fuzz(home: &Path, binaries: &Path, name: &str, seconds: u32) -> anyhow::Result<Option<String>> {
    let found = home.join("work").join(name);
    let artifacts = home.join("artifacts").join(name);
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&artifacts)?;
    let binary = binaries.join(name);
    let mut command = run::command(home, &binary.to_string_lossy(), &[]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-print_final_stats=1", "-max_len=8192"]);
    let dictionary = home.join("dictionaries").join(name);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.arg(&found).arg(home.join("corpus").join(name));
    let regressions = home.join("regressions").join(name);
    if regressions.exists() {
        command.arg(regressions);
    }
    let started = Instant::now();
    run::say(&format!("{name}: {seconds} s"));
    let output = command.stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("cannot start {}", binary.display()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let crash = text.lines().find_map(|line| line.split_once("Test unit written to "));
    let crash = crash.map(|(_, file)| file.to_owned());
    run::print(&format!(
        "{name}: {} runs, {} inputs, coverage {}, {} s, {} crashes",
        number_after(&text, "stat::number_of_executed_units:").unwrap_or("0"),
        number_after(&text, "corp: ").unwrap_or("0"),
        number_after(&text, "cov: ").unwrap_or("0"),
        started.elapsed().as_secs(),
        usize::from(!output.status.success()),
    ));
    if output.status.success() {
        return Ok(None);
    }
    let tail: Vec<&str> = text.lines().rev().take(40).collect();
    tail.iter().rev().for_each(|line| run::print(line));
    Ok(Some(crash.unwrap_or_else(|| format!("{name} ({})", output.status))))
}

/// The last number behind `label` in what libFuzzer prints.
fn number_after<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    let (_, rest) = text.rsplit_once(label)?;
    let rest = rest.trim_start();
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end).filter(|number| !number.is_empty())
}

/// The kept corpus becomes the fewest and smallest inputs with the coverage of all.
fn merge(home: &Path, binaries: &Path, name: &str) -> anyhow::Result<()> {
    let (kept, found) = (home.join("corpus").join(name), home.join("work").join(name));
    let old = home.join("work").join(format!("{name}.kept"));
    std::fs::create_dir_all(&kept)?;
    std::fs::create_dir_all(&found)?;
    std::fs::rename(&kept, &old)?;
    std::fs::create_dir_all(&kept)?;
    let binary = binaries.join(name);
    let mut command = run::command(home, &binary.to_string_lossy(), &["-merge=1", "-max_len=8192"]);
    command.arg(&kept).arg(&old).arg(&found);
    run::run(command)?;
    std::fs::remove_dir_all(old)?;
    Ok(())
}
