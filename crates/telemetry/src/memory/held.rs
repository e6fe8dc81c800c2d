//! What latest values take: they stay in memory for as long as their series are there, however long
//! ago those said something.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Series, and the bytes of their keys and of the texts that they said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatestSize {
    /// How many series.
    pub series: usize,
    /// Bytes of keys and texts.
    pub bytes: usize,
}

impl LatestSize {
    /// A part of it went from `before` to `after`.
    pub(crate) const fn change(&mut self, before: Self, after: Self) {
        self.series = self.series + after.series - before.series;
        self.bytes = self.bytes + after.bytes - before.bytes;
    }
}

/// What all tenants' take together. It changes under the lock of the memory table and is looked at
/// without it.
#[derive(Debug, Default)]
pub(crate) struct LatestOfAll {
    series: AtomicUsize,
    bytes: AtomicUsize,
}

impl LatestOfAll {
    pub(crate) fn size(&self) -> LatestSize {
        let load = |number: &AtomicUsize| number.load(Ordering::Relaxed);
        LatestSize { series: load(&self.series), bytes: load(&self.bytes) }
    }

    pub(crate) fn change(&self, before: LatestSize, after: LatestSize) {
        let mut size = self.size();
        size.change(before, after);
        self.series.store(size.series, Ordering::Relaxed);
        self.bytes.store(size.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_and_shrink() {
        let all = LatestOfAll::default();
        let size = |series, bytes| LatestSize { series, bytes };
        all.change(size(0, 0), size(3, 40));
        all.change(size(1, 30), size(1, 10));
        assert_eq!(all.size(), size(3, 20));
        all.change(size(3, 20), size(0, 0));
        assert_eq!(all.size(), LatestSize::default());
    }
}
