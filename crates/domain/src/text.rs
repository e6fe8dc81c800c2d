//! Which characters a name may hold: what nobody sees must not change what is read.

/// A control character, or one that turns, splits or hides the text around it unseen: the
/// bidirectional controls of Unicode (UAX #9), what it calls default ignorable (UAX #44), blanks
/// that count as letters or signs, line and paragraph ends. Joiners and variation selectors are not
/// among them: [`find_unseen`] knows where scripts need those.
pub fn is_unseen(c: char) -> bool {
    let is_bidi = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{206f}');
    let is_hidden = matches!(c, '\u{ad}' | '\u{34f}' | '\u{17b4}'..='\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{2060}'..='\u{2065}')
        || matches!(c, '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}')
        || matches!(c, '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e00ff}')
        || matches!(c, '\u{e01f0}'..='\u{e0fff}');
    let is_blank = matches!(c, '\u{115f}'..='\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    let is_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || is_bidi || is_hidden || is_blank || is_line
}

/// The first character of a name that nobody sees, with its position in bytes: what [`is_unseen`]
/// names, and a joiner or a variation selector that no letter or sign before it needs.
pub fn find_unseen(text: &str) -> Option<(usize, char)> {
    let mut before = None;
    for (position, c) in text.char_indices() {
        // Joiners are part of words in scripts of their own, and of signs; variation selectors
        // follow ideographs and signs. Neither has a use after ASCII.
        let attaches = matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
            || matches!(c, '\u{e0100}'..='\u{e01ef}');
        let is_loose = attaches && before.is_none_or(|before: char| before.is_ascii());
        if is_unseen(c) || is_loose {
            return Some((position, c));
        }
        before = Some(c);
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
        for c in unseen.into_iter().chain(ignorable) {
            assert!(is_unseen(c), "{c:?}");
        }
        for c in [' ', 'a', 'ß', '会', '\u{3000}', '\u{200d}', '\u{200c}', 'ا', '🌡'] {
            assert!(!is_unseen(c), "{c:?}");
        }
    }

    #[test]
    fn joiners_belong_to_what_is_before_them() {
        let check = |text: &str, expect: Option<usize>| {
            assert_eq!(find_unseen(text).map(|(position, _)| position), expect, "{text:?}");
        };
        check("Pumpe 1, Kälte", None);
        check("می\u{200c}خواهم", None);
        check("क्\u{200d}ष", None);
        check("👩\u{200d}🔧 ❤\u{fe0f} 葛\u{e0100}", None);
        check("pump\u{200d}1", Some(4));
        check("\u{200c}pump", Some(0));
        check("pump\u{fe0f}", Some(4));
        check("pump\u{ad}1", Some(4));
        check("\u{3164}", Some(0));
    }
}
