//! What has to hold for any script and any payload: it ends within the bounds, the same gives the
//! same, and a mistake is at a place that is there.

use std::thread;

use crate::{DECODED_MAX, Decoder, Payload, STACK_BYTES, ScriptError, decoded_json};

/// A script, a zero byte, and the payload that it is run on; with the stack that scripts are
/// promised.
pub fn decoder(data: &[u8]) {
    let is_done = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, || check(data)).is_ok_and(|run| run.join().is_ok())
    });
    assert!(is_done, "what is said above has to hold");
}

fn check(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (source, payload) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(source) = std::str::from_utf8(source) else { return };
    let decoder = match Decoder::compile(source) {
        Ok(decoder) => decoder,
        Err(error) => return check_error(source, &error),
    };
    let meta = [("port".to_owned(), "5".to_owned())];
    let payload = Payload { bytes: payload, topic: "a/b", content_type: "text/plain", meta: &meta };
    let first = decoder.run(&payload);
    assert_eq!(first, decoder.run(&payload), "the same gave something else");
    match first {
        Ok(decoded) => {
            assert!(decoded.len() <= DECODED_MAX);
            let text = decoded_json(&decoded);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            assert_eq!(read.as_array().map(Vec::len), Some(decoded.len()), "no JSON");
        }
        Err(error) => check_error(source, &error),
    }
}

fn check_error(source: &str, error: &ScriptError) {
    assert!(!error.detail.is_empty());
    assert!(!error.detail.starts_with("the engine stopped"), "the engine panicked");
    if let Some(line) = error.line {
        // The engine ends lines as editors do.
        let lines = source.split(['\n', '\r']).count();
        assert!((1..=lines + 1).contains(&line), "line {line} of {lines}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_fuzzing_has_kept() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut count = 0;
        for kept in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(kept).join("decoder")) else { continue };
            for file in files {
                let data = std::fs::read(file.unwrap().path()).unwrap();
                super::decoder(&data);
                count += 1;
            }
        }
        assert!(count > 0, "no corpus");
    }
}
