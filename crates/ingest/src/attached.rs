//! A link that is attached to the sink and is detached whatever happens to its connection.

use std::sync::Arc;

use crate::link::DeviceLink;
use crate::model::DeviceSession;
use crate::traits::Sink;

/// Detaches its link: by [`Attached::detach`], or from a task of its own when it is dropped
/// because the connection's future was.
pub(crate) struct Attached {
    sink: Arc<dyn Sink>,
    session: Arc<DeviceSession>,
    link: Option<DeviceLink>,
}

impl Attached {
    pub(crate) async fn new(
        sink: Arc<dyn Sink>,
        session: Arc<DeviceSession>,
        link: DeviceLink,
    ) -> Self {
        // Made first: a future dropped during `attach` is detached, too.
        let attached = Self { sink, session, link: Some(link.clone()) };
        attached.sink.attach(&attached.session, link).await;
        attached
    }

    pub(crate) const fn session(&self) -> &Arc<DeviceSession> {
        &self.session
    }

    /// Whether its link was ended.
    pub(crate) fn is_over(&self) -> bool {
        self.link.as_ref().is_none_or(DeviceLink::is_closed)
    }

    pub(crate) async fn detach(mut self) {
        if let Some(link) = self.link.take() {
            self.sink.detach(&self.session, &link).await;
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(link) = self.link.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (sink, session) = (Arc::clone(&self.sink), Arc::clone(&self.session));
            runtime.spawn(async move { sink.detach(&session, &link).await });
        }
    }
}
