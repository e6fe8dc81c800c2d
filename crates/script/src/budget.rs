//! What a run costs beyond its steps. The engine's own bounds look at what a call gives back: a map
//! that grows by its index, an array within an array, the keys of a map and every copy escape them.
//! So each look at a variable weighs what is in it, and a run has only so much.

use std::cell::Cell;
use std::hint::black_box;

use rhai::{Dynamic, Engine};

use crate::error::{Answer, end_at_limit, limit_told, too_large};
use crate::{STACK_BYTES, VALUE_DEPTH_MAX, VALUE_WEIGHT_MAX, WEIGHT_MAX};

/// What of a text weighs as much as an item of an array, in bytes.
const ITEM_BYTES: usize = 16;
/// What a key of a map weighs without its text.
const KEY_WEIGHT: usize = 4;
/// What a step costs, in time, beside the weight of an item.
const STEP_WORK: u64 = 10;
/// What compiling a byte of a source costs, in time, beside the weight of an item.
const SOURCE_WEIGHT: usize = 32;
/// How far down the stack a run may go, in bytes, whatever the engine's own bounds of depth add up
/// to.
const STACK_USED_MAX: usize = STACK_BYTES / 2;

thread_local! {
    static WEIGHT: Cell<usize> = const { Cell::new(0) };
    static STEPS: Cell<u64> = const { Cell::new(0) };
    /// Where on the stack the run began.
    static BEGAN_AT: Cell<usize> = const { Cell::new(0) };
}

/// About where on the stack this is called.
#[inline(never)]
fn place_on_stack() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(black_box(&here)).addr()
}

/// A run begins on this thread.
pub(crate) fn begin() {
    WEIGHT.set(0);
    STEPS.set(0);
    BEGAN_AT.set(place_on_stack());
}

/// A source is compiled on this thread.
pub(crate) fn begin_to_compile(source: &str) {
    WEIGHT.set(source.len().saturating_mul(SOURCE_WEIGHT));
    STEPS.set(0);
}

/// What was compiled or run last on this thread cost, since this was asked last. The same script
/// and input cost the same.
pub fn take_work() -> u64 {
    let weight = u64::try_from(WEIGHT.take()).unwrap_or(u64::MAX);
    STEPS.take().saturating_mul(STEP_WORK).saturating_add(weight)
}

/// Takes a weight from what the run has left.
pub(crate) fn take(weight: usize) -> Answer<()> {
    let sum = WEIGHT.get().saturating_add(weight);
    WEIGHT.set(sum);
    if sum > WEIGHT_MAX {
        return end_at_limit(&format!(
            "too much is read and copied: expected at most {WEIGHT_MAX} items in one run"
        ));
    }
    Ok(())
}

/// Takes what it costs to go through a text.
pub(crate) fn take_text(text: &str) -> Answer<()> {
    take(text.len() / 4)
}

#[expect(deprecated, reason = "it is not: the engine says so of what may change in a later one")]
pub(crate) fn register(engine: &mut Engine) {
    engine.on_progress(|steps| {
        STEPS.set(steps);
        let is_deep = BEGAN_AT.get().abs_diff(place_on_stack()) > STACK_USED_MAX;
        is_deep.then(|| limit_told("too many parts in one another: write it in several lines"))
    });
    engine.on_var(|name, _, context| {
        if let Some(value) = context.scope().get(name) {
            take(weigh(value)?)?;
        }
        Ok(None)
    });
}

/// The weight of a value with all that is in it.
fn weigh(value: &Dynamic) -> Answer<usize> {
    let mut weight = 0;
    if fits(value, 0, &mut weight) {
        return Ok(weight);
    }
    end_at_limit(&too_large())
}

fn fits(value: &Dynamic, depth: usize, weight: &mut usize) -> bool {
    *weight += 1;
    if depth > VALUE_DEPTH_MAX || *weight > VALUE_WEIGHT_MAX {
        return false;
    }
    if value.is_array() {
        let Ok(array) = value.as_array_ref() else { return false };
        return array.iter().all(|item| fits(item, depth + 1, weight));
    }
    if value.is_map() {
        let Ok(map) = value.as_map_ref() else { return false };
        return map.iter().all(|(key, item)| {
            *weight += KEY_WEIGHT + key.len() / ITEM_BYTES;
            fits(item, depth + 1, weight)
        });
    }
    if value.is_string()
        && let Ok(text) = value.as_immutable_string_ref()
    {
        *weight += text.len() / ITEM_BYTES;
    }
    *weight <= VALUE_WEIGHT_MAX
}
