//! Which sealed sections exist, where, and what they cover: the manifest in memory. A catalog never
//! changes; a flush or compaction makes the next one.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use object_store::path::Path;
use veritwin_domain::{FileId, TenantId};
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
    /// The UTC day all times fall into, or none for an overlay over many days.
    pub(crate) window: Option<i64>,
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
    pub(crate) latest: Option<LatestPlace>,
    /// Sealed bytes of all this, once somebody asked.
    bytes: OnceLock<u64>,
}

impl TenantCatalog {
    /// Sealed bytes of the tenant. Added up once for each catalog, however often it is asked.
    pub(crate) fn bytes(&self) -> u64 {
        *self.bytes.get_or_init(|| {
            let sections: u64 = self.sections.iter().map(|section| section.bytes()).sum();
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
            for pack in tenant.sections.iter().map(|section| &section.pack).chain(latest) {
                packs.entry(pack.file).or_insert_with(|| Arc::clone(pack));
            }
        }
        packs
    }
}
