//! City and country of an address, out of a file in MaxMind's format that the operator supplies.
//! Coordinates and whatever else the file holds are never read (promise P20).

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde::Deserialize;

use crate::{Error, Result};

/// Longest name that is taken over, in characters.
const NAME_CHARS_MAX: usize = 100;

/// Where an address is, no finer than this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// ISO 3166-1 alpha-2 code.
    pub(crate) country: Option<String>,
    /// English name.
    pub(crate) city: Option<String>,
}

/// The members of a location record that are read. There are no others here, so that none is.
#[derive(Deserialize)]
struct Found {
    country: Option<Country>,
    city: Option<City>,
}

#[derive(Deserialize)]
struct Country {
    iso_code: Option<String>,
}

#[derive(Deserialize)]
struct City {
    names: Option<Names>,
}

#[derive(Deserialize)]
struct Names {
    en: Option<String>,
}

/// Coordinates, which nothing reads unless a test breaks the promise.
#[cfg(feature = "test-controls")]
#[derive(Deserialize)]
struct Finer {
    location: Option<Coordinates>,
}

#[cfg(feature = "test-controls")]
#[derive(Deserialize)]
struct Coordinates {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

#[derive(Default)]
struct Loaded {
    reader: Option<maxminddb::Reader<Vec<u8>>>,
    changed_at: Option<SystemTime>,
}

/// The location file, read again when it changes. Without one no place is known.
#[derive(Default)]
pub(crate) struct Geo {
    path: Option<PathBuf>,
    loaded: RwLock<Loaded>,
    /// Places of documentation addresses, while a promise is checked.
    overlay: RwLock<Option<maxminddb::Reader<Vec<u8>>>>,
}

/// 2001:db8::/32 (RFC 3849).
const fn is_documentation(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) => v6.segments()[0] == 0x2001 && v6.segments()[1] == 0xdb8,
        IpAddr::V4(_) => false,
    }
}

/// An address of this machine or of a network of somebody's own: it is in no place that a file
/// could know.
pub(crate) const fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || is_shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

impl Geo {
    /// Opens the file; a file that cannot be read leaves places unknown until it can.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let geo = Self { path, ..Self::default() };
        geo.reload();
        geo
    }

    /// Whether places are known.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.read().reader.is_some()
    }

    /// Reads the file again if it changed.
    pub(crate) fn reload(&self) {
        let Some(path) = &self.path else { return };
        let changed_at = std::fs::metadata(path).and_then(|file| file.modified()).ok();
        if changed_at.is_some() && changed_at == self.loaded.read().changed_at {
            return;
        }
        match maxminddb::Reader::open_readfile(path) {
            Ok(reader) => {
                tracing::info!("the location file was read");
                *self.loaded.write() = Loaded { reader: Some(reader), changed_at };
            }
            Err(error) => {
                tracing::warn!(%error, "the location file cannot be used; what was read stays");
                self.loaded.write().changed_at = changed_at;
            }
        }
    }

    /// City and country of an address; whatever the file says, a local one has none.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Place> {
        if is_local(address) {
            return None;
        }
        let found = self.find(address)?;
        let country = found.country.and_then(|country| country.iso_code);
        let country = country.filter(|code| code.len() == 2 && code.is_ascii());
        let city = found.city.and_then(|city| city.names).and_then(|names| names.en);
        let city = city.map(|name| name.chars().take(NAME_CHARS_MAX).collect());
        (country.is_some() || city.is_some()).then_some(Place { country, city })
    }

    fn find(&self, address: IpAddr) -> Option<Found> {
        if is_documentation(address) {
            return look_up(self.overlay.read().as_ref()?, address);
        }
        look_up(self.loaded.read().reader.as_ref()?, address)
    }

    /// Sets the places of documentation addresses.
    pub(crate) fn overlay(&self, database: Vec<u8>) -> Result<()> {
        let reader = maxminddb::Reader::from_source(database)
            .map_err(|error| Error::Internal(format!("locations: {error}")))?;
        *self.overlay.write() = Some(reader);
        Ok(())
    }

    /// P20's sabotage twin: what the file says besides.
    #[cfg(feature = "test-controls")]
    pub(crate) fn coordinates(&self, address: IpAddr) -> Option<String> {
        let overlay = self.overlay.read();
        let finer: Finer = overlay.as_ref()?.lookup(address).ok()?.decode().ok()??;
        let Coordinates { latitude, longitude } = finer.location?;
        Some(format!("{}, {}", latitude?, longitude?))
    }
}

fn look_up(reader: &maxminddb::Reader<Vec<u8>>, address: IpAddr) -> Option<Found> {
    reader.lookup(address).ok()?.decode().ok()?
}

#[cfg(test)]
mod tests {
    use super::*;
    use veritwin_simulator::geo;

    fn place(country: &str, city: &str) -> Option<Place> {
        Some(Place { country: Some(country.to_owned()), city: Some(city.to_owned()) })
    }

    #[test]
    fn city_and_country_are_known_and_nothing_finer() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("places.mmdb");
        let seoul = |network: &str, bits| geo::Location {
            network: network.parse().expect("address"),
            bits,
            country: "KR".to_owned(),
            city: "Seoul".to_owned(),
            coordinates: Some((37.5, 127.0)),
        };
        let mut sample = geo::sample();
        let locals: [(&str, u8); 8] = [
            ("127.0.0.0", 8),
            ("10.0.0.0", 8),
            ("172.16.0.0", 12),
            ("192.168.0.0", 16),
            ("169.254.0.0", 16),
            ("100.64.0.0", 10),
            ("fc00::", 7),
            ("fe80::", 10),
        ];
        sample.extend(locals.map(|(network, bits)| seoul(network, bits)));
        sample.push(seoul("2001:db9::", 32));
        std::fs::write(&path, geo::database(&sample)).expect("written");
        let known = Geo::open(Some(path.clone()));
        let check = |address: &str, expect: Option<Place>| {
            assert_eq!(known.place(address.parse().expect("address")), expect, "{address}");
        };
        check("192.0.2.1", place("TW", "Taipei"));
        check("198.51.100.77", place("GB", "London"));
        check("203.0.113.9", place("JP", "Tokyo"));
        check("2001:db9:1::9", place("KR", "Seoul"));
        check("8.8.8.8", None);
        check("2001:db8::1", None);
        assert_eq!(Geo::open(None).place("192.0.2.1".parse().expect("address")), None);
        // The file knows these, and they are nobody's place.
        let local = ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.9", "169.254.1.1"];
        let shared = ["100.64.0.1", "::ffff:127.0.0.1", "fd00::1", "fe80::1"];
        for address in local.into_iter().chain(shared) {
            check(address, None);
        }

        // A new file is read; one that is none changes nothing.
        let later = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let replace = |bytes: &[u8], at: u64| {
            std::fs::write(&path, bytes).expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("file");
            file.set_modified(later(at)).expect("time");
            known.reload();
        };
        replace(&geo::database(&geo::sample()[..1]), 1_000_000);
        check("192.0.2.1", place("TW", "Taipei"));
        check("203.0.113.9", None);
        replace(b"no location file", 2_000_000);
        check("192.0.2.1", place("TW", "Taipei"));
    }
}
