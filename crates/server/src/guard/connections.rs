//! How many connections one address holds at a listener. Bounded by the listener's own bound: an
//! address is remembered only while it holds one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use veritwin_domain::{LimitExceeded, address_party};

/// Connections of an address beyond its bound that are told so; further ones are dropped.
const TURNED_AWAY_MAX: usize = 8;

#[derive(Debug)]
struct Counts {
    by_address: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// The connections of a listener, by address.
#[derive(Debug, Clone)]
pub(crate) struct AddressConnections(Arc<Counts>);

/// A connection's place among those of its address; given up when dropped.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    counts: Arc<Counts>,
    address: IpAddr,
    /// The address has too many: the connection may only be told so.
    pub(crate) over: Option<LimitExceeded>,
}

impl AddressConnections {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Counts { by_address: Mutex::default(), max: max.max(1) }))
    }

    /// Takes a place; none when even being told of the bound is too much.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<AddressPlace> {
        let address = address_party(address);
        let max = self.0.max;
        let mut by_address = self.0.by_address.lock();
        let count = by_address.get(&address).copied().unwrap_or(0) + 1;
        if count > max + TURNED_AWAY_MAX {
            return None;
        }
        by_address.insert(address, count);
        let limit = LimitExceeded { name: "connections_per_address_max", max, actual: count };
        let over = (count > max).then_some(limit);
        Some(AddressPlace { counts: Arc::clone(&self.0), address, over })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut by_address = self.counts.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let connections = AddressConnections::new(2);
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        let enter = |text: &str| connections.enter(address(text));
        let held: Vec<_> = (0..2).map(|_| enter("2001:db8::1").expect("a place")).collect();
        assert!(held.iter().all(|place| place.over.is_none()));
        // The same subscriber.
        let told: Vec<_> = (0..8).map(|_| enter("2001:db8::2").expect("is told")).collect();
        let text = told[0].over.clone().expect("over").to_string();
        assert_eq!(text, "limit connections_per_address_max exceeded: at most 2, got 3");
        assert!(enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some_and(|place| place.over.is_none()));
        drop(told);
        drop(held);
        assert!(enter("2001:db8::3").is_some_and(|place| place.over.is_none()));
        assert!(connections.0.by_address.lock().is_empty(), "nobody is remembered");
    }
}
