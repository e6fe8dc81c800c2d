//! Figures of how the service is used (promise P21): per action, of whole groups, rounded. No
//! answer is about one person, none can be narrowed to one, and nothing of it leaves the platform.

use std::time::Duration;

use async_recursion::async_recursion as boxed;
use veritwin_access::{Action, Kind};
use veritwin_domain::OpContext;

use crate::model::{FiguresView, UseFigure};
use crate::{App, Result};

/// The fewest who have to have done something for it to be told.
pub const ANALYTICS_GROUP_MIN: u64 = 10;
/// Counts are rounded to this.
const ROUNDED_TO: u64 = 10;
/// How far back the figures reach.
const SINCE: Duration = Duration::from_secs(28 * 86_400);

/// What is told of counts: action, acts, actors.
pub(crate) fn figures(counts: Vec<(String, u64, u64)>, group_min: u64) -> FiguresView {
    let all = counts.len();
    let told = counts.into_iter().filter(|(.., actors)| *actors >= group_min);
    let rounded = |count: u64| count / ROUNDED_TO * ROUNDED_TO;
    let figures: Vec<UseFigure> = told
        .map(|(action, acts, actors)| UseFigure {
            action,
            acts: rounded(acts),
            actors: rounded(actors),
        })
        .collect();
    FiguresView { suppressed: all - figures.len(), figures }
}

impl App {
    /// How the service was used in the last 28 days.
    #[boxed]
    pub async fn use_figures(&self, context: &OpContext) -> Result<FiguresView> {
        let resource = self.authorize_all(context, Action::AnalyticsRead, Kind::Tenant)?;
        let tx = self.0.store.read(context).await?;
        let counts = tx.activity_counts(context.at.saturating_sub(SINCE)).await?;
        self.note(context, Action::AnalyticsRead, &resource, "done");
        Ok(figures(counts, self.analytics_group_min()))
    }

    pub(crate) fn analytics_group_min(&self) -> u64 {
        #[cfg(feature = "test-controls")]
        if self.0.promises.is_sabotaged(21) {
            return 0;
        }
        ANALYTICS_GROUP_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_groups_are_not_told_and_counts_are_rounded() {
        let counts = vec![("one".to_owned(), 500, 1), ("many".to_owned(), 127, 13)];
        let told = figures(counts, ANALYTICS_GROUP_MIN);
        assert_eq!((told.suppressed, told.figures.len()), (1, 1));
        let figure = &told.figures[0];
        assert_eq!((figure.action.as_str(), figure.acts, figure.actors), ("many", 120, 10));
    }
}
