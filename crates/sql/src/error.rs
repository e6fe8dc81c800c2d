//! What is wrong with a statement. Before anything was read DataFusion's own words are passed on,
//! as far as they hold nothing of the statement's literals; afterwards they may hold what was read,
//! and only their kind is told.

use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use veritwin_domain::LimitExceeded;

use crate::source::Failure;
use crate::text::Text;

/// Longest words of DataFusion that are passed on.
const WORDS_CHARS_MAX: usize = 300;

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The statement is wrong, or not one of those that are carried out.
    #[error("{detail}")]
    Invalid {
        /// What, and what would be right.
        detail: String,
        /// Line and column, where they are known.
        position: Option<String>,
    },
    /// A bound was passed.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// What it reads from failed.
    #[error("what the statement reads could not be read")]
    Source(#[source] Failure),
    /// Something that is no fault of the statement.
    #[error("a statement could not be carried out: {0}")]
    Internal(&'static str),
}

impl Error {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into(), position: None }
    }

    pub(crate) fn at(self, position: Option<String>) -> Self {
        match self {
            Self::Invalid { detail, position: None } => Self::Invalid { detail, position },
            other => other,
        }
    }
}

pub(crate) fn within(name: &'static str, max: usize, actual: usize) -> Result<(), Error> {
    if actual > max {
        return Err(LimitExceeded { name, max, actual }.into());
    }
    Ok(())
}

/// Of a statement that is being understood: nothing was read so far.
pub(crate) fn planning(error: &DataFusionError, text: &Text<'_>) -> Error {
    let position = error.diagnostic().and_then(|found| found.span).map(|span| {
        let start = span.start;
        format!("line {}, column {}", start.line, start.column)
    });
    let words = match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => return of_arrow(arrow).at(position),
        DataFusionError::NotImplemented(_) => "this is not supported".to_owned(),
        DataFusionError::Internal(_) => "this cannot be planned".to_owned(),
        root => root.message().into_owned(),
    };
    let words = words.lines().next().unwrap_or_default();
    let detail = if words.is_empty() || text.is_told_in(words) {
        "names or types do not fit together".to_owned()
    } else {
        words.chars().take(WORDS_CHARS_MAX).collect()
    };
    Error::invalid(detail).at(position)
}

/// Of a statement that is being carried out: no word of it may leave.
pub(crate) fn running(error: &DataFusionError, memory_bytes_max: usize) -> Error {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => LimitExceeded {
            name: "sql_memory_bytes_max",
            max: memory_bytes_max,
            actual: LimitExceeded::MORE,
        }
        .into(),
        DataFusionError::ArrowError(arrow, _) => of_arrow(arrow),
        DataFusionError::Internal(_) => Error::Internal("its plan does not hold"),
        _ => Error::invalid("a value does not fit what the statement does with it"),
    }
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::invalid("something is divided by zero"),
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            Error::invalid("a value cannot be turned into the type that is asked for")
        }
        ArrowError::ArithmeticOverflow(_) => Error::invalid("a number is too large for its type"),
        ArrowError::MemoryError(_) => Error::Internal("memory is short"),
        _ => Error::invalid("a value does not fit what the statement does with it"),
    }
}
