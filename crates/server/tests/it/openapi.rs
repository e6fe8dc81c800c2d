//! What the OpenAPI document says of a request, for tests that walk it.

use std::collections::BTreeSet;

use serde_json::Value;

/// The names of the fields of a request's body, those of what it holds too.
pub(crate) fn body_fields(document: &Value, operation: &Value) -> Vec<String> {
    let (mut seen, mut names) = (BTreeSet::new(), Vec::new());
    collect(document, &operation["requestBody"], &mut seen, &mut names);
    names
}

fn collect(document: &Value, schema: &Value, seen: &mut BTreeSet<String>, out: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str)
                && seen.insert(name.to_owned())
            {
                let pointer = name.trim_start_matches('#');
                collect(document, document.pointer(pointer).unwrap(), seen, out);
            }
            if let Some(Value::Object(properties)) = object.get("properties") {
                out.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| collect(document, inner, seen, out));
        }
        Value::Array(all) => all.iter().for_each(|inner| collect(document, inner, seen, out)),
        _ => {}
    }
}
