//! What may stand in the query of a read: the parameters that the OpenAPI document lists for it.
//! Anything else is refused by its name. A filter that is not known narrows nothing, and its
//! answer would be taken for less than it is.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::{MatchedPath, Query};
use axum::http::Method;
use axum::http::request::Parts;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, ParameterIn};

use super::Problem;

/// Longest name that is repeated in a refusal, in characters.
const NAME_CHARS_MAX: usize = 40;

/// The parameters of each read by its path, in the order of their names.
static KNOWN: LazyLock<HashMap<String, Vec<String>>> = LazyLock::new(|| {
    let reads = super::openapi().paths.paths.into_iter();
    reads.filter_map(|(path, item)| Some((path, names(item.get.as_ref()?)))).collect()
});

fn names(read: &Operation) -> Vec<String> {
    let all = read.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let queried = all.filter(|parameter| matches!(parameter.parameter_in, ParameterIn::Query));
    let mut names: Vec<String> = queried.map(|parameter| parameter.name.clone()).collect();
    names.sort();
    names
}

/// Refuses a read that asks by something it does not know.
pub(super) fn check(parts: &Parts) -> Result<(), Problem> {
    let is_asked = parts.uri.query().is_some_and(|query| !query.is_empty());
    if !is_asked || !matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let path = parts.extensions.get::<MatchedPath>();
    let Some(known) = path.and_then(|path| KNOWN.get(path.as_str())) else { return Ok(()) };
    // What cannot be read at all, the handler's own reader refuses.
    let asked = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).unwrap_or_default().0;
    let Some((name, _)) = asked.into_iter().find(|(name, _)| !known.contains(name)) else {
        return Ok(());
    };
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    let right = match known.as_slice() {
        [] => "expected none".to_owned(),
        known => format!("expected {}", known.join(", ")),
    };
    Err(Problem::invalid(format!("unknown query parameter {name:?}: {right}")).at(name))
}
