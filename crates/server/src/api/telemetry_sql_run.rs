//! Statements under way: carried out on a thread of their own, at the pace of whoever receives the
//! answer. What it reads is read on the platform's threads, and nothing else of it is done there.
//! Before a page of readings is read, whoever asked is asked for again.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use veritwin_app::model::{ExportPage, SeriesId};
use veritwin_app::{Error, TABLE_PAGE_POINTS_MAX, TableReader};
use veritwin_domain::{Clock, DeviceId, Key, LimitExceeded, OpContext, Timestamp};
use veritwin_sql::{Bounds, DeviceRow, Failure, Format, Page, Piece, Point, Source};

use super::auth::Again;
use super::telemetry_sql::{FormatWord, Question};
use super::{Answer, Api, Problem};

/// What a statement may take.
const BOUNDS: Bounds = Bounds {
    memory_bytes_max: 64 * 1024 * 1024,
    rows_max: 1_000_000,
    bytes_max: 256 * 1024 * 1024,
};
/// What is made of a statement is walked by functions that call themselves, as often as it is deep.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// How long a statement may work, without what it waits for whoever receives its answer.
const SECONDS_MAX: u64 = 60;
/// Whoever takes nothing of an answer for so long gets no more of it.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// Whoever receives an answer is asked for again after this.
const ASKED_AGAIN: Duration = Duration::from_secs(5);
/// Points of a series that are read at once, first and fewest; how many follow its texts say.
const PAGE_POINTS: usize = 512;
const PAGE_POINTS_MIN: usize = 16;
/// So many bytes of texts are much for a page.
const PAGE_TEXT_BYTES: usize = 1024 * 1024;
/// A page that has no room beside other queries is read again after this.
const CROWDED_WAIT: Duration = Duration::from_secs(1);

/// A piece of an answer; none: that was all of it.
type Sent = Result<Option<Bytes>, Problem>;

