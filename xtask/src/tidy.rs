//! What the compiler does not check: the arrows between crates, headers, lengths, licences and
//! sources of every dependency.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run;

const FILE_LINES_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 100;

/// The allowed arrows; `domain` is open to all. A change here has a reason in docs/adr/.
const ARROWS: [(&str, &[&str]); 22] = [
    ("domain", &[]),
    ("keys", &[]),
    ("log", &["keys"]),
    ("telemetry", &["log", "keys"]),
    ("verify", &[]),
    ("ledger", &["verify", "keys"]),
    ("twin", &[]),
    ("alerting", &[]),
    ("access", &["keys"]),
    ("governance", &[]),
    ("ingest", &[]),
    ("script", &[]),
    ("sql", &[]),
    ("collection", &[]),
    ("metastore", &["keys", "twin", "alerting", "access", "governance"]),
    ("outbound", &["keys", "ledger", "access"]),
    (
        "app",
        &[
            "metastore",
            "log",
            "telemetry",
            "ledger",
            "verify",
            "twin",
            "alerting",
            "access",
            "governance",
            "keys",
            "outbound",
            "script",
            "collection",
        ],
    ),
    ("outpost", &["ingest", "log", "ledger", "verify", "keys", "collection"]),
    ("simulator", &[]),
    ("bench", &["app", "ingest", "log", "telemetry", "ledger", "verify", "simulator"]),
    ("server", &["app", "ingest", "outpost", "simulator", "bench", "verify", "sql"]),
    ("xtask", &[]),
];

/// Crates whose public async functions are compiled in them and not once more in each caller
/// (docs/adr/0023).
const BOXED: [&str; 5] = ["app", "ledger", "metastore", "outbound", "telemetry"];

/// Runs every check and lists everything that is wrong.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let metadata = metadata()?;
    arrows(&metadata, &mut wrong)?;
    licences(&metadata, &mut wrong)?;
    npm_licences(&mut wrong)?;
    sources(&mut wrong)?;
    if wrong.is_empty() {
        return Ok(());
    }
    for line in &wrong {
        run::print(&format!("tidy: {line}"));
    }
    bail!("{} things are not tidy", wrong.len())
}

fn metadata() -> anyhow::Result<Value> {
    let text = run::output(run::command(
        &run::root(),
        env!("CARGO"),
        &["metadata", "--format-version", "1", "--locked"],
    ))?;
    Ok(serde_json::from_slice(&text)?)
}

fn short(package: &str) -> &str {
    package.strip_prefix("veritwin-").unwrap_or(package)
}

fn arrows(metadata: &Value, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        if !package["source"].is_null() {
            continue;
        }
        let name = short(package["name"].as_str().unwrap_or_default());
        let Some(targets) = allowed.get(name) else {
            wrong.push(format!("crate {name} has no row in the table of allowed arrows"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_ours = dependency["path"].is_string();
            let is_dev = dependency["kind"] == "dev";
            let target = short(dependency["name"].as_str().unwrap_or_default());
            if is_ours && !is_dev && target != "domain" && !targets.contains(&target) {
                wrong.push(format!("arrow {name} -> {target} is not allowed"));
            }
        }
    }
    Ok(())
}

fn allowed_licences() -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(run::root().join("deny.toml"))?;
    let (_, list) = text.split_once("allow = [").context("deny.toml has no `allow = [` list")?;
    let (list, _) = list.split_once(']').context("deny.toml: `allow` is not closed")?;
    Ok(list
        .split(',')
        .map(|item| item.trim().trim_matches('"').to_owned())
        .filter(|item| !item.is_empty())
        .collect())
}

/// Whether an SPDX expression can be met with these licences (OR binds weaker than AND).
fn licence_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" OR ").any(|choice| {
        choice.split(" AND ").all(|licence| allowed.iter().any(|name| name == licence.trim()))
    })
}

fn licences(metadata: &Value, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let allowed = allowed_licences()?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(source) = package["source"].as_str() else { continue };
        if source != "registry+https://github.com/rust-lang/crates.io-index" {
            wrong.push(format!("dependency {name} comes from {source}, not from crates.io"));
        }
        let licence = package["license"].as_str().unwrap_or("none stated");
        // An expression with parentheses mixes both operators; each way of reading must be met.
        if !licence_allowed(licence, &allowed) {
            wrong.push(format!("dependency {name} has licence {licence}, not in deny.toml"));
        }
    }
    Ok(())
}

/// Packages whose metadata name no licence, with the one in their own documents.
fn looked_up(package: &str) -> Option<&'static str> {
    const LOOKED_UP: [(&str, &str); 1] = [("cli-table", "MIT")];
    LOOKED_UP.into_iter().find(|(name, _)| *name == package).map(|(_, licence)| licence)
}

