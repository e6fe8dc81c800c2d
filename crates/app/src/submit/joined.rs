//! Messages that are to be retained: what waits for its tenant's turn is joined, so that one append
//! to the log and one transaction store all of it.

use std::collections::{BTreeSet, VecDeque};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use veritwin_domain::{DeviceId, TenantId};

use super::{Decided, Submitted, decide, placed_from};
use crate::attribute_lines::Turn;
use crate::attributes::ClientDrafts;
use crate::retained::{RetainedDraft, Shelf};
use crate::{App, Error, Result, Submission};

/// Most submissions that are joined.
const JOINED_MAX: usize = 64;
/// Most bytes of topics, properties and payloads of several that are joined.
const JOINED_BYTES_MAX: usize = 256 * 1024;

type Answer = Result<Submitted>;

/// A submission that waits to be stored.
pub(crate) struct Waiting {
    submissions: Vec<Submission>,
    devices: BTreeSet<DeviceId>,
    answer: oneshot::Sender<Answer>,
    /// Its devices' lines, held until it is answered.
    line: Turn,
}

/// What waits, each with its bytes. Each holds its devices' lines until it is answered: of a device
/// one waits (`device_writes_max`), and none for longer than a turn may take to come
/// (`tenant_retained_writes_max`).
pub(crate) struct Queue<T>(Mutex<VecDeque<(usize, T)>>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Queue<T> {
    fn push(&self, bytes: usize, waiting: T) {
        self.0.lock().push_back((bytes, waiting));
    }

    /// Those that are stored next, at most so many, the first one whatever its size.
    fn take(&self, max: usize) -> Vec<T> {
        let (mut taken, mut all) = (Vec::new(), 0);
        let mut queue = self.0.lock();
        while let Some((bytes, waiting)) = queue.pop_front() {
            all += bytes;
            let is_full = taken.len() >= max || all > JOINED_BYTES_MAX;
            if is_full && !taken.is_empty() {
                queue.push_front((bytes, waiting));
                break;
            }
            taken.push(waiting);
        }
        taken
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// Whether a submission is nothing but messages, and refusals of such.
pub(super) fn is_of_messages(submissions: &[Submission]) -> bool {
    submissions.iter().all(|one| match one {
        Submission::Relay { .. } | Submission::Refusal { .. } | Submission::Note(_) => true,
        Submission::Readings(_) | Submission::ClientAttributes { .. } | Submission::Edge(_) => {
            false
        }
    })
}

fn content_bytes(submissions: &[Submission]) -> usize {
    let bytes = |one: &Submission| match one {
        Submission::Relay { message, .. } => message.content_bytes(),
        _ => 0,
    };
    submissions.iter().map(bytes).sum()
}

/// The same error for another one of those that were joined.
fn again(error: &Error) -> Error {
    match error {
        Error::Forbidden(detail) => Error::Forbidden(detail.clone()),
        Error::KeyRevoked => Error::KeyRevoked,
        Error::KeySilent => Error::KeySilent,
        Error::KeyDestroyed(detail) => Error::KeyDestroyed(detail.clone()),
        Error::Crowded(limit) => Error::Crowded(limit.clone()),
        Error::Unavailable(detail) => Error::Unavailable(detail.clone()),
        Error::Internal(detail) => Error::Internal(detail.clone()),
        other => Error::Unavailable(other.told()),
    }
}

impl App {
    /// Makes messages durable of which these devices' are to be retained. Whoever waits for the
    /// answer may go away.
    pub(super) async fn submit_joined(
        &self,
        tenant: TenantId,
        submissions: Vec<Submission>,
        devices: BTreeSet<DeviceId>,
    ) -> Answer {
        let is_foreign = |one: &Submission| match one {
            Submission::Relay { message, .. } => message.tenant != tenant,
            Submission::Note(note) => note.tenant != tenant,
            _ => false,
        };
        if submissions.iter().any(is_foreign) {
            return Err(Error::NotFound("device"));
        }
        let line = self.0.attribute_lines.turn(tenant, &devices, false).await?;
        let (answer, answered) = oneshot::channel();
        let shelf = self.0.retained.shelf(tenant);
        let bytes = content_bytes(&submissions);
        shelf.waiting.push(bytes, Waiting { submissions, devices, answer, line });
        let app = self.clone();
        // As many tasks as submissions wait: each stores the next ones, so that all are stored.
        self.0.tasks.spawn(async move { app.store_joined(tenant, &shelf).await });
        let stopped = |_| Error::Internal("storing retained messages stopped".to_owned());
        answered.await.map_err(stopped)?
    }

    async fn store_joined(&self, tenant: TenantId, shelf: &Shelf) {
        let draft = self.retained_draft(tenant).await;
        let (mut submissions, mut devices, mut senders) = (Vec::new(), BTreeSet::new(), Vec::new());
        // Without the turn one is answered, the first: each that waits has a task, and where others
        // stored this one's the first may have come later.
        let max = if draft.is_ok() { JOINED_MAX } else { 1 };
        for waiting in shelf.waiting.take(max) {
            submissions.push(waiting.submissions);
            devices.extend(waiting.devices);
            senders.push((waiting.answer, waiting.line));
        }
        if submissions.is_empty() {
            return;
        }
        let stored = match draft {
            Ok(draft) => self.store_all(tenant, draft, submissions, &devices).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(parts) => {
                for ((answer, line), parts) in senders.into_iter().zip(parts) {
                    drop(line);
                    let _gone = answer.send(Ok(parts));
                }
            }
            Err(error) => {
                for (answer, line) in senders {
                    drop(line);
                    let _gone = answer.send(Err(again(&error)));
                }
            }
        }
    }

    /// Stores submissions in their order, all or none; what of each is refused.
    async fn store_all(
        &self,
        tenant: TenantId,
        mut draft: RetainedDraft,
        joined: Vec<Vec<Submission>>,
        devices: &BTreeSet<DeviceId>,
    ) -> Result<Vec<Submitted>> {
        self.leave_out_gone(tenant, &mut draft, devices).await?;
        let (mut all, mut parts) = (Decided::default(), Vec::with_capacity(joined.len()));
        for submissions in joined {
            let drafts = &mut ClientDrafts::default();
            let mut decided = decide(tenant, submissions, drafts, Some(&mut draft))?;
            let placed = placed_from(all.entries.len() as u64, decided.placed);
            all.entries.append(&mut decided.entries);
            all.refused.append(&mut decided.refused);
            parts.push((decided.parts, placed));
        }
        let none = ClientDrafts::default();
        let first = self.with_effects(tenant, self.append(tenant, all), &none, Some(draft)).await?;
        let at = |(refused, placed)| (refused, placed_from(first, placed));
        Ok(parts.into_iter().map(at).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_joined_in_their_order() {
        let check = |sizes: &[usize], expect: &[usize]| {
            let queue = Queue::default();
            for (number, bytes) in sizes.iter().enumerate() {
                queue.push(*bytes, number);
            }
            let (mut counts, mut all) = (Vec::new(), Vec::new());
            while queue.len() > 0 {
                let taken = queue.take(JOINED_MAX);
                counts.push(taken.len());
                all.extend(taken);
            }
            assert_eq!(counts, expect, "{sizes:?}");
            assert!(all.into_iter().eq(0..sizes.len()), "{sizes:?}");
        };
        let queue = Queue::default();
        queue.push(1, "first");
        queue.push(1, "second");
        assert_eq!(queue.take(1), ["first"]);
        check(&[], &[]);
        check(&[1; JOINED_MAX + 1], &[JOINED_MAX, 1]);
        check(&[JOINED_BYTES_MAX, 1], &[1, 1]);
        check(&[1, JOINED_BYTES_MAX - 1, 1, JOINED_BYTES_MAX * 2, 1], &[2, 1, 1, 1]);
    }

    #[test]
    fn an_error_is_the_same_for_all() {
        let limit = veritwin_domain::LimitExceeded { name: "x", max: 1, actual: 2 };
        let crowded = again(&Error::Crowded(limit));
        assert!(matches!(crowded, Error::Crowded(limit) if limit.name == "x"));
        let denied = again(&Error::Forbidden("revoked".to_owned()));
        assert!(matches!(denied, Error::Forbidden(detail) if detail == "revoked"));
        // Each is logged and told where it is answered.
        let broken = again(&Error::Internal("disk".to_owned()));
        assert!(matches!(broken, Error::Internal(detail) if detail == "disk"));
        let other = again(&Error::invalid("expected a number"));
        assert!(matches!(other, Error::Unavailable(detail) if detail == "expected a number"));
    }
}
