//! Why a script does not compile or did not run: where, and what would be right. Never what was in
//! the payload, which the device sees as little as the log does.

use std::fmt;

use rhai::{Dynamic, EvalAltResult, ParseError, ParseErrorType, Position};

/// Longest reason.
const DETAIL_CHARS_MAX: usize = 500;
/// Most that is shown of what a script threw.
const THROWN_CHARS_MAX: usize = 1_000;

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptErrorKind {
    /// The script is not one.
    Source,
    /// A bound was passed: the script, or what it is given or makes, is too large or runs too long.
    Limit,
    /// It stopped while it ran.
    Run,
    /// It ended, and what it gave is not what is asked for.
    Result,
}

impl ScriptErrorKind {
    /// The name used in records and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Limit => "limit",
            Self::Run => "run",
            Self::Result => "result",
        }
    }
}

/// Why a script does not compile or did not run. Written out it holds nothing of what the script
/// was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    /// The kind.
    pub kind: ScriptErrorKind,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// What is wrong and what would be right.
    pub detail: String,
    /// What the script itself threw, for its author's own samples: it may hold parts of the
    /// payload, and is not part of the written text.
    pub thrown: Option<String>,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "line {line}, column {column}: ")?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            _ => {}
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for ScriptError {}

impl ScriptError {
    pub(crate) fn new(kind: ScriptErrorKind, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        // It may name what stands in the source, which can be long.
        if let Some((end, _)) = detail.char_indices().nth(DETAIL_CHARS_MAX) {
            detail.truncate(end);
            detail.push_str(" ...");
        }
        Self { kind, line: None, column: None, detail, thrown: None }
    }

    pub(crate) fn limit(what: &str, max: u64, unit: &str) -> Self {
        Self::new(ScriptErrorKind::Limit, format!("{what}: expected at most {max} {unit}"))
    }

    pub(crate) fn result(detail: impl Into<String>) -> Self {
        Self::new(ScriptErrorKind::Result, detail)
    }

    fn at(mut self, position: Position) -> Self {
        if self.line.is_none() {
            self.line = position.line();
            self.column = position.position();
        }
        self
    }
}

/// A reason of ours, thrown by a function that scripts call. Scripts cannot make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    kind: ScriptErrorKind,
    detail: String,
}

/// What functions for scripts answer.
pub(crate) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Stops the script with a reason that holds nothing of the payload.
pub(crate) fn stop<T>(detail: impl Into<String>) -> Answer<T> {
    throw(ScriptErrorKind::Run, detail.into())
}

/// Stops the script at a bound.
pub(crate) fn stop_at_limit<T>(what: &str, max: usize, unit: &str) -> Answer<T> {
    throw(ScriptErrorKind::Limit, format!("{what}: expected at most {max} {unit}"))
}

/// A bound of the whole run, as the engine carries it.
#[cold]
pub(crate) fn limit_told(detail: &str) -> Dynamic {
    Dynamic::from(Told { kind: ScriptErrorKind::Limit, detail: detail.to_owned() })
}

/// Ends the script at a bound of the whole run: it cannot catch that.
#[cold]
pub(crate) fn end_at_limit<T>(detail: &str) -> Answer<T> {
    Err(Box::new(EvalAltResult::ErrorTerminated(limit_told(detail), Position::NONE)))
}

/// What is said of a value that is too large.
pub(crate) fn too_large() -> String {
    format!(
        "a value is too large: expected texts of at most {} bytes, arrays of {} items, maps of {} \
         keys, {} in one another",
        crate::STRING_BYTES_MAX,
        crate::ARRAY_ITEMS_MAX,
        crate::MAP_KEYS_MAX,
        crate::VALUE_DEPTH_MAX
    )
}

#[cold]
fn throw<T>(kind: ScriptErrorKind, detail: String) -> Answer<T> {
    let told = Dynamic::from(Told { kind, detail });
    Err(Box::new(EvalAltResult::ErrorRuntime(told, Position::NONE)))
}

/// Why a source does not compile.
pub(crate) fn of_source(error: &ParseError) -> ScriptError {
    let kind = match error.err_type() {
        ParseErrorType::ExprTooDeep
        | ParseErrorType::TooManyFunctions
        | ParseErrorType::LiteralTooLarge(..) => ScriptErrorKind::Limit,
        _ => ScriptErrorKind::Source,
    };
    ScriptError::new(kind, error.err_type().to_string()).at(error.position())
}

/// Why a run stopped. What the engine says of values is left out.
pub(crate) fn of_run(error: EvalAltResult) -> ScriptError {
    use ScriptErrorKind::{Limit, Run};
    let position = error.position();
    let (kind, detail) = match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => {
            return of_run(*inner).at(position);
        }
        EvalAltResult::ErrorRuntime(value, _) | EvalAltResult::ErrorTerminated(value, _) => {
            return of_thrown(value).at(position);
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => {
            (Run, format!("there is no variable {name} here: functions see their own only"))
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            (Run, format!("no function is called {signature}: see the names and their arguments"))
        }
        EvalAltResult::ErrorMismatchDataType(expected, actual, _)
        | EvalAltResult::ErrorMismatchOutputType(expected, actual, _) => {
            (Run, format!("a value of another type: expected {expected}, got {actual}"))
        }
        EvalAltResult::ErrorIndexingType(..) => {
            (Run, "this value has no items: expected an array, a map, a text or bytes".to_owned())
        }
        EvalAltResult::ErrorArrayBounds(..)
        | EvalAltResult::ErrorStringBounds(..)
        | EvalAltResult::ErrorBitFieldBounds(..)
        | EvalAltResult::ErrorIndexNotFound(..) => {
            (Run, "the index is outside: expected one from 0 to the length less 1".to_owned())
        }
        EvalAltResult::ErrorFor(_) => {
            (Run, "this cannot be gone through: expected an array or a range".to_owned())
        }
        EvalAltResult::ErrorPropertyNotFound(..) | EvalAltResult::ErrorDotExpr(..) => {
            (Run, "this value has no such property".to_owned())
        }
        EvalAltResult::ErrorAssignmentToConstant(..)
        | EvalAltResult::ErrorNonPureMethodCallOnConstant(..) => {
            (Run, "a constant cannot be changed: use let".to_owned())
        }
        EvalAltResult::ErrorArithmetic(..) => (
            Run,
            "a number does not fit, or something was divided by zero: expected whole numbers of \
             64 bits"
                .to_owned(),
        ),
        EvalAltResult::ErrorTooManyOperations(_) => {
            (Limit, format!("too many steps: expected at most {}", crate::OPERATIONS_MAX))
        }
        EvalAltResult::ErrorTooManyVariables(_) => {
            (Limit, format!("too many variables: expected at most {}", crate::VARIABLES_MAX))
        }
        EvalAltResult::ErrorStackOverflow(_) => (
            Limit,
            format!("too many calls in one another: expected at most {}", crate::CALL_DEPTH_MAX),
        ),
        EvalAltResult::ErrorDataTooLarge(..) => (Limit, too_large()),
        _ => (Run, "the script stopped here".to_owned()),
    };
    ScriptError::new(kind, detail).at(position)
}

/// What a script threw, or one of our functions.
fn of_thrown(value: Dynamic) -> ScriptError {
    match value.clone().try_cast::<Told>() {
        Some(Told { kind, detail }) => ScriptError::new(kind, detail),
        None => ScriptError {
            thrown: Some(value.to_string().chars().take(THROWN_CHARS_MAX).collect()),
            ..ScriptError::new(ScriptErrorKind::Run, "the script refused the payload (throw)")
        },
    }
}
