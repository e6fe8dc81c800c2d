//! The published texts: privacy policy, terms and the pages beside them, one sentence a line, with
//! the promises that it makes. A sentence that nobody reviewed, or that was changed since, does not
//! pass; a material change does not take effect before its notice is old enough.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use veritwin_domain::Timestamp;

use crate::promise::PromiseId;

/// The version of the texts that this build holds.
pub const TEXT_VERSION: u32 = 1;
/// How long before it takes effect a material change is announced (promise P57).
pub const NOTICE_TIME: Duration = Duration::from_secs(30 * 86_400);

const REVIEWED: &str = include_str!("../policies/sentences.toml");

/// A published text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Document {
    /// The privacy policy.
    Privacy,
    /// The terms.
    Terms,
    /// The data processing agreement.
    Dpa,
    /// The page on cookies.
    Cookies,
    /// The page on roles under data protection law.
    Roles,
    /// The list of sub-processors.
    SubProcessors,
    /// The laws that are followed.
    Jurisdictions,
}

impl Document {
    /// Every text there is.
    pub const ALL: [Self; 7] = [
        Self::Privacy,
        Self::Terms,
        Self::Dpa,
        Self::Cookies,
        Self::Roles,
        Self::SubProcessors,
        Self::Jurisdictions,
    ];

    /// The name used in addresses and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privacy => "privacy",
            Self::Terms => "terms",
            Self::Dpa => "dpa",
            Self::Cookies => "cookies",
            Self::Roles => "roles",
            Self::SubProcessors => "sub-processors",
            Self::Jurisdictions => "jurisdictions",
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Document {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|document| document.as_str() == text).ok_or(())
    }
}

/// A language of the texts. The English one is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// English.
    English,
    /// Chinese in traditional characters.
    ChineseTraditional,
    /// Japanese.
    Japanese,
    /// Korean.
    Korean,
}

impl Language {
    /// Every language there is.
    pub const ALL: [Self; 4] =
        [Self::English, Self::ChineseTraditional, Self::Japanese, Self::Korean];

    /// The tag (BCP 47).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::ChineseTraditional => "zh-Hant",
            Self::Japanese => "ja",
            Self::Korean => "ko",
        }
    }
}

impl FromStr for Language {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|language| language.as_str() == text).ok_or(())
    }
}

/// Lists that are made from registers and stand in a text by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// The sub-processors of the installation.
    SubProcessors,
    /// The purposes of the platform as processor.
    ProcessorPurposes,
    /// Its purposes as controller.
    ControllerPurposes,
}

impl Generated {
    fn parse(line: &str) -> Option<Self> {
        match line {
            "{{sub_processors}}" => Some(Self::SubProcessors),
            "{{processor_purposes}}" => Some(Self::ProcessorPurposes),
            "{{controller_purposes}}" => Some(Self::ControllerPurposes),
            _ => None,
        }
    }
}

/// What a line of a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockKind {
    /// The text's title.
    Title,
    /// A heading.
    Heading,
    /// Sentences that belong together.
    Paragraph,
    /// A line of a list.
    Item,
    /// The place of a list that is made from a register.
    List(Generated),
}

/// A sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Its words; a link stands as `[words](address)`.
    pub text: String,
    /// The promises that it makes.
    pub promises: Vec<PromiseId>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its sentences; one, unless it is a paragraph.
    pub sentences: Vec<Sentence>,
}

/// What an installation puts into the texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// What the service is called here.
    pub product: String,
    /// Who runs it.
    pub operator: String,
    /// Their postal address.
    pub address: String,
    /// Where requests go.
    pub contact: String,
    /// The law that governs.
    pub law: String,
    /// The court that decides.
    pub court: String,
}

/// Why a text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("published text, line {line}: {problem}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

macro_rules! texts {
    ($($document:ident $name:literal;)+) => {
        /// The texts of every version that was published stay in the build: what somebody was told
        /// is shown as it was.
        fn source(version: u32, document: Document, language: Language) -> Option<&'static str> {
            Some(match (version, document, language) {
                $(
                    (1, Document::$document, Language::English) => {
                        include_str!(concat!("../policies/1/", $name, ".en.md"))
                    }
                    (1, Document::$document, Language::ChineseTraditional) => {
                        include_str!(concat!("../policies/1/", $name, ".zh-Hant.md"))
                    }
                    (1, Document::$document, Language::Japanese) => {
                        include_str!(concat!("../policies/1/", $name, ".ja.md"))
                    }
                    (1, Document::$document, Language::Korean) => {
                        include_str!(concat!("../policies/1/", $name, ".ko.md"))
                    }
                )+
                _ => return None,
            })
        }
    };
}

