//! The command line. Each command parses here, does its work in a file of its own, and exits with
//! 2 for bad arguments. What needs the platform goes over the control socket when it runs.

mod bench;
mod bench_platform;
mod commands;
mod consent;
mod customer_keys;
mod demo;
mod doctor;
mod edge;
mod ends;
mod keyproxy;
mod ledger;
mod mail;
mod operations;
mod purge;
mod readings;
mod remote;
mod replay;
mod review;
mod serve;
mod tenant;
mod trust;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use veritwin_domain::{SiteId, TenantId};

pub(crate) use demo::client_tls as demo_tls;

#[derive(Parser)]
#[command(
    name = "veritwin",
    version,
    about = "An IoT digital-twin platform that proves what it promises",
    propagate_version = true,
    after_help = "Example: veritwin demo"
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
    /// Runs the platform.
    #[command(after_help = "Example: veritwin serve --data /var/lib/veritwin")]
    Serve(ServeArguments),
    /// Runs the platform with a sample building and simulated devices.
    #[command(after_help = "Example: veritwin demo --data ./demo")]
    Demo(ServeArguments),
    /// The neutral ledger archive, as a process of its own.
    #[command(
        subcommand,
        after_help = "Example: veritwin archive serve --config /etc/veritwin/archive.toml"
    )]
    Archive(serve::ArchiveCommand),
    /// A store-and-forward gateway on another site.
    #[command(
        subcommand,
        after_help = "Example: veritwin edge run --config /etc/veritwin/edge.toml"
    )]
    Edge(edge::EdgeCommand),
    /// A key proxy: the program of a customer that holds its own key.
    #[command(
        name = "keyproxy",
        subcommand,
        after_help = "Example: veritwin keyproxy serve --config /etc/veritwin/keyproxy.toml"
    )]
    KeyProxy(keyproxy::KeyProxyCommand),
    /// A witness of ledgers, run by another party: it cosigns checkpoints that extend what it saw.
    #[command(
        subcommand,
        after_help = "Example: veritwin witness serve --config /etc/veritwin/witness.toml"
    )]
    Witness(witness::WitnessCommand),
    /// Administrators.
    #[command(subcommand, after_help = "Example: veritwin admin link")]
    Admin(AdminCommand),
    /// The simulated clock.
    #[command(subcommand, after_help = "Example: veritwin clock advance 36h")]
    Clock(ClockCommand),
    /// Exports and verifies the audit ledger.
    #[command(subcommand, after_help = "Example: veritwin ledger verify ./export")]
    Ledger(ledger::LedgerCommand),
    /// The keys that sign mail (DKIM), and their rotation.
    #[command(subcommand, after_help = "Example: veritwin mail keys")]
    Mail(mail::MailCommand),
    /// Imports a twin (IFC), a device inventory (CSV), or the folder of an exported tenant.
    #[command(after_help = "Examples:\n  veritwin import building.ifc --name \"Head office\"\n  \
                            veritwin import devices.csv --twin ID --json > tokens.json\n  \
                            veritwin import ./acme --api-key-file key")]
    Import(ImportArguments),
    /// Writes everything of a tenant that an API key may read into a folder.
    #[command(after_help = tenant::EXPORT_EXAMPLE)]
    Export(tenant::ExportArguments),
    /// Sends recorded readings through MQTT over TLS.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::ReplayArguments),
    /// Brings readings with their own times in from files, or takes readings away as a file.
    #[command(subcommand, after_help = readings::EXAMPLES)]
    Readings(readings::ReadingsCommand),
    /// Backs a platform up while it runs, or its keyring.
    #[command(after_help = "Examples:\n  veritwin backup /backups/monday\n  \
                            veritwin backup --keyring /keyring-backups\n  \
                            veritwin backup status")]
    Backup(operations::BackupArguments),
    /// Restores a backup into an empty directory.
    #[command(after_help = "Example: veritwin restore /backups/monday --keyring \
                            /keyring-backups/keyring-20260101T000000Z --data /var/lib/veritwin")]
    Restore(operations::RestoreArguments),
    /// Brings the records of a stopped platform to this build's schema.
    #[command(after_help = "Example: veritwin migrate --dry-run")]
    Migrate(operations::MigrateArguments),
    /// Keys: which key protects what.
    #[command(subcommand, after_help = "Example: veritwin keys status")]
    Keys(KeysCommand),
    /// Destroys readings for ever, with a certificate.
    #[command(after_help = purge::EXAMPLES)]
    Purge(purge::PurgeArguments),
    /// How long each kind of data of an organisation is kept, and what decides.
    #[command(after_help = ends::EXAMPLE)]
    Ends(ends::EndsArguments),
    /// Checks a signed consent record, without a platform; exit 10 if it was changed.
    #[command(after_help = "Example: veritwin consent-check consent.json")]
    ConsentCheck(consent::ConsentArguments),
    /// Checks a saved trust page, without a platform; exit 10 if it was changed.
    #[command(after_help = "Example: veritwin verify trust.html --vkey KEY")]
    Verify(trust::VerifyArguments),
    /// Every promise with its state and evidence; exit 1 if one fails.
    #[command(after_help = "Example: veritwin promises --json")]
    Promises(JsonPlace),
    /// The certificate authority to trust.
    #[command(subcommand, after_help = "Example: veritwin ca export > ca.pem")]
    Ca(CaCommand),
    /// Says what is wrong with ports, certificates, disk, clock and keys; exit 1 for an error.
    #[command(after_help = "Examples:\n  veritwin doctor --data /var/lib/veritwin\n  \
                            veritwin doctor --scrub --bytes-per-second 20000000")]
    Doctor(doctor::DoctorArguments),
    /// Prints the OpenAPI 3.1 document.
    #[command(after_help = "Example: veritwin openapi > openapi.json")]
    Openapi,
    /// Runs a benchmark on a private platform in a temporary directory.
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::BenchArguments),
    /// The platform of a benchmark: a new directory, and MQTT without TLS on the loopback
    /// interface. It ends with its standard input.
    #[command(hide = true, after_help = "Example: veritwin bench mqtt --plain")]
    BenchPlatform(ServeArguments),
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
enum AdminCommand {
    /// Prints a one-time link for an administrator, first or locked out.
    #[command(after_help = "Example: veritwin admin link --data /var/lib/veritwin")]
    Link {
        #[command(flatten)]
        place: JsonPlace,
        /// The tenant to administer; not needed while there is at most one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// Into the platform's own administration: partners, plans, host names.
        #[arg(long, conflicts_with = "tenant")]
        platform: bool,
        /// For a member of the platform's support, who sees no tenant without its grant.
        #[arg(long, conflicts_with_all = ["tenant", "platform"])]
        support: bool,
    },
    /// Lets a tenant's people and devices in from every network again, when nobody gets in.
    #[command(after_help = "Example: veritwin admin open-networks --tenant ID")]
    OpenNetworks {
        #[command(flatten)]
        place: JsonPlace,
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
    /// Prints an API key that reads the platform-wide figures at /metrics, and no tenant's data.
    #[command(after_help = "Example: veritwin admin metrics-key --json")]
    MetricsKey(JsonPlace),
}

#[derive(Subcommand)]
enum ClockCommand {
    /// Moves the simulated clock ahead. Only where the directory began with --simulated-clock.
    #[command(after_help = "Example: veritwin clock advance 36h")]
    Advance {
        /// Such as 90s, 15m, 36h, 10d, 2w, or 1d12h.
        #[arg(value_parser = commands::parse_duration)]
        duration: Duration,
        #[command(flatten)]
        place: JsonPlace,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct ImportArguments {
    /// An IFC file, a device inventory CSV, or the folder of an exported tenant; the content
    /// decides.
    pub(crate) file: PathBuf,
    /// Name of a new twin; the file's own by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The twin that an inventory, or a new version of the model, belongs to.
    #[arg(long, value_name = "ID")]
    pub(crate) twin: Option<SiteId>,
    /// The tenant; not needed while there is only one.
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<TenantId>,
    /// Of a folder: where the access tokens of the new devices are written; nowhere by default.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// A folder goes through the REST interface, a file through the control socket.
    #[command(flatten)]
    remote: remote::RemoteArguments,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Which key protects what, its age and last use.
    #[command(after_help = "Example: veritwin keys status --json")]
    Status {
        #[command(flatten)]
        place: JsonPlace,
        /// One tenant's keys; all by default.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
    },
    /// Brings a key that will stand above a tenant's keys. Without a file: prints a key to wrap it
    /// under, good for one import within a day.
    #[command(after_help = "Example: veritwin keys import --id 5e0c... wrapped.bin")]
    Import {
        /// The wrapped key, as it is.
        #[arg(value_name = "FILE", requires = "id")]
        file: Option<PathBuf>,
        /// The import it was wrapped for.
        #[arg(long, value_name = "ID", requires = "file")]
        id: Option<String>,
        /// How it is wrapped: rsa_aes_kwp or rsa_oaep_sha256.
        #[arg(long, value_name = "NAME", default_value = "rsa_aes_kwp")]
        wrapping: String,
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: JsonPlace,
    },
    /// Takes a tenant's keys away: nothing of it is read or written until they are restored.
    #[command(after_help = "Example: veritwin keys revoke --yes")]
    Revoke {
        /// Yes, do it.
        #[arg(long)]
        yes: bool,
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: JsonPlace,
    },
    /// Gives a tenant's keys back; a key service that refused is asked again.
    #[command(after_help = "Example: veritwin keys restore")]
    Restore {
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: JsonPlace,
    },
    /// A new version of a tenant's key-encryption key; data keys are rewrapped.
    #[command(after_help = "Example: veritwin keys rotate")]
    Rotate {
        /// The tenant; not needed while there is only one.
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        #[command(flatten)]
        place: JsonPlace,
    },
    /// Destroys readings for ever, with their keys: the same as `veritwin purge`.
    #[command(after_help = purge::EXAMPLES)]
    Shred(purge::PurgeArguments),
}

#[derive(Subcommand)]
enum CaCommand {
    /// Prints the certificate authority, PEM.
    #[command(after_help = "Example: veritwin ca export > ca.pem")]
    Export {
        #[command(flatten)]
        place: Place,
    },
    /// Prints its SHA-256 fingerprint, to compare with what a browser shows.
    #[command(after_help = "Example: veritwin ca fingerprint")]
    Fingerprint {
        #[command(flatten)]
        place: JsonPlace,
    },
}

/// The arguments parse, but what they name cannot be meant: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadArguments(pub(crate) String);

/// Parses the arguments and runs the command.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, serve::Mode::Serve),
        Command::Demo(arguments) => serve::run(&arguments, serve::Mode::Demo),
        Command::Archive(serve::ArchiveCommand::Serve { config }) => serve::archive(&config),
        Command::Edge(command) => edge::run(command),
        Command::KeyProxy(command) => keyproxy::run(command),
        Command::Witness(command) => witness::run(command),
        Command::Admin(AdminCommand::Link { place, tenant, platform, support }) => {
            commands::admin_link(&place, tenant, platform, support)
        }
        Command::Admin(AdminCommand::MetricsKey(place)) => commands::metrics_key(&place),
        Command::Admin(AdminCommand::OpenNetworks { place, tenant }) => {
            commands::open_networks(&place, tenant)
        }
        Command::Clock(ClockCommand::Advance { duration, place }) => {
            commands::clock_advance(&place, duration)
        }
        Command::Ledger(command) => ledger::run(command),
        Command::Mail(command) => mail::run(&command),
        Command::Import(arguments) if arguments.file.is_dir() => {
            commands::block_on(tenant::import(&arguments))
        }
        Command::Import(arguments) => commands::import(&arguments),
        Command::Export(arguments) => commands::block_on(tenant::export(&arguments)),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Readings(command) => readings::run(&command),
        Command::Backup(arguments) => operations::backup(&arguments),
        Command::Restore(arguments) => operations::restore(&arguments),
        Command::Migrate(arguments) => operations::migrate(&arguments),
        Command::Keys(KeysCommand::Status { place, tenant }) => {
            commands::keys_status(&place, tenant)
        }
        Command::Keys(KeysCommand::Import { file, id, wrapping, tenant, place }) => {
            let wrapped = id.as_deref().zip(file.as_deref());
            let wrapped = wrapped.map(|(id, file)| (id, wrapping.as_str(), file));
            customer_keys::import(&place, tenant, wrapped)
        }
        Command::Keys(KeysCommand::Revoke { yes, tenant, place }) => {
            customer_keys::revoke(&place, tenant, yes)
        }
        Command::Keys(KeysCommand::Restore { tenant, place }) => {
            customer_keys::restore(&place, tenant)
        }
        Command::Keys(KeysCommand::Rotate { tenant, place }) => {
            commands::keys_rotate(&place, tenant)
        }
        Command::Keys(KeysCommand::Shred(arguments)) | Command::Purge(arguments) => {
            purge::run(&arguments)
        }
        Command::Ends(arguments) => ends::run(&arguments),
        Command::ConsentCheck(arguments) => consent::check(&arguments),
        Command::Verify(arguments) => trust::verify(&arguments),
        Command::Promises(place) => commands::promises(&place),
        Command::Ca(CaCommand::Export { place }) => commands::ca_export(&place),
        Command::Ca(CaCommand::Fingerprint { place }) => commands::ca_fingerprint(&place),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Openapi => commands::openapi(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BenchPlatform(arguments) => serve::run(&arguments, serve::Mode::Bench),
    };
    outcome.unwrap_or_else(|error| {
        print_error(&format!("{error:#}"));
        if error.is::<BadArguments>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    })
}

/// Prints facts for people or programs.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    // A closed pipe is the reader's choice, not an error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints JSON facts.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints what went wrong.
pub(crate) fn print_error(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "veritwin: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(example.contains("Example"), "{path} --help shows no example");
        for inner in command.get_subcommands() {
            walk(inner, &path);
        }
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        let command = Arguments::command();
        command.clone().debug_assert();
        walk(&command, "");
    }

