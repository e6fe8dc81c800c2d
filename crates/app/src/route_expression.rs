//! Conditions of routing rules, as scripts: compiled and asked on threads of their own, which have
//! the stack that scripts are promised.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use veritwin_domain::{Clock, Value};
use veritwin_script::{Inputs, Predicate, STACK_BYTES, Scalar};

use crate::{Error, Result};

/// Time that the conditions of a tenant may take at once, and the part of what passes.
const ALLOWANCE_MAX: Duration = Duration::from_millis(500);
const ALLOWANCE_PART: u32 = 10;
/// The part that all tenants together may take: one in so many.
const TOGETHER_PART: u32 = 2;

/// What a condition is asked about: one moment of a device, or one message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) topic: String,
    pub(crate) device: String,
    pub(crate) device_type: String,
    pub(crate) ts_ms: i64,
    pub(crate) values: Vec<(String, Scalar)>,
}

/// Does work on a thread that has the stack for scripts.
async fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, answer) = oneshot::channel();
    let stopped = || Error::Internal("the thread of a condition stopped".to_owned());
    std::thread::Builder::new()
        .name("route-condition".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Nobody waits any more when the platform stops.
            let _ = sender.send(work());
        })
        .map_err(|_| stopped())?;
    answer.await.map_err(|_| stopped())
}

/// Compiles a condition; what is wrong with it is said at `field`.
pub(crate) async fn compile(field: &'static str, source: &str) -> Result<Arc<Predicate>> {
    let source = source.to_owned();
    let compiled = deep(move || Predicate::compile(&source)).await?;
    compiled.map(Arc::new).map_err(|error| Error::invalid_at(field, error.to_string()))
}

/// A value as scripts know it; JSON is given as its text.
pub(crate) fn scalar(value: &Value) -> Scalar {
    match value {
        Value::Double(number) => Scalar::Number(*number),
        Value::Integer(number) => Scalar::Integer(*number),
        Value::Boolean(flag) => Scalar::Boolean(*flag),
        Value::Text(text) | Value::Json(text) => Scalar::Text(text.to_string()),
    }
}

/// Time that the conditions of one tenant may take: a tenth of what passes, or its share of the
/// half that all may take, so that conditions hold up neither other tenants nor the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    left: Duration,
    /// When it was last added to, on the monotonic clock.
    at: Duration,
    /// One in so many parts of the time is the tenant's.
    part: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ALLOWANCE_MAX, at: Duration::ZERO, part: ALLOWANCE_PART }
    }
}

impl Allowance {
    /// So many tenants have conditions.
    pub(crate) fn share(&mut self, tenants: usize) {
        let tenants = u32::try_from(tenants).unwrap_or(u32::MAX);
        self.part = tenants.saturating_mul(TOGETHER_PART).max(ALLOWANCE_PART);
    }

    fn refilled(&mut self, now: Duration) -> Duration {
        let more = now.saturating_sub(self.at) / self.part;
        let most = ALLOWANCE_MAX * ALLOWANCE_PART / self.part;
        self.left = self.left.saturating_add(more).min(most);
        self.at = now;
        self.left
    }
}

/// For each question whether its condition holds, until the tenant's time is over: the answers end
/// there. A condition that stops with an error does not hold.
pub(crate) async fn ask(
    questions: Vec<(Arc<Predicate>, Asked)>,
    clock: Arc<dyn Clock>,
    allowance: &mut Allowance,
) -> Result<Vec<bool>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let most = allowance.refilled(clock.monotonic());
    let work = move || {
        let began = clock.monotonic();
        let mut answers = Vec::with_capacity(questions.len());
        let mut spent = Duration::ZERO;
        for (one, asked) in &questions {
            if spent >= most {
                break;
            }
            answers.push(holds(one, asked));
            spent = clock.monotonic().saturating_sub(began);
        }
        (answers, spent)
    };
    let (answers, spent) = deep(work).await?;
    allowance.left = allowance.left.saturating_sub(spent);
    Ok(answers)
}

fn holds(predicate: &Predicate, asked: &Asked) -> bool {
    let inputs = Inputs {
        topic: &asked.topic,
        device: &asked.device,
        device_type: &asked.device_type,
        ts: asked.ts_ms,
        values: &asked.values,
        attributes: &[],
    };
    let answer = predicate.holds(&inputs);
    answer.unwrap_or_else(|_| {
        metrics::counter!("veritwin_route_conditions_failed_total").increment(1);
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_given_back_slowly_and_up_to_a_bound() {
        let mut allowance = Allowance::default();
        assert_eq!(allowance.refilled(Duration::from_secs(100)), ALLOWANCE_MAX);
        allowance.left = Duration::ZERO;
        assert_eq!(allowance.refilled(Duration::from_secs(101)), Duration::from_millis(100));
        assert_eq!(allowance.refilled(Duration::from_secs(1000)), ALLOWANCE_MAX);
    }

    #[test]
    fn many_tenants_share_half_of_the_time() {
        let mut allowance = Allowance::default();
        allowance.share(3);
        assert_eq!(allowance.refilled(Duration::from_secs(1)), ALLOWANCE_MAX);
        allowance.share(100);
        assert_eq!(allowance.refilled(Duration::from_secs(2)), ALLOWANCE_MAX / 20);
        allowance.left = Duration::ZERO;
        assert_eq!(allowance.refilled(Duration::from_secs(4)), Duration::from_millis(10));
    }
}
