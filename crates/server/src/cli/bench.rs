//! `veritwin bench NAME`: which benchmark, and of MQTT which setting.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use veritwin_bench::{Cell, Entry, Qos, TelemetryPart};

use super::commands::{block_on, spinner};
use super::{BadArguments, print, print_json};
use crate::bench::Part;

/// At the end of `--help`.
pub(super) const EXAMPLES: &str = "Examples:
  veritwin bench mqtt --json
  veritwin bench mqtt --qos 2 --connections 1000
  veritwin bench mqtt --fan-out 100 --plain
  veritwin bench mqtt --matrix --json
  veritwin bench telemetry --part late --part http --json
  veritwin bench telemetry --part scale --scale-points 1000000,10000000";

/// Which benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BenchName {
    /// MQTT over TLS, QoS 1, durable; beside mosquitto where it is installed.
    Mqtt,
    /// Durable encrypted ingest, size on disk, questions; beside InfluxDB where it is installed.
    Telemetry,
    /// Durable appends, audit, fingerprints, proofs; beside OpenSSL where it is installed.
    Ledger,
    /// A quiet tenant's wait beside another tenant's flood.
    Fair,
    /// Many tenants with people: signing in, listing, deciding.
    Tenants,
    /// Every one there is, of MQTT the usual setting.
    All,
}

#[derive(Args, Debug, Clone)]
pub(super) struct BenchArguments {
    /// Which benchmark.
    name: BenchName,
    /// Tenants of `bench tenants`.
    #[arg(long, default_value_t = 10_000)]
    tenants: usize,
    /// People in each of them.
    #[arg(long, default_value_t = 100)]
    users: usize,
    #[command(flatten)]
    mqtt: MqttArguments,
    #[command(flatten)]
    telemetry: TelemetryArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// The settings of `bench mqtt`; without any the usual one.
#[derive(Args, Debug, Clone)]
struct MqttArguments {
    /// Of `bench mqtt`: every published setting, one after the other, for about an hour.
    #[arg(long, conflicts_with_all = [
        "qos", "connections", "plain", "fan_out", "retained", "idle", "storm", "soak",
    ])]
    matrix: bool,
    /// Of `bench mqtt`: publish, or fan out, at this quality of service (1).
    #[arg(
        long,
        value_name = "0|1|2",
        value_parser = clap::value_parser!(u8).range(0..=2),
        conflicts_with_all = ["retained", "idle", "storm", "soak"]
    )]
    qos: Option<u8>,
    /// Of `bench mqtt`: publish over so many connections (50).
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with_all = ["fan_out", "retained", "idle", "storm", "soak"]
    )]
    connections: Option<u32>,
    /// Of `bench mqtt`: without TLS, on the loopback interface between the benchmark's own
    /// processes.
    #[arg(long, conflicts_with_all = ["idle", "storm", "soak"])]
    plain: bool,
    /// Of `bench mqtt`: one publisher and so many subscribers.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=99_999),
        conflicts_with_all = ["retained", "idle", "storm", "soak"]
    )]
    fan_out: Option<u32>,
    /// Of `bench mqtt`: store so many retained messages, then fetch them.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000_000),
        conflicts_with_all = ["idle", "storm", "soak"]
    )]
    retained: Option<u32>,
    /// Of `bench mqtt`: the memory of so many connections that say nothing.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with_all = ["storm", "soak"]
    )]
    idle: Option<u32>,
    /// Of `bench mqtt`: so many connections are lost, and come back at once.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=50_000),
        conflicts_with = "soak"
    )]
    storm: Option<u32>,
    /// Of `bench mqtt`: how memory grows under a steady load, for so long.
    #[arg(
        long,
        value_name = "MINUTES",
        value_parser = clap::value_parser!(u32).range(1..=10_080)
    )]
    soak: Option<u32>,
}

impl MqttArguments {
    /// The settings that were asked for; none: the usual one.
    fn cells(&self) -> Vec<Cell> {
        if self.matrix {
            return Cell::published();
        }
        let qos = match self.qos {
            Some(0) => Qos::AtMostOnce,
            Some(2) => Qos::ExactlyOnce,
            _ => Qos::AtLeastOnce,
        };
        let is_plain = self.plain;
        let cell = if let Some(subscribers) = self.fan_out {
            Cell::FanOut { qos, is_plain, subscribers: subscribers as usize }
        } else if let Some(messages) = self.retained {
            Cell::Retained { is_plain, messages: messages as usize }
        } else if let Some(connections) = self.idle {
            Cell::Idle { connections: connections as usize }
        } else if let Some(connections) = self.storm {
            Cell::Storm { connections: connections as usize }
        } else if let Some(minutes) = self.soak {
            Cell::Soak { minutes }
        } else if self.qos.is_some() || self.connections.is_some() || self.plain {
            let connections = self.connections.unwrap_or(50) as usize;
            Cell::Publish { qos, is_plain, connections }
        } else {
            return Vec::new();
        };
        vec![cell]
    }
}

