//! What scripts do with texts, arrays, maps and numbers beyond the language's own operators: a
//! chosen few, each of which costs no more than what it is given.

use std::ops::{Range, RangeInclusive};

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use crate::budget::{take, take_text};
use crate::convert::from_json;
use crate::error::{Answer, stop};

/// Most digits behind the point that are rounded to.
const DIGITS_MAX: i64 = 12;

pub(crate) fn register(engine: &mut Engine) {
    arrays(engine);
    texts(engine);
    numbers(engine);
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn arrays(engine: &mut Engine) {
    engine.register_iterator::<Array>();
    engine.register_fn("len", |array: &mut Array| count(array.len()));
    engine.register_fn("is_empty", |array: &mut Array| array.is_empty());
    engine.register_fn("push", |array: &mut Array, value: Dynamic| array.push(value));
    engine.register_fn("contains", |array: &mut Array, value: Dynamic| {
        array.iter().any(|item| is_same(item, &value))
    });
    engine.register_fn("len", |map: &mut Map| count(map.len()));
    engine.register_fn("is_empty", |map: &mut Map| map.is_empty());
    engine.register_fn("keys", |map: &mut Map| -> Array {
        map.keys().map(|key| Dynamic::from(key.as_str().to_owned())).collect()
    });
    engine.register_fn("values", |map: &mut Map| -> Array { map.values().cloned().collect() });
    engine.register_fn("contains", |map: &mut Map, key: &str| map.contains_key(key));
    engine.register_fn("remove", |map: &mut Map, key: &str| -> Dynamic {
        map.remove(key).unwrap_or(Dynamic::UNIT)
    });
    // In place of the engine's own, which look for a function for each item.
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |array: &mut Array| -> Answer<String> {
            take(array.len() * 4)?;
            Ok(format!("{array:?}"))
        });
        engine.register_fn(name, |map: &mut Map| -> Answer<String> {
            take(map.len() * 4)?;
            Ok(format!("#{map:?}"))
        });
    }
}

/// Whether two plain values are the same; numbers also across their kinds.
fn is_same(left: &Dynamic, right: &Dynamic) -> bool {
    if let (Ok(left), Ok(right)) = (left.as_bool(), right.as_bool()) {
        return left == right;
    }
    if let (Ok(left), Ok(right)) = (left.as_int(), right.as_int()) {
        return left == right;
    }
    match (left.as_immutable_string_ref(), right.as_immutable_string_ref()) {
        (Ok(left), Ok(right)) => left.as_str() == right.as_str(),
        _ => number_of(left).is_some_and(|left| number_of(right) == Some(left)),
    }
}

fn number_of(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|number| number as f64))
}

/// The engine's own iterators over the characters of a text can be kept in variables, where they
/// hold four times the text and are copied whole: a text is gone through by `for` itself.
fn no_kept_characters(engine: &mut Engine) {
    fn refused() -> Answer<()> {
        stop("chars: expected for c in text, or text.part(from, length)")
    }
    engine.register_fn("chars", |_: &str| refused());
    engine.register_fn("chars", |_: &str, _: i64| refused());
    engine.register_fn("chars", |_: &str, _: i64, _: i64| refused());
    engine.register_fn("chars", |_: &str, _: Range<i64>| refused());
    engine.register_fn("chars", |_: &str, _: RangeInclusive<i64>| refused());
    engine.register_get("chars", |_: &mut ImmutableString| refused());
}

fn texts(engine: &mut Engine) {
    no_kept_characters(engine);
    engine.register_fn("len", |text: &str| -> Answer<i64> {
        take_text(text)?;
        Ok(count(text.chars().count()))
    });
    engine.register_fn("is_empty", |text: &str| text.is_empty());
    engine.register_fn("+", |text: &str, number: i64| -> Answer<String> {
        take_text(text)?;
        Ok(format!("{text}{number}"))
    });
    engine.register_fn("+", |text: &str, number: f64| -> Answer<String> {
        take_text(text)?;
        Ok(format!("{text}{number}"))
    });
    engine.register_fn("contains", |text: &str, part: &str| -> Answer<bool> {
        take_text(text)?;
        Ok(text.contains(part))
    });
    engine.register_fn("starts_with", |text: &str, part: &str| text.starts_with(part));
    engine.register_fn("ends_with", |text: &str, part: &str| text.ends_with(part));
    engine.register_fn("trimmed", |text: &str| text.trim().to_owned());
    engine.register_fn("lower", |text: &str| -> Answer<String> {
        take_text(text)?;
        Ok(text.to_lowercase())
    });
    engine.register_fn("upper", |text: &str| -> Answer<String> {
        take_text(text)?;
        Ok(text.to_uppercase())
    });
    engine.register_fn("part", |text: &str, from: i64, length: i64| -> Answer<String> {
        take_text(text)?;
        let from = usize::try_from(from).unwrap_or(0);
        Ok(text.chars().skip(from).take(usize::try_from(length).unwrap_or(0)).collect())
    });
    engine.register_fn("split", |text: &str, at: &str| -> Answer<Array> {
        if at.is_empty() {
            return stop("split(text, at): expected a text to split at");
        }
        // Each part may be a single byte of it.
        take(text.len() * 2)?;
        Ok(text.split(at).map(|part| Dynamic::from(part.to_owned())).collect())
    });
    engine.register_fn("to_int", |text: &str| -> Answer<i64> {
        match text.trim().parse() {
            Ok(number) => Ok(number),
            Err(_) => stop("to_int(text): expected a whole number"),
        }
    });
    engine.register_fn("to_number", |text: &str| -> Answer<f64> {
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => stop("to_number(text): expected a number"),
        }
    });
    engine.register_fn("json", |text: ImmutableString| -> Answer<Dynamic> {
        from_json(text.as_bytes())
    });
}

fn numbers(engine: &mut Engine) {
    engine.register_fn("round", |number: f64, digits: i64| -> Answer<f64> {
        match i32::try_from(digits) {
            Ok(digits) if (0..=DIGITS_MAX).contains(&i64::from(digits)) => {
                let factor = 10_f64.powi(digits);
                Ok((number * factor).round() / factor)
            }
            _ => stop("round(number, digits): expected 0 to 12 digits"),
        }
    });
    // Whole numbers are round already.
    engine.register_fn("round", |number: i64, _digits: i64| number);
    engine.register_fn("bit", |number: i64, bit: i64| -> Answer<bool> {
        if (0..=63).contains(&bit) {
            return Ok((number >> bit) & 1 == 1);
        }
        stop("bit(number, bit): expected a bit from 0 (the lowest) to 63")
    });
    engine.register_fn("bits_of", |number: i64, lowest: i64, bits: i64| -> Answer<i64> {
        if lowest >= 0 && (1..=62).contains(&bits) && lowest + bits <= 64 {
            return Ok((number >> lowest) & ((1_i64 << bits) - 1));
        }
        stop("bits_of(number, lowest, count): expected bits of the 64, counted from the lowest")
    });
}
