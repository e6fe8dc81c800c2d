//! What a page, script or style sheet would load, and from where. Plain text search: it knows the
//! ways a browser is told to load something, not every way to hide one from a reader; the content
//! security policy is the wall behind it.

use std::collections::BTreeSet;

/// What stands before an address that a browser loads.
const LOADS: [&str; 15] = [
    "src=",
    "srcset=",
    "src:",
    "action=",
    "url(",
    "fetch(",
    "import(",
    "import",
    "from",
    "Worker(",
    "EventSource(",
    "WebSocket(",
    "sendBeacon(",
    "importScripts(",
    ".src=",
];
const SCHEMES: [&str; 5] = ["https://", "http://", "wss://", "ws://", "//"];
/// Kinds of file that are followed.
const FILES: [&str; 14] = [
    "js",
    "mjs",
    "css",
    "wasm",
    "woff",
    "woff2",
    "svg",
    "png",
    "jpg",
    "webp",
    "ico",
    "json",
    "glb",
    "webmanifest",
];

/// The address right after `at`, if it names another host.
fn foreign_host(text: &str, at: usize, scheme: &str) -> Option<String> {
    let rest = text.get(at + scheme.len()..)?;
    // `wss://${location.host}` and `"https://" + host` name no host of their own.
    let host: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).collect();
    (host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.contains('.')).then_some(host)
}

/// Whether what stands before `at` makes a browser load what follows.
fn is_load(text: &str, at: usize) -> bool {
    let Some(before) = text.get(..at) else { return false };
    let quoted = before.ends_with(['"', '\'', '`', '(', '=']);
    if !quoted {
        return false;
    }
    let before = before.trim_end_matches(['"', '\'', '`', ' ', '\\']);
    if LOADS.iter().any(|load| before.ends_with(load)) {
        return true;
    }
    // A link that people follow is none; a style sheet or icon is.
    before.ends_with("href=")
        && before.rfind('<').is_some_and(|tag| before[tag..].starts_with("<link"))
}

/// The first load from another host.
pub(super) fn foreign_load(text: &str) -> Option<String> {
    SCHEMES.iter().find_map(|scheme| {
        let mut places = text.match_indices(scheme);
        places
            .find_map(|(at, _)| is_load(text, at).then(|| foreign_host(text, at, scheme)).flatten())
    })
}

/// The first source of a content security policy that is another host, or all of them; or the
/// policy's lack of a default.
pub(super) fn foreign_source(policy: &str) -> Option<String> {
    let own = |source: &str| {
        matches!(source, "'self'" | "'none'" | "'wasm-unsafe-eval'" | "data:" | "blob:")
            || source.starts_with("'nonce-")
            || source.starts_with("'sha256-")
    };
    let mut has_default = false;
    for directive in policy.split(';').map(str::trim).filter(|text| !text.is_empty()) {
        let mut words = directive.split_whitespace();
        let name = words.next().unwrap_or_default();
        has_default |= name == "default-src";
        if let Some(source) = words.find(|source| !own(source)) {
            return Some(format!("{name} {source}"));
        }
    }
    (!has_default).then(|| "no default-src".to_owned())
}

fn is_file(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, extension)| !stem.is_empty() && FILES.contains(&extension))
}

/// Own files that a text names: `assets/x.js`, `./x.js` beside it, and `src` or `href` from `/`.
pub(super) fn references(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut take = |at: usize, prefix: &str| {
        let rest = text.get(at..).unwrap_or_default();
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "._-/".contains(*c)).collect();
        if is_file(&name) && !name.contains("..") {
            found.insert(format!("{prefix}{name}"));
        }
    };
    for (at, marker) in text.match_indices("assets/") {
        take(at + marker.len(), "/assets/");
    }
    for quote in ["\"./", "'./", "`./"] {
        for (at, marker) in text.match_indices(quote) {
            take(at + marker.len(), "/assets/");
        }
    }
    for marker in ["src=\"/", "href=\"/"] {
        for (at, marker) in text.match_indices(marker) {
            take(at + marker.len(), "/");
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_from_elsewhere_are_found() {
        for text in [
            r#"<script src="https://cdn.example.com/x.js">"#,
            r#"<script src="//cdn.example.com/x.js">"#,
            r#"<link rel="stylesheet" href="https://fonts.example.com/css">"#,
            "@font-face{src:url(https://fonts.example.com/a.woff2)}",
            "fetch(\"https://api.example.com/v1\")",
            "import x from'https://esm.example.com/x'",
            "await import(`https://esm.example.com/x`)",
            "new WebSocket('wss://push.example.com')",
            "navigator.sendBeacon(\"https://stats.example.com\")",
        ] {
            assert!(foreign_load(text).is_some_and(|host| host.contains("example.com")), "{text}");
        }
    }

    #[test]
    fn what_is_no_load_is_left_alone() {
        for text in [
            r#"<svg xmlns="http://www.w3.org/2000/svg">"#,
            r#"<a href="https://example.com/manual">"#,
            r#"throw Error("see https://react.dev/errors/1")"#,
            "new WebSocket(`wss://${location.host}/v1/ws`)",
            "fetch('/v1/session') // https://example.com",
            "https://example.com",
            "a=b//c.d",
        ] {
            assert_eq!(foreign_load(text), None, "{text}");
        }
    }

    #[test]
    fn policies_are_read() {
        let check = |policy: &str, expect: Option<&str>| {
            assert_eq!(foreign_source(policy).as_deref(), expect, "{policy}");
        };
        check("default-src 'none'; script-src 'self' 'nonce-abc'; img-src 'self' data:", None);
        check("default-src 'self'; img-src https://x.example", Some("img-src https://x.example"));
        check("default-src *", Some("default-src *"));
        check("default-src 'none'; script-src 'unsafe-inline'", Some("script-src 'unsafe-inline'"));
        check("script-src 'self'", Some("no default-src"));
    }

    #[test]
    fn own_files_are_followed() {
        let text = r#"<script src="/assets/index-a1.js"><link href="/favicon.svg">
            import("./Chart-b2.js");["assets/page-c3.css"] "assets/" ./no "./x" ../assets/no.exe"#;
        let found: Vec<String> = references(text).into_iter().collect();
        assert_eq!(
            found,
            ["/assets/Chart-b2.js", "/assets/index-a1.js", "/assets/page-c3.css", "/favicon.svg"]
        );
    }
}
