//! Writes a small location file in MaxMind's format (MaxMind DB 2.0) for the demo and for tests:
//! made-up places for a handful of networks. Real files are the operator's to supply.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// A network and where it is said to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Location {
    /// Its first address; IPv4 or IPv6.
    pub network: IpAddr,
    /// Bits that name the network, in its own family.
    pub bits: u8,
    /// ISO 3166-1 alpha-2 code.
    pub country: String,
    /// English name.
    pub city: String,
    /// Latitude and longitude in degrees, as real files have them.
    pub coordinates: Option<(f64, f64)>,
}

/// Networks of documents, with made-up places.
pub fn sample() -> Vec<Location> {
    let place = |network: [u8; 4], bits, country: &str, city: &str| Location {
        network: IpAddr::from(network),
        bits,
        country: country.to_owned(),
        city: city.to_owned(),
        coordinates: None,
    };
    vec![
        place([192, 0, 2, 0], 24, "TW", "Taipei"),
        place([198, 51, 100, 0], 24, "GB", "London"),
        place([203, 0, 113, 0], 24, "JP", "Tokyo"),
    ]
}

/// The file.
pub fn database(locations: &[Location]) -> Vec<u8> {
    let mut tree = Tree::default();
    let mut data = Vec::new();
    for location in locations {
        let offset = data.len();
        encode_location(&mut data, location);
        tree.insert(location, offset);
    }
    let mut file = tree.encode();
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    encode_metadata(&mut file, tree.nodes.len());
    file
}

/// A node's two records.
#[derive(Debug, Clone, Copy, Default)]
struct Node([Record; 2]);

#[derive(Debug, Clone, Copy, Default)]
enum Record {
    #[default]
    Empty,
    Node(usize),
    Data(usize),
}

/// The binary search tree over 128 address bits. IPv4 lies at `::/96`, as in real files.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Tree {
    fn insert(&mut self, location: &Location, offset: usize) {
        let (address, bits) = match location.network {
            IpAddr::V4(v4) => (Ipv6Addr::from(u128::from(v4.to_bits())), location.bits + 96),
            IpAddr::V6(v6) => (v6, location.bits),
        };
        let address = address.to_bits();
        let mut node = 0;
        for depth in 0..bits {
            let side = usize::from((address >> (127 - depth)) & 1 == 1);
            if depth + 1 == bits {
                self.nodes[node].0[side] = Record::Data(offset);
                return;
            }
            node = match self.nodes[node].0[side] {
                Record::Node(next) => next,
                Record::Empty | Record::Data(_) => {
                    self.nodes.push(Node::default());
                    let next = self.nodes.len() - 1;
                    self.nodes[node].0[side] = Record::Node(next);
                    next
                }
            };
        }
    }

    /// Records of 32 bits.
    fn encode(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let value = |record: &Record| match record {
            Record::Empty => count,
            Record::Node(next) => *next,
            // Offsets count from the end of the separator of 16 bytes.
            Record::Data(offset) => count + 16 + offset,
        };
        let records = self.nodes.iter().flat_map(|node| node.0.iter().map(value));
        records.flat_map(|value| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()).collect()
    }
}

/// Control bytes of the format's data section.
const STRING: u8 = 2;
const DOUBLE: u8 = 3;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
/// Types above 7 are spelt in a second byte.
const UINT64_EXTENDED: u8 = 9 - 7;
const ARRAY_EXTENDED: u8 = 11 - 7;
/// Longest text or most members here: sizes from 29 on are spelt differently.
const SIZE_MAX: usize = 28;

fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let size = u8::try_from(size.min(SIZE_MAX)).unwrap_or(0);
    out.push((kind << 5) | size);
}

fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(SIZE_MAX)];
    control(out, STRING, bytes.len());
    out.extend_from_slice(bytes);
}

fn encode_location(out: &mut Vec<u8>, location: &Location) {
    control(out, MAP, 2 + usize::from(location.coordinates.is_some()));
    string(out, "country");
    control(out, MAP, 1);
    string(out, "iso_code");
    string(out, &location.country);
    string(out, "city");
    control(out, MAP, 1);
    string(out, "names");
    control(out, MAP, 1);
    string(out, "en");
    string(out, &location.city);
    if let Some((latitude, longitude)) = location.coordinates {
        string(out, "location");
        control(out, MAP, 2);
        for (name, degrees) in [("latitude", latitude), ("longitude", longitude)] {
            string(out, name);
            control(out, DOUBLE, 8);
            out.extend_from_slice(&degrees.to_be_bytes());
        }
    }
}

fn encode_metadata(out: &mut Vec<u8>, node_count: usize) {
    let sixteen = |value: u16| {
        let mut bytes = vec![(UINT16 << 5) | 2];
        bytes.extend_from_slice(&value.to_be_bytes());
        bytes
    };
    let text = |text: &str| {
        let mut bytes = Vec::new();
        string(&mut bytes, text);
        bytes
    };
    let mut count = vec![(UINT32 << 5) | 4];
    count.extend_from_slice(&u32::try_from(node_count).unwrap_or(u32::MAX).to_be_bytes());
    let mut languages = vec![1, ARRAY_EXTENDED];
    string(&mut languages, "en");
    let mut description = Vec::new();
    control(&mut description, MAP, 1);
    string(&mut description, "en");
    string(&mut description, "Made-up places");
    let members: BTreeMap<&str, Vec<u8>> = BTreeMap::from([
        ("binary_format_major_version", sixteen(2)),
        ("binary_format_minor_version", sixteen(0)),
        ("build_epoch", vec![0, UINT64_EXTENDED]),
        ("database_type", text("GeoLite2-City")),
        ("description", description),
        ("ip_version", sixteen(6)),
        ("languages", languages),
        ("node_count", count),
        ("record_size", sixteen(32)),
    ]);
    control(out, MAP, members.len());
    for (name, value) in members {
        string(out, name);
        out.extend_from_slice(&value);
    }
}