/// Answers a statement. What is wrong with it before its first row is known is told as a problem.
pub(super) async fn answer(asked: Question) -> Answer<Response> {
    let format = asked.format;
    let (sender, mut receiver) = mpsc::channel::<Sent>(1);
    let platform = Handle::current();
    let thread = std::thread::Builder::new().name("sql".to_owned()).stack_size(STACK_BYTES);
    // Parts of a plan that could be done at once, as those of a union, are tasks of this runtime
    // and so of this thread.
    let begun = thread.spawn(move || match Builder::new_current_thread().enable_time().build() {
        Ok(own) => own.block_on(Box::pin(carry_out(asked, sender, platform))),
        Err(error) => tracing::error!(%error, "there is no runtime for a statement"),
    });
    if let Err(error) = begun {
        tracing::error!(%error, "there is no thread for a statement");
        return Err(Problem::broken());
    }
    let first = match receiver.recv().await {
        Some(Ok(first)) => first.unwrap_or_default(),
        Some(Err(problem)) => return Err(problem),
        None => return Err(Problem::broken()),
    };
    let begin = (Some(first), receiver);
    let pieces = futures::stream::try_unfold(begin, |(first, mut receiver)| async move {
        let piece = match first {
            Some(first) => Some(Ok(Some(first))),
            None => receiver.recv().await,
        };
        match piece {
            Some(Ok(Some(bytes))) => Ok(Some((bytes, (None, receiver)))),
            Some(Ok(None)) => Ok(None),
            Some(Err(problem)) => {
                tracing::warn!(limit = problem.limit, "a statement under way is broken off");
                Err(io::Error::other("the answer is broken off"))
            }
            None => Err(io::Error::other("the answer is broken off")),
        }
    });
    let body = Body::from_stream(pieces);
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// Carries a statement out until it is answered, or nobody receives it any more.
async fn carry_out(asked: Question, sender: mpsc::Sender<Sent>, platform: Handle) {
    let work = async {
        let last = Box::pin(send_all(asked, &sender, platform)).await.map(|()| None);
        // Whoever is not told by then finds the answer without an end.
        let _told = tokio::time::timeout(TAKEN_WITHIN, sender.send(last)).await;
    };
    tokio::select! {
        () = sender.closed() => {}
        () = work => {}
    }
}

async fn send_all(
    asked: Question,
    sender: &mpsc::Sender<Sent>,
    platform: Handle,
) -> Result<(), Problem> {
    // The places are given up when this ends, however it does.
    let Question { api, context, again, reader, statement, format, seats: _seats } = asked;
    let now = context.at;
    let mut time =
        Allowance { clock: Arc::clone(&context.clock), left: Duration::from_secs(SECONDS_MAX) };
    let seen = there(&platform, Seen::new(api, (context, again), reader)).await?;
    let seen = Arc::new(seen);
    let format = match format {
        FormatWord::Json => Format::Json,
        FormatWord::Csv => Format::Csv,
        FormatWord::Arrow => Format::Arrow,
    };
    let source: Arc<dyn Source> =
        Arc::new(Apart { seen: Arc::clone(&seen), platform: platform.clone() });
    let begun = veritwin_sql::Answer::begin(&statement, format, source, (now, BOUNDS));
    let mut answer = time.within(begun).await?;
    while let Some(piece) = time.within(answer.next()).await? {
        let Piece { bytes, rows_so_far, bytes_so_far } = piece;
        let seen = Arc::clone(&seen);
        let counted = async move {
            let context = seen.context().await?;
            seen.reader.count_left(&context, rows_so_far as u64, bytes_so_far as u64);
            Ok::<_, Problem>(())
        };
        there(&platform, counted).await?;
        let sent = sender.send(Ok(Some(Bytes::from(bytes))));
        if !matches!(tokio::time::timeout(TAKEN_WITHIN, sent).await, Ok(Ok(()))) {
            return Err(limit("sql_taken_seconds_max", TAKEN_WITHIN.as_secs()));
        }
    }
    Ok(())
}

/// Does work of the platform's on its own threads. It ends with whoever waits for it.
async fn there<T, E>(
    platform: &Handle,
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let done = AbortOnDropHandle::new(platform.spawn(work)).await;
    done.unwrap_or_else(|_| Err(Error::Internal("a statement's reading broke".to_owned()).into()))
}

fn limit(name: &'static str, max: u64) -> Problem {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    Error::Limit(LimitExceeded { name, max, actual: LimitExceeded::MORE }).into()
}

fn problem(error: veritwin_sql::Error) -> Problem {
    match error {
        veritwin_sql::Error::Invalid { detail, position } => {
            Problem::invalid(detail).at(position.unwrap_or_else(|| "query".to_owned()))
        }
        veritwin_sql::Error::Limit(limit) => Error::Limit(limit).into(),
        veritwin_sql::Error::Source(failure) => match failure.downcast::<Error>() {
            Ok(error) => Problem::from(*error),
            Err(_) => Problem::broken(),
        },
        veritwin_sql::Error::Internal(what) => {
            tracing::error!(what, "a statement could not be carried out");
            Problem::broken()
        }
    }
}

/// How long a statement may work still.
struct Allowance {
    clock: Arc<dyn Clock>,
    left: Duration,
}

impl Allowance {
    /// Waits for a part of the work, as long as there is time for it.
    async fn within<T>(
        &mut self,
        work: impl Future<Output = Result<T, veritwin_sql::Error>>,
    ) -> Result<T, Problem> {
        let began = self.clock.monotonic();
        let done = tokio::time::timeout(self.left, Box::pin(work)).await;
        let took = self.clock.monotonic().saturating_sub(began);
        self.left = self.left.saturating_sub(took);
        match done {
            Ok(done) => done.map_err(problem),
            Err(_) => Err(limit("sql_seconds_max", SECONDS_MAX)),
        }
    }
}

/// What whoever asked may see by now.
struct Seen {
    api: Api,
    again: Again,
    reader: TableReader,
    devices: Vec<DeviceRow>,
    /// As whom they ask, and since when that is known.
    asked: tokio::sync::Mutex<(OpContext, Duration)>,
    page_points: AtomicUsize,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("devices", &self.devices.len()).finish_non_exhaustive()
    }
}

impl Seen {
    async fn new(
        api: Api,
        (context, again): (OpContext, Again),
        reader: TableReader,
    ) -> Result<Self, Problem> {
        let found = reader.begin(&context).await?;
        let devices = found.into_iter().map(|device| DeviceRow {
            id: device.id,
            name: device.name,
            kind: device.kind,
            twin: device.twin,
            is_listed: device.is_listed,
        });
        let since = api.clock().monotonic();
        Ok(Self {
            devices: devices.collect(),
            asked: tokio::sync::Mutex::new((context, since)),
            page_points: AtomicUsize::new(PAGE_POINTS),
            api,
            again,
            reader,
        })
    }

