//! Builds the binary with its pages and runs it.

use std::time::Instant;

use anyhow::Context;

use crate::{install, run, web};

/// Builds the pages and the binary, and answers where the binary is.
pub(crate) fn build(release: bool) -> anyhow::Result<std::path::PathBuf> {
    install::ensure(&install::build_needs())?;
    let started = Instant::now();
    web::build()?;
    let mut arguments = vec!["build", "--locked", "--package", "veritwin-server"];
    if release {
        arguments.push("--release");
    }
    run::run(run::command(&run::root(), env!("CARGO"), &arguments))?;
    run::say(&format!("built in {} s", started.elapsed().as_secs()));
    let profile = if release { "release" } else { "debug" };
    Ok(run::target_dir().join(profile).join("veritwin"))
}

/// `cargo xtask demo`.
pub(crate) fn run(release: bool, build_only: bool, rest: &[String]) -> anyhow::Result<()> {
    let binary = build(release)?;
    if build_only {
        return Ok(());
    }
    execute(&binary, "demo", rest)
}

/// `cargo xtask bench`.
pub(crate) fn bench(rest: &[String]) -> anyhow::Result<()> {
    let binary = build(true)?;
    execute(&binary, "bench", rest)
}

fn execute(binary: &std::path::Path, first: &str, rest: &[String]) -> anyhow::Result<()> {
    let status = std::process::Command::new(binary)
        .arg(first)
        .args(rest)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    std::process::exit(status.code().unwrap_or(1));
}
