//! Whether the log of a running platform is shipped as it should be. One that ships nothing has
//! nothing to say.

use serde_json::{Value, json};

use super::Finding;
use crate::cli::Place;
use crate::control::{self, Request};
use crate::datadir::Paths;

const CHECK: &str = "shipped log";

/// Asks the running platform.
pub(super) async fn shipping(place: &Place) -> Vec<Finding> {
    let socket = Paths::new(&place.data).control_socket();
    // A socket that does not answer is a finding of its own.
    match control::call(&socket, Request::new("backup_status", json!({}))).await {
        Ok(facts) => findings(&facts["shipping"]),
        Err(_) => Vec::new(),
    }
}

fn findings(shipping: &Value) -> Vec<Finding> {
    let text = |name: &str| shipping[name].as_str();
    let Some(place) = text("place") else { return Vec::new() };
    let mut found = Vec::new();
    if let Some(problem) = text("problem") {
        let since = text("failing_since").unwrap_or("the start");
        let finding = format!("to {place}, fails since {since}: {problem}");
        let advice = "mend the place: the log is kept for it up to backup.log_hold_bytes_max, then \
                      the copy has a gap";
        found.push(Finding::error(CHECK, finding, advice));
    }
    if let Some(gap) = text("gap_at") {
        let finding = format!("a part of the log was cut at {gap} before it was shipped");
        let advice = "make a backup: moments after the gap are reached from one that is newer";
        found.push(Finding::warning(CHECK, finding, advice));
    }
    if found.is_empty() {
        let reached = text("reached_at").unwrap_or("nothing yet");
        found.push(Finding::ok(CHECK, format!("to {place}, complete up to {reached}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_place_that_fails_and_a_gap_are_told() {
        let check = |shipping: Value, expect: &[Level]| {
            let found = findings(&shipping);
            let levels: Vec<Level> = found.iter().map(|one| one.level).collect();
            assert_eq!(levels, expect, "{found:?}");
        };
        check(Value::Null, &[]);
        check(json!({"place": "file:///ships", "reached_at": "now"}), &[Level::Ok]);
        check(json!({"place": "x", "problem": "full"}), &[Level::Error]);
        let both = json!({"place": "x", "problem": "full", "gap_at": "then"});
        check(both, &[Level::Error, Level::Warning]);
    }
}
