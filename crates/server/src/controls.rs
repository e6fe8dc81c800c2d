//! Sabotage twins: switches that break a feature so that its promise check must turn red. They
//! exist only in builds with the feature `test-controls`; elsewhere every method does nothing.

use axum::http::HeaderMap;

#[cfg(feature = "test-controls")]
use std::sync::atomic::{AtomicU64, Ordering};

/// Which sabotages are on, by promise number.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    #[cfg(feature = "test-controls")]
    broken: AtomicU64,
}

impl Controls {
    /// Breaks or mends the feature behind a promise.
    #[cfg(feature = "test-controls")]
    pub(crate) fn set(&self, promise: u8, on: bool) {
        let bit = 1u64 << (promise % 64);
        if on {
            self.broken.fetch_or(bit, Ordering::SeqCst);
        } else {
            self.broken.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Whether the feature behind a promise is broken on purpose.
    #[cfg_attr(not(feature = "test-controls"), expect(clippy::unused_self, reason = "one signature"))]
    pub(crate) fn is_broken(&self, promise: u8) -> bool {
        #[cfg(feature = "test-controls")]
        return self.broken.load(Ordering::SeqCst) & (1u64 << (promise % 64)) != 0;
        #[cfg(not(feature = "test-controls"))]
        {
            let _ = promise;
            false
        }
    }

    /// P56: a cookie that is in no register.
    pub(crate) fn add_tracking_cookie(&self, headers: &mut HeaderMap) {
        if self.is_broken(56) {
            let value = axum::http::HeaderValue::from_static("visitor=1; Path=/");
            headers.append(axum::http::header::SET_COOKIE, value);
        }
    }
}
