//! The manifest: a numbered object, created once and never changed, sealed under the platform's
//! key, that names every section. The highest number counts.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::path::Path;
use veritwin_domain::{Clock, DeviceId, FileId, Rng, TenantId};
use veritwin_keys::{Aad, DataClass, DekId, DekScope, FileHeader, FileKey, KeyService};

use crate::TelemetryError;
use crate::catalog::{Catalog, LatestPlace, Pack, Section, TenantCatalog, Window};
use crate::wire::{Cursor, WireError, put_varint};

/// Version 1 knew days and overlays only; it is still read.
const VERSION: u8 = 2;
/// In the associated data, whatever the version.
const CONTEXT: u8 = 1;
const ZSTD_LEVEL: i32 = 1;
/// Most bytes of a manifest, decompressed.
const MANIFEST_BYTES_MAX: usize = 1 << 30;
pub(crate) const PREFIX: &str = "manifests";

pub(crate) fn path_of(number: u64) -> Path {
    Path::from_iter([PREFIX.to_owned(), format!("{number:020}")])
}

/// The number of the manifest at `path`, if it is one.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    path.filename()?.parse().ok()
}

fn context(number: u64) -> [u8; 9] {
    let mut context = [CONTEXT; 9];
    context[1..].copy_from_slice(&number.to_le_bytes());
    context
}

