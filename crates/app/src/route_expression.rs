//! Conditions of routing rules, as scripts: compiled and asked on threads of their own, which have
//! the stack that scripts are promised.

use std::sync::Arc;

use tokio::sync::oneshot;
use veritwin_domain::Value;
use veritwin_script::{Inputs, Predicate, STACK_BYTES, Scalar};

use crate::{Error, Result};

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

/// For each question whether its condition holds. One that stops with an error does not hold.
pub(crate) async fn ask(questions: Vec<(Arc<Predicate>, Asked)>) -> Result<Vec<bool>> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let work = move || questions.iter().map(|(one, asked)| holds(one, asked)).collect();
    deep(work).await
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
