//! Keeps docs/reference/openapi.json and the web client's types equal to what the server says.

use anyhow::ensure;

use crate::run;

/// Writes or checks both files.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let root = run::root();
    let document = run::output(run::command(
        &root,
        env!("CARGO"),
        &[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "veritwin-server",
            "--features",
            "veritwin-server/test-controls",
            "--",
            "openapi",
        ],
    ))?;
    let path = root.join("docs/reference/openapi.json");
    if check {
        ensure!(
            std::fs::read(&path).is_ok_and(|written| written == document),
            "docs/reference/openapi.json is out of date: run `cargo xtask openapi`"
        );
        return Ok(());
    }
    std::fs::write(&path, document)?;
    crate::web::packages("web")?;
    run::run(run::command(&root.join("web"), "npm", &["run", "--silent", "schema"]))
}
