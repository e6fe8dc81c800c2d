//! The devices that the edge lets in: name and digest of the token. A device is never forgotten,
//! since what it sent is named by it; one that was removed is let in no more.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use veritwin_domain::{Clock, CredentialId, DeviceId, Rng, Secret, Timestamp, find_unseen};
use veritwin_keys::token;

use super::{EdgeError, place};

/// Most devices of an edge, removed ones included.
pub const EDGE_DEVICES_MAX: usize = 10_000;
/// Longest name of a device behind an edge, in bytes.
const NAME_BYTES_MAX: usize = 256;
const FILE: &str = "devices.json";
const TOKEN_PREFIX: &str = "vte";

/// A local device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDevice {
    /// Its id inside the edge.
    pub id: DeviceId,
    /// Its name, which it has on the platform too.
    pub name: String,
    /// SHA-256 of its token, in hexadecimal.
    token_sha256: String,
    /// When it was added, in microseconds.
    pub added_at_us: i64,
    /// Since when it is let in no more, in microseconds.
    pub removed_at_us: Option<i64>,
}

impl LocalDevice {
    /// Its credential inside the edge: with another token it has another one.
    pub(super) fn credential(&self) -> CredentialId {
        let mut id = [0; 16];
        let digits = self.token_sha256.get(..32).unwrap_or_default();
        // Nobody comes in with what is no digest.
        let _read = hex::decode_to_slice(digits, &mut id);
        CredentialId::from_bytes(id)
    }
}

/// Which state of the file was read: a file that is written anew is another one.
type Seen = Option<(SystemTime, u64)>;

/// What the file said when it was last read.
struct Known {
    seen: Seen,
    devices: Vec<LocalDevice>,
    /// The places of those that are let in, by the digests of their tokens: each request over HTTP
    /// asks for one, a stranger's too. Nobody who knows no token can choose a digest, so that the
    /// time of a look tells nothing.
    by_token: HashMap<String, usize>,
}

impl Known {
    fn new(seen: Seen, devices: Vec<LocalDevice>) -> Self {
        let let_in = devices.iter().enumerate().filter(|(_, one)| one.removed_at_us.is_none());
        let by_token = let_in.map(|(at, one)| (one.token_sha256.clone(), at)).collect();
        Self { seen, devices, by_token }
    }
}

/// The local devices, as the file said when it was last read.
pub(super) struct Devices {
    path: PathBuf,
    known: RwLock<Known>,
}

fn load(path: &Path) -> Result<Vec<LocalDevice>, EdgeError> {
    Ok(place::read_json(path)?.unwrap_or_default())
}

fn changed_at(path: &Path) -> Seen {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.ino()))
}

impl Devices {
    pub(super) fn open(directory: &Path) -> Result<Self, EdgeError> {
        let path = directory.join(FILE);
        let changed = changed_at(&path);
        let known = RwLock::new(Known::new(changed, load(&path)?));
        Ok(Self { path, known })
    }

    /// Reads the file again if it is another one now; whether it was.
    pub(super) fn refresh(&self) -> Result<bool, EdgeError> {
        let changed = changed_at(&self.path);
        if self.known.read().seen == changed {
            return Ok(false);
        }
        let devices = load(&self.path)?;
        *self.known.write() = Known::new(changed, devices);
        Ok(true)
    }

    /// The device with this token.
    pub(super) fn by_token(&self, shown: &str) -> Option<LocalDevice> {
        let digest = hex::encode(token::digest(shown));
        let known = self.known.read();
        known.by_token.get(&digest).and_then(|at| known.devices.get(*at)).cloned()
    }

    /// The name of a device, also of one that was removed.
    pub(super) fn name(&self, id: DeviceId) -> Option<String> {
        let known = self.known.read();
        known.devices.iter().find(|one| one.id == id).map(|one| one.name.clone())
    }

    /// The device of this name, if it is let in.
    pub(super) fn id_of(&self, name: &str) -> Option<DeviceId> {
        let known = self.known.read();
        let mut devices = known.devices.iter().filter(|one| one.removed_at_us.is_none());
        devices.find(|one| one.name == name).map(|one| one.id)
    }

    /// Every device that is let in.
    pub(super) fn let_in(&self) -> BTreeSet<DeviceId> {
        let known = self.known.read();
        known.devices.iter().filter(|one| one.removed_at_us.is_none()).map(|one| one.id).collect()
    }

    /// The names of these devices.
    pub(super) fn names(&self, ids: &BTreeSet<DeviceId>) -> BTreeSet<String> {
        let known = self.known.read();
        let devices = known.devices.iter().filter(|one| ids.contains(&one.id));
        devices.map(|one| one.name.clone()).collect()
    }

    /// Whether a device is let in, and with this token.
    pub(super) fn is_let_in(&self, id: DeviceId, credential: CredentialId) -> bool {
        let known = self.known.read();
        let mut devices = known.devices.iter().filter(|one| one.removed_at_us.is_none());
        devices.any(|one| one.id == id && one.credential() == credential)
    }
}

/// The devices of the edge in this directory.
pub(super) fn list(directory: &Path) -> Result<Vec<LocalDevice>, EdgeError> {
    load(&directory.join(FILE))
}

/// Whoever changes the list has it alone until this is dropped.
fn lock(directory: &Path) -> Result<File, EdgeError> {
    let file = File::open(directory).map_err(EdgeError::io(directory.display()))?;
    file.lock().map_err(EdgeError::io(directory.display()))?;
    Ok(file)
}

