//! Counts the statements of one piece of work, for whoever gave it a budget. What it has other
//! tasks do is theirs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static STATEMENTS: Arc<AtomicU64>;
}

/// Does `work`, and adds each statement that it sends to `counter`.
pub async fn count_statements<F: Future>(counter: Arc<AtomicU64>, work: F) -> F::Output {
    STATEMENTS.scope(counter, work).await
}

/// Notes a statement, where somebody counts.
pub(crate) fn count() {
    // Most work has no budget.
    let _ = STATEMENTS.try_with(|counter| counter.fetch_add(1, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn statements_are_those_of_the_work_alone() {
        count();
        let counter = Arc::new(AtomicU64::new(0));
        let work = async {
            count();
            tokio::spawn(async { count() }).await.expect("another task");
            count();
            7
        };
        assert_eq!(count_statements(Arc::clone(&counter), work).await, 7);
        count();
        assert_eq!(counter.load(Ordering::Relaxed), 2);
    }
}