/// A part of `bench telemetry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PartName {
    /// A day of vehicles, beside the peers; the usual figures, and the suite's questions.
    Iot,
    /// A day of hosts.
    CpuOnly,
    /// A day of vehicles of whose messages 30 % come late.
    Late,
    /// 10,000 tenants with a vehicle each.
    Tenants,
    /// The latest values of 10,000 vehicles.
    Latest,
    /// The bulk write over HTTP and TLS.
    Http,
    /// The memory of a million active series.
    ActiveSeries,
    /// The same in this process.
    #[value(hide = true)]
    ActiveSeriesHere,
    /// How cost grows with points and with series.
    Scale,
    /// Every one there is.
    All,
}

/// The settings of `bench telemetry`; without any a day of vehicles.
#[derive(Args, Debug, Clone)]
struct TelemetryArguments {
    /// Of `bench telemetry`: this part (iot); several are measured one after the other.
    #[arg(long, value_name = "PART")]
    part: Vec<PartName>,
    /// Of `bench telemetry --part scale`: so many points, in 2,320 series.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1000..=10_000_000_000),
        default_values_t = [1_000_000_u64, 10_000_000, 100_000_000]
    )]
    scale_points: Vec<u64>,
    /// Of `bench telemetry --part scale`: 10 million points in so many series.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(10..=10_000_000),
        default_values_t = [1000_u64, 10_000, 100_000, 1_000_000]
    )]
    scale_series: Vec<u64>,
    /// Of `bench telemetry`: the series of the CSV files below this folder, each with a time and a
    /// number.
    #[arg(long, value_name = "FOLDER")]
    real: Option<PathBuf>,
}

impl TelemetryArguments {
    fn is_set(&self) -> bool {
        !self.part.is_empty() || self.real.is_some()
    }

    /// What was asked for; nothing: a day of vehicles.
    fn parts(&self) -> Vec<Part> {
        use PartName as Name;
        let is = |name| self.part.contains(&name) || self.part.contains(&Name::All);
        let engine = Part::Engine;
        let mut parts = Vec::new();
        if is(Name::Iot) || !self.is_set() {
            parts.push(engine(TelemetryPart::Iot));
        }
        parts.extend(is(Name::CpuOnly).then_some(engine(TelemetryPart::CpuOnly)));
        parts.extend(is(Name::Late).then_some(engine(TelemetryPart::Late)));
        parts.extend(is(Name::Tenants).then_some(engine(TelemetryPart::Tenants)));
        parts.extend(is(Name::Latest).then_some(engine(TelemetryPart::Latest)));
        parts.extend(is(Name::Http).then_some(Part::Http));
        parts.extend(is(Name::ActiveSeries).then_some(Part::ActiveSeries));
        if self.part.contains(&Name::ActiveSeriesHere) {
            parts.push(Part::ActiveSeriesHere);
        }
        if is(Name::Scale) {
            let points = self.scale_points.iter().copied().map(TelemetryPart::ScalePoints);
            let series = self.scale_series.iter().copied().map(TelemetryPart::ScaleSeries);
            parts.extend(points.chain(series).map(engine));
        }
        parts.extend(self.real.clone().map(|folder| engine(TelemetryPart::Real(folder))));
        parts
    }
}

