//! Which sealed sections exist, where, and what they cover: the manifest in memory. A catalog never
//! changes; a flush or compaction makes the next one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use object_store::path::Path;
use veritwin_domain::{DAY_MICROS, DeviceId, FileId, TenantId, Timestamp};
use veritwin_keys::DekId;

/// One object that holds sections. It may be deleted when nothing refers to it any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pack {
    pub(crate) file: FileId,
}

impl Pack {
    pub(crate) const PREFIX: &'static str = "segments";

    pub(crate) fn path_of(file: FileId) -> Path {
        Path::from_iter([Self::PREFIX.to_owned(), file.to_string()])
    }
}

/// Which times a section is about, and with that the epoch of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Window {
    /// Many days: an overlay.
    All,
    /// One UTC day.
    Day(i64),
    /// Days of one UTC month, counted from 1970-01, that were merged.
    Month(i64),
    /// The hourly figures of one UTC month.
    Figures(i64),
}

impl Window {
    /// First and last UTC day; none of an overlay.
    pub(crate) fn days(self) -> Option<(i64, i64)> {
        match self {
            Self::All => None,
            Self::Day(day) => Some((day, day)),
            Self::Month(month) | Self::Figures(month) => {
                Some((first_day(month), first_day(month + 1) - 1))
            }
        }
    }
}

/// The month of a UTC day, counted from 1970-01.
pub(crate) fn month_of(day: i64) -> i64 {
    let (year, month, _) = Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).date();
    (year - 1970) * 12 + month - 1
}

/// The first UTC day of a month (the civil calendar's algorithm of H. Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
fn first_day(month: i64) -> i64 {
    let (year, month) = (1970 + month.div_euclid(12), month.rem_euclid(12) + 1);
    // A year that begins with March has its leap day at its end.
    let (year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The readings of one tenant and time window, sealed under one file key.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) pack: Arc<Pack>,
    /// The key above its file key.
    pub(crate) dek: DekId,
    /// Where the section begins in its pack, in bytes.
    pub(crate) offset: u64,
    /// Where its directory begins in its pack, in bytes.
    pub(crate) directory_offset: u64,
    pub(crate) directory_bytes: u32,
    /// Sealed frames before the directory; also the directory's counter.
    pub(crate) frames: u32,
    /// Of two readings with one time, the one from the higher generation wins.
    pub(crate) generation: u64,
    /// What all times fall into.
    pub(crate) window: Window,
    /// The device all of it is of, when the key above is that device's own.
    pub(crate) device: Option<DeviceId>,
    pub(crate) t_min: i64,
    pub(crate) t_max: i64,
    pub(crate) points: u64,
}

impl Section {
    pub(crate) const fn bytes(&self) -> u64 {
        self.directory_offset + self.directory_bytes as u64 - self.offset
    }

    pub(crate) const fn overlaps(&self, low: i64, high: i64) -> bool {
        self.t_min <= high && low <= self.t_max
    }

    /// Whether readings of a device in a time may be in it.
    pub(crate) fn may_hold(&self, device: DeviceId, low: i64, high: i64) -> bool {
        self.overlaps(low, high) && self.device.is_none_or(|own| own == device)
    }

    /// First and last UTC day of what is in it.
    pub(crate) const fn days(&self) -> (i64, i64) {
        (self.t_min.div_euclid(DAY_MICROS), self.t_max.div_euclid(DAY_MICROS))
    }

    /// Names the section inside caches.
    pub(crate) fn id(&self) -> (FileId, u64) {
        (self.pack.file, self.offset)
    }
}

/// Where a tenant's latest values were last written.
#[derive(Debug, Clone)]
pub(crate) struct LatestPlace {
    pub(crate) pack: Arc<Pack>,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
}

/// What is stored of one tenant; sections in the order of their generations.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantCatalog {
    pub(crate) sections: Vec<Arc<Section>>,
    /// Hourly figures, which stay when the readings are gone.
    pub(crate) figures: Vec<Arc<Section>>,
    pub(crate) latest: Option<LatestPlace>,
    /// Sealed bytes of all this, once somebody asked.
    bytes: OnceLock<u64>,
}

impl TenantCatalog {
    /// Sections of readings and of figures.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Section>> {
        self.sections.iter().chain(&self.figures)
    }

    /// Puts a section where it belongs; those of readings in the order of their generations.
    pub(crate) fn add(&mut self, section: Section) {
        let is_figures = matches!(section.window, Window::Figures(_));
        let list = if is_figures { &mut self.figures } else { &mut self.sections };
        list.push(Arc::new(section));
        list.sort_by_key(|section| section.generation);
    }

    /// Keeps only what is meant to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Section) -> bool) {
        self.sections.retain(|section| stays(section));
        self.figures.retain(|section| stays(section));
    }

    /// Sealed bytes of the tenant. Added up once for each catalog, however often it is asked.
    pub(crate) fn bytes(&self) -> u64 {
        *self.bytes.get_or_init(|| {
            let sections: u64 = self.all().map(|section| section.bytes()).sum();
            sections + self.latest.as_ref().map_or(0, |latest| u64::from(latest.bytes))
        })
    }
}

/// Everything that is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// Number of the manifest that says so; 0 before the first.
    pub(crate) number: u64,
    /// Everything in the log before this position is stored.
    pub(crate) persisted_position: u64,
    /// The generation of the next flush.
    pub(crate) generation_next: u64,
    pub(crate) tenants: HashMap<TenantId, Arc<TenantCatalog>>,
}

impl Catalog {
    /// A tenant's entry, ready to be changed in a catalog under construction.
    pub(crate) fn tenant_mut(&mut self, tenant: TenantId) -> &mut TenantCatalog {
        let tenant = Arc::make_mut(self.tenants.entry(tenant).or_default());
        tenant.bytes = OnceLock::new();
        tenant
    }

    pub(crate) fn sections(&self, tenant: TenantId) -> &[Arc<Section>] {
        self.tenants.get(&tenant).map_or(&[], |tenant| tenant.sections.as_slice())
    }

    /// Every pack that is referred to, each once.
    pub(crate) fn packs(&self) -> HashMap<FileId, Arc<Pack>> {
        let mut packs = HashMap::new();
        for tenant in self.tenants.values() {
            let latest = tenant.latest.iter().map(|latest| &latest.pack);
            for pack in tenant.all().map(|section| &section.pack).chain(latest) {
                packs.entry(pack.file).or_insert_with(|| Arc::clone(pack));
            }
        }
        packs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_have_their_days() {
        let check = |text: &str, month: i64, days: i64| {
            let first = Timestamp::parse_rfc3339(text).expect("a time").day();
            assert_eq!(Window::Month(month).days(), Some((first, first + days - 1)), "{text}");
            assert_eq!((month_of(first), month_of(first + days - 1)), (month, month), "{text}");
            assert_eq!(month_of(first - 1), month - 1, "{text}");
        };
        check("1970-01-01T00:00:00Z", 0, 31);
        check("1969-12-01T00:00:00Z", -1, 31);
        check("1900-02-01T00:00:00Z", -839, 28);
        check("2000-02-01T00:00:00Z", 361, 29);
        check("2026-11-01T00:00:00Z", 682, 30);
        assert_eq!(Window::All.days(), None);
    }
}
