//! The page of a bundle of evidence: one file that verifies in a browser without any connection.
//! Its policy allows the one script and style that are in it, by their hashes, and nothing else.

use crate::{page_text, sha256};

const TEMPLATE: &str = include_str!("evidence/page.html");
const STYLE: &str = include_str!("evidence/page.css");
const SCRIPT: &str = include_str!("evidence/page.js");
/// What a bundle is, for people, in four languages.
pub const EVIDENCE_READ_ME: &str = include_str!("evidence/read-me.txt");

fn source(text: &str) -> String {
    format!("sha256-{}", sha256(text.as_bytes()).to_base64())
}

/// The page with the evidence in it.
pub fn evidence_page(evidence: &[u8]) -> Vec<u8> {
    let fill = |part: &str| {
        part.replace("{{script-hash}}", &source(SCRIPT))
            .replace("{{style-hash}}", &source(STYLE))
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
    };
    // What was sealed comes last: nothing in it is taken for a place of the frame.
    let (before, after) = TEMPLATE.split_once("{{evidence}}").unwrap_or((TEMPLATE, ""));
    [fill(before).as_bytes(), &page_text(evidence), fill(after).as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_evidence_ends_its_element_or_is_taken_for_a_place() {
        let evidence = br#"{"a":"</script><script>{{script}}{{evidence}}"}"#;
        let page = String::from_utf8(evidence_page(evidence)).unwrap();
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