/// `veritwin bench NAME`
pub(super) fn run(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    let cells = arguments.mqtt.cells();
    if !cells.is_empty() && arguments.name != BenchName::Mqtt {
        let text = "settings such as --matrix, --qos and --fan-out are of `bench mqtt`";
        return Err(BadArguments(text.to_owned()).into());
    }
    if arguments.telemetry.is_set() && arguments.name != BenchName::Telemetry {
        let text = "--part and --real are of `bench telemetry`";
        return Err(BadArguments(text.to_owned()).into());
    }
    let bar = spinner("measuring".to_owned());
    let say = |text: String| bar.set_message(text);
    let measured = block_on(async {
        if cells.is_empty() {
            return Box::pin(measure(arguments, say)).await;
        }
        let measuring = |cell: &Cell| say(format!("measuring {}", cell.name()));
        Ok(Box::pin(crate::bench::cells(&cells, measuring)).await)
    });
    bar.finish_and_clear();
    let entries = measured?;
    if arguments.json {
        print_json(&entries)?;
    } else {
        print(veritwin_bench::table(&entries).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(arguments: &BenchArguments, say: impl Fn(String)) -> anyhow::Result<Vec<Entry>> {
    let is = |name| arguments.name == name || arguments.name == BenchName::All;
    let mut entries = Vec::new();
    if is(BenchName::Mqtt) {
        entries.extend(crate::bench::mqtt().await?);
    }
    if is(BenchName::Telemetry) {
        entries.extend(crate::bench::telemetry(&arguments.telemetry.parts()).await?);
    }
    if is(BenchName::Ledger) {
        entries.extend(crate::bench::ledger().await?);
    }
    if is(BenchName::Fair) {
        entries.extend(crate::bench::fair().await?);
    }
    if is(BenchName::Tenants) {
        let options = crate::bench::TenantsOptions {
            tenants: arguments.tenants,
            users_per_tenant: arguments.users,
        };
        let made = |made: usize| say(format!("{made} of {} tenants", options.tenants));
        entries.extend(crate::bench::tenants(options, made).await?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    #[test]
    fn arguments_choose_a_setting() {
        let check = |line: &str, expect: &[Cell]| {
            let parsed = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string());
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(parsed.bench.mqtt.cells(), expect, "{line}");
        };
        check("bench mqtt", &[]);
        check("bench mqtt --json", &[]);
        check("bench tenants --tenants 5 --users 2", &[]);
        let publish = |qos, is_plain, connections| Cell::Publish { qos, is_plain, connections };
        check("bench mqtt --plain", &[publish(Qos::AtLeastOnce, true, 50)]);
        check("bench mqtt --qos 0", &[publish(Qos::AtMostOnce, false, 50)]);
        check("bench mqtt --qos 2 --connections 9", &[publish(Qos::ExactlyOnce, false, 9)]);
        let fan_out = |qos, is_plain| Cell::FanOut { qos, is_plain, subscribers: 100 };
        check("bench mqtt --fan-out 100", &[fan_out(Qos::AtLeastOnce, false)]);
        check("bench mqtt --fan-out 100 --qos 0 --plain", &[fan_out(Qos::AtMostOnce, true)]);
        let retained = Cell::Retained { is_plain: false, messages: 20 };
        check("bench mqtt --retained 20", &[retained]);
        check("bench mqtt --idle 7", &[Cell::Idle { connections: 7 }]);
        check("bench mqtt --storm 7", &[Cell::Storm { connections: 7 }]);
        check("bench mqtt --soak 30", &[Cell::Soak { minutes: 30 }]);
        check("bench mqtt --matrix", &Cell::published());
    }

    #[test]
    fn parts_of_the_telemetry_benchmark() {
        let check = |line: &str, expect: &[Part]| {
            let parsed = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string());
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(parsed.bench.telemetry.parts(), expect, "{line}");
        };
        let engine = Part::Engine;
        check("bench telemetry", &[engine(TelemetryPart::Iot)]);
        let late_and_http = [engine(TelemetryPart::Late), Part::Http];
        check("bench telemetry --part http --part late", &late_and_http);
        let real = [engine(TelemetryPart::Real("data".into()))];
        check("bench telemetry --real data", &real);
        let scale = [1000, 2000].map(|points| engine(TelemetryPart::ScalePoints(points)));
        let series = engine(TelemetryPart::ScaleSeries(50));
        check(
            "bench telemetry --part scale --scale-points 1000,2000 --scale-series 50",
            &[scale.as_slice(), &[series]].concat(),
        );
        check("bench telemetry --part active-series", &[Part::ActiveSeries]);
        let all = Line::try_parse_from("bench telemetry --part all".split(' '));
        let all = all.map_err(|error| error.to_string()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(all.bench.telemetry.parts().len(), 7 + 3 + 4);
    }

    #[test]
    fn settings_are_of_one_benchmark() {
        for line in [
            "bench mqtt --part late",
            "bench all --real data",
            "bench all --matrix",
            "bench ledger --qos 1",
            "bench fair --idle 5",
        ] {
            let parsed = Line::try_parse_from(line.split(' ')).map_err(|error| error.to_string());
            let parsed = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            let error = run(&parsed.bench).expect_err(line);
            assert!(error.is::<BadArguments>(), "{line}: {error}");
        }
    }
}
