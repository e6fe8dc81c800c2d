//! Clients of Python that the tests talk to, each list of packages in an environment of its own
//! below `target/python`. Versions and hashes are pinned; where they cannot be installed the tests
//! say that they are skipped.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::run;

/// The lists, as `crates/server/tests/python/NAME.txt`.
const LISTS: [&str; 2] = ["thingsboard", "paho"];

/// Makes sure that the packages are there, as far as they can be.
pub(crate) fn install() -> anyhow::Result<()> {
    if !run::exists("python3") {
        run::say("python3 is not there: tests with clients of Python are skipped");
        return Ok(());
    }
    for name in LISTS {
        let list = run::root().join("crates/server/tests/python").join(format!("{name}.txt"));
        let wanted = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
        let folder = run::target_dir().join("python").join(name);
        let stamp = folder.join("installed.txt");
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            continue;
        }
        if let Err(error) = install_list(&list, &folder) {
            run::say(&format!("{name} is not installed, its tests are skipped: {error:#}"));
            // What is half there would be taken for whole.
            let _ = fs::remove_dir_all(&folder);
            continue;
        }
        fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    }
    Ok(())
}

fn install_list(list: &Path, folder: &Path) -> anyhow::Result<()> {
    let (list, folder) = (list.display().to_string(), folder.display().to_string());
    let root = run::root();
    run::run(run::command(&root, "python3", &["-m", "venv", "--clear", &folder]))?;
    let python = format!("{folder}/bin/python3");
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let mut command = run::command(&root, &python, &arguments);
    command.args(["--require-hashes", "--only-binary", ":all:", "--requirement", &list]);
    run::run(command)
}
