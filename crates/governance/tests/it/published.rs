//! The published texts as shipped: every promise stands in them in its own words, translations say
//! the same in the same order, links lead to texts, and material changes are announced in time.

use std::time::Duration;

use veritwin_domain::Timestamp;
use veritwin_governance::{
    Block, BlockKind, Document, Language, PolicyFacts, PromiseId, PublicationRefused, Register,
    TEXT_VERSION, canonical_text, check_publication, published_text, rendered_text,
};

fn text(document: Document, language: Language) -> Vec<Block> {
    published_text(TEXT_VERSION, document, language).unwrap()
}

#[test]
fn a_version_that_was_never_published_has_no_texts() {
    let unknown = published_text(TEXT_VERSION + 1, Document::Privacy, Language::English);
    assert!(unknown.is_err());
}

#[test]
fn every_promise_stands_in_the_policy_in_its_own_words() {
    let register = Register::built_in().unwrap();
    let blocks = text(Document::Privacy, Language::English);
    let sentences: Vec<_> = blocks.iter().flat_map(|block| &block.sentences).collect();
    for promise in register.promises() {
        let found = sentences.iter().find(|sentence| sentence.text == promise.source);
        let found = found.unwrap_or_else(|| panic!("{}: {}", promise.id, promise.source));
        assert!(found.promises.contains(&promise.id), "{}", promise.id);
    }
}

#[test]
fn a_sentence_that_is_a_promises_own_carries_its_number_in_every_text() {
    let register = Register::built_in().unwrap();
    for document in Document::ALL {
        for sentence in text(document, Language::English).iter().flat_map(|one| &one.sentences) {
            let own: Vec<PromiseId> = register
                .promises()
                .iter()
                .filter(|promise| promise.source == sentence.text)
                .map(|promise| promise.id)
                .collect();
            let carried = own.iter().all(|id| sentence.promises.contains(id));
            assert!(carried, "{document}: {}", sentence.text);
        }
    }
}

#[test]
fn translations_say_the_same_in_the_same_order() {
    for document in Document::ALL {
        let english = text(document, Language::English);
        for language in Language::ALL {
            let other = text(document, language);
            assert_eq!(english.len(), other.len(), "{document} {language:?}");
            for (one, its) in english.iter().zip(&other) {
                assert_eq!(one.kind, its.kind, "{document} {language:?}: {its:?}");
                let promises = |block: &Block| -> Vec<Vec<PromiseId>> {
                    block.sentences.iter().map(|sentence| sentence.promises.clone()).collect()
                };
                assert_eq!(promises(one), promises(its), "{document} {language:?}");
                let is_told = |block: &Block| block.sentences.iter().all(|s| !s.text.is_empty());
                assert!(is_told(its), "{document} {language:?}");
            }
        }
    }
}

#[test]
fn links_lead_to_texts_and_every_fact_is_filled_in() {
    let facts = PolicyFacts {
        product: "Product".to_owned(),
        operator: "Operator".to_owned(),
        address: "Address".to_owned(),
        contact: "contact@example.com".to_owned(),
        law: "the law".to_owned(),
        court: "the court".to_owned(),
    };
    for document in Document::ALL {
        for language in Language::ALL {
            let shown = canonical_text(&rendered_text(&text(document, language), &facts));
            assert!(!shown.contains("{{"), "{document} {language:?}: {shown}");
            for link in shown.split("](").skip(1) {
                let target = link.split(')').next().unwrap();
                let name = target.strip_prefix("/legal/").unwrap();
                assert!(name.parse::<Document>().is_ok(), "{document}: {target}");
            }
        }
    }
}

#[test]
fn a_text_begins_with_its_title() {
    for document in Document::ALL {
        for language in Language::ALL {
            let blocks = text(document, language);
            let titles = blocks.iter().filter(|block| block.kind == BlockKind::Title).count();
            assert_eq!((blocks[0].kind, titles), (BlockKind::Title, 1), "{document}");
        }
    }
}

#[test]
fn material_changes_are_announced_thirty_days_before() {
    let day = |day: u64| Timestamp::EPOCH.saturating_add(Duration::from_secs(day * 86_400));
    let check = |announced: u64, effective: u64, material: bool, last: Option<u64>, expect| {
        let found = check_publication((day(announced), day(effective)), material, last.map(day));
        assert_eq!(found, expect, "{announced} {effective} {material} {last:?}");
    };
    check(100, 100, true, None, Ok(()));
    check(100, 99, true, None, Err(PublicationRefused::Past));
    check(100, 129, true, Some(1), Err(PublicationRefused::TooEarly));
    check(100, 130, true, Some(1), Ok(()));
    check(100, 101, false, Some(1), Ok(()));
    check(100, 140, true, Some(150), Err(PublicationRefused::BeforeAnother));
    check(100, 150, false, Some(150), Err(PublicationRefused::BeforeAnother));
}
