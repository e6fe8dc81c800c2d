//! Batches of a store-and-forward edge: each line is read by itself, and what is written down again
//! is read as the same.

use veritwin_domain::{IngestLimits, Screening};

use super::check_screened;
use crate::payload::{EDGE_LINES_MAX, EdgeContent, KeyTable, parse_edge_content, push_edge_line};

/// The content of a batch.
pub fn edge_content(data: &[u8]) {
    let limits = IngestLimits::default();
    let parse =
        |content: &[u8]| parse_edge_content(content, &limits, &mut KeyTable::new(Screening::ALL));
    let Ok(lines) = parse(data) else { return };
    assert!(lines.len() <= EDGE_LINES_MAX);
    for line in lines {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                assert!(error.position <= data.len(), "{error}");
                continue;
            }
        };
        if let EdgeContent::Readings(readings) = &line.content {
            check_screened(readings);
        }
        let mut text = String::new();
        push_edge_line(&mut text, &line);
        assert_eq!(text.matches('\n').count(), 1, "one line");
        assert_eq!(parse(text.as_bytes()), Ok(vec![Ok(line)]), "written again");
    }
}
