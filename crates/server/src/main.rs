//! The veritwin binary: the composition root. It parses, wires the parts together and runs; what
//! the parts do is theirs.

mod acme;
mod api;
mod archive_child;
mod bench;
mod cli;
mod clock;
mod config;
mod control;
mod controls;
mod datadir;
mod dispatch;
mod guard;
mod host_certificates;
mod listen;
mod pki;
mod probes;
mod process;
mod run;
mod stores;
mod tls;
mod web;

use std::process::ExitCode;

/// Gives memory back after a burst (a start's checks, an import); the C library's allocator keeps
/// hundreds of megabytes of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::refuse_huge_pages();
    if let Err(error) = process::install_tls_provider() {
        cli::print_error(&format!("{error:#}"));
        return ExitCode::FAILURE;
    }
    cli::run()
}
