//! Catalogues in OSCAL's JSON (NIST, version 1): what of them is a control, with its text, and the
//! words in the place of its parameters.

use std::collections::HashMap;

use serde::Deserialize;

use crate::model::ControlFacts;
use crate::{Error, Result};

/// Largest catalogue file, in bytes.
pub const CATALOGUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest text of a control that is kept, in characters.
const CONTROL_CHARS_MAX: usize = 8_000;
const LABEL_CHARS_MAX: usize = 300;
const IDENTIFIER_CHARS_MAX: usize = 64;
/// Longest words in the place of a parameter: they are gone through once per place.
const WORDS_CHARS_MAX: usize = 1_000;
/// Most text of all controls of a catalogue together, in bytes: words that stand in many places
/// make more of it than the file has.
const TEXTS_BYTES_MAX: usize = CATALOGUE_BYTES_MAX;
/// Parts of a control that are its text; guidance and assessment stay in the file.
const STATEMENT: &str = "statement";

/// A catalogue file.
#[derive(Debug, Deserialize)]
pub struct CatalogueFile {
    catalog: Catalog,
}

#[derive(Debug, Deserialize)]
struct Catalog {
    uuid: String,
    metadata: Metadata,
    #[serde(default)]
    groups: Vec<Group>,
    #[serde(default)]
    controls: Vec<Control>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    title: String,
    #[serde(default)]
    version: String,
}

#[derive(Debug, Deserialize)]
struct Group {
    #[serde(default)]
    title: String,
    #[serde(default)]
    groups: Vec<Group>,
    #[serde(default)]
    controls: Vec<Control>,
}

#[derive(Debug, Deserialize)]
struct Control {
    id: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    params: Vec<Param>,
    #[serde(default)]
    parts: Vec<Part>,
    #[serde(default)]
    controls: Vec<Control>,
}

#[derive(Debug, Deserialize)]
struct Param {
    id: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    select: Option<Select>,
}

#[derive(Debug, Deserialize)]
struct Select {
    #[serde(default)]
    choice: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(default)]
    name: String,
    #[serde(default)]
    prose: Option<String>,
    #[serde(default)]
    props: Vec<Property>,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Property {
    name: String,
    value: String,
}

/// A catalogue as it is taken into the workspace.
pub(super) struct Catalogue {
    pub(super) reference: String,
    pub(super) name: String,
    pub(super) edition: String,
    pub(super) controls: Vec<ControlFacts>,
}

