//! What has to hold for any script and any payload: it ends within the bounds, the same gives the
//! same, and a mistake is at a place that is there.

use crate::{DECODED_MAX, Decoder, Payload, ScriptError, decoded_json};

/// A script, a zero byte, and the payload that it is run on.
pub fn decoder(data: &[u8]) {
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
    if let Some(line) = error.line {
        let lines = source.split('\n').count();
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
                crate::tests::deep(move || super::decoder(&data));
                count += 1;
            }
        }
        assert!(count > 0, "no corpus");
    }
}