texts! {
    Privacy "privacy";
    Terms "terms";
    Dpa "dpa";
    Cookies "cookies";
    Roles "roles";
    SubProcessors "sub-processors";
    Jurisdictions "jurisdictions";
}

/// A text of a version of the texts, with the places of the installation's facts still open.
pub fn published_text(
    version: u32,
    document: Document,
    language: Language,
) -> Result<Vec<Block>, TextError> {
    let problem = || format!("this build has no texts of version {version}");
    let unknown = || TextError { line: 0, problem: problem() };
    parse(source(version, document, language).ok_or_else(unknown)?)
}

/// A text with an installation's facts in it.
pub fn rendered_text(blocks: &[Block], facts: &PolicyFacts) -> Vec<Block> {
    let filled = |text: &str| {
        text.replace("{{product}}", &facts.product)
            .replace("{{operator}}", &facts.operator)
            .replace("{{address}}", &facts.address)
            .replace("{{contact}}", &facts.contact)
            .replace("{{law}}", &facts.law)
            .replace("{{court}}", &facts.court)
    };
    let sentence = |one: &Sentence| Sentence { text: filled(&one.text), ..one.clone() };
    let block = |block: &Block| Block {
        kind: block.kind,
        sentences: block.sentences.iter().map(sentence).collect(),
    };
    blocks.iter().map(block).collect()
}

/// A text in the one form that digests are made of: a sentence a line, without promises.
pub fn canonical_text(blocks: &[Block]) -> String {
    let mut text = String::new();
    for block in blocks {
        let mark = match block.kind {
            BlockKind::Title => "# ",
            BlockKind::Heading => "## ",
            BlockKind::Item => "- ",
            BlockKind::Paragraph | BlockKind::List(_) => "",
        };
        for sentence in &block.sentences {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark}{}", sentence.text);
        }
    }
    text
}

fn parse(text: &str) -> Result<Vec<Block>, TextError> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (place, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            is_open = false;
            continue;
        }
        let (kind, words) = kind_of(line);
        let sentence = match kind {
            BlockKind::List(_) => Vec::new(),
            _ => vec![sentence(words, place + 1)?],
        };
        if kind == BlockKind::Paragraph
            && is_open
            && let Some(last) = blocks.last_mut()
        {
            last.sentences.extend(sentence);
            continue;
        }
        is_open = kind == BlockKind::Paragraph;
        blocks.push(Block { kind, sentences: sentence });
    }
    Ok(blocks)
}

fn kind_of(line: &str) -> (BlockKind, &str) {
    if let Some(list) = Generated::parse(line) {
        return (BlockKind::List(list), "");
    }
    let marks = [("## ", BlockKind::Heading), ("# ", BlockKind::Title), ("- ", BlockKind::Item)];
    let marked = marks.into_iter().find_map(|(mark, kind)| Some((kind, line.strip_prefix(mark)?)));
    marked.unwrap_or((BlockKind::Paragraph, line))
}

/// `words {P01 P02}`.
fn sentence(line: &str, number: usize) -> Result<Sentence, TextError> {
    let open = line.rfind(" {P").filter(|_| line.ends_with('}'));
    let Some(open) = open else {
        return Ok(Sentence { text: line.to_owned(), promises: Vec::new() });
    };
    let ids = line[open + 2..line.len() - 1].split(' ').map(str::parse::<PromiseId>);
    let promises = ids.collect::<Result<Vec<_>, _>>();
    let promises = promises.map_err(|error| TextError {
        line: number,
        problem: format!("a sentence's mark: {error}"),
    })?;
    Ok(Sentence { text: line[..open].to_owned(), promises })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MapWire {
    document: Vec<DocumentWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentWire {
    name: String,
    version: u32,
    reviewed: String,
    sentences: Vec<String>,
}

/// What was reviewed: the digest of each sentence with the promises that it makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceMap {
    documents: Vec<Reviewed>,
}

/// A text as it was reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reviewed {
    document: Document,
    at: String,
    sentences: Vec<(String, Vec<PromiseId>)>,
}

