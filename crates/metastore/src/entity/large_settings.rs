//! Settings that may be larger than one sealed value: compressed, and in parts of one name. A body
//! that was written by [`TenantTx::setting_put`] is read as it is.

use std::io::Read;

use async_recursion::async_recursion as boxed;

use crate::{Error, Result, TenantTx};

/// What the first part begins with; JSON never does. The number of parts follows.
const MAGIC: &[u8; 4] = b"VTL1";
const HEADER_BYTES: usize = MAGIC.len() + size_of::<u32>();
/// Most bytes of a part.
const PART_BYTES_MAX: usize = 512 * 1024;
/// Most bytes of a whole, not compressed.
const WHOLE_BYTES_MAX: usize = 512 * 1024 * 1024;
/// zstd's quickest ordinary level: it is written often.
const LEVEL: i32 = 1;
const WHAT: &str = "settings";

fn part_name(name: &str, number: u32) -> String {
    if number == 0 { name.to_owned() } else { format!("{name}.{number}") }
}

impl TenantTx {
    /// A setting that was written by [`Self::setting_put_large`], or by [`Self::setting_put`].
    #[boxed]
    pub async fn setting_large(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(first) = self.setting(name).await? else { return Ok(None) };
        let Some(rest) = first.body.strip_prefix(MAGIC) else { return Ok(Some(first.body)) };
        let damaged = || Error::Corrupt { what: WHAT };
        let (count, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let mut compressed = rest.to_vec();
        for number in 1..u32::from_be_bytes(*count) {
            let part = self.setting(&part_name(name, number)).await?.ok_or_else(damaged)?;
            compressed.extend(part.body);
        }
        let decoder = zstd::stream::read::Decoder::new(compressed.as_slice());
        let mut whole = Vec::new();
        let read = decoder
            .and_then(|decoder| decoder.take(WHOLE_BYTES_MAX as u64).read_to_end(&mut whole));
        read.map(|_| Some(whole)).map_err(|_| damaged())
    }

    /// Sets a setting of any size up to 512 MiB; the last writer wins. Parts that an earlier,
    /// larger one had stay, and nobody reads them.
    #[boxed]
    pub async fn setting_put_large(&self, name: &str, body: &[u8]) -> Result<()> {
        if body.len() > WHOLE_BYTES_MAX {
            return Err(Error::Invalid { what: WHAT, reason: "value is above 512 MiB" });
        }
        let compressed = zstd::bulk::compress(body, LEVEL)
            .map_err(|_| Error::Invalid { what: WHAT, reason: "value cannot be compressed" })?;
        let (first, rest) = compressed.split_at(compressed.len().min(PART_BYTES_MAX));
        let parts = rest.chunks(PART_BYTES_MAX);
        let count = u32::try_from(parts.len() + 1).unwrap_or(u32::MAX);
        let mut head = Vec::with_capacity(HEADER_BYTES + first.len());
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&count.to_be_bytes());
        head.extend_from_slice(first);
        self.setting_put(name, &head, None).await?;
        for (number, part) in (1..).zip(parts) {
            self.setting_put(&part_name(name, number), part, None).await?;
        }
        Ok(())
    }
}
