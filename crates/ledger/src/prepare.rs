//! What is checked of an append before the one writer has its turn: form, signature, room, time.
//! Its payload is written here, too.

use veritwin_domain::LimitExceeded;
use veritwin_verify::{Act, Leaf, LeafKind, sha256};

use crate::LedgerError;
use crate::archive::{Append, ArchiveLimits, CreateLog, Shared};
use crate::commit::Ready;
use crate::prune::ended_at;
use crate::state::{Entry, LogState, bytes_of};

/// Bytes beyond its bound that a log may still take of statements that end or destroy something.
const ENDINGS_BYTES_MAX: u64 = 64 << 20;

/// Whether an entry's second byte says that it is a retention statement: files are read for it.
pub(crate) fn ends_prefix(entry: &[u8]) -> bool {
    entry.get(1) == Some(&(LeafKind::Retention as u8))
}

/// Checks what can be checked without the writer, and writes the payload.
pub(crate) fn prepare(shared: &Shared, append: Append) -> Result<Ready, LedgerError> {
    let leaf = Leaf::decode(&append.entry).map_err(LedgerError::invalid)?;
    let origin = shared.log(append.log)?.lock().origin.clone();
    let verified = leaf.verify_signature_with(&origin, &shared.signers);
    verified.map_err(LedgerError::invalid)?;
    prepare_verified(shared, append, leaf)
}

/// The same of an append whose leaf, decoded here, is known to be signed.
pub(crate) fn prepare_verified(
    shared: &Shared,
    append: Append,
    leaf: Leaf,
) -> Result<Ready, LedgerError> {
    let log = shared.log(append.log)?;
    let period = log.lock().period;
    let repeated = {
        let log = log.lock();
        // Told early, so that a lost race does not leave its payload behind. A leaf without one may
        // be on its way behind others.
        let repeated = log.recent(leaf.batch).is_some();
        let waits = append.payload.is_none() && append.expected_size >= log.head.size();
        if !repeated && !waits {
            log.head.check_next(&leaf, append.expected_size)?;
        }
        if !repeated {
            check_room(&shared.limits, &log, (&leaf, &append.entry))?;
            if !log.is_simulated() {
                log.head.check_clock(&leaf, shared.clock.now())?;
            }
        }
        repeated
    };
    let own = (append.log, period);
    let ended_at = if repeated { None } else { ended_at(shared, own, &leaf) };
    let payload = match (append.payload, leaf.payload_bytes) {
        (None, 0) => None,
        (None, _) => return Err(LedgerError::invalid("the leaf names a payload that is missing")),
        (Some(_), 0) => return Err(LedgerError::invalid("the leaf names no payload")),
        (Some(payload), bytes) => {
            let (max, actual) = (shared.limits.payload_bytes_max, payload.len());
            if actual > max {
                return Err(LimitExceeded { name: "payload_bytes_max", max, actual }.into());
            }
            if actual as u64 != bytes || sha256(&payload) != leaf.payload {
                return Err(LedgerError::invalid("the payload is not the one the leaf names"));
            }
            // The durable file of an acknowledged batch is left as it is.
            let write = || shared.objects.write_payload(own, &leaf.payload, &payload);
            if repeated { None } else { Some(write()?) }
        }
    };
    let Append { log, expected_size, cursor, entry, .. } = append;
    let entry = Entry::new(&leaf, entry, cursor);
    Ok(Ready { log, expected_size, leaf, entry, payload, ended_at })
}

pub(crate) fn check_origin(create: &CreateLog) -> Result<(), LedgerError> {
    let origin = &create.origin;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/[]".contains(c);
    if origin.len() > 255 || !origin.chars().all(plain) || origin.starts_with('/') {
        return Err(LedgerError::invalid(
            "the origin is not HOST/ledger/LOG: at most 255 letters, digits and -._:/[]",
        ));
    }
    if !origin.contains(&format!("/ledger/{}", create.log)) {
        return Err(LedgerError::invalid("the origin does not name the log"));
    }
    Ok(())
}

/// Refuses a leaf for which a log has no room. Those on their way at once are not counted yet; they
/// are bounded by the archive's queue.
fn check_room(
    limits: &ArchiveLimits,
    log: &LogState,
    (leaf, entry): (&Leaf, &[u8]),
) -> Result<(), LedgerError> {
    let makes_room = matches!(leaf.act, Act::Retention { .. } | Act::Shred { .. });
    let more = if makes_room { ENDINGS_BYTES_MAX } else { 0 };
    let max = limits.log_bytes_max.saturating_add(more);
    let after = log.stored_bytes.saturating_add(bytes_of(leaf, entry));
    if after <= max {
        return Ok(());
    }
    let whole = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    Err(LimitExceeded { name: "log_bytes_max", max: whole(max), actual: whole(after) }.into())
}
