//! A directory as it is stored, of which one device's part is read when it is asked about: what is
//! decoded takes many times as much memory, and a day of a tenant may hold a million series.

use veritwin_domain::{DeviceId, Key};

use super::{Directory, FrameWalk, decode_device, decode_head};
use crate::wire::{Cursor, WireError};

/// Devices from one mark to the next.
const DEVICES_PER_MARK: usize = 64;

/// A device, and where it stands.
#[derive(Debug)]
struct Mark {
    device: DeviceId,
    place: usize,
    frames: FrameWalk,
}

/// A directory in its stored form.
#[derive(Debug)]
pub(crate) struct Packed {
    plain: Vec<u8>,
    section_offset: u64,
    /// Where the names of keys begin.
    names: Vec<u32>,
    /// Some of the devices, in their order.
    marks: Vec<Mark>,
}

fn place_of(plain: &[u8], cursor: &Cursor<'_>) -> usize {
    plain.len() - cursor.rest().len()
}

impl Packed {
    /// Looks through a directory once; gives the bytes back if its devices do not stand in their
    /// order, in which nobody has written them so far.
    pub(crate) fn new(
        plain: Vec<u8>,
        section_offset: u64,
    ) -> Result<Result<Self, Vec<u8>>, WireError> {
        let mut cursor = Cursor::new(&plain);
        let key_count = decode_head(&mut cursor)?;
        let mut names = Vec::with_capacity(key_count);
        for _ in 0..key_count {
            let place = u32::try_from(place_of(&plain, &cursor));
            names.push(place.map_err(|_| WireError::Field("key"))?);
            cursor.text()?;
        }
        let mut frames = FrameWalk::of(section_offset);
        let (mut marks, mut count, mut before) = (Vec::new(), 0usize, None);
        while !cursor.is_empty() {
            let place = place_of(&plain, &cursor);
            let device = DeviceId::from_bytes(cursor.array()?);
            if before.is_some_and(|before| before >= device) {
                return Ok(Err(plain));
            }
            before = Some(device);
            if count.is_multiple_of(DEVICES_PER_MARK) {
                marks.push(Mark { device, place, frames });
            }
            count += 1;
            decode_device(&mut cursor, &mut frames, key_count, None)?;
        }
        Ok(Ok(Self { plain, section_offset, names, marks }))
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Result<Directory, WireError> {
        Directory::decode(&self.plain, self.section_offset)
    }

    /// What it says of one device.
    pub(crate) fn device(&self, wanted: DeviceId) -> Result<Directory, WireError> {
        let mut directory = Directory::default();
        let behind = self.marks.partition_point(|mark| mark.device <= wanted);
        let Some(mark) = behind.checked_sub(1).and_then(|place| self.marks.get(place)) else {
            return Ok(directory);
        };
        let mut cursor = Cursor::new(self.plain.get(mark.place..).unwrap_or_default());
        let mut frames = mark.frames;
        while !cursor.is_empty() {
            let device = DeviceId::from_bytes(cursor.array()?);
            if device > wanted {
                break;
            }
            if device < wanted {
                decode_device(&mut cursor, &mut frames, self.names.len(), None)?;
                continue;
            }
            let mut key_of = |place: usize| self.key(place);
            let key_of: super::KeyOf<'_> = &mut key_of;
            let series = decode_device(&mut cursor, &mut frames, self.names.len(), Some(key_of))?;
            directory.add(device, series);
            break;
        }
        Ok(directory)
    }

    fn key(&self, place: usize) -> Result<Key, WireError> {
        let start = self.names.get(place).ok_or(WireError::Field("key"))?;
        let rest = self.plain.get(*start as usize..).unwrap_or_default();
        Key::new(Cursor::new(rest).text()?).map_err(|_| WireError::Field("key"))
    }

    /// About how much memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.plain.capacity()
            + self.names.capacity() * size_of::<u32>()
            + self.marks.capacity() * size_of::<Mark>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::DirectoryWriter;
    use super::*;
    use crate::values::Kind;

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    fn key(name: &str) -> Key {
        Key::new(name).expect("a key")
    }

    fn written(numbers: impl Iterator<Item = u8>) -> Vec<u8> {
        let mut writer = DirectoryWriter::default();
        for number in numbers {
            writer.device(device(number), 2);
            for (first, bytes) in [(10, 7), (50, 9)] {
                writer.group(&[first, first + 5], bytes, 2);
                writer.column(&key("shared"), Kind::Integer, 11, None);
                writer.column(&key(&format!("own{number}")), Kind::Double, 13, None);
            }
        }
        writer.finish()
    }

    #[test]
    fn each_device_is_read_as_it_is_among_all() {
        let even: Vec<u8> = (1..=100).map(|number| number * 2).collect();
        let plain = written(even.iter().copied());
        let packed = Packed::new(plain.clone(), 100).expect("reads").expect("in order");
        let all = packed.whole().expect("decodes");
        assert_eq!(all.devices.len(), even.len());
        for number in &even {
            let one = packed.device(device(*number)).expect("decodes");
            assert_eq!(one.devices.len(), 1);
            for name in ["shared".to_owned(), format!("own{number}")] {
                let chunks = one.chunks(device(*number), &key(&name));
                assert_eq!(chunks.len(), 2, "{name}");
                assert_eq!(chunks, all.chunks(device(*number), &key(&name)));
            }
        }
        for number in [0, 1, 65, 255] {
            assert!(packed.device(device(number)).expect("reads").devices.is_empty());
        }
        assert!(packed.memory_bytes() < all.memory_bytes);
        for cut in 0..plain.len() {
            let whole = Directory::decode(&plain[..cut], 100);
            let packed = Packed::new(plain[..cut].to_vec(), 100);
            assert_eq!(packed.is_err(), whole.is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn devices_out_of_their_order_are_given_back() {
        let plain = written([3, 2].into_iter());
        let back = Packed::new(plain.clone(), 0).expect("reads").expect_err("not in order");
        assert_eq!(back, plain);
    }
}
