//! The command line. Each command parses here, does its work in a file of its own, and exits with
//! 2 for bad arguments. What needs the platform goes over the control socket when it runs.

mod commands;
mod demo;
mod doctor;
mod ledger;
mod replay;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "veritwin",
    version,
    about = "An IoT digital-twin platform that proves what it promises",
    propagate_version = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where the platform keeps its data.
#[derive(Args, Debug, Clone)]
pub(crate) struct Place {
    /// The data directory.
    #[arg(long, value_name = "DIR", env = "VERITWIN_DATA", default_value = "./veritwin-data")]
    pub(crate) data: PathBuf,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "VERITWIN_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Starts a new directory on a simulated clock; it is marked as simulated for ever.
    #[arg(long, value_name = "RFC3339")]
    pub(crate) simulated_clock: Option<String>,
    /// Logs as JSON.
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the platform. Example: veritwin serve --data /var/lib/veritwin
    Serve(ServeArguments),
    /// Runs the platform with a sample building. Example: veritwin demo
    Demo(ServeArguments),
    /// The neutral ledger archive, as a process of its own.
    #[command(subcommand)]
    Archive(ArchiveCommand),
    /// Administrators. Example: veritwin admin link
    #[command(subcommand)]
    Admin(AdminCommand),
    /// The simulated clock. Example: veritwin clock advance 2h
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Exports and verifies the audit ledger. Example: veritwin ledger verify ./export
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Imports a twin or an inventory. Example: veritwin import building.ifc --name "Head office"
    Import(ImportArguments),
    /// Sends recorded readings. Example: veritwin replay --csv room.csv --device-token TOKEN
    Replay(replay::ReplayArguments),
    /// Keys: what protects what. Example: veritwin keys status
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Every promise with its state and evidence; exit 1 if one fails. Example: veritwin promises
    Promises(JsonPlace),
    /// The certificate authority to trust. Example: veritwin ca export > ca.pem
    #[command(subcommand)]
    Ca(CaCommand),
    /// Says what is wrong with ports, certificates, disk, clock, keys. Example: veritwin doctor
    Doctor(JsonPlace),
    /// Prints the OpenAPI 3.1 document.
    Openapi,
    /// Runs a benchmark. Example: veritwin bench mqtt --json
    Bench(BenchArguments),
}

#[derive(Args, Debug, Clone)]
pub(crate) struct JsonPlace {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
enum ArchiveCommand {
    /// Serves an archive. Started by the platform as a child, or by another party.
    Serve {
        /// The archive's own configuration (TOML).
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Subcommand)]
enum AdminCommand {
    /// Prints a one-time link for an administrator, first or locked out.
    Link {
        #[command(flatten)]
        place: Place,
        /// The tenant to administer; not needed while there is at most one.
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
    },
}

#[derive(Subcommand)]
enum ClockCommand {
    /// Moves the simulated clock ahead. Example: veritwin clock advance 36h
    Advance {
        /// Such as 90s, 15m, 36h, 10d.
        duration: String,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct ImportArguments {
    /// An IFC file, or a device inventory CSV.
    pub(crate) file: PathBuf,
    /// Name of the twin; the file's own by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The twin that an inventory, or a new version of the model, belongs to.
    #[arg(long, value_name = "ID")]
    pub(crate) twin: Option<String>,
    /// The tenant; not needed while there is only one.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    pub(crate) place: JsonPlace,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Which key protects what, its age and last use.
    Status(JsonPlace),
    /// A new version of a tenant's key-encryption key; data keys are rewrapped.
    Rotate {
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
enum CaCommand {
    /// Prints the certificate authority, PEM.
    Export {
        #[command(flatten)]
        place: Place,
    },
    /// Prints its SHA-256 fingerprint.
    Fingerprint {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct BenchArguments {
    /// Which: mqtt, telemetry, ledger, or all.
    pub(crate) name: String,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses the arguments and runs the command.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, serve::Mode::Serve),
        Command::Demo(arguments) => serve::run(&arguments, serve::Mode::Demo),
        Command::Archive(ArchiveCommand::Serve { config }) => serve::archive(&config),
        Command::Admin(AdminCommand::Link { place, tenant }) => commands::admin_link(&place, tenant),
        Command::Clock(ClockCommand::Advance { duration, place }) => {
            commands::clock_advance(&place, &duration)
        }
        Command::Ledger(command) => ledger::run(command),
        Command::Import(arguments) => commands::import(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Keys(KeysCommand::Status(place)) => commands::keys_status(&place),
        Command::Keys(KeysCommand::Rotate { tenant, place }) => {
            commands::keys_rotate(&place, tenant)
        }
        Command::Promises(place) => commands::promises(&place),
        Command::Ca(CaCommand::Export { place }) => commands::ca_export(&place),
        Command::Ca(CaCommand::Fingerprint { place }) => commands::ca_fingerprint(&place),
        Command::Doctor(place) => doctor::run(&place),
        Command::Openapi => commands::openapi(),
        Command::Bench(arguments) => commands::bench(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        print_error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Prints facts for people or programs.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    // A closed pipe is the reader's choice, not an error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints what went wrong.
pub(crate) fn print_error(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "veritwin: {text}");
}
