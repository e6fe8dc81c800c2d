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

    /// City and country of an address.
    pub(crate) fn place(&self, address: IpAddr) -> Option<Place> {
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
        let mut sample = geo::sample();
        sample.push(geo::Location {
            network: "2001:db9::".parse().expect("address"),
            bits: 32,
            country: "KR".to_owned(),
            city: "Seoul".to_owned(),
            coordinates: Some((37.5, 127.0)),
        });
        std::fs::write(&path, geo::database(&sample)).expect("written");
        let known = Geo::open(Some(path.clone()));
        let check = |address: &str, expect: Option<Place>| {
            assert_eq!(known.place(address.parse().expect("address")), expect, "{address}");
        };
        check("127.0.0.1", place("TW", "Taipei"));
        check("127.0.1.77", place("GB", "London"));
        check("203.0.113.9", place("JP", "Tokyo"));
        check("2001:db9:1::9", place("KR", "Seoul"));
        check("8.8.8.8", None);
        check("2001:db8::1", None);
        assert_eq!(Geo::open(None).place("127.0.0.1".parse().expect("address")), None);

        // A new file is read; one that is none changes nothing.
        let later = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let replace = |bytes: &[u8], at: u64| {
            std::fs::write(&path, bytes).expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("file");
            file.set_modified(later(at)).expect("time");
            known.reload();
        };
        replace(&geo::database(&geo::sample()[..1]), 1_000_000);
        check("127.0.0.1", place("TW", "Taipei"));
        check("203.0.113.9", None);
        replace(b"no location file", 2_000_000);
        check("127.0.0.1", place("TW", "Taipei"));
    }
}
