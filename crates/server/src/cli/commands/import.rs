//! `veritwin import`: tells a building model from an inventory by its content, hands it to the
//! platform, and shows what came of it. What is neither is refused by name.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{ask, columns, number, spinner, text};
use crate::cli::{BadArguments, ImportArguments, print, print_json};
use crate::control::Request;

/// Largest file that `import` reads; the platform's own bound for a source is the same.
const IMPORT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How much of a file says what it is.
const SNIFF_BYTES: usize = 4096;

/// What `import` can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Ifc,
    Inventory,
}

/// Tells an IFC file from an inventory by its beginning; anything else is refused by name.
fn detect(path: &Path, beginning: &[u8]) -> Result<FileKind, String> {
    const EXPECTED: &str = "expected an IFC file (it begins with ISO-10303-21;) or a device \
                            inventory CSV (its header is such as name,type,space,key,unit)";
    let plain = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let plain = plain.trim_ascii_start();
    let refuse = |what: &str| Err(format!("{}: {what}; {EXPECTED}", path.display()));
    if plain.is_empty() {
        return refuse("the file is empty");
    }
    if plain.starts_with(b"ISO-10303-21") {
        return Ok(FileKind::Ifc);
    }
    if plain.starts_with(b"PK\x03\x04") {
        return refuse("a ZIP archive: unpack it and import the .ifc file inside");
    }
    if plain.starts_with(b"glTF") || plain.starts_with(b"\x89PNG") || plain.starts_with(b"\xff\xd8")
    {
        return refuse("glTF and images cannot be imported as a twin yet");
    }
    if plain.starts_with(b"<") {
        return refuse("XML (such as ifcXML) is not supported: save it as IFC-SPF");
    }
    if plain.starts_with(b"{") || plain.starts_with(b"[") || plain.starts_with(b"@prefix") {
        return refuse("JSON and Turtle (DTDL, Brick) cannot be imported yet");
    }
    if plain.starts_with(b"\xff\xfe") || plain.starts_with(b"\xfe\xff") || plain.contains(&0) {
        return refuse("not UTF-8 text");
    }
    let is_ifc_by_name =
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ifc"));
    if is_ifc_by_name {
        return refuse("named .ifc but not one");
    }
    // A character may be cut at the end of the part that is looked at.
    let is_text = match std::str::from_utf8(plain) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && beginning.len() == SNIFF_BYTES,
    };
    if is_text { Ok(FileKind::Inventory) } else { refuse("not UTF-8 text") }
}

fn read_import(path: &Path) -> anyhow::Result<(FileKind, Vec<u8>)> {
    let shown = path.display();
    let file = std::fs::File::open(path).map_err(|error| {
        anyhow::Error::new(BadArguments(format!("cannot read {shown}: {error}")))
    })?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(BadArguments(format!("{shown} is not a file")).into());
    }
    let mut bytes = Vec::new();
    file.take(IMPORT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > IMPORT_BYTES_MAX {
        bail!(
            "limit import_bytes_max exceeded: at most {IMPORT_BYTES_MAX}, {shown} has {}",
            meta.len()
        );
    }
    let kind = detect(path, &bytes[..bytes.len().min(SNIFF_BYTES)]).map_err(anyhow::Error::msg)?;
    Ok((kind, bytes))
}

