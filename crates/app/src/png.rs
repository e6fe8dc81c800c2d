//! Logos: PNG images, checked chunk by chunk and written anew with the few chunks a picture needs
//! (PNG, third edition, sections 5 and 11). Text, times, profiles and whatever is appended go.

/// Largest logo, in bytes.
pub(crate) const LOGO_BYTES_MAX: usize = 256 * 1024;
/// Longest side, in pixels.
const SIDE_MAX: u32 = 1024;
/// Most chunks that are looked at.
const CHUNKS_MAX: usize = 1024;

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
const KEPT: [&[u8; 4]; 5] = [b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"];

/// The same picture without anything else; the error says what is wrong.
pub(crate) fn cleaned(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.len() > LOGO_BYTES_MAX {
        return Err(format!("larger than logo_bytes_max, {LOGO_BYTES_MAX} bytes"));
    }
    let mut rest = bytes.strip_prefix(&SIGNATURE).ok_or("not a PNG image")?;
    let mut clean = SIGNATURE.to_vec();
    let mut has_pixels = false;
    for number in 0..CHUNKS_MAX {
        let broken = || format!("chunk {number} is cut off or damaged");
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| broken())?;
        let end = length.checked_add(4).filter(|end| after.len() >= *end).ok_or_else(broken)?;
        let (named, after) = after.split_at(end);
        let (sum, after) = after.split_first_chunk::<4>().ok_or_else(broken)?;
        if crc32(named) != u32::from_be_bytes(*sum) {
            return Err(broken());
        }
        let (name, data) = named.split_first_chunk::<4>().ok_or_else(broken)?;
        if (name == b"IHDR") != (number == 0) {
            return Err("the first chunk, and no other, must be IHDR".to_owned());
        }
        if name == b"IHDR" {
            check_header(data)?;
        }
        has_pixels |= name == b"IDAT";
        if KEPT.contains(&name) {
            clean.extend_from_slice(&rest[..length + 12]);
        } else if name[0].is_ascii_uppercase() {
            return Err("it needs a chunk that is not known here".to_owned());
        }
        if name == b"IEND" {
            return if has_pixels { Ok(clean) } else { Err("it has no pixels".to_owned()) };
        }
        rest = after;
    }
    Err(format!("more than {CHUNKS_MAX} chunks"))
}

fn check_header(data: &[u8]) -> Result<(), String> {
    let side = |from: usize| data.get(from..from + 4).and_then(|four| four.try_into().ok());
    let sides = [side(0), side(4)].map(|four| four.map(u32::from_be_bytes).unwrap_or(0));
    if data.len() != 13 || sides.iter().any(|side| !(1..=SIDE_MAX).contains(side)) {
        return Err(format!("each side must be 1 to {SIDE_MAX} pixels"));
    }
    Ok(())
}

/// CRC-32 as PNG uses it (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let named = [name.as_slice(), data].concat();
        let length = u32::try_from(data.len()).expect("short").to_be_bytes();
        [&length, named.as_slice(), &crc32(&named).to_be_bytes()].concat()
    }

    fn image(side: u32, extra: &[Vec<u8>]) -> Vec<u8> {
        let side = side.to_be_bytes();
        let header = [&side[..], &side, &[8, 6, 0, 0, 0]].concat();
        let mut bytes = [&SIGNATURE[..], &chunk(b"IHDR", &header)].concat();
        extra.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        bytes.extend(chunk(b"IDAT", b"pixels"));
        bytes.extend(chunk(b"IEND", b""));
        bytes
    }

    #[test]
    fn only_the_picture_stays() {
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
        let plain = image(32, &[]);
        assert_eq!(cleaned(&plain).as_ref(), Ok(&plain));
        let told = image(32, &[chunk(b"tEXt", b"Author\0somebody"), chunk(b"eXIf", b"place")]);
        assert_eq!(cleaned(&told).as_ref(), Ok(&plain));
        let appended = [plain.as_slice(), b"<script>alert(1)</script>"].concat();
        assert_eq!(cleaned(&appended).as_ref(), Ok(&plain));
    }

    #[test]
    fn anything_else_is_refused() {
        let mut damaged = image(32, &[]);
        damaged[20] ^= 1;
        let cut = image(32, &[]);
        let no_pixels = [&SIGNATURE[..], &cut[8..33], &chunk(b"IEND", b"")].concat();
        for bad in [
            b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
            b"GIF89a".to_vec(),
            Vec::new(),
            damaged,
            cut[..cut.len() - 3].to_vec(),
            image(0, &[]),
            image(4096, &[]),
            image(32, &[chunk(b"ABCD", b"")]),
            no_pixels,
            vec![0; LOGO_BYTES_MAX + 1],
        ] {
            assert!(cleaned(&bad).is_err(), "{} bytes", bad.len());
        }
    }
}
