//! A file in pieces of a bounded size with a head behind them: it is there once its head is. What
//! was begun and not ended is written again from its first missing piece.

use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use veritwin_keys::{KeyService, Sha256};

use super::pace::Pace;
use super::part::{FORM, Whose, open_head, seal_head};
use super::place::{Place, Put};
use crate::backup::files::{create_private, io};
use crate::{Error, Result};

/// Bytes of a piece.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
const HEAD: &str = "head";

/// What a parcel says of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParcelHead {
    form: u32,
    pub(crate) instance: String,
    pub(crate) restores: u64,
    /// The parcel's own folder.
    folder: String,
    pieces: u64,
    pub(crate) bytes: u64,
    sha256: String,
    /// Of a copy of the records: when it was done, schema, rows, and where the log ended then.
    pub(crate) records: Option<RecordsFacts>,
}

/// What is known of a copy of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordsFacts {
    pub(crate) done_at_us: i64,
    pub(crate) schema: i64,
    pub(crate) rows: u64,
    pub(crate) log_position: u64,
}

/// The name of a parcel's head.
pub(crate) fn head_name(folder: &str) -> String {
    format!("{folder}/{HEAD}")
}

/// The folder of the parcel with this head's name.
pub(crate) fn folder_of(name: &str) -> Option<&str> {
    name.strip_suffix(HEAD)?.strip_suffix('/')
}

fn piece_name(folder: &str, number: u64) -> String {
    format!("{folder}/{number:06}")
}

/// Who sends and receives parcels.
pub(crate) struct Carrier<'a> {
    pub(crate) place: &'a Place,
    pub(crate) keys: &'a KeyService,
    pub(crate) whose: &'a Whose,
}

impl Carrier<'_> {
    /// Sends a file.
    pub(crate) async fn send(
        &self,
        file: &Path,
        folder: &str,
        records: Option<RecordsFacts>,
        pace: &mut Pace,
    ) -> Result<u64> {
        let mut source = tokio::fs::File::open(file).await.map_err(io("read", file))?;
        let (mut pieces, mut bytes, mut hash) = (0u64, 0u64, Sha256::default());
        loop {
            let mut piece = Vec::new();
            let mut bounded = (&mut source).take(PIECE_BYTES as u64);
            bounded.read_to_end(&mut piece).await.map_err(io("read", file))?;
            if piece.is_empty() {
                break;
            }
            hash.update(&piece);
            bytes += piece.len() as u64;
            let piece = Bytes::from(piece);
            let name = piece_name(folder, pieces);
            pace.wait(piece.len() as u64).await;
            if self.place.put(&name, piece.clone()).await? == Put::There
                && self.place.get(&name).await? != piece
            {
                // Of an attempt that was cut off: nothing refers to it.
                self.place.replace(&name, piece).await?;
            }
            pieces += 1;
        }
        let head = ParcelHead {
            form: FORM,
            instance: self.whose.instance.clone(),
            restores: self.whose.restores,
            folder: folder.to_owned(),
            pieces,
            bytes,
            sha256: hex::encode(hash.finish()),
            records,
        };
        self.place.put(&head_name(folder), seal_head(self.keys, &head)?.into()).await?;
        Ok(bytes)
    }

    /// The head of a parcel.
    pub(crate) async fn head(&self, folder: &str) -> Result<ParcelHead> {
        let name = head_name(folder);
        let sealed = self.place.get(&name).await?;
        let (head, _): (ParcelHead, _) = open_head(self.keys, &name, &sealed)?;
        self.whose.check(&name, &head.instance, head.restores)?;
        if head.folder != folder {
            return Err(Error::invalid_at(name, "is the head of another file"));
        }
        Ok(head)
    }

    /// Writes the file of a parcel and checks every byte of it.
    pub(crate) async fn receive(&self, head: &ParcelHead, to: &Path) -> Result<()> {
        let mut file = tokio::fs::File::from_std(create_private(to)?);
        let (mut bytes, mut hash) = (0u64, Sha256::default());
        for number in 0..head.pieces {
            let piece = self.place.get(&piece_name(&head.folder, number)).await?;
            hash.update(&piece);
            bytes += piece.len() as u64;
            // What is longer than it says does not fill the disk.
            if bytes > head.bytes {
                break;
            }
            file.write_all(&piece).await.map_err(io("write", to))?;
        }
        file.sync_all().await.map_err(io("make durable", to))?;
        if bytes != head.bytes || hex::encode(hash.finish()) != head.sha256 {
            let at = format!("{}/{}", self.place.shown(), head.folder);
            return Err(Error::invalid_at(at, "was altered: expected the SHA-256 of its head"));
        }
        Ok(())
    }

    /// Deletes a parcel, its head first.
    pub(crate) async fn delete(&self, folder: &str) -> Result<()> {
        let head = self.head(folder).await?;
        self.place.delete(&head_name(folder)).await?;
        for number in 0..head.pieces {
            self.place.delete(&piece_name(folder, number)).await?;
        }
        Ok(())
    }
}
