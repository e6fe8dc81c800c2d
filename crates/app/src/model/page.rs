//! Lists in pages.

/// A page of a list and where the next one begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Opaque; none when this was the last page.
    pub next_cursor: Option<String>,
}

/// Which page is wanted.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// As given by the page before.
    pub cursor: Option<String>,
    /// Rows; bounded by [`PAGE_ROWS_MAX`].
    pub limit: Option<usize>,
}

/// Most rows of one page.
pub const PAGE_ROWS_MAX: usize = 500;

/// Rows of a page when nothing is asked for.
pub const PAGE_ROWS_DEFAULT: usize = 100;

impl PageRequest {
    /// The number of rows to give.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX)
    }
}