/// The sealed bytes of a catalog.
pub(crate) fn seal(
    catalog: &Catalog,
    keys: &KeyService,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<Vec<u8>, TelemetryError> {
    let keys_error = TelemetryError::keys("seal the manifest");
    let dek = match keys.dek(&DekScope::platform(DataClass::Segment)) {
        Ok(dek) => dek,
        Err(error) => return Err(keys_error(error)),
    };
    let key = FileKey::derive(&dek, FileId::generate(clock.now(), rng));
    let plain = encode(catalog);
    let compressed = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        .map_err(|_| WireError::Compressed("manifest"))
        .map_err(TelemetryError::wire(path_of(catalog.number)))?;
    let mut body = Vec::with_capacity(compressed.len() + 10);
    put_varint(&mut body, plain.len() as u64);
    body.extend_from_slice(&compressed);
    let mut out = Vec::with_capacity(body.len() + FileHeader::BYTES + 16);
    FileHeader::new(&key).write(&mut out);
    key.seal(0, Aad::new(None, DataClass::Segment, &context(catalog.number)), &body, &mut out)
        .map_err(keys_error)?;
    Ok(out)
}

/// The catalog in the sealed bytes of manifest `number`.
pub(crate) fn open(
    number: u64,
    sealed: &[u8],
    keys: &KeyService,
) -> Result<Catalog, TelemetryError> {
    let path = path_of(number);
    let unreadable = |source| TelemetryError::Keys { action: "open the manifest", source };
    let header = FileHeader::read(sealed).map_err(unreadable)?;
    let dek = keys.dek_by_id(header.dek).map_err(unreadable)?;
    let key = header.open(&dek).map_err(unreadable)?;
    let mut body = Vec::new();
    let aad = context(number);
    key.open(0, Aad::new(None, DataClass::Segment, &aad), &sealed[FileHeader::BYTES..], &mut body)
        .map_err(unreadable)?;
    let mut cursor = Cursor::new(&body);
    decompress(&mut cursor, MANIFEST_BYTES_MAX)
        .and_then(|plain| decode(number, &plain))
        .map_err(TelemetryError::wire(path))
}

/// Reads a length and that many bytes, compressed.
pub(crate) fn decompress(cursor: &mut Cursor<'_>, bytes_max: usize) -> Result<Vec<u8>, WireError> {
    let length = cursor.length(bytes_max)?;
    let plain = zstd::bulk::decompress(cursor.rest(), length)
        .map_err(|_| WireError::Compressed("directory"))?;
    if plain.len() == length { Ok(plain) } else { Err(WireError::Compressed("directory")) }
}

fn encode(catalog: &Catalog) -> Vec<u8> {
    let mut packs: Vec<Arc<Pack>> = catalog.packs().into_values().collect();
    packs.sort_unstable_by_key(|pack| pack.file);
    let places: HashMap<FileId, u64> =
        packs.iter().zip(0u64..).map(|(pack, place)| (pack.file, place)).collect();
    let mut out = vec![VERSION];
    out.extend_from_slice(&catalog.persisted_position.to_le_bytes());
    out.extend_from_slice(&catalog.generation_next.to_le_bytes());
    put_varint(&mut out, packs.len() as u64);
    packs.iter().for_each(|pack| out.extend_from_slice(pack.file.as_bytes()));
    let mut tenants: Vec<_> = catalog.tenants.iter().collect();
    tenants.sort_unstable_by_key(|(id, _)| **id);
    put_varint(&mut out, tenants.len() as u64);
    for (id, tenant) in tenants {
        out.extend_from_slice(id.as_bytes());
        match &tenant.latest {
            None => out.push(0),
            Some(latest) => {
                out.push(1);
                put_varint(&mut out, places[&latest.pack.file]);
                put_varint(&mut out, latest.offset);
                put_varint(&mut out, u64::from(latest.bytes));
            }
        }
        put_varint(&mut out, tenant.all().count() as u64);
        for section in tenant.all() {
            put_varint(&mut out, places[&section.pack.file]);
            encode_section(section, &mut out);
        }
    }
    out
}

fn encode_section(section: &Section, out: &mut Vec<u8>) {
    out.extend_from_slice(section.dek.as_bytes());
    put_varint(out, section.offset);
    put_varint(out, section.directory_offset);
    put_varint(out, u64::from(section.directory_bytes));
    put_varint(out, u64::from(section.frames));
    put_varint(out, section.generation);
    let (kind, number) = match section.window {
        Window::All => (0, None),
        Window::Day(day) => (1, Some(day)),
        Window::Month(month) => (2, Some(month)),
        Window::Figures(month) => (3, Some(month)),
    };
    out.push(kind);
    out.extend(number.into_iter().flat_map(i64::to_le_bytes));
    out.push(u8::from(section.device.is_some()));
    out.extend(section.device.iter().flat_map(|device| *device.as_bytes()));
    out.extend_from_slice(&section.t_min.to_le_bytes());
    out.extend_from_slice(&section.t_max.to_le_bytes());
    put_varint(out, section.points);
}

fn decode(number: u64, plain: &[u8]) -> Result<Catalog, WireError> {
    let mut cursor = Cursor::new(plain);
    let version = cursor.u8()?;
    if !(1..=VERSION).contains(&version) {
        return Err(WireError::Field("manifest version"));
    }
    let mut catalog = Catalog {
        number,
        persisted_position: cursor.u64()?,
        generation_next: cursor.u64()?,
        tenants: HashMap::new(),
    };
    let pack_count = cursor.length(plain.len())?;
    let packs = (0..pack_count)
        .map(|_| Ok(Arc::new(Pack { file: FileId::from_bytes(cursor.array()?) })))
        .collect::<Result<Vec<_>, WireError>>()?;
    let tenant_count = cursor.length(plain.len())?;
    for _ in 0..tenant_count {
        let id = TenantId::from_bytes(cursor.array()?);
        let mut tenant = TenantCatalog::default();
        if cursor.u8()? == 1 {
            tenant.latest = Some(LatestPlace {
                pack: decode_pack(&mut cursor, &packs)?,
                offset: cursor.varint()?,
                bytes: decode_u32(&mut cursor)?,
            });
        }
        let section_count = cursor.length(plain.len())?;
        for _ in 0..section_count {
            let pack = decode_pack(&mut cursor, &packs)?;
            let section = Arc::new(decode_section(&mut cursor, pack, version)?);
            match section.window {
                Window::Figures(_) => tenant.figures.push(section),
                Window::All | Window::Day(_) | Window::Month(_) => tenant.sections.push(section),
            }
        }
        catalog.tenants.insert(id, Arc::new(tenant));
    }
    Ok(catalog)
}

fn decode_u32(cursor: &mut Cursor<'_>) -> Result<u32, WireError> {
    u32::try_from(cursor.varint()?).map_err(|_| WireError::Field("32-bit number"))
}

fn decode_pack(cursor: &mut Cursor<'_>, packs: &[Arc<Pack>]) -> Result<Arc<Pack>, WireError> {
    let place = usize::try_from(cursor.varint()?).unwrap_or(usize::MAX);
    packs.get(place).cloned().ok_or(WireError::Field("pack"))
}

fn decode_window(cursor: &mut Cursor<'_>) -> Result<Window, WireError> {
    Ok(match cursor.u8()? {
        0 => Window::All,
        1 => Window::Day(cursor.i64()?),
        2 => Window::Month(cursor.i64()?),
        3 => Window::Figures(cursor.i64()?),
        _ => return Err(WireError::Field("window")),
    })
}

fn decode_section(
    cursor: &mut Cursor<'_>,
    pack: Arc<Pack>,
    version: u8,
) -> Result<Section, WireError> {
    let section = Section {
        pack,
        dek: DekId::from_bytes(cursor.array()?),
        offset: cursor.varint()?,
        directory_offset: cursor.varint()?,
        directory_bytes: decode_u32(cursor)?,
        frames: decode_u32(cursor)?,
        generation: cursor.varint()?,
        window: decode_window(cursor)?,
        device: if version > 1 && cursor.u8()? == 1 {
            Some(DeviceId::from_bytes(cursor.array()?))
        } else {
            None
        },
        t_min: cursor.i64()?,
        t_max: cursor.i64()?,
        points: cursor.varint()?,
    };
    let least = section.offset.saturating_add(FileHeader::BYTES as u64);
    if section.directory_offset < least {
        return Err(WireError::Field("section place"));
    }
    Ok(section)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogs_round_trip() {
        let pack = Arc::new(Pack { file: FileId::from_bytes([7; 16]) });
        let mut catalog = Catalog { number: 3, persisted_position: 9, ..Catalog::default() };
        let section = Section {
            pack: Arc::clone(&pack),
            dek: DekId::from_bytes([5; 16]),
            offset: 10,
            directory_offset: 400,
            directory_bytes: 33,
            frames: 4,
            generation: 2,
            window: Window::Day(-3),
            device: None,
            t_min: i64::MIN,
            t_max: i64::MAX,
            points: 77,
        };
        let overlay = Section { window: Window::All, ..section.clone() };
        let device = Some(DeviceId::from_bytes([8; 16]));
        let month = Section { window: Window::Month(672), device, ..section.clone() };
        let figures = Section { window: Window::Figures(671), ..section.clone() };
        let tenant = catalog.tenant_mut(TenantId::from_bytes([1; 16]));
        [section, overlay, month, figures].into_iter().for_each(|one| tenant.add(one));
        assert_eq!((tenant.sections.len(), tenant.figures.len()), (3, 1));
        tenant.latest = Some(LatestPlace { pack, offset: 500, bytes: 60 });
        let plain = encode(&catalog);
        let decoded = decode(3, &plain).expect("decodes");
        assert_eq!(format!("{catalog:?}"), format!("{decoded:?}"));
        for cut in 0..plain.len() {
            assert!(decode(3, &plain[..cut]).is_err(), "cut at {cut}");
        }
    }
}
