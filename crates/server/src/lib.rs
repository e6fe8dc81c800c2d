//! The composition root: it parses, wires the parts together and runs; what the parts do is
//! theirs. A library, so that it is compiled beside the code of the crates below it.

mod acme;
mod api;
mod archive_child;
mod archive_remote;
mod bench;
mod by_tenant;
mod certificates;
mod cli;
mod client_certificates;
mod clock;
mod config;
mod control;
mod controls;
mod datadir;
mod device_sessions;
mod dispatch;
mod guard;
mod host_certificates;
mod imports;
mod listen;
mod pki;
mod probes;
mod process;
mod route_topics;
mod run;
mod sessions;
mod simulations;
mod stores;
mod tls;
mod web;

use std::process::ExitCode;

/// The `veritwin` command: what it is told in its arguments.
pub fn main() -> ExitCode {
    process::refuse_huge_pages();
    if let Err(error) = process::install_tls_provider() {
        cli::print_error(&format!("{error:#}"));
        return ExitCode::FAILURE;
    }
    cli::run()
}
