//! One setting of `veritwin bench mqtt`, those that are published, their names, and what a machine
//! has to allow for them.

use anyhow::{Result, ensure};
pub use veritwin_simulator::load::Qos;

use crate::entry::Better;
use crate::process::allow_open_files;

/// Connections over which messages are published.
const CONNECTIONS: [usize; 4] = [1, 50, 1000, 10_000];
/// Subscribers of one publisher.
const SUBSCRIBERS: [usize; 4] = [1, 10, 100, 1000];
/// Files that a process opens beside its connections, at most.
const FILES_BESIDE_MAX: usize = 1000;
/// Connections of a soak.
pub(crate) const SOAK_CONNECTIONS: usize = 50;
/// Publishers share so many devices.
const DEVICES: usize = 50;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Readings at QoS 1 with TLS: the five figures that every run of the benchmark has.
    Usual {
        /// Number of connections.
        connections: usize,
    },
    /// Readings over some connections.
    Publish {
        /// How.
        qos: Qos,
        /// Without TLS.
        is_plain: bool,
        /// Number of connections.
        connections: usize,
    },
    /// One publisher and some subscribers.
    FanOut {
        /// How, both ways.
        qos: Qos,
        /// Without TLS.
        is_plain: bool,
        /// Number of subscribers.
        subscribers: usize,
    },
    /// Retained messages, stored and fetched.
    Retained {
        /// Without TLS.
        is_plain: bool,
        /// Number of messages.
        messages: usize,
    },
    /// Connections that say nothing.
    Idle {
        /// Number of connections.
        connections: usize,
    },
    /// Connections that are all lost, and come back at once.
    Storm {
        /// Number of connections.
        connections: usize,
    },
    /// Memory under a steady load.
    Soak {
        /// Time of measuring.
        minutes: u32,
    },
}

impl Cell {
    /// The usual figures, as they are published.
    pub const USUAL: Self = Self::Usual { connections: 50 };

