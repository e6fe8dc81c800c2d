//! Copies of what tenants hold, in memory, for the hot paths. Bounded: when a further tenant comes,
//! the copy that was used least recently goes. A change drops its tenant's copy, and one that was
//! read before the change is never kept after it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::TenantId;

/// Most tenants of which one kind of copy is kept. Named `kept_tenants_max` in the documents.
pub(crate) const KEPT_TENANTS_MAX: usize = 1024;

/// The copies of recently used tenants.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    slots: Mutex<Slots<T>>,
}

#[derive(Debug)]
struct Slots<T> {
    by_tenant: HashMap<TenantId, Slot<T>>,
    /// Counts uses and changes of all tenants; no two of them have one number. A slot that went
    /// and came back never has a number that it had before.
    count: u64,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u64,
    used: u64,
    copy: Option<Arc<T>>,
}

/// What a reader shows with the copy that it read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    tenant: TenantId,
    generation: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { slots: Mutex::new(Slots { by_tenant: HashMap::new(), count: 0 }) }
    }
}

impl<T> Kept<T> {
    /// Drops a tenant's copy: something changed.
    pub(crate) fn changed(&self, tenant: TenantId) {
        let mut slots = self.slots.lock();
        let generation = slots.next();
        // Without a slot there is no ticket that could be worth anything.
        if let Some(slot) = slots.by_tenant.get_mut(&tenant) {
            slot.generation = generation;
            slot.copy = None;
        }
    }

    /// A tenant's copy, or a ticket for the one that is read next. The ticket is drawn before
    /// the reading begins.
    pub(crate) fn get(&self, tenant: TenantId) -> Result<Arc<T>, Ticket> {
        let mut slots = self.slots.lock();
        let used = slots.next();
        let Some(slot) = slots.by_tenant.get_mut(&tenant) else {
            slots.make_room();
            slots.by_tenant.insert(tenant, Slot { generation: used, used, copy: None });
            return Err(Ticket { tenant, generation: used });
        };
        slot.used = used;
        slot.copy.clone().ok_or(Ticket { tenant, generation: slot.generation })
    }

    /// A tenant's copy if it is here; whether or not, no other one goes for it.
    pub(crate) fn peek(&self, tenant: TenantId) -> Option<Arc<T>> {
        self.slots.lock().by_tenant.get(&tenant)?.copy.clone()
    }

    /// Keeps what was read with a ticket, unless something changed or the tenant went meanwhile.
    pub(crate) fn put(&self, ticket: Ticket, copy: &Arc<T>) {
        let mut slots = self.slots.lock();
        let slot = slots.by_tenant.get_mut(&ticket.tenant);
        if let Some(slot) = slot.filter(|slot| slot.generation == ticket.generation) {
            slot.copy = Some(Arc::clone(copy));
        }
    }
}

impl<T> Slots<T> {
    const fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Looking through them costs microseconds, and a read of the database follows.
    fn make_room(&mut self) {
        while self.by_tenant.len() >= KEPT_TENANTS_MAX {
            let oldest = self.by_tenant.iter().min_by_key(|(_, slot)| slot.used);
            let Some(oldest) = oldest.map(|(tenant, _)| *tenant) else { return };
            self.by_tenant.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&(number as u64).to_be_bytes());
        TenantId::from_bytes(bytes)
    }

    fn read(kept: &Kept<usize>, number: usize) {
        let ticket = kept.get(tenant(number)).expect_err("nothing is kept");
        kept.put(ticket, &Arc::new(number));
    }

    fn has(kept: &Kept<usize>, number: usize) -> bool {
        kept.slots.lock().by_tenant.get(&tenant(number)).is_some_and(|slot| slot.copy.is_some())
    }

    #[test]
    fn many_tenants_keep_no_more_than_the_bound_and_only_the_least_used_go() {
        let kept = Kept::default();
        for number in 0..KEPT_TENANTS_MAX {
            read(&kept, number);
        }
        assert_eq!(kept.get(tenant(0)).ok().as_deref(), Some(&0));
        read(&kept, KEPT_TENANTS_MAX);
        let gone: Vec<usize> =
            (0..=KEPT_TENANTS_MAX).filter(|number| !has(&kept, *number)).collect();
        assert_eq!(gone, [1], "one comes, one goes");
        for number in 0..10 * KEPT_TENANTS_MAX {
            if let Err(ticket) = kept.get(tenant(number)) {
                kept.put(ticket, &Arc::new(number));
            }
            kept.changed(tenant(number / 2));
            assert!(kept.slots.lock().by_tenant.len() <= KEPT_TENANTS_MAX);
        }
    }

    #[test]
    fn a_look_drives_nobody_out() {
        let kept = Kept::default();
        (0..KEPT_TENANTS_MAX).for_each(|number| read(&kept, number));
        for number in 0..10 * KEPT_TENANTS_MAX {
            let found = kept.peek(tenant(number)).map(|copy| *copy);
            assert_eq!(found, (number < KEPT_TENANTS_MAX).then_some(number));
        }
        assert!((0..KEPT_TENANTS_MAX).all(|number| has(&kept, number)));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let kept = Kept::default();
        let early = kept.get(tenant(0)).expect_err("a ticket");
        kept.changed(tenant(0));
        kept.put(early, &Arc::new(1));
        assert!(!has(&kept, 0));

        // The same when the tenant went meanwhile and came back.
        let early = kept.get(tenant(0)).expect_err("a ticket");
        for number in 1..=KEPT_TENANTS_MAX {
            read(&kept, number);
        }
        kept.changed(tenant(0));
        let late = kept.get(tenant(0)).expect_err("a ticket");
        kept.put(early, &Arc::new(1));
        assert!(!has(&kept, 0));
        kept.put(late, &Arc::new(2));
        assert_eq!(kept.get(tenant(0)).ok().as_deref(), Some(&2));
    }
}
