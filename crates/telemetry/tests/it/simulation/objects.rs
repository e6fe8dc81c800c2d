//! An object store that fails as they do: a request is refused, done and not answered, done twice,
//! done late; the process ends before or after it; readings arrive while it lasts.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// What goes wrong at one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreFault {
    /// It is not done, and said to have failed.
    FailsBefore,
    /// It is done, and said to have failed.
    FailsAfter,
    /// The process ends before it is done.
    StopsBefore,
    /// The process ends when it is done.
    StopsAfter,
    /// It is done, its answer is lost, and the client library asks again.
    Twice,
    /// It is said to have failed, and done later, if at all.
    Late,
}

pub(super) const STORE_FAULTS: [StoreFault; 6] = [
    StoreFault::FailsBefore,
    StoreFault::FailsAfter,
    StoreFault::StopsBefore,
    StoreFault::StopsAfter,
    StoreFault::Twice,
    StoreFault::Late,
];

/// What happens while a request lasts.
pub(super) type During = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

enum Late {
    Put(Path, PutPayload, PutOptions),
    Delete(Path),
}

#[derive(Default)]
struct State {
    /// What goes wrong, and how many requests go well before.
    plan: Option<(StoreFault, u64)>,
    /// What happens during a write, and how many writes there are before.
    during: Option<(u64, During)>,
    is_stopped: bool,
}

enum Turn {
    Go,
    Fail,
    GoAndFail,
    Twice,
    Late,
}

/// The store; it outlives the processes that use it.
pub(crate) struct Objects {
    inner: InMemory,
    state: Mutex<State>,
    late: Arc<Mutex<Vec<Late>>>,
    puts: AtomicU64,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

fn injected() -> Error {
    Error::Generic { store: "simulated", source: "injected".into() }
}

impl Objects {
    pub(crate) fn new() -> Self {
        Self {
            inner: InMemory::new(),
            state: Mutex::default(),
            late: Arc::default(),
            puts: AtomicU64::new(0),
        }
    }

    /// How many writes were asked for. On a disk each is two fsyncs: the file's and its folder's.
    pub(crate) fn puts(&self) -> u64 {
        self.puts.load(Ordering::SeqCst)
    }

    pub(super) fn plan(&self, fault: StoreFault, requests_before: u64) {
        self.state.lock().plan = Some((fault, requests_before));
    }

    pub(super) fn plan_during(&self, writes_before: u64, during: During) {
        self.state.lock().during = Some((writes_before, during));
    }

    /// Nothing more goes wrong; says whether everything has stopped.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.state.lock();
        state.plan = None;
        state.during = None;
        state.is_stopped
    }

    pub(super) fn stop(&self) {
        self.state.lock().is_stopped = true;
    }

    pub(super) fn start(&self) {
        self.state.lock().is_stopped = false;
    }

    /// What is late and `comes` is done now; the rest never.
    pub(super) async fn land(&self, mut comes: impl FnMut() -> bool) {
        let late = std::mem::take(&mut *self.late.lock());
        for one in late {
            if !comes() {
                continue;
            }
            match one {
                Late::Put(path, payload, options) => {
                    drop(self.inner.put_opts(&path, payload, options).await);
                }
                Late::Delete(path) => drop(self.inner.delete(&path).await),
            }
        }
    }

    fn turn(&self) -> Turn {
        let mut state = self.state.lock();
        if state.is_stopped {
            return Turn::Fail;
        }
        let Some((fault, requests_before)) = state.plan else { return Turn::Go };
        if let Some(left) = requests_before.checked_sub(1) {
            state.plan = Some((fault, left));
            return Turn::Go;
        }
        state.plan = None;
        state.is_stopped = matches!(fault, StoreFault::StopsBefore | StoreFault::StopsAfter);
        match fault {
            StoreFault::FailsBefore | StoreFault::StopsBefore => Turn::Fail,
            StoreFault::FailsAfter | StoreFault::StopsAfter => Turn::GoAndFail,
            StoreFault::Twice => Turn::Twice,
            StoreFault::Late => Turn::Late,
        }
    }

    fn during(&self) -> Option<During> {
        let mut state = self.state.lock();
        if state.is_stopped {
            return None;
        }
        let (writes_before, during) = state.during.take()?;
        match writes_before.checked_sub(1) {
            None => Some(during),
            Some(left) => {
                state.during = Some((left, during));
                None
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, at: &Path, payload: PutPayload, o: PutOptions) -> Result<PutResult> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        if let Some(during) = self.during() {
            during().await;
        }
        match self.turn() {
            Turn::Go => self.inner.put_opts(at, payload, o).await,
            Turn::Fail => Err(injected()),
            Turn::GoAndFail => {
                self.inner.put_opts(at, payload, o).await?;
                Err(injected())
            }
            Turn::Twice => {
                self.inner.put_opts(at, payload.clone(), o.clone()).await?;
                self.inner.put_opts(at, payload, o).await
            }
            Turn::Late => {
                self.late.lock().push(Late::Put(at.clone(), payload, o));
                Err(injected())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.turn() {
            Turn::Go | Turn::Twice => self.inner.get_opts(location, options).await,
            Turn::Fail | Turn::GoAndFail | Turn::Late => Err(injected()),
        }
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.turn() {
            Turn::Go | Turn::Twice => self.inner.delete_stream(locations),
            Turn::Fail => locations.map(|_| Err(injected())).boxed(),
            Turn::GoAndFail => self.inner.delete_stream(locations).map(|_| Err(injected())).boxed(),
            Turn::Late => {
                let late = Arc::clone(&self.late);
                let keep = move |location: Result<Path>| -> Result<Path> {
                    late.lock().push(Late::Delete(location?));
                    Err(injected())
                };
                locations.map(keep).boxed()
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