    /// Those whose figures are published.
    pub fn published() -> Vec<Self> {
        let mut cells = Vec::new();
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for is_plain in [false, true] {
                for connections in CONNECTIONS {
                    cells.push(Self::Publish { qos, is_plain, connections });
                }
            }
        }
        for subscribers in SUBSCRIBERS {
            cells.push(Self::FanOut { qos: Qos::AtLeastOnce, is_plain: false, subscribers });
        }
        cells.push(Self::Retained { is_plain: false, messages: 1_000_000 });
        cells.push(Self::Idle { connections: 50_000 });
        cells.push(Self::Soak { minutes: 30 });
        cells
    }

    /// What the names of its figures begin with. What is usual is not named.
    pub fn name(&self) -> String {
        let wire = |is_plain: bool| if is_plain { "plain" } else { "tls" };
        let plain = |is_plain: bool| if is_plain { ".plain" } else { "" };
        match *self {
            Self::Usual { .. } => "mqtt.qos1.tls.durable".to_owned(),
            Self::Publish { qos, is_plain, connections } => {
                // QoS 0 promises nothing.
                let durable = if qos == Qos::AtMostOnce { "" } else { ".durable" };
                let (qos, wire) = (qos.number(), wire(is_plain));
                format!("mqtt.qos{qos}.{wire}{durable}.c{connections}")
            }
            Self::FanOut { qos: Qos::AtLeastOnce, is_plain, subscribers } => {
                format!("mqtt.fan_out{}.{subscribers}", plain(is_plain))
            }
            Self::FanOut { qos, is_plain, subscribers } => {
                format!("mqtt.fan_out.qos{}{}.{subscribers}", qos.number(), plain(is_plain))
            }
            Self::Retained { is_plain, messages } => {
                format!("mqtt.retained{}.{messages}", plain(is_plain))
            }
            Self::Idle { connections } => format!("mqtt.idle.{connections}"),
            Self::Storm { connections } => format!("mqtt.storm.{connections}"),
            Self::Soak { .. } => "mqtt.soak".to_owned(),
        }
    }

    /// Name, unit and better way of the figure that stands for all of them.
    pub fn main_figure(&self) -> (String, &'static str, Better) {
        let (figure, unit, better) = match self {
            Self::Usual { .. } | Self::Publish { .. } => ("messages_per_s", "1/s", Better::Higher),
            Self::FanOut { .. } => ("deliveries_per_s", "1/s", Better::Higher),
            Self::Retained { .. } => ("deliver_per_s", "1/s", Better::Higher),
            Self::Idle { .. } => ("bytes_per_connection", "B", Better::Lower),
            Self::Storm { .. } => ("reconnects_per_s", "1/s", Better::Higher),
            Self::Soak { .. } => ("rss_growth_mb", "MB", Better::Lower),
        };
        (format!("{}.{figure}", self.name()), unit, better)
    }

    /// Whether nothing is encrypted.
    pub const fn is_plain(&self) -> bool {
        match *self {
            Self::Publish { is_plain, .. }
            | Self::FanOut { is_plain, .. }
            | Self::Retained { is_plain, .. } => is_plain,
            Self::Usual { .. } | Self::Idle { .. } | Self::Storm { .. } | Self::Soak { .. } => {
                false
            }
        }
    }

    /// Tenants that are needed when one of them may retain so many messages.
    pub fn tenants(&self, retained_messages_max: usize) -> usize {
        match *self {
            Self::Retained { messages, .. } => messages.div_ceil(retained_messages_max.max(1)),
            _ => 1,
        }
    }

    /// Devices of each tenant.
    pub const fn devices(&self) -> usize {
        match self {
            Self::Retained { .. } => 1,
            _ => DEVICES,
        }
    }

    /// Most connections at once.
    pub fn connections(&self, retained_messages_max: usize) -> usize {
        match *self {
            Self::Usual { connections }
            | Self::Publish { connections, .. }
            | Self::Idle { connections } => connections,
            // The server may still have the old ones when the new ones come.
            Self::Storm { connections } => 2 * connections,
            Self::FanOut { subscribers, .. } => subscribers + 1,
            Self::Retained { .. } => 2 * self.tenants(retained_messages_max),
            Self::Soak { .. } => SOAK_CONNECTIONS,
        }
    }

    /// Makes room for it in this process and those that it starts, or says which limit is in the
    /// way.
    pub fn make_room(&self, retained_messages_max: usize) -> Result<()> {
        let max = veritwin_simulator::load::CONNECTIONS_MAX;
        let connections = self.connections(retained_messages_max);
        ensure!(connections <= max, "connections: expected at most {max}, got {connections}");
        allow_open_files((connections + FILES_BESIDE_MAX) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let cells = Cell::published();
        assert_eq!(cells.len(), 24 + 4 + 3);
        let figures: Vec<String> = cells.iter().map(|cell| cell.main_figure().0).collect();
        for name in [
            "mqtt.qos0.tls.c1.messages_per_s",
            "mqtt.qos1.plain.durable.c50.messages_per_s",
            "mqtt.qos2.tls.durable.c1000.messages_per_s",
            "mqtt.fan_out.100.deliveries_per_s",
            "mqtt.retained.1000000.deliver_per_s",
            "mqtt.idle.50000.bytes_per_connection",
            "mqtt.soak.rss_growth_mb",
        ] {
            assert!(figures.iter().any(|figure| figure == name), "{name}: {figures:?}");
        }
        let usual = Cell::USUAL.main_figure().0;
        assert_eq!(usual, "mqtt.qos1.tls.durable.messages_per_s");
        assert!(!figures.contains(&usual), "it is measured beside the settings");
        let mut different = figures.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), figures.len());
        let unusual = [
            Cell::FanOut { qos: Qos::ExactlyOnce, is_plain: true, subscribers: 7 },
            Cell::Retained { is_plain: true, messages: 5 },
            Cell::Storm { connections: 9 },
        ];
        let unusual = unusual.map(|cell| cell.name());
        let expect = ["mqtt.fan_out.qos2.plain.7", "mqtt.retained.plain.5", "mqtt.storm.9"];
        assert_eq!(unusual, expect);
    }

    #[test]
    fn what_a_cell_needs() {
        let retained = Cell::Retained { is_plain: false, messages: 1_000_001 };
        assert_eq!((retained.tenants(10_000), retained.connections(10_000)), (101, 202));
        let idle = Cell::Idle { connections: 50_000 };
        assert_eq!((idle.tenants(10_000), idle.connections(10_000)), (1, 50_000));
        let many = Cell::Idle { connections: 1_000_000 };
        let error = many.make_room(10_000).expect_err("too many");
        assert!(error.to_string().contains("expected at most 100000, got 1000000"), "{error}");
    }
}
