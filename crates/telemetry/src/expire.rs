//! The end of readings: whole sealed sections of days that are over. The key of a day is destroyed
//! first, then its sections leave the manifest; what is left of them on a disk cannot be opened.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{DAY_MICROS, FileId, TenantId, Timestamp};
use veritwin_keys::{DekId, DestructionMethod};

use crate::TelemetryError;
use crate::catalog::{Section, Window};
use crate::commit::commit;
use crate::engine::Engine;
use crate::selection::{Selection, Which};

/// Which days of a tenant's readings, or of what is kept by days beside them, are at their end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Whose they are.
    pub tenant: TenantId,
    /// The first UTC day, counted from 1970-01-01, that is kept.
    pub first_day: i64,
    /// Days that are kept although they are before it: from and to, both included.
    pub held: Vec<(i64, i64)>,
}

/// Readings at their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Sealed sections.
    pub sections: usize,
    /// Points in them; a time that stands in several sections counts in each.
    pub points: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Sections that are kept because their days are held.
    pub held_sections: usize,
    /// Sections of months that are written anew without the days that end; their points are counted
    /// when it is done.
    pub cut_sections: usize,
}

impl Expired {
    /// Whether nothing is at its end.
    pub const fn is_empty(&self) -> bool {
        self.sections == 0 && self.cut_sections == 0
    }
}

impl Expiry {
    /// Whether days from the first to the last end, all together; none while one is held.
    pub fn ends_days(&self, first: i64, last: i64) -> Option<bool> {
        if last >= self.first_day {
            return Some(false);
        }
        (!self.holds((first, last))).then_some(true)
    }

    /// Whether a section ends whole; none while it is held.
    pub(crate) fn ends(&self, section: &Section) -> Option<bool> {
        let (first, last) = match section.window {
            Window::Day(day) => (day, day),
            Window::All | Window::Month(_) | Window::Figures(_) => section.days(),
        };
        self.ends_days(first, last)
    }

    /// The readings of months that end although others of the same months stay.
    fn of_months(&self) -> Selection {
        let end = self.first_day.saturating_mul(DAY_MICROS).saturating_sub(1);
        Selection {
            tenant: self.tenant,
            which: Which::All,
            from: Timestamp::MIN,
            to: Timestamp::from_micros(end),
            held: self.held.clone(),
        }
    }

    /// Whether a month ends in part: in days before the first that is kept, and not with its key.
    /// One with days that are held stays whole as long as they are.
    fn cuts(&self, section: &Section, sections: &[Arc<Section>]) -> bool {
        let stays =
            |other: &Arc<Section>| other.dek == section.dek && self.ends(other) != Some(true);
        matches!(section.window, Window::Month(_))
            && section.days().0 < self.first_day
            && !self.holds(section.days())
            && sections.iter().any(stays)
    }

    pub(crate) fn holds(&self, (first, last): (i64, i64)) -> bool {
        self.held.iter().any(|(from, to)| *from <= last && first <= *to)
    }

    /// Whether a reading of this time ends with its day.
    fn ends_at(&self, at: i64) -> bool {
        let day = at.div_euclid(DAY_MICROS);
        self.ends_days(day, day) == Some(true)
    }

    fn look<'s>(
        &self,
        sections: &'s [Arc<Section>],
    ) -> (Expired, impl Iterator<Item = &'s Arc<Section>>) {
        let mut found = Expired::default();
        let mut ending = Vec::new();
        for section in sections {
            let is_cut = self.cuts(section, sections);
            match self.ends(section) {
                _ if is_cut => found.cut_sections += 1,
                Some(false) => {}
                None => found.held_sections += 1,
                Some(true) => {
                    found.sections += 1;
                    found.points += section.points;
                    found.bytes += section.bytes();
                    ending.push(section);
                }
            }
        }
        (found, ending.into_iter())
    }
}

/// What ends of one tenant.
struct Ending<'e> {
    expiry: &'e Expiry,
    found: Expired,
    /// Of whole days and months.
    keys: Vec<DekId>,
    sections: HashSet<(FileId, u64)>,
}

/// What ended of months that go on.
fn of_months((tenant, points): (TenantId, u64)) -> (TenantId, Expired) {
    (tenant, Expired { points, ..Expired::default() })
}

impl Engine {
    /// What [`Engine::expire`] would destroy now.
    pub fn expiring(&self, expiry: &Expiry) -> Expired {
        let catalog = Arc::clone(&self.inner.memory.read().catalog);
        expiry.look(catalog.sections(expiry.tenant)).0
    }