impl CatalogueFile {
    /// What of the file is kept. `most` bounds its controls.
    pub(super) fn read(self, most: usize) -> Result<Catalogue> {
        let Catalog { uuid, metadata, groups, controls } = self.catalog;
        let mut taken = Taken::default();
        take_controls(controls, "", most, &mut taken)?;
        take_groups(groups, most, &mut taken)?;
        let found = taken.controls;
        if found.is_empty() {
            return Err(Error::invalid_at("catalog", "there is no control in this catalogue"));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = found.iter().find(|one| !seen.insert(one.identifier.clone())) {
            let detail = format!("the control {} stands in it twice", twice.identifier);
            return Err(Error::invalid_at("catalog", detail));
        }
        Ok(Catalogue {
            reference: cut(&uuid, IDENTIFIER_CHARS_MAX),
            name: cut(&metadata.title, LABEL_CHARS_MAX),
            edition: cut(&metadata.version, IDENTIFIER_CHARS_MAX),
            controls: found,
        })
    }
}

/// What was taken so far.
#[derive(Default)]
struct Taken {
    controls: Vec<ControlFacts>,
    /// Of their texts.
    bytes: usize,
}

/// JSON nests no deeper than its parser lets it, and so does this.
fn take_groups(groups: Vec<Group>, most: usize, taken: &mut Taken) -> Result<()> {
    for group in groups {
        take_controls(group.controls, &group.title, most, taken)?;
        take_groups(group.groups, most, taken)?;
    }
    Ok(())
}

fn take_controls(
    controls: Vec<Control>,
    group: &str,
    most: usize,
    taken: &mut Taken,
) -> Result<()> {
    for control in controls {
        if taken.controls.len() >= most {
            let detail = format!("at most {most} controls are taken from a catalogue");
            return Err(Error::invalid_at("catalog", detail));
        }
        let is_named = !control.id.trim().is_empty();
        if !is_named || control.id.chars().count() > IDENTIFIER_CHARS_MAX {
            let detail = format!("a control's id has 1 to {IDENTIFIER_CHARS_MAX} characters");
            return Err(Error::invalid_at("catalog", detail));
        }
        let words = words(&control.params);
        let mut text = String::new();
        for part in control.parts.iter().filter(|part| part.name == STATEMENT) {
            write_part(part, &words, &mut text);
        }
        let text = cut(text.trim(), CONTROL_CHARS_MAX);
        taken.bytes = taken.bytes.saturating_add(text.len());
        if taken.bytes > TEXTS_BYTES_MAX {
            let detail = format!("the texts of its controls have over {TEXTS_BYTES_MAX} bytes");
            return Err(Error::invalid_at("catalog", detail));
        }
        taken.controls.push(ControlFacts {
            identifier: control.id.trim().to_owned(),
            label: cut(&control.title, LABEL_CHARS_MAX),
            text,
            group: cut(group, LABEL_CHARS_MAX),
            promises: Vec::new(),
        });
        take_controls(control.controls, group, most, taken)?;
    }
    Ok(())
}

fn cut(text: &str, chars_max: usize) -> String {
    text.trim().chars().take(chars_max).collect()
}

/// What stands in the place of each parameter.
fn words(params: &[Param]) -> HashMap<&str, String> {
    let word = |param: &Param| match (&param.label, &param.select) {
        (Some(label), _) => cut(label, WORDS_CHARS_MAX),
        (None, Some(select)) => cut(&select.choice.join("; "), WORDS_CHARS_MAX),
        (None, None) => cut(&param.id, WORDS_CHARS_MAX),
    };
    params.iter().map(|param| (param.id.as_str(), word(param))).collect()
}

fn write_part(part: &Part, words: &HashMap<&str, String>, text: &mut String) {
    if text.len() > CONTROL_CHARS_MAX * 4 {
        return;
    }
    if let Some(prose) = &part.prose {
        let label = part.props.iter().find(|property| property.name == "label");
        if let Some(label) = label {
            text.push_str(&label.value);
            text.push(' ');
        }
        text.push_str(&filled(prose, words, 0));
        text.push('\n');
    }
    for part in &part.parts {
        write_part(part, words, text);
    }
}

/// Parameters in parameters: a choice may hold one.
const FILLED_DEPTH_MAX: usize = 3;

/// A text with the words of its parameters: `{{ insert: param, ID }}`.
fn filled(prose: &str, words: &HashMap<&str, String>, depth: usize) -> String {
    let mut out = String::with_capacity(prose.len());
    let mut rest = prose;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let Some(length) = rest[start..].find("}}") else {
            rest = &rest[start..];
            break;
        };
        let inside = rest[start + 2..start + length].trim();
        let id = inside.rsplit(',').next().unwrap_or_default().trim();
        match words.get(id) {
            Some(word) if depth < FILLED_DEPTH_MAX => {
                out.push('[');
                out.push_str(&filled(word, words, depth + 1));
                out.push(']');
            }
            _ => {
                out.push('[');
                out.push_str(id);
                out.push(']');
            }
        }
        rest = &rest[start + length + 2..];
        if out.len() > CONTROL_CHARS_MAX * 4 {
            return out;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> Result<Catalogue> {
        serde_json::from_str::<CatalogueFile>(text).expect("a catalogue").read(most)
    }

    const FILE: &str = r#"{"catalog": {"uuid": "u", "metadata": {"title": "T", "version": "1"},
        "groups": [{"title": "Access", "controls": [{"id": "ac-1", "title": "Policy",
        "params": [{"id": "p1", "label": "roles"}, {"id": "p2", "select":
        {"choice": ["weekly", "{{ insert: param, p1 }}"]}}],
        "parts": [{"name": "statement", "parts": [{"name": "item", "prose":
        "Tell {{ insert: param, p1 }} {{ insert: param, p2 }} {{ insert: param, p9 }}.",
        "props": [{"name": "label", "value": "a."}]}]}, {"name": "guidance", "prose": "no"}],
        "controls": [{"id": "ac-1.1", "title": "More"}]}]}]}}"#;

    #[test]
    fn controls_are_taken_with_their_text_and_the_words_of_parameters() {
        let catalogue = read(FILE, 10).expect("read");
        assert_eq!((catalogue.name.as_str(), catalogue.edition.as_str()), ("T", "1"));
        let ids: Vec<&str> = catalogue.controls.iter().map(|one| one.identifier.as_str()).collect();
        assert_eq!(ids, ["ac-1", "ac-1.1"]);
        let first = &catalogue.controls[0];
        assert_eq!(first.text, "a. Tell [roles] [weekly; [roles]] [p9].");
        assert_eq!(first.group, "Access");
    }

    #[test]
    fn a_place_that_does_not_end_stands_there_once() {
        let text = filled("all {{ insert: param, p1 }} of {{ insert", &HashMap::new(), 0);
        assert_eq!(text, "all [p1] of {{ insert");
    }

    #[test]
    fn what_is_none_or_too_much_is_refused() {
        assert!(read(FILE, 1).is_err());
        let empty = r#"{"catalog": {"uuid": "u", "metadata": {"title": "T"}}}"#;
        assert!(read(empty, 10).is_err());
        let twice = r#"{"catalog": {"uuid": "u", "metadata": {"title": "T"},
            "controls": [{"id": "a"}, {"id": "a"}]}}"#;
        assert!(read(twice, 10).is_err());
    }
}
