//! Which characters a name may hold: what nobody sees must not change what is read.

/// A control character, or one that turns, splits or hides the text around it unseen: the
/// bidirectional controls of Unicode (UAX #9) and spaces without width.
pub fn is_unseen(c: char) -> bool {
    let is_bidi = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}');
    let is_hidden = matches!(c, '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}');
    let is_line = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() || is_bidi || is_hidden || is_line
}

#[cfg(test)]
mod tests {
    use super::is_unseen;

    #[test]
    fn what_turns_a_text_is_unseen_and_what_scripts_need_is_not() {
        for c in ['\n', '\u{7f}', '\u{202e}', '\u{2067}', '\u{200b}', '\u{feff}', '\u{2029}'] {
            assert!(is_unseen(c), "{c:?}");
        }
        // Joiners are part of words and signs.
        for c in [' ', 'a', 'ß', '会', '\u{3000}', '\u{200d}', '\u{200c}', 'ا', '🌡'] {
            assert!(!is_unseen(c), "{c:?}");
        }
    }
}