/// Adds a device and answers its token, which is shown once. A name whose device was removed, or
/// lost its token, gets a new token and stays the same device.
pub(super) fn add(
    directory: &Path,
    name: &str,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<Secret<String>, EdgeError> {
    put(directory, (name, None), clock, rng)
}

/// Writes a device down that comes in, or one that never does: in one step, whenever this ends.
fn put(
    directory: &Path,
    (name, removed_at): (&str, Option<Timestamp>),
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<Secret<String>, EdgeError> {
    let removed_at_us = removed_at.map(Timestamp::as_micros);
    let refuse = |detail: String| Err(EdgeError::Configuration(detail));
    // As the platform has it: what it would refuse by its name is not taken here first.
    if name.is_empty() || name.len() > NAME_BYTES_MAX || find_unseen(name).is_some() {
        return refuse(format!("a device's name needs 1 to {NAME_BYTES_MAX} bytes of text"));
    }
    if name.trim() != name {
        return refuse("a device's name neither begins nor ends with a space".to_owned());
    }
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    let mut devices = load(&path)?;
    // The platform does not tell names by their case.
    let folded = name.to_lowercase();
    if let Some(other) =
        devices.iter().find(|one| one.name != name && one.name.to_lowercase() == folded)
    {
        return refuse(format!("the edge has a device of this name already: {}", other.name));
    }
    let made = token::generate(rng, TOKEN_PREFIX);
    let token_sha256 = hex::encode(token::digest(made.expose()));
    let count = devices.len();
    match devices.iter_mut().find(|one| one.name == name) {
        Some(known) => {
            known.token_sha256 = token_sha256;
            known.removed_at_us = removed_at_us;
        }
        None if count >= EDGE_DEVICES_MAX => {
            return refuse(format!("an edge has at most {EDGE_DEVICES_MAX} devices"));
        }
        None => devices.push(LocalDevice {
            id: DeviceId::generate(clock.now(), rng),
            name: name.to_owned(),
            token_sha256,
            added_at_us: clock.now().as_micros(),
            removed_at_us,
        }),
    }
    place::write_json(&path, &devices)?;
    Ok(made)
}

/// The device that a public zone's aggregates are of. Nobody comes in as it.
pub(super) fn of_zone(
    directory: &Path,
    name: &str,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<DeviceId, EdgeError> {
    let find = || -> Result<Option<LocalDevice>, EdgeError> {
        Ok(list(directory)?.into_iter().find(|one| one.name == name))
    };
    match find()? {
        Some(known) if known.removed_at_us.is_some() => return Ok(known.id),
        Some(_) => {
            let detail = "collection.zone: a device of this name comes in here";
            return Err(EdgeError::Configuration(detail.to_owned()));
        }
        None => {}
    }
    // Its token is told nobody, and never counts.
    let _token = put(directory, (name, Some(clock.now())), clock, rng)?;
    let made = find()?.map(|one| one.id);
    made.ok_or_else(|| EdgeError::Damaged("the zone's device was not kept".to_owned()))
}

/// Lets a device in no more.
pub(super) fn remove(directory: &Path, name: &str, now: Timestamp) -> Result<(), EdgeError> {
    let _lock = lock(directory)?;
    let path = directory.join(FILE);
    let mut devices = load(&path)?;
    let known = devices.iter_mut().find(|one| one.name == name && one.removed_at_us.is_none());
    let Some(known) = known else {
        let detail = "the edge lets in no device of this name".to_owned();
        return Err(EdgeError::Configuration(detail));
    };
    known.removed_at_us = Some(now.as_micros());
    place::write_json(&path, &devices)
}

#[cfg(test)]
mod tests {
    use veritwin_domain::ManualClock;
    use veritwin_keys::SystemRng;

    use super::*;

    #[test]
    fn a_device_comes_in_with_its_token_until_it_is_removed() {
        let place = tempfile::tempdir().expect("folder");
        let clock = ManualClock::new(Timestamp::from_micros(5));
        let devices = Devices::open(place.path()).expect("opened");
        let token = add(place.path(), "pump", &clock, &SystemRng).expect("added");
        assert!(devices.refresh().expect("read"));
        let pump = devices.by_token(token.expose()).expect("let in");
        assert!(devices.by_token("vte_other").is_none());
        remove(place.path(), "pump", clock.now()).expect("removed");
        assert!(remove(place.path(), "pump", clock.now()).is_err());
        let later = Devices::open(place.path()).expect("opened");
        assert!(later.by_token(token.expose()).is_none());
        assert!(!later.is_let_in(pump.id, pump.credential()));
        assert_eq!(later.name(pump.id).as_deref(), Some("pump"));
        add(place.path(), "pump", &clock, &SystemRng).expect("again");
        assert!(later.refresh().expect("read"));
        assert!(!later.is_let_in(pump.id, pump.credential()), "the token before counts no more");
        let known = list(place.path()).expect("read");
        assert!(known.iter().all(|one| later.is_let_in(one.id, one.credential())));
        assert_eq!(list(place.path()).expect("read").len(), 1, "the same device");
        let zone = of_zone(place.path(), "hall", &clock, &SystemRng).expect("a zone's device");
        let again = of_zone(place.path(), "hall", &clock, &SystemRng).expect("the same");
        assert_eq!(zone, again);
        let known = list(place.path()).expect("read");
        let hall = known.iter().find(|one| one.id == zone).expect("kept");
        assert!(hall.removed_at_us.is_some() && !later.is_let_in(hall.id, hall.credential()));
        assert!(of_zone(place.path(), "pump", &clock, &SystemRng).is_err(), "it comes in");
        for bad in ["", " ", "pump ", "Pump", "a\nb", "a\u{200b}b", &"n".repeat(257)] {
            assert!(add(place.path(), bad, &clock, &SystemRng).is_err(), "{bad:?}");
        }
    }
}
