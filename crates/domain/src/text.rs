//! Which characters a name may hold: what nobody sees must not change what is read, and what is
//! read must stay on its line. Properties are those of the Unicode Character Database.

use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, ExtendedPictographic,
    GeneralCategory, Ideographic, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// Most marks on one letter: more of them paint over the lines around it.
const MARKS_MAX: usize = 4;

/// What a name that [`find_unseen`] finds something in is refused with.
pub const NAME_RULE: &str =
    "must not hold control or invisible characters, or more than 4 marks on a letter";

const NON_JOINER: char = '\u{200c}';
const JOINER: char = '\u{200d}';

/// Selects between drawings of the sign before it.
fn is_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// A control character, or one that turns, splits or hides the text around it unseen: the
/// bidirectional controls of Unicode (UAX #9), what it calls default ignorable (UAX #44), blanks
/// that count as signs, line and paragraph ends; and what means nothing outside of one program,
/// private use and non-characters. Joiners and variation selectors are not among them:
/// [`find_unseen`] knows where scripts need those.
pub fn is_unseen(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    if matches!(c, NON_JOINER | JOINER) || is_selector(c) {
        return false;
    }
    let is_bidi = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{206f}');
    let is_mark_of_text = matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{2800}');
    let is_no_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_of_no_text = matches!(
        category,
        GeneralCategory::Control
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
    );
    let is_hidden = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c);
    is_bidi || is_mark_of_text || is_no_character || is_of_no_text || is_hidden
}

fn is_mark(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

fn is_picture(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

/// A sign that kills a vowel: after it joiners choose between forms (RFC 5892, appendix A.1).
fn is_virama(c: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(c) == CanonicalCombiningClass::Virama
}

/// Whether letters around would be joined, but for what stands between (RFC 5892, appendix A.1).
fn would_join(before: &str, after: &str) -> bool {
    let types = CodePointMapData::<JoiningType>::new();
    let of = |c| types.get(c);
    let is_seen = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let left = before.chars().rev().map(of).find(is_seen);
    let right = after.chars().map(of).find(is_seen);
    matches!(left, Some(JoiningType::DualJoining | JoiningType::LeftJoining))
        && matches!(right, Some(JoiningType::DualJoining | JoiningType::RightJoining))
}

/// Whether a joiner or selector changes how what is around it is drawn.
fn attaches(before: &str, c: char, after: &str) -> bool {
    let (Some(last), next) = (before.chars().next_back(), after.chars().next()) else {
        return false;
    };
    match c {
        NON_JOINER => next.is_some() && (is_virama(last) || would_join(before, after)),
        JOINER => {
            let in_picture =
                |c| is_picture(c) || matches!(c, '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}');
            (is_virama(last) && next.is_some())
                || (in_picture(last) && next.is_some_and(is_picture))
        }
        '\u{fe0e}' | '\u{fe0f}' if last.is_ascii() => next == Some('\u{20e3}'),
        '\u{fe0e}' | '\u{fe0f}' => CodePointSetData::new::<Emoji>().contains(last),
        '\u{e0100}'..='\u{e01ef}' => CodePointSetData::new::<Ideographic>().contains(last),
        _ => false,
    }
}

/// The first character of a name that nobody sees, with its position in bytes: what [`is_unseen`]
/// names, a joiner or a variation selector that changes nothing where it stands, a mark without a
/// letter, one mark too many.
pub fn find_unseen(text: &str) -> Option<(usize, char)> {
    let mut marks = MARKS_MAX;
    for (position, c) in text.char_indices() {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        let is_loose = (matches!(c, NON_JOINER | JOINER) || is_selector(c))
            && !attaches(&text[..position], c, &text[position + c.len_utf8()..]);
        if is_unseen(c) || is_loose || (marks > MARKS_MAX && !is_selector(c)) {
            return Some((position, c));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{find_unseen, is_unseen};

    #[test]
    fn what_turns_a_text_is_unseen_and_what_scripts_need_is_not() {
        let unseen = ['\n', '\u{7f}', '\u{202e}', '\u{2067}', '\u{200b}', '\u{feff}', '\u{2029}'];
        let ignorable = ['\u{ad}', '\u{34f}', '\u{180e}', '\u{e0041}', '\u{3164}', '\u{2800}'];
        let of_no_text = ['\u{e000}', '\u{fdd0}', '\u{ffff}', '\u{10fffe}', '\u{f0000}'];
        for c in unseen.into_iter().chain(ignorable).chain(of_no_text) {
            assert!(is_unseen(c), "{c:?}");
        }
        for c in [' ', 'a', 'ß', '会', '\u{3000}', '\u{200d}', '\u{200c}', 'ا', '🌡', '￼'] {
            assert!(!is_unseen(c), "{c:?}");
        }
    }

    #[test]
    fn joiners_and_selectors_change_what_is_around_them() {
        let check = |text: &str, expect: Option<usize>| {
            assert_eq!(find_unseen(text).map(|(position, _)| position), expect, "{text:?}");
        };
        check("Pumpe 1, Kälte", None);
        check("می\u{200c}خواهم", None);
        check("क्\u{200d}ष क्\u{200c}ष", None);
        check("👩\u{200d}🔧 👩🏽\u{200d}🔧 ❤\u{fe0f} 1\u{fe0f}\u{20e3} 葛\u{e0100}", None);
        check("pump\u{200d}1", Some(4));
        check("\u{200c}pump", Some(0));
        check("pump\u{fe0f}", Some(4));
        check("pump\u{ad}1", Some(4));
        check("\u{3164}", Some(0));
        check("ポンプ\u{200d}1", Some(9));
        check("ポンプ\u{200d}\u{200d}1", Some(9));
        check("会議室\u{fe00}", Some(9));
        check("葛\u{e0100}\u{e0101}", Some(7));
        check("회의실\u{200c}", Some(9));
        check("Kä\u{200d}lte", Some(3));
        check("–\u{200d}1", Some(3));
        check("می\u{200c}", Some(4));
        // Alef joins nothing after it: the non-joiner is not seen.
        check("دا\u{200c}د", Some(4));
        check("👩\u{200d}1", Some(4));
    }

    #[test]
    fn marks_are_few_and_on_a_letter() {
        let check = |text: &str, expect: Option<usize>| {
            assert_eq!(find_unseen(text).map(|(position, _)| position), expect, "{text:?}");
        };
        check("Việt Nam, Vie\u{323}\u{302}t", None);
        check("ที่ปั๊ม שָׁלוֹם ཧཱུྃ", None);
        check(&format!("a{}", "\u{301}".repeat(4)), None);
        check(&format!("a{}", "\u{301}".repeat(5)), Some(9));
        check("\u{301}", Some(0));
        check("\u{301}a", Some(0));
    }
}
