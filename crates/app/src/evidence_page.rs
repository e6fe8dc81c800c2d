//! The page of a bundle of evidence: one file that verifies in a browser without any connection.
//! Its policy allows the one script and style that are in it, by their hashes, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use veritwin_verify::page_text;

use crate::{Error, Result};

const TEMPLATE: &str = include_str!("evidence/page.html");
const STYLE: &str = include_str!("evidence/page.css");
const SCRIPT: &str = include_str!("evidence/page.js");
/// What the bundle is, for people, in four languages.
pub(crate) const READ_ME: &str = include_str!("evidence/read-me.txt");

fn source(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(veritwin_keys::sha256(text.as_bytes())))
}

/// The page with the evidence in it.
pub(crate) fn page(evidence: &[u8]) -> Result<Vec<u8>> {
    let frame = TEMPLATE
        .replace("{{script-hash}}", &source(SCRIPT))
        .replace("{{style-hash}}", &source(STYLE))
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT);
    // What was sealed comes last: nothing in it is taken for a place of the frame.
    let (before, after) = frame
        .split_once("{{evidence}}")
        .ok_or_else(|| Error::Internal("the page of evidence is damaged".to_owned()))?;
    Ok([before.as_bytes(), &page_text(evidence), after.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_evidence_ends_its_element_or_is_taken_for_a_place() {
        let evidence = br#"{"a":"</script><script>{{script}}{{evidence}}"}"#;
        let page = String::from_utf8(page(evidence).unwrap()).unwrap();
        assert_eq!(page.matches("</script>").count(), 2, "its own two");
        assert!(page.contains(r"\u003c/script>\u003cscript>{{script}}{{evidence}}"));
        assert!(page.contains("default-src 'none'; script-src 'sha256-"));
        assert!(!page.contains("http://") && !page.contains("https://"), "no address");
        assert!(
            !page.replace("{{script}}{{evidence}}", "").contains("{{"),
            "every place is filled"
        );
    }
}
