//! History as it is taken away: series by series, a few at a time, so that an answer is never in
//! memory as a whole. Before each of these steps the reader's rights are looked at again.

use std::collections::VecDeque;
use std::fmt;

use async_recursion::async_recursion as boxed;
use veritwin_domain::{OpContext, Timestamp};
use veritwin_telemetry::{Answer, Budget, Downsample, Order, Question, RangeQuery, TimeRange};

use crate::directory::TenantDevices;
use crate::model::{BucketRow, HistoryData, HistoryQuery, HistorySeries, PointView, SeriesId};
use crate::{App, Error, Result};

/// Series that are read at once, within one budget of memory.
const SERIES_AT_ONCE: usize = 4;
/// Readings that a bucket gives away by its extremes and its ends.
const READINGS_TOLD: u64 = 4;

/// The answer to a history question, under way.
pub struct HistoryReader {
    app: App,
    context: OpContext,
    query: HistoryQuery,
    /// How many series were read.
    begun: usize,
    ready: VecDeque<HistorySeries>,
    /// Of what is ready, for as long as it is.
    budget: Option<Budget>,
}

impl fmt::Debug for HistoryReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryReader").field("begun", &self.begun).finish_non_exhaustive()
    }
}

impl App {
    /// Points or buckets of several series. The first of them are read when this returns.
    #[boxed]
    pub async fn history(&self, context: &OpContext, query: HistoryQuery) -> Result<HistoryReader> {
        self.authorize_series(context, &query.series).await?;
        if query.from >= query.to {
            return Err(Error::invalid_at("to", "must be after from"));
        }
        let mut reader = HistoryReader {
            app: self.clone(),
            context: context.clone(),
            query,
            begun: 0,
            ready: VecDeque::new(),
            budget: None,
        };
        reader.read_more().await?;
        Ok(reader)
    }
}

impl HistoryReader {
    /// The next series, in the order in which they are asked for; none after the last.
    #[boxed]
    pub async fn next_series(&mut self) -> Result<Option<HistorySeries>> {
        if self.reads_next() {
            self.read_more().await?;
        }
        let next = self.ready.pop_front();
        if next.is_none() {
            self.budget = None;
        }
        Ok(next)
    }

    /// Whether the next series has to be read first, for which rights are looked at.
    pub fn reads_next(&self) -> bool {
        self.ready.is_empty() && self.begun < self.query.series.len()
    }

    /// Goes on as whoever asked is by now: with what they hold, in the tenant that was asked.
    pub fn go_on_as(&mut self, context: OpContext) -> Result<()> {
        if context.tenant != self.context.tenant {
            return Err(Error::NotFound("device"));
        }
        self.context = context;
        Ok(())
    }

    /// Where to go on with a single series that `limit` cuts; known before it is taken.
    pub fn next_page(&self) -> Option<Timestamp> {
        match (self.query.series.len(), self.ready.front()) {
            (1, Some(only)) => only.next,
            _ => None,
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        let end = (self.begun + SERIES_AT_ONCE).min(self.query.series.len());
        let series = &self.query.series[self.begun..end];
        let (devices, seen) = self.app.see_series(&self.context, series).await?;
        self.budget = None;
        if let Some(question) = question(&self.query) {
            let found = self.app.read_answers(&seen, &question).await?;
            self.budget = found.budget;
            for (one, answer) in series.iter().zip(found.answers) {
                let answer = answered(one, answer, self.query.descending, &devices);
                self.ready.push_back(answer);
            }
        } else {
            let budget = self.app.0.engine.budget(self.context.tenant);
            for asked in series.iter().zip(&seen) {
                match self.app.one_history(&self.query, asked, &devices, &budget).await {
                    Ok(answer) => self.ready.push_back(answer),
                    Err(error) if self.ready.is_empty() => return Err(error),
                    // What did not fit beside the others is the first of the next step.
                    Err(_) => break,
                }
            }
            self.budget = Some(budget);
        }
        self.begun += self.ready.len();
        let rows = |answer: &HistorySeries| match &answer.data {
            HistoryData::Points(points) => points.len() as u64,
            // Buckets so narrow that they say as much as there are readings give those away.
            HistoryData::Buckets { buckets, .. } => {
                buckets.iter().map(|one| one.count).filter(|count| *count <= READINGS_TOLD).sum()
            }
            HistoryData::Rows(rows) => {
                let told = |row: &&BucketRow| row.count <= row.values.len() as u64;
                rows.iter().filter(told).map(|row| row.count).sum()
            }
        };
        self.app.watch_taken(&self.context, self.ready.iter().map(rows).sum(), false);
        Ok(())
    }
}

/// What is asked of the engine; none where that depends on how much a series holds.
fn question(query: &HistoryQuery) -> Option<Question> {
    let range = TimeRange { from: query.from, to: query.to };
    let quality = query.quality;
    if let Some(down) = &query.down {
        let whole = Downsample {
            range,
            buckets: down.buckets.clone(),
            aggregates: down.aggregates.clone(),
            is_counter: down.is_counter,
            fill: down.fill,
            quality,
        };
        return Some(match down.rows_max {
            Some(rows_max) => Question::BucketPage(whole, rows_max),
            None => Question::Downsample(whole),
        });
    }
    if let Some(points_max) = query.line_points_max {
        return Some(Question::Triangles { range, points_max, quality });
    }
    if query.bucket_micros.is_some() || query.points_max.is_some() {
        return None;
    }
    let order = if query.descending { Order::Descending } else { Order::Ascending };
    let page = RangeQuery { range, order, limit: query.limit, after: None };
    Some(Question::Points(page, quality))
}

fn answered(
    series: &SeriesId,
    answer: Answer,
    descending: bool,
    devices: &TenantDevices,
) -> HistorySeries {
    let device = devices.get(series.device);
    let unit = device.and_then(|device| device.units.get(&*series.key).cloned());
    let (data, next) = match answer {
        Answer::Points(page) => {
            let mut points: Vec<PointView> = page
                .points
                .into_iter()
                .map(|point| PointView { at: point.at, value: point.value, quality: point.quality })
                .collect();
            // A page comes in the order asked for; points that were chosen for a line do not.
            if descending && points.first().map(|one| one.at) < points.last().map(|one| one.at) {
                points.reverse();
            }
            (HistoryData::Points(points), page.next)
        }
        Answer::Buckets(mut page) => {
            if descending {
                page.rows.reverse();
            }
            (HistoryData::Rows(page.rows), page.next)
        }
    };
    HistorySeries { series: series.clone(), unit, data, next }
}
