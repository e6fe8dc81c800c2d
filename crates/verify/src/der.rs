//! A reader of DER (X.690) that goes over items one after another. It knows tags of one byte and
//! definite lengths in their shortest form, which time stamps need; the rest is refused.

/// Class and number of what is read here.
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// `[number]`, constructed.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Item<'a> {
    /// What is inside.
    pub(crate) const fn items(self) -> Items<'a> {
        Items(self.content)
    }
}

/// Items one after another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Items<'a>(pub(crate) &'a [u8]);

impl<'a> Items<'a> {
    pub(crate) const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next item, of whatever tag. None at the end, and when it is not DER.
    pub(crate) fn any(&mut self) -> Option<Item<'a>> {
        let (tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                let length = bytes.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
                let shortest = bytes.first().is_some_and(|byte| *byte != 0) && length >= 0x80;
                if !shortest {
                    return None;
                }
                (length, rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Item { tag: *tag, content, whole })
    }

    /// The next item, which has to have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<Item<'a>> {
        if self.0.first() == Some(&tag) { self.any() } else { None }
    }
}

/// One item with what it holds, for requests. At most 65535 bytes.
pub(crate) fn item(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    match length {
        0..0x80 => out.push(low),
        0x80..0x100 => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_in_their_shortest_form_only() {
        let check = |bytes: &[u8], expect: Option<usize>| {
            let read = Items(bytes).any().map(|item| item.content.len());
            assert_eq!(read, expect, "{bytes:02x?}");
        };
        check(&[0x30, 0x00], Some(0));
        check(&[0x02, 0x01, 0x05, 0xff], Some(1));
        check(&item(OCTETS, &[7; 200]), Some(200));
        check(&item(OCTETS, &[7; 300]), Some(300));
        check(&[0x02, 0x02, 0x05], None);
        check(&[0x30, 0x80, 0x00, 0x00], None);
        check(&[0x04, 0x81, 0x01, 0x00], None);
        check(&[0x04, 0x82, 0x00, 0x80], None);
        check(&[0x1f, 0x01, 0x00], None);
        check(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], None);
        check(&[], None);
        let two = [item(INTEGER, &[1]), item(OCTETS, &[2])].concat();
        let mut items = Items(&two);
        assert!(items.take(OCTETS).is_none(), "another tag is left where it is");
        assert_eq!(items.take(INTEGER).map(|item| item.whole.len()), Some(3));
        assert_eq!(items.take(OCTETS).map(|item| item.content), Some(&[2][..]));
        assert!(items.is_empty());
    }
}
