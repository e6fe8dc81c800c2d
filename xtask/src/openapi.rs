//! Keeps docs/reference/openapi.json and the web client's types equal to what the server says.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::run;

/// The document as a server says it.
fn stated(binary: &Path) -> anyhow::Result<Vec<u8>> {
    let program = binary.to_str().context("the target folder's path is not UTF-8")?;
    run::output(run::command(&run::root(), program, &["openapi"]))
}

/// Compares with what the tests' binary says, which is there already.
pub(crate) fn check_built() -> anyhow::Result<()> {
    check(&stated(&run::target_dir().join("debug/veritwin"))?)
}

fn check(document: &[u8]) -> anyhow::Result<()> {
    ensure!(
        std::fs::read(path()).is_ok_and(|written| written == document),
        "docs/reference/openapi.json is out of date: run `cargo xtask openapi`"
    );
    Ok(())
}

fn path() -> PathBuf {
    run::root().join("docs/reference/openapi.json")
}

/// Writes or checks both files.
pub(crate) fn run(only_check: bool) -> anyhow::Result<()> {
    let root = run::root();
    let arguments = ["build", "--quiet", "--locked", "--package", "veritwin-server"];
    run::run(run::command(&root, env!("CARGO"), &arguments))?;
    let document = stated(&run::target_dir().join("debug/veritwin"))?;
    if only_check {
        return check(&document);
    }
    std::fs::write(path(), document)?;
    crate::web::packages("web")?;
    run::run(run::command(&root.join("web"), "npm", &["run", "--silent", "schema"]))
}