/// `veritwin import FILE`
pub(in crate::cli) fn import(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    if arguments.remote.is_elsewhere() || arguments.tokens.is_some() {
        let detail = "--address and --tokens are for the folder of a tenant: a file goes to the \
                      platform of the data directory, and --json shows the tokens";
        return Err(BadArguments(detail.to_owned()).into());
    }
    let (kind, bytes) = read_import(&arguments.file)?;
    let ImportArguments { name, twin, tenant, .. } = arguments;
    let request = match kind {
        FileKind::Ifc => {
            Request::new("import_twin", json!({"tenant": tenant, "name": name, "twin": twin}))
        }
        FileKind::Inventory if name.is_some() => {
            let detail = "--name is for a building model; an inventory names its devices itself";
            return Err(BadArguments(detail.to_owned()).into());
        }
        FileKind::Inventory => {
            Request::new("import_inventory", json!({"tenant": tenant, "twin": twin}))
        }
    };
    let bar = spinner(format!("importing {}", arguments.file.display()));
    let facts = ask(&arguments.remote.place.place, request.with_body(bytes));
    bar.finish_and_clear();
    let facts = facts.with_context(|| format!("{} was not imported", arguments.file.display()))?;
    if arguments.remote.place.json {
        print_json(&facts)?;
    } else if kind == FileKind::Ifc {
        print(&show_twin(&facts));
    } else {
        print(&show_inventory(&facts));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_twin(facts: &Value) -> String {
    let mut out = format!(
        "twin {}  {} ({})\n{} storeys, {} spaces, {} elements, {} of them sensors",
        text(facts, "twin_id"),
        text(facts, "name"),
        text(facts, "schema"),
        number(facts, "storeys"),
        number(facts, "spaces"),
        number(facts, "elements"),
        number(facts, "sensors"),
    );
    for warning in facts.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let _ = write!(out, "\nwarning: {}", warning.as_str().unwrap_or_default());
    }
    out
}

fn show_inventory(facts: &Value) -> String {
    let mut out =
        format!("{} devices made, {} changed", number(facts, "created"), number(facts, "updated"));
    if facts.get("twin_id").is_some_and(Value::is_string) {
        let _ = write!(out, ", in twin {}", text(facts, "twin_id"));
    }
    let tokens = facts.get("tokens").and_then(Value::as_array);
    if let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) {
        let mut rows = vec![vec!["device".to_owned(), "access token (shown once)".to_owned()]];
        rows.extend(
            tokens
                .iter()
                .map(|row| vec![text(row, "device").to_owned(), text(row, "token").to_owned()]),
        );
        let _ = write!(out, "\n\n{}", columns(&rows));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_by_content() {
        let check = |name: &str, content: &[u8], expected: Result<FileKind, &str>| {
            let found = detect(Path::new(name), content);
            match (found, expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected, "{name}"),
                (Err(text), Err(part)) => assert!(text.contains(part), "{name}: {text}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        };
        check("a.ifc", b"ISO-10303-21;\nHEADER;", Ok(FileKind::Ifc));
        check("a.txt", b"\xef\xbb\xbf\r\n ISO-10303-21;", Ok(FileKind::Ifc));
        check("a.csv", b"name,type\nx,y\n", Ok(FileKind::Inventory));
        check("a.csv", "name,space\nGerät,Büro".as_bytes(), Ok(FileKind::Inventory));
        check("a.ifc", b"PK\x03\x04....", Err("unpack it"));
        check("a.ifc", b"hello", Err("named .ifc"));
        check("a.xml", b"<?xml version=\"1.0\"?>", Err("ifcXML"));
        check("a.glb", b"glTF\x02", Err("glTF"));
        check("a.ttl", b"@prefix brick: <x> .", Err("Turtle"));
        check("a.csv", b"  \n", Err("empty"));
        check("a.csv", b"name,\xe9\n", Err("UTF-8"));
        check("a.csv", b"\xff\xfen\0", Err("UTF-8"));
        let mut cut = vec![b'n'; SNIFF_BYTES - 1];
        cut.push(0xc3);
        check("a.csv", &cut, Ok(FileKind::Inventory));
    }

    #[test]
    fn imports_are_shown_with_their_tokens_once() {
        let facts = json!({"created": 1, "updated": 2, "twin_id": null,
            "tokens": [{"device": "ahu-1", "token": "T"}]});
        let shown = show_inventory(&facts);
        assert!(shown.starts_with("1 devices made, 2 changed\n"), "{shown}");
        assert!(shown.contains("ahu-1") && shown.contains("shown once"), "{shown}");
    }
}
