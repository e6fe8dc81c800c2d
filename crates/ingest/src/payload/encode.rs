//! What goes down to devices, as ThingsBoard JSON.

use std::fmt::Write;

use veritwin_domain::{Key, Value};

use crate::model::{Attributes, AttributesRequest, RpcRequest};

/// `{"key":value,...}`.
pub fn entries_json(entries: &[(Key, Value)]) -> String {
    let mut out = String::from("{");
    for (key, value) in entries {
        separate(&mut out, '{');
        push_text(&mut out, key);
        out.push(':');
        push_value(&mut out, value);
    }
    out.push('}');
    out
}

/// `{"deleted":["key",...]}`.
pub fn deleted_json(keys: &[Key]) -> String {
    let mut out = String::from("{\"deleted\":[");
    for key in keys {
        separate(&mut out, '[');
        push_text(&mut out, key);
    }
    out.push_str("]}");
    out
}

/// `{"client":{...},"shared":{...}}`, with the scopes that were asked for.
pub fn attributes_json(request: &AttributesRequest, attributes: &Attributes) -> String {
    let all = request.client.is_none() && request.shared.is_none();
    let mut out = String::from("{");
    if all || request.client.is_some() {
        out.push_str("\"client\":");
        out.push_str(&entries_json(&attributes.client));
    }
    if all || request.shared.is_some() {
        separate(&mut out, '{');
        out.push_str("\"shared\":");
        out.push_str(&entries_json(&attributes.shared));
    }
    out.push('}');
    out
}

/// `{"method":"name","params":any}`; with `"id"` for HTTP, whose topic cannot carry it.
pub fn rpc_json(request: &RpcRequest, with_id: bool) -> String {
    let mut out = String::from("{");
    if with_id {
        let _ = write!(out, "\"id\":{},", request.id);
    }
    out.push_str("\"method\":");
    push_text(&mut out, &request.method);
    out.push_str(",\"params\":");
    out.push_str(if request.params.is_empty() { "{}" } else { &request.params });
    out.push('}');
    out
}

fn separate(out: &mut String, opening: char) {
    if !out.ends_with(opening) {
        out.push(',');
    }
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        // Finite doubles always have a JSON form; `{:?}` keeps the point of whole numbers, so
        // that a double stays one when it is sent back.
        Value::Double(number) => drop(write!(out, "{number:?}")),
        Value::Integer(number) => drop(write!(out, "{number}")),
        Value::Boolean(flag) => drop(write!(out, "{flag}")),
        Value::Text(text) => push_text(out, text),
        Value::Json(json) => out.push_str(json),
    }
}

fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}
