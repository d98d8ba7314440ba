//! Text from elsewhere that people are shown: names, reasons, comments.

/// The text without control characters and without marks that cannot be seen or change the
/// direction of writing: they could make it look like something else to somebody who decides
/// by it. Trimmed.
///
/// ```
/// use countersign_enrollment::text::clean;
///
/// assert_eq!(clean(" pay\u{202e}roll\u{7} "), "payroll");
/// ```
#[must_use]
pub fn clean(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !is_unprintable(*c)).collect();
    kept.trim().to_owned()
}

/// The same, for sentences: a line break or a tab becomes a space, so that words stay apart.
///
/// ```
/// use countersign_enrollment::text::one_line;
///
/// assert_eq!(one_line("looks\nright\u{202e}\n"), "looks right");
/// ```
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            c => c,
        })
        .collect();
    clean(&spaced)
}

/// Whether a character has no place in a text for people: a control character, a mark of
/// direction, or one that nobody sees and programs read all the same.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}
