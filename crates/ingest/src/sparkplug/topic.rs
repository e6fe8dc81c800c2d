//! Topic names of Sparkplug B 3.0 (section 4): `spBv1.0/GROUP/TYPE/NODE[/DEVICE]` and
//! `spBv1.0/STATE/HOST`.

/// What every topic of Sparkplug begins with.
pub(crate) const PREFIX: &str = "spBv1.0/";
/// Below it birth certificates are kept for who subscribes later (3.0, 10.1.2).
pub(crate) const CERTIFICATES: &str = "$sparkplug/certificates/";

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Birth,
    Data,
    Death,
    Command,
}

/// A topic of Sparkplug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic<'a> {
    /// Whether a host application is there.
    State(&'a str),
    /// A message of or to an edge node, or a device behind it.
    Node { group: &'a str, node: &'a str, kind: Kind, device: Option<&'a str> },
}

impl<'a> Topic<'a> {
    /// Reads a topic that begins with [`PREFIX`]; the text says what would be right.
    pub(crate) fn parse(topic: &'a str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "a topic of Sparkplug: expected \
            spBv1.0/GROUP/{NBIRTH,NDATA,NDEATH,NCMD}/NODE, \
            spBv1.0/GROUP/{DBIRTH,DDATA,DDEATH,DCMD}/NODE/DEVICE or spBv1.0/STATE/HOST";
        let rest = topic.strip_prefix(PREFIX).ok_or(EXPECTED)?;
        let levels: Vec<&str> = rest.split('/').collect();
        if levels.iter().any(|level| level.is_empty()) {
            return Err(EXPECTED);
        }
        let of_node = |group, node, kind| Self::Node { group, node, kind, device: None };
        let of_device =
            |group, node, kind, device| Self::Node { group, node, kind, device: Some(device) };
        Ok(match levels[..] {
            ["STATE", host] => Self::State(host),
            [group, "NBIRTH", node] => of_node(group, node, Kind::Birth),
            [group, "NDATA", node] => of_node(group, node, Kind::Data),
            [group, "NDEATH", node] => of_node(group, node, Kind::Death),
            [group, "NCMD", node] => of_node(group, node, Kind::Command),
            [group, "DBIRTH", node, device] => of_device(group, node, Kind::Birth, device),
            [group, "DDATA", node, device] => of_device(group, node, Kind::Data, device),
            [group, "DDEATH", node, device] => of_device(group, node, Kind::Death, device),
            [group, "DCMD", node, device] => of_device(group, node, Kind::Command, device),
            _ => return Err(EXPECTED),
        })
    }
}

/// The topic of commands to a node, or to a device behind it.
pub(crate) fn of_command(group: &str, node: &str, device: Option<&str>) -> String {
    match device {
        None => format!("{PREFIX}{group}/NCMD/{node}"),
        Some(device) => format!("{PREFIX}{group}/DCMD/{node}/{device}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read() {
        let node = |kind, device| Topic::Node { group: "g", node: "n", kind, device };
        let table = [
            ("spBv1.0/g/NBIRTH/n", Some(node(Kind::Birth, None))),
            ("spBv1.0/g/NDATA/n", Some(node(Kind::Data, None))),
            ("spBv1.0/g/NDEATH/n", Some(node(Kind::Death, None))),
            ("spBv1.0/g/NCMD/n", Some(node(Kind::Command, None))),
            ("spBv1.0/g/DBIRTH/n/d", Some(node(Kind::Birth, Some("d")))),
            ("spBv1.0/g/DDATA/n/d", Some(node(Kind::Data, Some("d")))),
            ("spBv1.0/g/DDEATH/n/d", Some(node(Kind::Death, Some("d")))),
            ("spBv1.0/g/DCMD/n/d", Some(node(Kind::Command, Some("d")))),
            ("spBv1.0/STATE/h", Some(Topic::State("h"))),
            ("spBv1.0/g/NBIRTH/n/d", None),
            ("spBv1.0/g/DBIRTH/n", None),
            ("spBv1.0/g/DBIRTH/n/d/e", None),
            ("spBv1.0/g/nbirth/n", None),
            ("spBv1.0//NBIRTH/n", None),
            ("spBv1.0/STATE", None),
            ("spAv1.0/g/NBIRTH/n", None),
        ];
        for (topic, expect) in table {
            assert_eq!(Topic::parse(topic).ok(), expect, "{topic}");
        }
        assert_eq!(of_command("g", "n", None), "spBv1.0/g/NCMD/n");
        assert_eq!(of_command("g", "n", Some("d")), "spBv1.0/g/DCMD/n/d");
    }
}
