//! What people write for the platform to run: decoders of payloads, and conditions. Both are short
//! scripts in one bounded language that sees what it is given and nothing else: no clock, no
//! chance, no input or output, no other script. The same script and input give the same result.

mod budget;
mod bytes;
mod convert;
mod decoder;
mod engine;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod predicate;
#[cfg(test)]
mod tests;
mod text;

pub use budget::take_work;
pub use decoder::{Decoded, Decoder, Payload, Scalar, decoded_json};
pub use error::{ScriptError, ScriptErrorKind};
pub use predicate::{Inputs, Predicate};

/// Longest script, in bytes of UTF-8.
pub const SOURCE_BYTES_MAX: usize = 16 * 1024;
/// Largest payload a decoder is given, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Most entries of what else is said of a payload; their texts are as long as one text may be.
pub const META_KEYS_MAX: usize = 64;
/// Most steps of one run: about one for each operation, call and statement.
pub const OPERATIONS_MAX: u64 = 50_000;
/// Deepest calls of functions in functions.
pub const CALL_DEPTH_MAX: usize = 8;
/// Deepest nesting of expressions and blocks outside functions.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Deepest nesting of expressions and blocks inside a function.
pub const FUNCTION_EXPRESSION_DEPTH_MAX: usize = 24;
/// Most functions that a script defines.
pub const FUNCTIONS_MAX: usize = 32;
/// Most variables that are alive at once.
pub const VARIABLES_MAX: usize = 32;
/// Longest text that a script makes, in bytes.
pub const STRING_BYTES_MAX: usize = 8 * 1024;
/// Most items of an array, with all that is in it.
pub const ARRAY_ITEMS_MAX: usize = 4096;
/// Most keys of a map, with all that is in it.
pub const MAP_KEYS_MAX: usize = 1024;
/// Largest value in a variable, in items of arrays with all that is in it: a key weighs as four,
/// and sixteen bytes of a text or key as one.
pub const VALUE_WEIGHT_MAX: usize = 16 * 1024;
/// Deepest nesting of arrays and maps in a variable.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Most that one run reads and copies, in the same measure: each look at a variable counts as all
/// that is in it.
pub const WEIGHT_MAX: usize = 10_000_000;
/// Deepest nesting of JSON that a script reads.
pub const JSON_DEPTH_MAX: usize = 16;
/// Most points of time that a decoder gives for one payload.
pub const DECODED_MAX: usize = 1024;
/// Stack that the deepest script needs, with room to spare, in bytes. Who runs scripts does so on
/// threads that have it.
pub const STACK_BYTES: usize = 64 * 1024 * 1024;
