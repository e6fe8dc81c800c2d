//! What has to hold for any bytes at the doors, beside "no panic". Compiled for tests, which read
//! the kept corpus and the regressions, and for the targets in `fuzz/`, which look for more.

mod bulk;
mod connection;
mod edge;
mod json;

use veritwin_domain::{Reading, Screening, Value};

pub use crate::mqtt::fuzzing::{mqtt_connect, mqtt_packet, mqtt_topic};
pub use crate::sparkplug::fuzzing::sparkplug;
#[cfg(test)]
pub(crate) use connection::Door;

pub use bulk::{arrow, line_protocol, ndjson, parquet, senml};
pub use connection::mqtt_connection;
pub use edge::edge_content;
pub use json::{device_json, ws_command};

/// Whatever was let in passes the whole screening when it is asked once more.
pub(crate) fn check_screened(readings: &[Reading]) {
    for Reading { key, value, .. } in readings {
        assert_eq!(Screening::ALL.key(key), None, "a refused key was let in");
        let found = Screening::ALL.value(key, value, false);
        assert_eq!(found, Ok(None), "a refused value was let in");
        if let Value::Double(number) = value {
            assert!(number.is_finite(), "a number that is not finite was let in");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file that is kept for a target, corpus and regressions.
    fn check(name: &str, target: fn(&[u8])) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let mut count = 0;
        for kept in ["corpus", "regressions"] {
            let Ok(files) = std::fs::read_dir(root.join(kept).join(name)) else { continue };
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                count += 1;
            }
        }
        assert!(count > 0, "nothing is kept for {name}");
    }

    #[test]
    fn what_fuzzing_has_kept() {
        check("mqtt_packet", super::mqtt_packet);
        check("mqtt_connect", super::mqtt_connect);
        check("mqtt_topic", super::mqtt_topic);
        check("mqtt_connection", super::mqtt_connection);
        check("device_json", super::device_json);
        check("ndjson", super::ndjson);
        check("line_protocol", super::line_protocol);
        check("senml", super::senml);
        check("arrow", super::arrow);
        check("parquet", super::parquet);
        check("ws_command", super::ws_command);
        check("sparkplug", super::sparkplug);
        check("edge_content", super::edge_content);
    }
}
