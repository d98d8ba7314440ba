//! Words that look like a secret, which the audit log must not contain.

/// What replaces a word that looks like a secret.
const WITHHELD: &str = "[withheld]";
/// The least characters of base32 in a row that are taken for a secret: 80 bits.
const SECRET_CHARS: usize = 16;

/// Whether a word is an otpauth URI or contains what looks like a base32 secret. An
/// ordinary word that long in capitals is redacted too, which is acceptable.
fn like_secret(word: &str) -> bool {
    let mut run = 0;
    let base32 = word.bytes().any(|byte| {
        run = if matches!(byte, b'A'..=b'Z' | b'2'..=b'7') {
            run + 1
        } else {
            0
        };
        run >= SECRET_CHARS
    });
    base32 || word.to_ascii_lowercase().contains("otpauth")
}

/// A text for people, with the words that look like a secret redacted.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let end = word.trim_end().len();
            if like_secret(word) {
                format!("{WITHHELD}{}", &word[end..])
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_between_words_is_kept() {
        let lines = "first\n\tthen JBSWY3DPEHPK3PXP\r\nat last ";
        let kept = "first\n\tthen [withheld]\r\nat last ";
        assert_eq!(without_secrets(lines), kept);
    }
}
