//! The veritwin binary.

use std::process::ExitCode;

/// Gives memory back after a burst (a start's checks, an import); the C library's allocator keeps
/// hundreds of megabytes of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    veritwin_server::main()
}
