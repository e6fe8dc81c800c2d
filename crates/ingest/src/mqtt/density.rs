//! How much of what is submitted a connection sends in how many bytes: devices repeat themselves,
//! so that room for what a read holds is made once, and not again and again while it grows.

use super::pending::Pending;

/// A list with room for so many is left as it is.
const TRIM_MIN: usize = 16;

/// Readings and acknowledgements of a read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) readings: usize,
    pub(super) acks: usize,
}

/// What the last read with whole packets held, and in how many bytes.
#[derive(Debug, Default)]
pub(super) struct Density {
    counts: Counts,
    bytes: usize,
}

impl Density {
    /// So many bytes were taken, and came to this.
    pub(super) fn note(&mut self, pending: &Pending, bytes: usize) {
        if bytes > 0 {
            let counts = Counts { readings: pending.readings.len(), acks: pending.acks.len() };
            *self = Self { counts, bytes };
        }
    }

    /// What so many bytes probably hold.
    pub(super) fn expect(&self, bytes: usize) -> Counts {
        let expect = |count: usize| match count.saturating_mul(bytes) / self.bytes.max(1) {
            0 => 0,
            // One more or less would make it grow after all.
            count => count + count / 8 + 1,
        };
        let Counts { readings, acks } = self.counts;
        Counts { readings: expect(readings), acks: expect(acks) }
    }
}

/// Makes room in what is empty.
#[inline]
pub(super) fn make_room<T>(list: &mut Vec<T>, count: usize) {
    if list.capacity() == 0 {
        list.reserve_exact(count);
    }
}

/// Gives back what was expected and did not come: a long list takes no more than twice what it
/// holds, as one that grew by itself.
#[inline]
pub(super) fn trim<T>(list: &mut Vec<T>) {
    if list.capacity() > TRIM_MIN && list.capacity() / 2 > list.len() {
        list.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::PUBACK;
    use super::super::pending::{Ack, Answer};
    use super::*;

    fn pending(acks: usize) -> Pending {
        let ack = || Ack {
            packet_id: 1,
            packet_type: PUBACK,
            answer: Answer::default(),
            is_repeat: false,
        };
        let mut pending = Pending::default();
        pending.acks.extend((0..acks).map(|_| ack()));
        pending
    }

    #[test]
    fn what_is_expected_is_what_came_before() {
        let mut density = Density::default();
        assert_eq!(density.expect(1000), Counts::default());
        density.note(&pending(80), 8000);
        assert_eq!(density.expect(4000), Counts { readings: 0, acks: 46 });
        assert_eq!(density.expect(99), Counts::default());
        // A packet that is not whole says nothing; one without a message does.
        density.note(&pending(0), 0);
        assert_eq!(density.expect(4000).acks, 46);
        density.note(&pending(0), 2);
        assert_eq!(density.expect(4000), Counts::default());
    }

    #[test]
    fn what_did_not_come_is_given_back() {
        let mut list: Vec<u64> = Vec::new();
        make_room(&mut list, 1000);
        assert!(list.capacity() >= 1000);
        list.extend([1, 2, 3]);
        make_room(&mut list, 100_000);
        assert!(list.capacity() < 100_000);
        trim(&mut list);
        assert!(list.capacity() < 1000 && list == [1, 2, 3]);
        let mut full = vec![1, 2, 3, 4];
        full.push(5);
        let before = full.capacity();
        trim(&mut full);
        assert_eq!(full.capacity(), before);
    }
}
