//! Every tenant reads what the checks of promises say. So their sources quote no error, no file and
//! no address, except where the text goes to the log or is replaced on its way.

use std::fs;
use std::path::Path;

use crate::harness::files_below;

/// Where checks say something.
const SOURCES: [&str; 2] = ["/../app/src/promises", "/src/probes"];
/// An internal error is told by a fixed sentence, and logs are the operator's.
const INSIDE: &[&str] = &["Error::Internal(", "tracing::"];
/// What would quote, and what has to stand in the same line for it not to be told.
const QUOTES: [(&str, &[&str]); 12] = [
    ("error.to_string()", INSIDE),
    ("(e.to_string()", INSIDE),
    ("| e.to_string()", INSIDE),
    ("{error", INSIDE),
    ("{e}", INSIDE),
    ("{:?}", INSIDE),
    ("ToString::to_string", &[]),
    // The file in which a text was found: a warning names it.
    (".display()", &["let (file, offset) = "]),
    // Of the listeners, and the name that their certificates have.
    ("target.address", &["tracing::", "TcpStream::connect("]),
    ("self.server_name", &["ServerName::try_from("]),
    // Who answers for a customer.
    ("answered_by.name", &["answered_by.name == NAME"]),
    ("answered_by.email", &[]),
];

/// The lines of a source's product code that would quote.
fn quoting(source: &str) -> Vec<&str> {
    let product = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_quoting = |line: &&str| {
        let may_not = |(quote, unless): &(&str, &[&str])| {
            line.contains(quote) && !unless.iter().any(|allowed| line.contains(allowed))
        };
        !line.trim_start().starts_with("//") && QUOTES.iter().any(may_not)
    };
    product.lines().filter(is_quoting).collect()
}

#[test]
fn no_check_quotes_an_error_a_file_or_an_address() {
    let mut looked_at = 0;
    for folder in SOURCES {
        let folder = format!("{}{folder}", env!("CARGO_MANIFEST_DIR"));
        for path in files_below(Path::new(&folder)) {
            // Tests of the app that stand in a file of their own.
            if path.ends_with("promises/tests.rs") {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let found = quoting(&source);
            assert!(found.is_empty(), "{}: {found:#?}", path.display());
            looked_at += 1;
        }
    }
    assert!(looked_at > 30, "{looked_at} sources are not all");
}

#[test]
fn what_would_quote_is_found() {
    for line in [
        "let found = walked.map_err(|error| (error.to_string(), place));",
        "Err(error) => return ProbeAnswer::CouldNotRun(error.to_string()),",
        ".map_err(|e| e.to_string())?;",
        ".map_err(|error| format!(\"{}: {error}\", ask.uri))?;",
        "let failed = |error: std::io::Error| format!(\"from {source}: {error:#}\");",
        "place: format!(\"{}, byte {}\", hit.file.display(), hit.offset),",
        "Err(_) => Err(format!(\"{name}: {} is silent\", target.address)),",
        ".map_err(|_| format!(\"{:?} is not a server name\", self.server_name))?;",
        "(\"named as answering\".to_owned(), answered_by.name.clone()),",
    ] {
        assert_eq!(quoting(line), [line]);
    }
    let told = "tracing::warn!(address = %target.address, \"{error}\");\n\
                // error.to_string()\n\
                #[cfg(test)]\nmod tests {\nerror.to_string()";
    assert_eq!(quoting(told), [""; 0]);
}