    /// As [`Engine::expiring`], with the points that are still in memory: they end after they are
    /// sealed.
    pub fn expiring_soon(&self, expiry: &Expiry) -> Expired {
        let (catalog, waiting) = {
            let memory = self.inner.memory.read();
            let waiting = memory.count_waiting(expiry.tenant, |at| expiry.ends_at(at));
            (Arc::clone(&memory.catalog), waiting)
        };
        let (found, _) = expiry.look(catalog.sections(expiry.tenant));
        Expired { points: found.points + waiting, ..found }
    }

    /// Destroys readings for ever. The keys of whole days are destroyed; overlays over many days,
    /// which share a key with what stays, leave the manifest and are deleted with their objects.
    /// Readings that are still in memory, and the latest value of a series, stay. Answers what was
    /// destroyed of which tenant.
    #[boxed]
    pub async fn expire(
        &self,
        expiries: &[Expiry],
    ) -> Result<HashMap<TenantId, Expired>, TelemetryError> {
        let (engine, expiries) = (self.clone(), expiries.to_vec());
        let task = tokio::spawn(async move { engine.expire_now(&expiries).await });
        task.await.map_err(|_| TelemetryError::Stopped)?
    }

    async fn expire_now(
        &self,
        expiries: &[Expiry],
    ) -> Result<HashMap<TenantId, Expired>, TelemetryError> {
        let inner = &self.inner;
        // A merge that began before would bring back what goes now.
        let _alone = self.alone().await;
        let mut cut: HashMap<TenantId, u64> = HashMap::new();
        let mut failed = None;
        for expiry in expiries {
            let catalog = Arc::clone(&inner.memory.read().catalog);
            let sections = catalog.sections(expiry.tenant);
            if sections.iter().any(|section| expiry.cuts(section, sections)) {
                match self.cut_months(&expiry.of_months()).await {
                    Ok(points) => drop(cut.insert(expiry.tenant, points)),
                    // One tenant's trouble keeps nobody else's readings.
                    Err(error) => {
                        tracing::warn!(tenant = %expiry.tenant, %error, "a month stays whole");
                        failed = failed.or((!error.is_withheld()).then_some(error));
                    }
                }
            }
        }
        // A flush does not rest while it is waited for.
        let _hurried = inner.hurry.begin();
        let mut commits = inner.commits.lock().await;
        let base = Arc::clone(&inner.memory.read().catalog);
        let mut ending: Vec<Ending<'_>> = Vec::new();
        for expiry in expiries {
            let (found, sections) = expiry.look(base.sections(expiry.tenant));
            if found.sections > 0 {
                let sections: Vec<&Arc<Section>> = sections.collect();
                let ids = sections.iter().map(|one| one.id()).collect();
                let days = sections.iter().filter(|one| one.window != Window::All);
                let keys = days.map(|one| one.dek).collect();
                ending.push(Ending { expiry, found, keys, sections: ids });
            }
        }
        self.destroy_keys(&mut ending)?;
        if ending.is_empty() {
            let done = cut.into_iter().map(of_months).collect();
            return failed.map_or(Ok(done), Err);
        }
        let mut next = (*base).clone();
        let mut done = HashMap::new();
        for Ending { expiry, mut found, sections, .. } in ending {
            next.tenant_mut(expiry.tenant).retain(|section| !sections.contains(&section.id()));
            found.points += cut.remove(&expiry.tenant).unwrap_or(0);
            done.insert(expiry.tenant, found);
        }
        done.extend(cut.into_iter().map(of_months));
        let catalog = commit(inner, &mut commits, next, Vec::new()).await?;
        inner.memory.write().catalog = catalog;
        self.collect_garbage(&mut commits).await;
        Ok(done)
    }

    /// Destroys the keys of all at once, since the keyring is written anew each time. A tenant
    /// whose keys are out of order is passed by and holds up no other.
    fn destroy_keys(&self, ending: &mut Vec<Ending<'_>>) -> Result<(), TelemetryError> {
        let keys = &self.inner.reader.keys;
        for one in ending.iter_mut() {
            // What an earlier run destroyed before it was cut off.
            one.keys.retain(|dek| keys.destruction(*dek).is_none());
        }
        let destroy = |deks: &[DekId]| {
            let done = keys.destroy(deks, DestructionMethod::KeyDestroyed);
            let action = "destroy the keys of readings at their end";
            done.map(|_| ()).map_err(TelemetryError::keys(action))
        };
        let all: Vec<DekId> = ending.iter().flat_map(|one| one.keys.iter().copied()).collect();
        if all.is_empty() || destroy(&all).is_ok() {
            return Ok(());
        }
        let mut failed = None;
        ending.retain(|one| match destroy(&one.keys) {
            Ok(()) => true,
            Err(error) => {
                let tenant = one.expiry.tenant;
                tracing::warn!(%tenant, %error, "readings at their end stay");
                failed = Some(error);
                false
            }
        });
        match failed {
            Some(error) if ending.is_empty() => Err(error),
            _ => Ok(()),
        }
    }
}
