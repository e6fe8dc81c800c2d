//! What devices send in the application's terms, and its errors in theirs.

use veritwin_app::model::RefusalView;
use veritwin_app::{Error, Submission};
use veritwin_ingest::{Refusal, SinkEntry, SubmitError};

pub(super) fn submission_of(entry: SinkEntry) -> Submission {
    match entry {
        SinkEntry::Readings(batch) => Submission::Readings(batch),
        SinkEntry::Attributes(update) => Submission::ClientAttributes {
            device: update.device,
            credential: update.credential,
            received_at: update.received_at,
            entries: update.entries,
            payload_bytes: update.payload_bytes,
            refusal_recorded: update.refusal_recorded,
        },
        SinkEntry::Relay { message, refusal_recorded } => {
            Submission::Relay { message, refusal_recorded }
        }
        SinkEntry::Note(note) => Submission::Note(note),
        SinkEntry::Refusal(refusal) => Submission::Refusal {
            device: refusal.device,
            credential: refusal.credential,
            refusal: view_of(refusal),
        },
    }
}

/// A refusal as people see it.
pub(super) fn view_of(refusal: Refusal) -> RefusalView {
    RefusalView {
        at: refusal.received_at,
        reason: refusal.reason.as_str(),
        detail: refusal.detail,
        position: refusal.position,
        limit: refusal.limit,
        payload_bytes: refusal.payload_bytes,
    }
}

pub(super) fn submit_error(error: Error) -> SubmitError {
    match error {
        Error::Forbidden(detail) | Error::KeyDestroyed(detail) => SubmitError::Denied(detail),
        Error::KeyRevoked => SubmitError::Denied("key_revoked".to_owned()),
        Error::NotFound(what) => SubmitError::NotFound(what.to_owned()),
        Error::Rate(exceeded) => SubmitError::Busy {
            detail: exceeded.to_string(),
            limit: Some(exceeded.name),
            retry_after: exceeded.retry_after,
        },
        Error::Crowded(limit) => SubmitError::Busy {
            detail: format!("limit {} is reached, others wait to be written", limit.name),
            limit: Some(limit.name),
            retry_after: veritwin_app::ROOM_TIMEOUT,
        },
        // Sent again they would be refused again.
        Error::Limit(limit) => SubmitError::Limit(limit),
        Error::Invalid { detail, at: Some(at) } => SubmitError::Invalid(format!("{at}: {detail}")),
        Error::Invalid { detail, at: None } => SubmitError::Invalid(detail),
        other => SubmitError::Unavailable(other.told()),
    }
}

#[cfg(test)]
mod tests {
    use veritwin_domain::LimitExceeded;

    use super::*;

    #[test]
    fn a_busy_answer_names_the_limit() {
        let limit = LimitExceeded { name: "tenant_memory_bytes_max", max: 1, actual: 2 };
        let text = submit_error(Error::Crowded(limit)).to_string();
        assert!(text.contains("tenant_memory_bytes_max") && text.contains("5s"), "{text}");
    }

    #[test]
    fn what_would_be_refused_again_is_not_asked_for_again() {
        let limit = || LimitExceeded { name: "append_bytes_max", max: 1, actual: 2 };
        let check = |error: Error, is_final: bool, part: &str| {
            let error = submit_error(error);
            assert!(error.is_final() == is_final && error.to_string().contains(part), "{error:?}");
        };
        check(Error::Limit(limit()), true, "limit append_bytes_max exceeded: at most 1, got 2");
        check(Error::invalid("expected a number"), true, "expected a number");
        check(Error::invalid_at("attributes", "too long"), true, "attributes: too long");
        check(Error::Crowded(limit()), false, "append_bytes_max");
        check(Error::Unavailable("the disk is full".to_owned()), false, "not durable");
    }

    #[test]
    fn a_device_is_not_told_what_broke_inside() {
        let text = submit_error(Error::Internal("log: /srv/data/log/7".to_owned())).to_string();
        assert!(text.contains("a part inside broke") && !text.contains("/srv"), "{text}");
    }

    #[test]
    fn nothing_here_quotes_an_error_to_who_is_connected() {
        // What its own tests look at is no answer.
        let product = |source: &'static str| source.split("#[cfg(test)]").next().unwrap_or(source);
        for (name, source) in [
            ("live.rs", include_str!("../live.rs")),
            ("entries.rs", include_str!("entries.rs")),
            ("following.rs", include_str!("following.rs")),
            ("login.rs", include_str!("login.rs")),
            ("sink.rs", include_str!("sink.rs")),
            ("subscriptions.rs", include_str!("subscriptions.rs")),
        ] {
            for quoted in ["error.to_string()", "other.to_string()", "{error}", "{other}"] {
                assert!(!product(source).contains(quoted), "{name}: {quoted}");
            }
        }
    }
}
