//! Transitions that wait to be written. Bounded: whatever a device sends, a series has a few of
//! them, the first ones and the newest; what lies between is left out and counted.

use std::collections::{BTreeMap, HashMap};

use crate::series::{SeriesId, Transition};

/// Most transitions of one series that wait. Named `series_transitions_max` in the documents.
pub const SERIES_TRANSITIONS_MAX: usize = 4;

/// Transitions in the order in which they were made.
#[derive(Debug, Default)]
pub struct Pending {
    by_order: BTreeMap<u64, Transition>,
    of_series: HashMap<SeriesId, Vec<u64>>,
    next: u64,
}

impl Pending {
    /// Adds one. A series goes in and out of alert by turns, so two that are left out change
    /// nothing of what follows them.
    pub fn push(&mut self, mut transition: Transition) {
        let orders = self.of_series.entry(transition.id.series.clone()).or_default();
        if orders.len() >= SERIES_TRANSITIONS_MAX {
            for order in orders.drain(SERIES_TRANSITIONS_MAX - 2..) {
                let gone = self.by_order.remove(&order).map_or(0, |gone| gone.left_out);
                transition.left_out += 1 + gone;
            }
        }
        orders.push(self.next);
        self.by_order.insert(self.next, transition);
        self.next += 1;
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    /// Those that wait, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Transition> {
        self.by_order.values()
    }

    /// Forgets all: they were written.
    pub fn clear(&mut self) {
        self.by_order.clear();
        self.of_series.clear();
    }

    /// All of them, oldest first.
    pub fn into_vec(self) -> Vec<Transition> {
        self.by_order.into_values().collect()
    }
}

impl Extend<Transition> for Pending {
    fn extend<T: IntoIterator<Item = Transition>>(&mut self, transitions: T) {
        transitions.into_iter().for_each(|transition| self.push(transition));
    }
}
