//! One question about many series: answered by all processors, within one budget. Whoever drops
//! the answer before it is there stops the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_recursion::async_recursion as boxed;
use veritwin_domain::Timestamp;

use crate::TelemetryError;
use crate::budget::Budget;
use crate::engine::Engine;
use crate::query::{Page, Point, PointSink, QualityFilter, RangeQuery, Series, TimeRange};
use crate::query_downsample::{BucketPage, Downsample};
use crate::query_walk::Span;

/// What is asked of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// A page of its points.
    Points(RangeQuery, QualityFilter),
    /// So few of its points that they can be drawn.
    Triangles {
        /// The stretch of time.
        range: TimeRange,
        /// Most points.
        points_max: usize,
        /// Which readings count.
        quality: QualityFilter,
    },
    /// Its buckets.
    Downsample(Downsample),
    /// So many of its buckets at most, and where to go on.
    BucketPage(Downsample, usize),
    /// What it said at a time.
    AsOf(Timestamp, QualityFilter),
}

/// The answers of some series.
#[derive(Debug)]
pub struct Answers {
    /// In the order of the series, from the first one on.
    pub answers: Vec<Answer>,
    /// What they hold counts as held while this lives; none without series.
    pub budget: Option<Budget>,
}

/// What a series answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Points; of [`Question::AsOf`] one or none.
    Points(Page),
    /// Buckets; where to go on only of [`Question::BucketPage`].
    Buckets(BucketPage),
}

impl Engine {
    /// The last reading of a series at or before a time, taken from the budget.
    #[boxed]
    pub async fn as_of(
        &self,
        series: &Series,
        at: Timestamp,
        quality: QualityFilter,
        budget: &Budget,
    ) -> Result<Option<Point>, TelemetryError> {
        let mut sink = PointSink::new(1, quality, budget.clone());
        let wanted = if quality == QualityFilter::Any { 1 } else { usize::MAX };
        let high = at.as_micros();
        let span = Span { low: i64::MIN, high, descending: true, wanted, is_partial: true };
        self.walk(series, span, &mut sink).await?;
        Ok(sink.finish()?.pop())
    }

    /// Answers a question about one series.
    #[boxed]
    pub async fn ask(
        &self,
        series: &Series,
        question: &Question,
        budget: &Budget,
    ) -> Result<Answer, TelemetryError> {
        let page = |points| Answer::Points(Page { points, next: None });
        match question {
            Question::Points(query, quality) => {
                self.range_filtered(series, *query, *quality, budget).await.map(Answer::Points)
            }
            Question::Triangles { range, points_max, quality } => {
                let points = self.triangles(series, *range, *points_max, *quality, budget);
                points.await.map(page)
            }
            Question::Downsample(query) => {
                let rows = self.downsample(series, query, budget).await?;
                Ok(Answer::Buckets(BucketPage { rows, next: None }))
            }
            Question::BucketPage(query, rows_max) => {
                let page = self.downsample_page(series, query, *rows_max, budget);
                page.await.map(Answer::Buckets)
            }
            Question::AsOf(at, quality) => {
                let found = self.as_of(series, *at, *quality, budget).await?;
                Ok(page(found.into_iter().collect()))
            }
        }
    }

    /// Answers a question about several series, or about as many of the first ones as one budget
    /// holds, but one at least.
    #[boxed]
    pub async fn ask_many(
        &self,
        series: &[Series],
        question: &Question,
    ) -> Result<Answers, TelemetryError> {
        let Some(first) = series.first() else {
            return Ok(Answers { answers: Vec::new(), budget: None });
        };
        if series.len() > 1 {
            let budget = self.budget(first.tenant);
            let (answers, error) = self.ask_at_once(series, question, &budget).await?;
            if !answers.is_empty() {
                return Ok(Answers { answers, budget: Some(budget) });
            }
            if let Some(error) = error.filter(|error| !error.is_over_budget()) {
                return Err(error);
            }
        }
        let budget = self.budget(first.tenant);
        let answers = vec![self.ask(first, question, &budget).await?];
        Ok(Answers { answers, budget: Some(budget) })
    }

    /// Answers a question about all of several series, within one budget.
    #[boxed]
    pub async fn ask_all(
        &self,
        series: &[Series],
        question: &Question,
        budget: &Budget,
    ) -> Result<Vec<Answer>, TelemetryError> {
        let (answers, error) = self.ask_at_once(series, question, budget).await?;
        error.map_or(Ok(answers), Err)
    }

    /// Answers of the first series, and what was in the way of the next one.
    async fn ask_at_once(
        &self,
        series: &[Series],
        question: &Question,
        budget: &Budget,
    ) -> Result<(Vec<Answer>, Option<TelemetryError>), TelemetryError> {
        let tasks_max = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let next = Arc::new(AtomicUsize::new(0));
        let shared: Arc<[Series]> = Arc::from(series);
        let question = Arc::new(question.clone());
        // Dropped with this future, it ends its tasks.
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..tasks_max.min(series.len()) {
            let (engine, budget) = (self.clone(), budget.clone());
            let (shared, question) = (Arc::clone(&shared), Arc::clone(&question));
            let next = Arc::clone(&next);
            tasks.spawn(async move {
                let mut answers = Vec::new();
                while let Some((place, series)) = {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    shared.get(place).map(|series| (place, series))
                } {
                    let answer = engine.ask(series, &question, &budget).await;
                    let is_last = answer.is_err();
                    answers.push((place, answer));
                    if is_last {
                        break;
                    }
                }
                answers
            });
        }
        let mut placed = Vec::with_capacity(series.len());
        while let Some(done) = tasks.join_next().await {
            placed.extend(done.map_err(|_| TelemetryError::Stopped)?);
        }
        placed.sort_unstable_by_key(|(place, _)| *place);
        // Whatever comes before the first mistake was answered: places are taken in their order.
        let mut answers = Vec::with_capacity(series.len());
        for (_, answer) in placed {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => return Ok((answers, Some(error))),
            }
        }
        Ok((answers, None))
    }
}