    /// Whoever has signed out since it began, or whose key was revoked, gets no more of it, and
    /// whose rights are others by now gets what those allow.
    async fn context(&self) -> veritwin_app::Result<OpContext> {
        let mut asked = self.asked.lock().await;
        let now = self.api.clock().monotonic();
        if now.saturating_sub(asked.1) >= ASKED_AGAIN {
            let found = self.again.context(&self.api).await?;
            if found.tenant != asked.0.tenant {
                return Err(Error::NotFound("tenant"));
            }
            *asked = (found, now);
        }
        Ok(asked.0.clone())
    }

    /// A page, and how many points the next one may have.
    fn taken(&self, page: ExportPage, points: usize) -> Page {
        let bytes: usize = page.points.iter().map(|point| point.value.text_bytes()).sum();
        let next = match bytes {
            0..PAGE_TEXT_BYTES => points.saturating_mul(2).min(TABLE_PAGE_POINTS_MAX),
            _ => (points / 4).max(PAGE_POINTS_MIN),
        };
        self.page_points.store(next, Ordering::Relaxed);
        let points = page.points.into_iter();
        let points = points.map(|one| Point { at: one.at, value: one.value, quality: one.quality });
        Page { points: points.collect(), next: page.next }
    }
}

fn failure(error: Error) -> Failure {
    Box::new(error)
}

/// What whoever asked may see, asked for from a statement's own thread.
#[derive(Debug)]
struct Apart {
    seen: Arc<Seen>,
    platform: Handle,
}

#[async_trait]
impl Source for Apart {
    fn devices(&self) -> &[DeviceRow] {
        &self.seen.devices
    }

    async fn keys(&self, device: DeviceId) -> Result<Vec<Key>, Failure> {
        let seen = Arc::clone(&self.seen);
        there(&self.platform, async move { seen.keys(device).await }).await
    }

    async fn latest(&self, device: DeviceId) -> Result<Vec<(Key, Point)>, Failure> {
        let seen = Arc::clone(&self.seen);
        there(&self.platform, async move { seen.latest(device).await }).await
    }

    async fn page(
        &self,
        device: DeviceId,
        key: &Key,
        range: (Timestamp, Timestamp),
    ) -> Result<Page, Failure> {
        let (seen, key) = (Arc::clone(&self.seen), key.clone());
        there(&self.platform, async move { seen.page(device, &key, range).await }).await
    }
}

impl Seen {
    async fn keys(&self, device: DeviceId) -> Result<Vec<Key>, Failure> {
        let context = self.context().await.map_err(failure)?;
        match self.reader.keys(&context, device).await {
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            found => found.map_err(failure),
        }
    }

    async fn latest(&self, device: DeviceId) -> Result<Vec<(Key, Point)>, Failure> {
        let context = self.context().await.map_err(failure)?;
        let found = match self.reader.latest(&context, device).await {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            found => found.map_err(failure)?,
        };
        let point = |at, value, quality| Point { at, value, quality };
        let rows = found.into_iter();
        Ok(rows.map(|one| (one.key, point(one.at, one.value, one.quality))).collect())
    }

    async fn page(
        &self,
        device: DeviceId,
        key: &Key,
        range: (Timestamp, Timestamp),
    ) -> Result<Page, Failure> {
        let series = SeriesId { device, key: key.clone() };
        loop {
            let context = self.context().await.map_err(failure)?;
            let points = self.page_points.load(Ordering::Relaxed);
            match self.reader.page(&context, &series, range, points).await {
                Ok(page) => return Ok(self.taken(page, points)),
                // The device is gone by now, or what is declared of the series has changed.
                Err(Error::NotFound(_)) => return Ok(Page::default()),
                // More than a query may hold: texts are longer from here on.
                Err(Error::Invalid { .. }) if points > PAGE_POINTS_MIN => {
                    let fewer = (points / 4).max(PAGE_POINTS_MIN);
                    self.page_points.store(fewer, Ordering::Relaxed);
                }
                // Other queries hold what there is for now; the statement's own time ends this.
                Err(Error::Crowded(_)) => tokio::time::sleep(CROWDED_WAIT).await,
                Err(error) => return Err(failure(error)),
            }
        }
    }
}
