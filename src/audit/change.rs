//! What an entry says was changed: each thing with its value before and after.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entry::without_secrets;

/// The longest value that is kept, in characters.
const MAX_VALUE: usize = 512;
/// The most changes in one entry.
pub(super) const MAX_CHANGES: usize = 16;

/// One changed field. Values are labels and flags, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChange {
    /// What: a member's name in the API, such as `readApproval`.
    pub field: String,
    /// Its value before; null if it had none.
    #[schema(required)]
    pub from: Option<String>,
    /// Its value after; null if it has none now.
    #[schema(required)]
    pub to: Option<String>,
}

impl FieldChange {
    /// A change of `field`. Values are cut to the longest that is kept, and words in them that look
    /// like a secret are redacted.
    #[must_use]
    pub fn new(field: &str, from: Option<&str>, to: Option<&str>) -> Self {
        Self {
            field: cleaned(field),
            from: from.map(cleaned),
            to: to.map(cleaned),
        }
    }

    /// The change of a flag.
    #[must_use]
    pub fn flag(field: &str, from: bool, to: bool) -> Self {
        Self::new(field, Some(word(from)), Some(word(to)))
    }
}

const fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Collects the fields that really changed.
#[derive(Debug, Default)]
pub(crate) struct Changes(Vec<FieldChange>);

impl Changes {
    /// Notes a change of `field`, unless both values are the same.
    pub(crate) fn note(mut self, field: &str, from: Option<&str>, to: Option<&str>) -> Self {
        if from != to {
            self.0.push(FieldChange::new(field, from, to));
        }
        self
    }

    /// Notes a change of a flag, unless both values are the same.
    pub(crate) fn flag(self, field: &str, from: bool, to: bool) -> Self {
        self.note(field, Some(word(from)), Some(word(to)))
    }

    /// All of them.
    pub(crate) fn list(self) -> Vec<FieldChange> {
        self.0
    }
}

/// A list of names as one value; none if it is empty.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A value as it is kept: without words that look like a secret, without characters that
/// could make it look like another one, and not too long.
fn cleaned(text: &str) -> String {
    let mut kept: String = without_secrets(text)
        .chars()
        .map(|c| if misleads(c) { '\u{fffd}' } else { c })
        .collect();
    if let Some((end, _)) = kept.char_indices().nth(MAX_VALUE) {
        kept.truncate(end);
        kept.push('…');
    }
    kept
}

/// Control characters, and marks that are invisible or change the direction of text.
pub(super) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bounded_cleaned_and_holds_no_secret() {
        let to = |text: &str| FieldChange::new("issuer", None, Some(text)).to.unwrap();
        assert_eq!(to("Git\u{202e}Hub\n"), "Git\u{fffd}Hub\u{fffd}");
        assert_eq!(to("x JBSWY3DPEHPK3PXP"), "x [withheld]");
        let long = to(&"ä".repeat(MAX_VALUE + 1));
        assert_eq!(long.chars().count(), MAX_VALUE + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn what_stays_the_same_is_no_change() {
        let changes = Changes::default()
            .note("issuer", Some("a"), Some("a"))
            .note("group", None, Some("b"))
            .flag("readApproval", true, false)
            .list();
        assert_eq!(
            changes,
            [
                FieldChange::new("group", None, Some("b")),
                FieldChange::flag("readApproval", true, false),
            ]
        );
        assert_eq!(listed(&["a", "b"]).as_deref(), Some("a, b"));
        assert_eq!(listed::<&str>(&[]), None);
    }
}