impl SentenceMap {
    /// The map that is part of the product.
    pub fn built_in() -> Result<Self, TextError> {
        let wrong = |problem: String| TextError { line: 0, problem };
        let wire: MapWire = toml::from_str(REVIEWED).map_err(|error| wrong(error.to_string()))?;
        let mut documents = Vec::new();
        for one in wire.document {
            let document = one.name.parse::<Document>();
            let document = document.map_err(|()| wrong(format!("no text {:?}", one.name)))?;
            if one.version != TEXT_VERSION {
                let problem = format!("{document}: reviewed is version {}", one.version);
                return Err(wrong(problem));
            }
            let mut sentences = Vec::with_capacity(one.sentences.len());
            for line in one.sentences {
                let mut parts = line.split(' ').map(str::to_owned);
                let digest = parts.next().unwrap_or_default();
                let promises =
                    parts.map(|id| id.parse::<PromiseId>()).collect::<Result<Vec<PromiseId>, _>>();
                sentences.push((digest, promises.map_err(|error| wrong(error.to_string()))?));
            }
            documents.push(Reviewed { document, at: one.reviewed, sentences });
        }
        Ok(Self { documents })
    }

    fn of(&self, document: Document) -> Option<&Reviewed> {
        self.documents.iter().find(|one| one.document == document)
    }

    /// When a text was reviewed last, as a date.
    pub fn reviewed(&self, document: Document) -> Option<&str> {
        self.of(document).map(|one| one.at.as_str())
    }

    /// What of a text is not as it was reviewed, in words; nothing is good. `digest` is SHA-256 of
    /// a sentence in hexadecimal digits.
    pub fn unreviewed(
        &self,
        document: Document,
        blocks: &[Block],
        digest: impl Fn(&str) -> String,
    ) -> Vec<String> {
        let Some(Reviewed { sentences: reviewed, .. }) = self.of(document) else {
            return vec![format!("{document}: was never reviewed")];
        };
        let sentences: Vec<&Sentence> = blocks.iter().flat_map(|block| &block.sentences).collect();
        let mut problems = Vec::new();
        for sentence in &sentences {
            let own = digest(&sentence.text);
            let shown: String = sentence.text.chars().take(60).collect();
            match reviewed.iter().find(|(known, _)| *known == own) {
                None => problems.push(format!("{document}: nobody reviewed {shown:?} ({own})")),
                Some((_, promises)) if *promises != sentence.promises => {
                    problems.push(format!("{document}: {shown:?} makes other promises"));
                }
                Some(_) => {}
            }
        }
        for (known, _) in reviewed {
            if !sentences.iter().any(|sentence| digest(&sentence.text) == *known) {
                problems.push(format!("{document}: a reviewed sentence is gone ({known})"));
            }
        }
        problems
    }
}

/// Why a version of the texts is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicationRefused {
    /// Its notice would be younger than the promise says.
    #[error("a material change takes effect 30 days after its announcement at the earliest")]
    TooEarly,
    /// It would take effect before it was announced.
    #[error("it cannot take effect before it is announced")]
    Past,
    /// Another one takes effect at that time, or later.
    #[error("another version takes effect then or later: withdraw that one, or choose a later day")]
    BeforeAnother,
}

/// Whether a version of the texts may be announced now, to take effect at that time. The first one
/// of an installation changes nothing for anybody; a later one that is material is announced 30
/// days before.
pub fn check_publication(
    (announced_at, effective_at): (Timestamp, Timestamp),
    is_material: bool,
    last_effective_at: Option<Timestamp>,
) -> Result<(), PublicationRefused> {
    if effective_at < announced_at {
        return Err(PublicationRefused::Past);
    }
    let Some(last) = last_effective_at else { return Ok(()) };
    if is_material && effective_at < announced_at.saturating_add(NOTICE_TIME) {
        return Err(PublicationRefused::TooEarly);
    }
    if effective_at <= last { Err(PublicationRefused::BeforeAnother) } else { Ok(()) }
}
