//! In which language somebody is written to: the one that they chose, else the first that something
//! is said in; and putting what is said into a text of that language.

use std::collections::{HashMap, HashSet};

use async_recursion::async_recursion as boxed;
use veritwin_domain::{Timestamp, UserId};
use veritwin_governance::Language;
use veritwin_metastore::{PlatformTx, TenantTx, UserLanguage, every_row, normalise_email};

use crate::Result;
use crate::error::found;
use crate::wording::moment;

pub(crate) const fn stored_language(language: Language) -> UserLanguage {
    match language {
        Language::English => UserLanguage::English,
        Language::ChineseTraditional => UserLanguage::ChineseTraditional,
        Language::Japanese => UserLanguage::Japanese,
        Language::Korean => UserLanguage::Korean,
    }
}

pub(crate) const fn read_language(stored: UserLanguage) -> Language {
    match stored {
        UserLanguage::English => Language::English,
        UserLanguage::ChineseTraditional => Language::ChineseTraditional,
        UserLanguage::Japanese => Language::Japanese,
        UserLanguage::Korean => Language::Korean,
    }
}

/// What stands in a language, out of all of them.
pub(crate) const fn in_language<T: Copy>(
    language: Language,
    [english, chinese, japanese, korean]: [T; 4],
) -> T {
    match language {
        Language::English => english,
        Language::ChineseTraditional => chinese,
        Language::Japanese => japanese,
        Language::Korean => korean,
    }
}

/// The language that one of a tenant's people chose, or English.
pub(crate) async fn language_of(tx: &TenantTx, user: Option<UserId>) -> Result<Language> {
    let Some(user) = user else { return Ok(Language::English) };
    let chosen = found(tx.member_language(user).await)?.flatten();
    Ok(chosen.map_or(Language::English, read_language))
}

/// The language that somebody chose, whatever they belong to.
pub(crate) async fn chosen_language(tx: &PlatformTx, user: UserId) -> Result<Option<Language>> {
    Ok(found(tx.user_language(user).await)?.flatten().map(read_language))
}

/// The same, or English.
pub(crate) async fn language_of_user(tx: &PlatformTx, user: UserId) -> Result<Language> {
    Ok(chosen_language(tx, user).await?.unwrap_or(Language::English))
}

/// The languages that a tenant's people chose, by those of some addresses that are theirs.
#[boxed]
pub(crate) async fn languages_of(
    tx: &TenantTx,
    addresses: &[String],
) -> Result<HashMap<String, Language>> {
    let compared = |address: &str| normalise_email(address).ok();
    let asked: HashSet<String> = addresses.iter().filter_map(|one| compared(one)).collect();
    let mut chosen = HashMap::new();
    for member in every_row(|page| async move { tx.members(&page).await }).await? {
        let Some(address) = compared(&member.user.email).filter(|one| asked.contains(one)) else {
            continue;
        };
        if let Some(language) = found(tx.member_language(member.user.id).await)?.flatten() {
            chosen.insert(address, read_language(language));
        }
    }
    let theirs = addresses.iter().filter_map(|one| {
        let language = chosen.get(&compared(one)?)?;
        Some((one.clone(), *language))
    });
    Ok(theirs.collect())
}

/// A subject and a text in a language.
pub(crate) type Worded = (Language, String, String);

/// The subject and the text for whoever reads a language; the first where there is none in it.
pub(crate) fn worded_for(all: &[Worded], language: Language) -> (&str, &str) {
    let own = all.iter().find(|(known, ..)| *known == language);
    let said = own.or_else(|| all.first());
    said.map_or(("", ""), |(_, subject, text)| (subject.as_str(), text.as_str()))
}

/// A moment for people, in their language.
pub(crate) fn moment_in(language: Language, at: Timestamp) -> String {
    if language == Language::English {
        return moment(at);
    }
    let text = at.to_string();
    let read = || {
        let (date, time) = text.split_once('T')?;
        let mut parts = date.rsplitn(3, '-');
        let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
        let (day, month) = (day.trim_start_matches('0'), month.trim_start_matches('0'));
        let minute = time.get(..5)?;
        Some(match language {
            Language::Korean => format!("{year}년 {month}월 {day}일 {minute} UTC"),
            _ => format!("{year}年{month}月{day}日 {minute} UTC"),
        })
    };
    read().unwrap_or_else(|| text.clone())
}

/// A text with what is said in the places that are named for it, each as `{name}`. What is said may
/// hold anything: it is looked through for nothing.
pub(crate) fn filled(text: &str, said: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let place = after.split_once('}').and_then(|(name, behind)| {
            let (_, value) = said.iter().find(|(known, _)| *known == name)?;
            Some((*value, behind))
        });
        match place {
            Some((value, behind)) => {
                out.push_str(value);
                rest = behind;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_no_place_for_more() {
        let said = [("who", "{what}"), ("what", "x")];
        assert_eq!(filled("{who} said {what}, {else} {", &said), "{what} said x, {else} {");
        assert_eq!(filled("", &said), "");
    }

    #[test]
    fn moments_follow_the_language() {
        let at = Timestamp::parse_rfc3339("2026-12-06T01:44:00Z").expect("a time");
        assert_eq!(moment_in(Language::English, at), "6 December 2026, 01:44 UTC");
        assert_eq!(moment_in(Language::Japanese, at), "2026年12月6日 01:44 UTC");
        assert_eq!(moment_in(Language::Korean, at), "2026년 12월 6일 01:44 UTC");
    }

    #[test]
    fn who_reads_another_language_gets_the_first() {
        let said = |language, text: &str| (language, "subject".to_owned(), text.to_owned());
        let all = [said(Language::English, "yes"), said(Language::Japanese, "はい")];
        assert_eq!(worded_for(&all, Language::Japanese), ("subject", "はい"));
        assert_eq!(worded_for(&all, Language::Korean), ("subject", "yes"));
        assert_eq!(worded_for(&[], Language::English), ("", ""));
    }

    #[test]
    fn languages_are_stored_by_their_tags() {
        for language in Language::ALL {
            let stored = stored_language(language);
            assert_eq!(stored.as_str(), language.as_str());
            assert_eq!(read_language(stored), language);
        }
    }
}
