//! The questions of the benchmark, in the forms of our engine, InfluxDB and DuckDB. Those of the
//! Time Series Benchmark Suite's "iot" set are asked as the engine can express them: what is left
//! of each is a fold over its answer that takes microseconds.

use veritwin_domain::Timestamp;

use super::DAY_MICROS;

const MINUTE_MICROS: i64 = 60_000_000;
pub(crate) const HOUR_MICROS: i64 = 60 * MINUTE_MICROS;

/// What is asked of every device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The latest values.
    Latest,
    /// Averages in buckets over the last part of the day.
    Means {
        /// How long before the day's end it begins.
        last_micros: i64,
        /// Width of a bucket.
        width_micros: i64,
    },
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [&'static str],
    pub(crate) ask: Ask,
}

const TEN_MINUTES: i64 = 10 * MINUTE_MICROS;
const fn means(last_micros: i64, width_micros: i64) -> Ask {
    Ask::Means { last_micros, width_micros }
}

/// As the suite names them. One of its twelve waits: `avg-vs-projected-fuel-consumption` averages a
/// value over the times at which another is above a bound.
pub(crate) const IOT: [Question; 11] = [
    Question { name: "last_loc", keys: &["latitude", "longitude"], ask: Ask::Latest },
    Question { name: "low_fuel", keys: &["fuel_state"], ask: Ask::Latest },
    Question { name: "high_load", keys: &["current_load"], ask: Ask::Latest },
    Question {
        name: "stationary_trucks",
        keys: &["velocity"],
        ask: means(TEN_MINUTES, TEN_MINUTES),
    },
    Question {
        name: "long_driving_sessions",
        keys: &["velocity"],
        ask: means(4 * HOUR_MICROS, TEN_MINUTES),
    },
    Question {
        name: "long_daily_sessions",
        keys: &["velocity"],
        ask: means(DAY_MICROS, TEN_MINUTES),
    },
    Question {
        name: "avg_daily_driving_duration",
        keys: &["velocity"],
        ask: means(DAY_MICROS, TEN_MINUTES),
    },
    Question {
        name: "avg_daily_driving_session",
        keys: &["velocity", "fuel_consumption"],
        ask: means(DAY_MICROS, TEN_MINUTES),
    },
    Question { name: "avg_load", keys: &["current_load"], ask: means(DAY_MICROS, DAY_MICROS) },
    Question { name: "daily_activity", keys: &["status"], ask: means(DAY_MICROS, TEN_MINUTES) },
    Question {
        name: "breakdown_frequency",
        keys: &["status"],
        ask: means(DAY_MICROS, TEN_MINUTES),
    },
];

/// Everything that a vehicle said last.
pub(crate) const LATEST: Question = Question {
    name: "latest",
    keys: &[
        "latitude",
        "longitude",
        "elevation",
        "velocity",
        "heading",
        "grade",
        "fuel_consumption",
        "fuel_state",
        "current_load",
        "status",
    ],
    ask: Ask::Latest,
};

/// The first moment of a question and the first after it, in milliseconds; the day begins at
/// `from`.
fn milliseconds(from: Timestamp, last_micros: i64) -> (i64, i64) {
    let end = from.as_micros() + DAY_MICROS;
    ((end - last_micros) / 1000, end / 1000)
}

impl Question {
    /// In InfluxQL.
    pub(crate) fn influx(&self, from: Timestamp) -> String {
        match self.ask {
            Ask::Latest => {
                let fields = list(self.keys, "last(", ")");
                format!("SELECT {fields} FROM readings GROUP BY \"name\"")
            }
            Ask::Means { last_micros, width_micros } => {
                let (start, end) = milliseconds(from, last_micros);
                let (fields, width) = (list(self.keys, "mean(", ")"), width_micros / 1000);
                format!(
                    "SELECT {fields} FROM readings WHERE time >= {start}ms AND time < {end}ms \
                     GROUP BY time({width}ms), \"name\""
                )
            }
        }
    }

    /// In DuckDB's SQL.
    pub(crate) fn duck(&self, from: Timestamp) -> String {
        match self.ask {
            Ask::Latest => {
                let fields = list(self.keys, "arg_max(", ", at)");
                format!("SELECT name, {fields} FROM readings GROUP BY name")
            }
            Ask::Means { last_micros, width_micros } => {
                let (start, end) = milliseconds(from, last_micros);
                let (fields, width) = (list(self.keys, "avg(", ")"), width_micros / 1000);
                format!(
                    "SELECT name, at // {width} AS bucket, {fields} FROM readings \
                     WHERE at >= {start} AND at < {end} GROUP BY name, bucket"
                )
            }
        }
    }
}

fn list(keys: &[&str], before: &str, after: &str) -> String {
    let calls: Vec<String> = keys.iter().map(|key| format!("{before}{key}{after}")).collect();
    calls.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_question() {
        let from = Timestamp::EPOCH;
        let last = IOT[0];
        assert_eq!(
            last.influx(from),
            "SELECT last(latitude), last(longitude) FROM readings GROUP BY \"name\""
        );
        assert!(last.duck(from).contains("arg_max(latitude, at), arg_max(longitude, at)"));
        let stationary = IOT[3];
        assert_eq!(
            stationary.influx(from),
            "SELECT mean(velocity) FROM readings WHERE time >= 85800000ms AND time < 86400000ms \
             GROUP BY time(600000ms), \"name\""
        );
        assert!(stationary.duck(from).contains("at // 600000 AS bucket, avg(velocity)"));
    }
}
