//! Leaves somebody alone for a while who does not answer, longer each time.

use std::time::Duration;

use parking_lot::Mutex;

const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(600);

/// Until when somebody is not asked, and how long that wait is; none while they answer.
#[derive(Default)]
pub(super) struct Breaker(Mutex<Option<(Duration, Duration)>>);

impl Breaker {
    /// Whether they are asked at this moment.
    pub(super) fn may_ask(&self, now: Duration) -> bool {
        self.0.lock().is_none_or(|(until, _)| until <= now)
    }

    /// They did not answer. True when that is news.
    pub(super) fn failed(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        match *state {
            // Several were on their way.
            Some((until, _)) if now < until => false,
            Some((_, wait)) => {
                let wait = (wait * 2).min(LONGEST);
                *state = Some((now.saturating_add(wait), wait));
                false
            }
            None => {
                *state = Some((now.saturating_add(FIRST), FIRST));
                true
            }
        }
    }

    /// They answered.
    pub(super) fn answered(&self) {
        *self.0.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_answer_is_asked_less_and_less() {
        let breaker = Breaker::default();
        let at = Duration::from_secs;
        assert!(breaker.may_ask(at(0)));
        assert!(breaker.failed(at(0)), "news");
        assert!(!breaker.failed(at(1)) && !breaker.may_ask(at(29)) && breaker.may_ask(at(30)));
        assert!(!breaker.failed(at(30)) && !breaker.may_ask(at(89)) && breaker.may_ask(at(90)));
        for round in 0..10 {
            breaker.failed(at(1000 * (round + 1)));
        }
        assert!(!breaker.may_ask(at(10_599)) && breaker.may_ask(at(10_600)));
        breaker.answered();
        assert!(breaker.may_ask(at(10_000)) && breaker.failed(at(10_000)), "news again");
    }
}
