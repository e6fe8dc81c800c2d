//! Programs of Python that the tests talk to, each list of packages in an environment of its own
//! below `target/python`. Versions and hashes are pinned; where they cannot be installed the tests
//! say that they are skipped.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::run;

/// A list, as `crates/server/tests/python/NAME.txt`.
struct List {
    name: &'static str,
    /// What those are built with that come as source only; none where all of them come built.
    build: Option<&'static str>,
}

const LISTS: [List; 6] = [
    List { name: "thingsboard", build: None },
    List { name: "paho", build: None },
    List { name: "sparkplug", build: Some("sparkplug-build") },
    List { name: "moto", build: None },
    List { name: "sigstore", build: None },
    // Without what it needs for other things than reading files: one of those is not free enough.
    List { name: "oscal", build: None },
];

/// Makes sure that the packages are there, as far as they can be.
pub(crate) fn install() -> anyhow::Result<()> {
    if !run::exists("python3") {
        run::say("python3 is not there: tests with clients of Python are skipped");
        return Ok(());
    }
    for List { name, build } in LISTS {
        let (list, build) = (file(name), build.map(file));
        let mut wanted = String::new();
        for file in build.iter().chain([&list]) {
            let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
            wanted.push_str(&text);
        }
        let folder = run::target_dir().join("python").join(name);
        let stamp = folder.join("installed.txt");
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            continue;
        }
        if let Err(error) = install_list(&list, build.as_deref(), &folder) {
            run::say(&format!("{name} is not installed, its tests are skipped: {error:#}"));
            // What is half there would be taken for whole.
            let _ = fs::remove_dir_all(&folder);
            continue;
        }
        fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    }
    Ok(())
}

fn file(name: &str) -> PathBuf {
    run::root().join("crates/server/tests/python").join(format!("{name}.txt"))
}

fn install_list(list: &Path, build: Option<&Path>, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.display().to_string();
    let root = run::root();
    run::run(run::command(&root, "python3", &["-m", "venv", "--clear", &folder]))?;
    let python = format!("{folder}/bin/python3");
    let install = |list: &Path, how: &[&str]| {
        let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let mut command = run::command(&root, &python, &arguments);
        command.args(how).arg("--require-hashes").arg("--requirement").arg(list);
        run::run(command)
    };
    // A list is whole: nothing comes that is not in it.
    let built = ["--no-deps", "--only-binary", ":all:"];
    match build {
        None => install(list, &built),
        Some(build) => {
            install(build, &built)?;
            install(list, &["--no-build-isolation"])
        }
    }
}
