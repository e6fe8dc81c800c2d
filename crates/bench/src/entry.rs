//! One measured figure, and figures as JSON and as text.

use std::fmt::Write;

use serde::Serialize;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// The same figure of another product on the same machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peer {
    /// Which product, with its version where known.
    pub name: String,
    /// Its figure.
    pub value: f64,
}

/// One measured figure. Serialised, a list of these is the output of `veritwin bench --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// What was measured, like `mqtt.qos1.tls.durable.messages_per_s`.
    pub name: String,
    /// The figure; not a number, in JSON `null`, where it could not be measured.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is good.
    pub better: Better,
    /// The peer's figure.
    pub peer: Option<Peer>,
    /// Figure divided by the peer's.
    pub ratio: Option<f64>,
    /// Why the figure, or the peer's, is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl Entry {
    /// A figure, with its ratio to the peer's where there is one.
    pub fn new(
        name: &str,
        unit: &'static str,
        better: Better,
        value: f64,
        peer: Option<Peer>,
    ) -> Self {
        let ratio = peer.as_ref().map(|peer| value / peer.value).filter(|ratio| ratio.is_finite());
        Self { name: name.to_owned(), value, unit, better, peer, ratio, missing: None }
    }

    /// A figure that could not be measured, and why.
    pub fn missing(name: &str, unit: &'static str, better: Better, why: String) -> Self {
        let entry = Self::new(name, unit, better, f64::NAN, None);
        Self { missing: Some(why), ..entry }
    }
}

/// The figures as lines of text.
pub fn table(entries: &[Entry]) -> String {
    let mut out = String::new();
    let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    for entry in entries {
        let (name, value, unit) = (&entry.name, entry.value, entry.unit);
        let value = if value.is_nan() { "-".to_owned() } else { format!("{value:.3}") };
        let _ = write!(out, "{name:width$}  {value:>14} {unit}");
        if let (Some(peer), Some(ratio)) = (&entry.peer, entry.ratio) {
            let _ = write!(out, "  ({}: {:.3}, ratio {ratio:.2})", peer.name, peer.value);
        }
        if let Some(why) = &entry.missing {
            let _ = write!(out, "  ({why})");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_published_form() {
        let peer = Some(Peer { name: "mosquitto 2.0.11".to_owned(), value: 2.0 });
        let entries = [
            Entry::new("a.b", "ms", Better::Lower, 3.0, peer),
            Entry::new("c", "1/s", Better::Higher, 1.0, None),
        ];
        assert_eq!(
            serde_json::to_string(&entries).expect("JSON"),
            r#"[{"name":"a.b","value":3.0,"unit":"ms","better":"lower","peer":{"name":"mosquitto 2.0.11","value":2.0},"ratio":1.5},{"name":"c","value":1.0,"unit":"1/s","better":"higher","peer":null,"ratio":null}]"#
        );
        assert!(table(&entries).contains("mosquitto 2.0.11: 2.000, ratio 1.50"));
        let entries = [Entry::missing("d", "1/s", Better::Higher, "limit x exceeded".to_owned())];
        assert_eq!(
            serde_json::to_string(&entries).expect("JSON"),
            r#"[{"name":"d","value":null,"unit":"1/s","better":"higher","peer":null,"ratio":null,"missing":"limit x exceeded"}]"#
        );
        assert_eq!(table(&entries), "d               - 1/s  (limit x exceeded)\n");
    }
}
