//! Where a request comes from: the peer's address, and the kind of browser and system its
//! `User-Agent` names, reduced to closed lists. The header itself is kept nowhere.

use std::sync::Arc;

use axum::extract::connect_info::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use std::net::SocketAddr;
use veritwin_domain::Origin;

/// Longer headers are not looked into.
const USER_AGENT_BYTES_MAX: usize = 512;

/// Browsers and programs by a word of their header, most specific first: most browsers name
/// others as well.
const BROWSERS: [(&str, &str); 12] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-requests/", "Python"),
    ("okhttp/", "OkHttp"),
    ("Go-http-client/", "Go"),
];

/// Systems: a word of the header, the name, and what stands before the version, if it is told.
const SYSTEMS: [(&str, &str, Option<&str>); 8] = [
    ("iPhone", "iOS", Some("OS ")),
    ("iPad", "iPadOS", Some("OS ")),
    ("Android", "Android", Some("Android ")),
    ("Windows NT", "Windows", Some("Windows NT ")),
    ("Mac OS X", "macOS", Some("Mac OS X ")),
    ("CrOS", "ChromeOS", None),
    ("Linux", "Linux", None),
    ("FreeBSD", "FreeBSD", None),
];

/// The origin of a request.
pub(super) fn of(parts: &Parts) -> Origin {
    from(&parts.extensions, &parts.headers)
}

fn from(extensions: &Extensions, headers: &HeaderMap) -> Origin {
    let address = extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip().to_canonical());
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = agent.filter(|text| text.len() <= USER_AGENT_BYTES_MAX).unwrap_or_default();
    Origin { address, browser: browser(agent), system: system(agent) }
}

fn browser(agent: &str) -> Option<&'static str> {
    BROWSERS.into_iter().find(|(word, _)| agent.contains(word)).map(|(_, name)| name)
}

fn system(agent: &str) -> Option<Arc<str>> {
    let (_, name, before) = SYSTEMS.into_iter().find(|(word, ..)| agent.contains(word))?;
    let version = before
        .and_then(|before| agent.split_once(before))
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).take(4).collect::<String>());
    match version {
        Some(version) if !version.is_empty() => Some(format!("{name} {version}").into()),
        _ => Some(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_become_words_of_closed_lists() {
        let check = |agent: &str, expect: (Option<&str>, Option<&str>)| {
            assert_eq!((browser(agent), system(agent).as_deref()), expect, "{agent}");
        };
        check(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
            (Some("Edge"), Some("Windows 10")),
        );
        check(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 \
             (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            (Some("Safari"), Some("iOS 18")),
        );
        check(
            "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
            (Some("Firefox"), Some("Linux")),
        );
        check("curl/8.5.0", (Some("curl"), None));
        check("ada@example.org", (None, None));
        check("", (None, None));
    }
}
