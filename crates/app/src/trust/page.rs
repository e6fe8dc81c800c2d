//! A trust page as a file: what it states as JSON, the same in words for people, and a signature
//! over all of it. Nothing in front of the signature can be changed without showing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// In front of what is signed.
pub(super) const SIGNED: &[u8] = b"veritwin trust page v1\n";
/// What a statement says of itself.
pub(super) const STATEMENT: &str = "veritwin trust page";
/// The form that is written.
pub(super) const STATEMENT_VERSION: u32 = 2;
/// The oldest form that is read: it has no lists of evidence.
pub(super) const STATEMENT_VERSION_MIN: u32 = 1;
/// Between the page and its signature. The page itself holds no such text: what people wrote is
/// escaped in it.
const MARK: &str = "<!--veritwin-trust-page-signature-v1\n";
const END: &str = "\n-->\n";
const OPENS: &str = "<script type=\"application/json\" id=\"statement\">";
const CLOSES: &str = "</script>";
/// What every page says of itself.
pub(super) const PROVES: &str = "That the checks named here ran and found what is said, at the \
                                 times that are said. A check samples; it cannot prove that \
                                 nothing else happened.";

/// What a page states. Its fields stand in one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statement {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) version: u32,
    pub(super) organisation: Organisation,
    /// Who runs the platform, and the version of the policy in force.
    pub(super) operator: String,
    pub(super) policy_version: u64,
    pub(super) made_at: String,
    /// The log that holds the evidence, and the key that signs its checkpoints.
    pub(super) log_origin: String,
    pub(super) log_vkey: String,
    pub(super) promises: Vec<Stated>,
    /// The lists of evidence whose digests are leaves, by leaf.
    #[serde(default)]
    pub(super) lists: BTreeMap<u64, String>,
    pub(super) sub_processors: Vec<StatedProcessor>,
    pub(super) regions: Regions,
    pub(super) proves: String,
}

/// Whose page it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Organisation {
    pub(super) id: String,
    pub(super) name: String,
}

/// A promise as it stood.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stated {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    /// What the check found; of a broken promise, not where.
    pub(super) summary: Option<String>,
    pub(super) checked_at: Option<String>,
    /// SHA-256 of the evidence, in hexadecimal.
    pub(super) evidence_sha256: Option<String>,
    /// The evidence itself, in hexadecimal; of a broken promise it is shown inside only.
    pub(super) evidence: Option<String>,
    /// The leaf that holds the digest, or that of a list which names it.
    pub(super) ledger_index: Option<u64>,
    /// That this is in that leaf, and the leaf in the log.
    pub(super) record_proof: Option<String>,
    pub(super) leaf_proof: Option<String>,
}

/// A sub-processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatedProcessor {
    pub(super) name: String,
    pub(super) purpose: String,
    pub(super) country: String,
    pub(super) agreement: String,
    /// `platform` or `organisation`.
    pub(super) of: String,
}

/// Where data stands, and where it may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Regions {
    /// Where the operator states that the platform stands.
    pub(super) platform: Option<String>,
    /// The jurisdiction that the organisation pinned.
    pub(super) pinned: Option<String>,
    pub(super) flows: Vec<StatedFlow>,
}

/// A way to another jurisdiction that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatedFlow {
    pub(super) way: String,
    pub(super) jurisdiction: String,
    pub(super) mechanism: String,
    pub(super) review_at: String,
}

/// What stands behind a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageSignature {
    pub(super) public_key: String,
    pub(super) signature: String,
}

/// A page that was taken apart.
pub(super) struct Parts<'a> {
    /// Everything that is signed.
    pub(super) signed: &'a str,
    pub(super) statement: Statement,
    pub(super) signature: PageSignature,
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal(error.to_string()))
}

