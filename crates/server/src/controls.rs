//! Sabotage twins: switches that break a feature so that its promise check must turn red. They
//! exist only in builds with the feature `test-controls`; elsewhere every method does nothing.

use axum::http::HeaderMap;
#[cfg(feature = "test-controls")]
use axum::http::StatusCode;
#[cfg(feature = "test-controls")]
use axum::response::{IntoResponse, Response};

#[cfg(feature = "test-controls")]
use std::sync::OnceLock;
#[cfg(feature = "test-controls")]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "test-controls")]
use veritwin_app::App;

/// Which sabotages are on, by promise number.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    #[cfg(feature = "test-controls")]
    broken: AtomicU64,
    #[cfg(feature = "test-controls")]
    app: OnceLock<App>,
}

impl Controls {
    /// Breaks or mends the feature behind a promise, wherever the feature lives.
    #[cfg(feature = "test-controls")]
    pub(crate) fn set(&self, promise: u8, on: bool) {
        let bit = 1u64 << (promise % 64);
        if on {
            self.broken.fetch_or(bit, Ordering::SeqCst);
        } else {
            self.broken.fetch_and(!bit, Ordering::SeqCst);
        }
        if let Some(app) = self.app.get() {
            app.sabotage(promise, on);
        }
    }

    /// The platform whose features [`Self::set`] breaks.
    #[cfg(feature = "test-controls")]
    pub(crate) fn attach(&self, app: App) {
        let _ = self.app.set(app);
    }

    /// Whether the feature behind a promise is broken on purpose.
    #[cfg(feature = "test-controls")]
    pub(crate) fn is_broken(&self, promise: u8) -> bool {
        self.broken.load(Ordering::SeqCst) & (1u64 << (promise % 64)) != 0
    }

    /// P56: whoever gets the cookie of a session gets one that is in no register with it.
    pub(crate) fn add_tracking_cookie(&self, headers: &mut HeaderMap) {
        #[cfg(feature = "test-controls")]
        if self.is_broken(56) && headers.contains_key(axum::http::header::SET_COOKIE) {
            let value = axum::http::HeaderValue::from_static("visitor=1; Path=/");
            headers.append(axum::http::header::SET_COOKIE, value);
        }
        #[cfg(not(feature = "test-controls"))]
        let _ = headers;
    }

    /// P31: another tenant's device is told from one that never was.
    #[cfg(feature = "test-controls")]
    pub(crate) fn betray(&self, path: &str, response: Response) -> Response {
        let hidden = |app: &App| path.split('/').any(|part| app.is_hidden_device(part));
        let is_absent = response.status() == StatusCode::NOT_FOUND;
        if self.is_broken(31) && is_absent && self.app.get().is_some_and(hidden) {
            let text = "this device belongs to another customer";
            return (StatusCode::FORBIDDEN, text).into_response();
        }
        response
    }
}
