//! Runs a command with its output shown, and stops with its name when it fails.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The project's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where cargo puts its output.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Says what comes next.
#[expect(clippy::print_stdout, reason = "a task reports to the person who runs it")]
pub(crate) fn say(text: &str) {
    println!("==> {text}");
}

/// Prints a line as it is.
#[expect(clippy::print_stdout, reason = "a task reports to the person who runs it")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

/// A command in a folder of the project.
pub(crate) fn command(dir: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).args(arguments).stdin(Stdio::null());
    command
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs to success.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let text = shown(&command);
    say(&text);
    let status = command.status().with_context(|| format!("cannot start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(())
}

/// Runs with its standard output shown and handed to `line`; answers whether it succeeded.
pub(crate) fn run_watched(
    mut command: Command,
    mut line: impl FnMut(&str),
) -> anyhow::Result<bool> {
    let text = shown(&command);
    say(&text);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{text}`"))?;
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output).lines() {
            let text = text?;
            print(&text);
            line(&text);
        }
    }
    Ok(child.wait()?.success())
}

/// Runs with all that it says kept, for a time when nobody else speaks; answers whether it
/// succeeded, and what it said.
pub(crate) fn run_kept(mut command: Command) -> anyhow::Result<(bool, String)> {
    let text = shown(&command);
    let output = command.output().with_context(|| format!("cannot start `{text}`"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok((output.status.success(), format!("==> {text}\n{said}")))
}

/// Standard output of a command that must succeed.
pub(crate) fn output(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let text = shown(&command);
    let output = command.output().with_context(|| format!("cannot start `{text}`"))?;
    if !output.status.success() {
        bail!("`{text}` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// Whether a program is on the path or at one of these places.
pub(crate) fn exists(program: &str) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/lib/postgresql/15/bin"].map(PathBuf::from))
        .any(|dir| dir.join(program).exists())
}
