//! The web application's packages and build. Skips what is up to date.

use std::path::Path;
use std::time::SystemTime;

use crate::run;

/// Installs npm packages from the lockfile when they are missing or the lockfile is newer.
pub(crate) fn packages(folder: &str) -> anyhow::Result<()> {
    let dir = run::root().join(folder);
    let installed = modified(&dir.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&dir.join("package-lock.json")) {
        return Ok(());
    }
    run::run(run::command(&dir, "npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"]))
}

/// Builds the pages into `web/dist`.
pub(crate) fn build() -> anyhow::Result<()> {
    packages("web")?;
    let dir = run::root().join("web");
    let built = modified(&dir.join("dist/index.html"));
    let newest = ["src", "demo", "public", "index.html", "package-lock.json", "vite.config.ts"]
        .iter()
        .filter_map(|name| newest_below(&dir.join(name)))
        .max();
    if built.is_some() && built >= newest {
        return Ok(());
    }
    run::run(run::command(&dir, "npm", &["run", "--silent", "build"]))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|meta| meta.modified()).ok()
}

fn newest_below(path: &Path) -> Option<SystemTime> {
    if path.is_file() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries.filter_map(Result::ok).filter_map(|entry| newest_below(&entry.path())).max()
}
