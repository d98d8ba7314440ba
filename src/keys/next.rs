//! A key that is introduced before it is used, in a file with one key a line: it stands behind a
//! line of its own, after those in use.

use zeroize::Zeroizing;

/// The line before it, which readers of the keys pass over.
const NEXT: &str = "# next";

/// Whether a key is introduced in this text.
pub(super) fn is_in(text: &str) -> bool {
    text.lines().any(is_mark)
}

/// The text with another key, which is not used yet.
pub(super) fn introduce(text: &str, key: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{}\n{NEXT}\n{}", text.trim_end(), key.trim_end()))
}

/// The introduced key; none if there is none.
pub(super) fn key(text: &str) -> Option<&str> {
    text.lines().skip_while(|line| !is_mark(line)).nth(1)
}

/// The text with the introduced key in front of all others; none if there is none.
pub(super) fn first(text: &str) -> Option<Zeroizing<String>> {
    let mut lines = text.lines();
    let before: Vec<&str> = lines.by_ref().take_while(|line| !is_mark(line)).collect();
    let next = lines.next()?;
    let rest: Vec<&str> = lines.collect();
    Some(Zeroizing::new(
        [&[next][..], &before, &rest].concat().join("\n"),
    ))
}

fn is_mark(line: &str) -> bool {
    line.trim() == NEXT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_introduced_and_then_comes_first() {
        let text = "# mine\none\ntwo\n";
        assert!(!is_in(text) && key(text).is_none() && first(text).is_none());
        let begun = introduce(text, "three\n");
        assert!(is_in(&begun));
        assert_eq!(key(&begun), Some("three"));
        assert_eq!(*first(&begun).unwrap(), "three\n# mine\none\ntwo");
        // Nothing stands where it should.
        assert!(first("one\n# next").is_none() && key("one\n# next").is_none());
    }
}
