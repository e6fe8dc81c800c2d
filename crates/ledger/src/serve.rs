//! Reading an open archive by the names of the C2SP layout. What the tree does not reach is "not
//! there", whatever lies on the disk.

use std::io::{Cursor, Read};

use veritwin_domain::LogId;
use veritwin_verify::{
    Digest, Source, SourceError, TileKind, TilePath, decode_bundle, encode_bundle, leaf_hash,
};

use crate::state::hash_bytes;
use crate::{Archive, LedgerError};

impl Archive {
    /// Reads `checkpoint`, `log.vkey`, `tile/...` or `payload/SHA256` of a log. None when there is
    /// no such thing.
    pub fn read(&self, log: LogId, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let state = self.shared().log(log)?;
        match name {
            "checkpoint" => return Ok(Some(state.lock().checkpoint.clone().into_bytes())),
            "log.vkey" => return Ok(Some(format!("{}\n", state.lock().vkey).into_bytes())),
            _ => {}
        }
        if let Some(hash) = name.strip_prefix("payload/") {
            let Ok(payload) = hash.parse::<Digest>() else { return Ok(None) };
            return self.shared().objects.read_payload(log, &payload);
        }
        let Ok(tile) = name.parse::<TilePath>() else { return Ok(None) };
        let found = state.lock().tile(tile);
        match found {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(full)) => self.read_full(log, full, usize::from(tile.width)).map(Some),
        }
    }

    /// The first `width` of a full tile. Level 0 is computed from its bundle.
    fn read_full(&self, log: LogId, tile: TilePath, width: usize) -> Result<Vec<u8>, LedgerError> {
        let from_entries = matches!(tile.kind, TileKind::Entries | TileKind::Hashes(0));
        let stored = if from_entries { TilePath { kind: TileKind::Entries, ..tile } } else { tile };
        let lost = |problem: String| LedgerError::Corrupt {
            file: self.shared().directory.join("logs").join(log.to_string()),
            offset: 0,
            problem: format!("{stored}: {problem}"),
        };
        let bytes = self.shared().objects.read_tile(log, stored)?;
        let bytes = bytes.ok_or_else(|| lost("it is not there".to_owned()))?;
        if !from_entries {
            return bytes.get(..width * 32).map(<[u8]>::to_vec).ok_or_else(|| lost("cut".into()));
        }
        let entries = decode_bundle(&bytes).map_err(|error| lost(error.to_string()))?;
        let entries = entries.get(..width).ok_or_else(|| lost("entries are missing".into()))?;
        if tile.kind == TileKind::Entries {
            return encode_bundle(entries).map_err(|error| lost(error.to_string()));
        }
        let hashes: Vec<Digest> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        Ok(hash_bytes(&hashes))
    }

    /// One log as a [`Source`], to verify or export it.
    pub fn source(&self, log: LogId) -> ArchiveSource {
        ArchiveSource { archive: self.clone(), log }
    }
}

/// One log of an open archive.
#[derive(Debug, Clone)]
pub struct ArchiveSource {
    archive: Archive,
    log: LogId,
}

impl Source for ArchiveSource {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, SourceError> {
        let read = self.archive.read(self.log, name).map_err(|error| SourceError {
            name: name.to_owned(),
            problem: error.to_string(),
            is_damaged: error.is_damaged(),
        })?;
        Ok(read.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }
}