    #[test]
    fn bad_arguments_are_refused_while_parsing() {
        let check = |line: &str| {
            let refused = Arguments::try_parse_from(line.split(' '));
            let error = refused.err().unwrap_or_else(|| panic!("{line} was accepted"));
            assert_eq!(error.exit_code(), 2, "{line}");
        };
        check("veritwin clock advance soon");
        check("veritwin clock advance 5");
        check("veritwin admin link --tenant 7");
        check("veritwin bench everything");
        check("veritwin bench mqtt --qos 3");
        check("veritwin bench mqtt --connections 0");
        check("veritwin bench mqtt --matrix --plain");
        check("veritwin bench mqtt --fan-out 10 --retained 10");
        check("veritwin bench mqtt --fan-out 10 --connections 10");
        check("veritwin bench mqtt --retained 10 --qos 2");
        check("veritwin bench mqtt --idle 10 --plain");
        check("veritwin bench mqtt --soak 0");
        check("veritwin serve --plain");
        check("veritwin ledger verify ./x --vkey nonsense");
        check("veritwin ledger proof ./x");
        check("veritwin replay");
        check("veritwin replay --csv a.csv --speed 0");
        check("veritwin replay --csv a.csv --speed 2 --backfill");
        check("veritwin import");
        check("veritwin export");
        check("veritwin export out --tenant 7");
        check("veritwin readings import");
        check("veritwin readings import a.csv --device a --device-column b");
        check("veritwin readings import a.csv --address host:8443");
        check("veritwin readings export out.csv --format xlsx");
        check("veritwin backup");
        check("veritwin backup out --keyring --archive");
        check("veritwin restore in");
        check("veritwin restore in --keyring k --at noon");
        check("veritwin restore in --keyring k --from file:///ships");
        check("veritwin migrate --backup out --no-backup");
        check("veritwin doctor --bytes-per-second 5");
    }
}
