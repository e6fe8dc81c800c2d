//! As much of CBOR (RFC 8949) as authenticators send: definite lengths, bounded depth and size.
//! Anything else is refused.

const DEPTH_MAX: usize = 4;
const ITEMS_MAX: u64 = 32;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Array(Vec<Item<'a>>),
    Map(Vec<(Item<'a>, Item<'a>)>),
    Simple(u64),
}

impl<'a> Item<'a> {
    /// Reads one value; gives it and what follows.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        read(bytes, DEPTH_MAX)
    }

    /// The value under a key of a map.
    pub(crate) fn get(&self, key: &Item<'_>) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

fn read(bytes: &[u8], depth: usize) -> Option<(Item<'_>, &[u8])> {
    let depth = depth.checked_sub(1)?;
    let (first, rest) = bytes.split_first()?;
    let (argument, rest) = argument(first & 0x1f, rest)?;
    match first >> 5 {
        0 => Some((Item::Int(i64::try_from(argument).ok()?), rest)),
        1 => Some((Item::Int(-1 - i64::try_from(argument).ok()?), rest)),
        2 | 3 => {
            let (content, rest) = rest.split_at_checked(usize::try_from(argument).ok()?)?;
            let item = if first >> 5 == 2 {
                Item::Bytes(content)
            } else {
                Item::Text(std::str::from_utf8(content).ok()?)
            };
            Some((item, rest))
        }
        4 if argument <= ITEMS_MAX => {
            let (mut items, mut rest) = (Vec::new(), rest);
            for _ in 0..argument {
                let (item, after) = read(rest, depth)?;
                items.push(item);
                rest = after;
            }
            Some((Item::Array(items), rest))
        }
        5 if argument <= ITEMS_MAX => {
            let (mut pairs, mut rest) = (Vec::new(), rest);
            for _ in 0..argument {
                let (key, after) = read(rest, depth)?;
                let (value, after) = read(after, depth)?;
                if pairs.iter().any(|(known, _)| *known == key) {
                    return None;
                }
                pairs.push((key, value));
                rest = after;
            }
            Some((Item::Map(pairs), rest))
        }
        7 if first & 0x1f < 24 => Some((Item::Simple(argument), rest)),
        _ => None,
    }
}

fn argument(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    let length = match short {
        0..=23 => return Some((u64::from(short), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_the_rest_refused() {
        let check = |bytes: &[u8], expect: Option<Item<'_>>| {
            assert_eq!(Item::read(bytes).map(|(item, _)| item), expect, "{bytes:?}");
        };
        check(&[0x18, 0x64], Some(Item::Int(100)));
        check(&[0x39, 0x01, 0x00], Some(Item::Int(-257)));
        check(&[0x42, 1, 2], Some(Item::Bytes(&[1, 2])));
        check(&[0x63, b'f', b'm', b't'], Some(Item::Text("fmt")));
        check(&[0xa1, 0x01, 0x02], Some(Item::Map(vec![(Item::Int(1), Item::Int(2))])));
        check(&[0x81, 0xf5], Some(Item::Array(vec![Item::Simple(21)])));
        check(&[0xa2, 0x01, 0x02, 0x01, 0x03], None);
        check(&[0x81, 0x81, 0x81, 0x81, 0x00], None);
        check(&[0x9f, 0xff], None);
        check(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None);
        check(&[0x42, 1], None);
        check(&[], None);
    }
}