/// The page without its signature.
pub(super) fn unsigned(statement: &Statement) -> Result<String> {
    // Within strings alone can the letter be: no text ends the element that it stands in.
    let json = to_json(statement)?.replace('<', "\\u003c");
    let name = escape(&statement.organisation.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" \
         href=\"data:,\">\n<title>{name}: what is promised, and what shows it</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
    page.push_str(&head(statement));
    page.push_str(&promises(&statement.promises));
    page.push_str(&processors(&statement.sub_processors));
    page.push_str(&regions(&statement.regions));
    page.push_str(&verification(statement));
    page.push_str(&format!("</main>\n{OPENS}{json}{CLOSES}\n</body>\n</html>\n"));
    Ok(page)
}

/// The page with its signature.
pub(super) fn signed(unsigned: &str, signature: &PageSignature) -> Result<String> {
    Ok(format!("{unsigned}{MARK}{}{END}", to_json(signature)?))
}

/// Takes a page apart. Nothing of it is believed yet.
pub(super) fn parts(page: &str) -> Result<Parts<'_>> {
    let no_page = || Error::invalid("not a trust page");
    let (signed, tail) = page.rsplit_once(MARK).ok_or_else(no_page)?;
    let signature = tail.strip_suffix(END).ok_or_else(no_page)?;
    let signature = serde_json::from_str(signature).map_err(|_| no_page())?;
    let (_, json) = signed.rsplit_once(OPENS).ok_or_else(no_page)?;
    let (json, _) = json.split_once(CLOSES).ok_or_else(no_page)?;
    let statement = serde_json::from_str(json).map_err(|_| no_page())?;
    Ok(Parts { signed, statement, signature })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A state in words.
fn words(state: &str) -> &str {
    match state {
        "not_evidenced" => "not evidenced",
        "not_applicable" => "not applicable",
        other => other,
    }
}

fn head(statement: &Statement) -> String {
    let count = |state: &str| statement.promises.iter().filter(|one| one.state == state).count();
    let states = ["proven", "failing", "stale", "not_evidenced", "not_applicable"];
    let counted: Vec<String> = states
        .into_iter()
        .map(|state| (state, count(state)))
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", words(state)))
        .collect();
    format!(
        "<h1>{}</h1>\n<p class=\"lead\">What is promised about data here, what state each promise \
         is in, and what shows it.</p>\n<p>{}. Made {} by {}, under version {} of its \
         policy.</p>\n",
        escape(&statement.organisation.name),
        counted.join(", "),
        escape(&statement.made_at),
        escape(&statement.operator),
        statement.policy_version,
    )
}

fn promises(all: &[Stated]) -> String {
    let mut text = "<h2>Promises</h2>\n<ol class=\"promises\">\n".to_owned();
    for one in all {
        text.push_str(&format!(
            "<li class=\"{}\"><p><b>{}</b> {}</p>\n<p class=\"state\">{}",
            escape(&one.state),
            escape(&one.id),
            escape(&one.text),
            escape(words(&one.state)),
        ));
        if let Some(at) = &one.checked_at {
            text.push_str(&format!(", checked {}", escape(at)));
        }
        if let Some(index) = one.ledger_index {
            text.push_str(&format!(", leaf {index} of the log"));
        }
        text.push_str("</p>\n");
        for said in [&one.summary, &one.reason].into_iter().flatten() {
            text.push_str(&format!("<p>{}</p>\n", escape(said)));
        }
        if let Some(digest) = &one.evidence_sha256 {
            text.push_str(&format!("<p><code>{}</code></p>\n", escape(digest)));
        }
        text.push_str("</li>\n");
    }
    text + "</ol>\n"
}

fn processors(all: &[StatedProcessor]) -> String {
    let mut text = "<h2>Sub-processors</h2>\n".to_owned();
    if all.is_empty() {
        return text + "<p>None is entered.</p>\n";
    }
    text.push_str("<ul>\n");
    for one in all {
        let whose = if one.of == "platform" { "of the platform" } else { "of the organisation" };
        text.push_str(&format!(
            "<li><b>{}</b>, {whose}: {}; {}; agreement: {}</li>\n",
            escape(&one.name),
            escape(&one.purpose),
            escape(&one.country),
            escape(&one.agreement),
        ));
    }
    text + "</ul>\n"
}

fn regions(regions: &Regions) -> String {
    let said =
        |place: &Option<String>| place.as_deref().map_or_else(|| "not stated".to_owned(), escape);
    let mut text = format!(
        "<h2>Regions</h2>\n<p>Where the operator states that the platform stands: {}. Where the \
         organisation's data is to stay: {}.</p>\n",
        said(&regions.platform),
        said(&regions.pinned),
    );
    if regions.flows.is_empty() {
        return text + "<p>No way to another jurisdiction is entered.</p>\n";
    }
    text.push_str("<ul>\n");
    for one in &regions.flows {
        text.push_str(&format!(
            "<li>{} to {}: {}, reviewed by {}</li>\n",
            escape(&one.way),
            escape(&one.jurisdiction),
            escape(&one.mechanism),
            escape(&one.review_at),
        ));
    }
    text + "</ul>\n"
}

fn verification(statement: &Statement) -> String {
    format!(
        "<h2>How to check this page</h2>\n<p>Save it as a file and run <code>veritwin verify FILE \
         --vkey KEY</code>; no account and no network is needed. The key is this one, if you have \
         it from somebody you trust:</p>\n<p><code>{}</code></p>\n<p>{}</p>\n",
        escape(&statement.log_vkey),
        escape(&statement.proves),
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 2.5rem 1rem 4rem; }
h1 { font-weight: 600; letter-spacing: -.01em; line-height: 1.2; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .75rem; }
.lead { font-size: 1.1rem; }
.promises { list-style: none; padding: 0; }
li { margin: 0 0 .5rem; }
.promises li { border-top: 1px solid color-mix(in srgb, currentColor 18%, transparent);
padding: .75rem 0; margin: 0; }
.promises p { margin: 0 0 .25rem; }
.state { font-weight: 600; }
.failing .state { color: light-dark(#a3200d, #ff9b8a); }
code { font: .85em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A statement of an organisation of this name.
    pub(in super::super) fn statement(name: &str) -> Statement {
        Statement {
            kind: STATEMENT.to_owned(),
            version: STATEMENT_VERSION,
            organisation: Organisation { id: "1".to_owned(), name: name.to_owned() },
            operator: "Op".to_owned(),
            policy_version: 1,
            made_at: "2027-01-15T08:00:00Z".to_owned(),
            log_origin: "example/ledger/1".to_owned(),
            log_vkey: String::new(),
            promises: Vec::new(),
            lists: BTreeMap::new(),
            sub_processors: Vec::new(),
            regions: Regions::default(),
            proves: PROVES.to_owned(),
        }
    }

    #[test]
    fn what_people_wrote_stays_text() {
        let name = format!("</script>{MARK}{END}<script>alert(1)</script>");
        let statement = statement(&name);
        let page = unsigned(&statement).expect("a page");
        assert!(!page.contains(MARK), "{page}");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        let signature = PageSignature { public_key: "aa".to_owned(), signature: "bb".to_owned() };
        let whole = signed(&page, &signature).expect("signed");
        let parts = parts(&whole).expect("parts");
        assert_eq!(parts.statement, statement);
        assert_eq!(parts.signature, signature);
        assert_eq!(parts.signed, page);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let page = unsigned(&statement("Acme")).expect("a page");
        for text in ["", "<html>", page.as_str()] {
            assert!(matches!(parts(text), Err(Error::Invalid { .. })), "{text}");
        }
    }
}
