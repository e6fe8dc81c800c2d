//! Project tasks: `cargo xtask demo`, `test`, `tidy`, `openapi`, `bench`, `soak`, `fuzz`,
//! `ci`. Each installs what it needs, or says exactly what to install, and then does its job.

mod demo;
mod fuzz;
mod install;
mod openapi;
mod python;
mod run;
mod test;
mod tidy;
mod web;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Veritwin project tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds everything and starts the demo. Example: cargo xtask demo --release
    Demo {
        /// Builds with optimisation.
        #[arg(long)]
        release: bool,
        /// Builds only, and says how long it took.
        #[arg(long)]
        build_only: bool,
        /// Passed on to `veritwin demo`.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Formatting, lints, tidy, unit, integration and browser tests, with a line of totals.
    Test {
        /// Leaves the browser out.
        #[arg(long)]
        no_browser: bool,
        /// Runs every test of the server on PostgreSQL too, not only those about records.
        #[arg(long)]
        postgres: bool,
        /// Builds and tests the server with SQL as well, which takes DataFusion's compiling.
        #[arg(long)]
        sql: bool,
    },
    /// What continuous integration runs: the same as `test`.
    Ci,
    /// Crate arrows, file headers, lengths, licences.
    Tidy,
    /// Writes docs/reference/openapi.json and the web client's types; `--check` only compares.
    Openapi {
        /// Fails when a file is out of date.
        #[arg(long)]
        check: bool,
    },
    /// Release build, then `veritwin bench NAME`. Example: cargo xtask bench mqtt
    Bench {
        /// Passed on to `veritwin bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// The long runs: 200 kill rounds, a reconnect storm of 20,000 devices, 10,000 seeds of the
    /// simulated engine and more.
    Soak,
    /// Coverage-guided fuzzing, all targets or one. Example: cargo xtask fuzz senml --seconds 1800
    Fuzz {
        /// A name in fuzz/fuzz_targets.
        target: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Makes the kept corpus of what was found, as small as it can be.
        #[arg(long)]
        merge: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Demo { release, build_only, rest } => demo::run(release, build_only, &rest),
        Task::Test { no_browser, postgres, sql } => {
            test::run(&test::Options { browser: !no_browser, postgres_whole: postgres, sql })
        }
        Task::Ci => test::run(&test::Options { browser: true, postgres_whole: false, sql: false }),
        Task::Tidy => tidy::run(),
        Task::Openapi { check } => openapi::run(check),
        Task::Bench { rest } => demo::bench(&rest),
        Task::Soak => test::soak(),
        Task::Fuzz { target, seconds, merge } => {
            fuzz::run(&fuzz::Options { target: target.as_deref(), seconds, merge })
        }
    }
}
