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

/// `{"key":value,...,"deleted":["key",...]}`, without `deleted` when nothing is.
pub fn changes_json(set: &[(Key, Value)], deleted: &[Key]) -> String {
    let mut out = entries_json(set);
    if deleted.is_empty() {
        return out;
    }
    // In the same object.
    out.pop();
    separate(&mut out, '{');
    out.push_str(deleted_json(deleted).trim_start_matches('{'));
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

/// `{"device":"name","data":{"key":value,...}}`.
pub(crate) fn child_entries_json(name: &str, entries: &[(Key, Value)]) -> String {
    of_child(name, &entries_json(entries))
}

/// `{"device":"name","data":{"deleted":["key",...]}}`.
pub(crate) fn child_deleted_json(name: &str, keys: &[Key]) -> String {
    of_child(name, &deleted_json(keys))
}

/// `{"device":"name","data":{"id":1,"method":"name","params":any}}`.
pub(crate) fn child_rpc_json(name: &str, request: &RpcRequest) -> String {
    of_child(name, &rpc_json(request, true))
}

/// `{"device":"name","reason":152}`: the gateway speaks for it no longer (MQTT 5's reason code for
/// an administrative action).
pub(crate) fn child_gone_json(name: &str) -> String {
    let mut out = device_member(name);
    out.push_str(",\"reason\":152}");
    out
}

/// `{"device":"name","id":1,"value":any}`, or `"values":{"key":any,...}` when they were asked for
/// as several. A single one that is not there has no value.
pub(crate) fn child_values_json(
    name: &str,
    id: i64,
    is_single: bool,
    entries: &[(Key, Value)],
) -> String {
    let mut out = device_member(name);
    let _ = write!(out, ",\"id\":{id}");
    match entries {
        [(_, value)] if is_single => {
            out.push_str(",\"value\":");
            push_value(&mut out, value);
        }
        [] if is_single => {}
        _ => {
            out.push_str(",\"values\":");
            out.push_str(&entries_json(entries));
        }
    }
    out.push('}');
    out
}

/// `{"device":"name","id":1,"client":{...},"shared":{...}}`, with the scopes that were asked for.
pub(crate) fn child_scopes_json(
    name: &str,
    id: i64,
    request: &AttributesRequest,
    attributes: &Attributes,
) -> String {
    let mut out = device_member(name);
    let _ = write!(out, ",\"id\":{id},");
    out.push_str(attributes_json(request, attributes).trim_start_matches('{'));
    out
}

/// `{"device":"name","id":1,"error":"why"}`.
pub(crate) fn child_error_json(name: &str, id: i64, error: &str) -> String {
    let mut out = device_member(name);
    let _ = write!(out, ",\"id\":{id},\"error\":");
    push_text(&mut out, error);
    out.push('}');
    out
}

fn device_member(name: &str) -> String {
    let mut out = String::from("{\"device\":");
    push_text(&mut out, name);
    out
}

fn of_child(name: &str, data: &str) -> String {
    let mut out = device_member(name);
    out.push_str(",\"data\":");
    out.push_str(data);
    out.push('}');
    out
}

fn separate(out: &mut String, opening: char) {
    if !out.ends_with(opening) {
        out.push(',');
    }
}

pub(crate) fn push_value(out: &mut String, value: &Value) {
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

pub(crate) fn push_text(out: &mut String, text: &str) {
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