fn npm_licences(wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let allowed = allowed_licences()?;
    for folder in ["web", "e2e"] {
        let path = run::root().join(folder).join("package-lock.json");
        if !path.exists() {
            continue;
        }
        let lock: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        for (name, package) in lock["packages"].as_object().into_iter().flatten() {
            if name.is_empty() {
                continue;
            }
            let short = name.rsplit("node_modules/").next().unwrap_or(name);
            let licence = package["license"].as_str();
            let licence = licence.or_else(|| looked_up(short)).unwrap_or("none stated");
            if !licence_allowed(licence, &allowed) {
                wrong.push(format!("{folder}: package {name} has licence {licence}"));
            }
        }
    }
    Ok(())
}

fn sources(wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let root = run::root();
    for folder in ["crates", "xtask/src", "web/src", "e2e"] {
        visit(&root.join(folder), &root, wrong)?;
    }
    Ok(())
}

fn visit(dir: &Path, root: &Path, wrong: &mut Vec<String>) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "node_modules" | "dist" | "target" | "out" | "locales") {
                visit(&path, root, wrong)?;
            }
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if matches!(extension.as_str(), "rs" | "ts" | "tsx") && !name.ends_with("schema.ts") {
            let text = std::fs::read_to_string(&path)?;
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_source(&shown, &text, extension == "rs", wrong);
        }
    }
    Ok(())
}

fn check_source(shown: &str, text: &str, rust: bool, wrong: &mut Vec<String>) {
    if rust && !text.starts_with("//!") {
        wrong.push(format!("{shown}: does not open with `//!` and what it holds"));
    }
    let is_test = shown.contains(".test.");
    if !rust && !is_test && !text.starts_with("//") && !text.starts_with("/*") {
        wrong.push(format!("{shown}: does not open with a comment that says what it holds"));
    }
    let header = text.lines().take_while(|line| line.starts_with("//!")).count();
    if rust && header > 6 {
        wrong.push(format!("{shown}: header of {header} lines, at most 6"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX && !text.contains("tidy: long file because") {
        wrong.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    if BOXED.iter().any(|name| shown.starts_with(&format!("crates/{name}/src/"))) {
        check_boxed(shown, text, wrong);
    }
    for (number, line) in text.lines().enumerate() {
        let chars = line.chars().count();
        let is_code = !line.contains('"') && !line.contains("http") && line.contains(' ');
        let is_vector = shown.contains("/tests/");
        if rust && chars > LINE_CHARS_MAX && is_code && !is_vector {
            wrong.push(format!(
                "{shown}:{}: {chars} characters, at most {LINE_CHARS_MAX}",
                number + 1
            ));
        }
    }
}

/// A public async function has `#[boxed]` above it, except one with a type of its caller's.
fn check_boxed(shown: &str, text: &str, wrong: &mut Vec<String>) {
    for (at, _) in text.match_indices("pub async fn ") {
        let (before, from) = text.split_at(at);
        let signature = from.split('{').next().unwrap_or_default();
        let name = signature.split('(').next().unwrap_or_default();
        let has_type = signature.contains("impl ") || name.contains('<') && !name.contains("<'");
        if !before.trim_end().ends_with("#[boxed]") && !has_type {
            let line = before.lines().count();
            wrong.push(format!("{shown}:{line}: a public async fn without #[boxed]"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        let allowed = ["MIT", "Apache-2.0", "ISC"].map(str::to_owned);
        let check = |text: &str, expect: bool| {
            assert_eq!(licence_allowed(text, &allowed), expect, "{text}")
        };
        check("MIT", true);
        check("MIT OR GPL-3.0", true);
        check("MIT/Apache-2.0", true);
        check("MIT AND GPL-3.0", false);
        check("AGPL-3.0", false);
        check("ISC AND (Apache-2.0 OR ISC)", true);
    }

    #[test]
    fn async_functions_without_a_box_are_found() {
        let check = |text: &str, expect: usize| {
            let mut wrong = Vec::new();
            check_source("crates/app/src/x.rs", &format!("//! X.\n{text}"), true, &mut wrong);
            assert_eq!(wrong.len(), expect, "{text}: {wrong:?}");
        };
        check("#[boxed]\npub async fn x(&self) {}\n", 0);
        check("    #[boxed]\n    pub async fn x<'a>(&'a self) {}\n", 0);
        check("pub async fn x(&self) {}\n", 1);
        check("pub async fn x<'a>(&'a self) {}\n", 1);
        check("pub async fn x<T>(of: T) {}\n", 0);
        check("pub async fn x(\n    of: impl Copy,\n) {}\n", 0);
        check("pub(crate) async fn x(&self) {}\n", 0);
    }

    #[test]
    fn headers_and_lengths_are_found() {
        let check = |text: &str, expect: usize| {
            let mut wrong = Vec::new();
            check_source("x.rs", text, true, &mut wrong);
            assert_eq!(wrong.len(), expect, "{wrong:?}");
        };
        check("//! Holds x.\nfn x() {}\n", 0);
        check("fn x() {}\n", 1);
        check(&format!("//! Holds x.\n// {}\n", "x y ".repeat(30)), 1);
        check(&format!("//! Holds x.\n{}", "\n".repeat(500)), 1);
    }
}
