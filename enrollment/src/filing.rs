//! How people keep accounts in order: each in a group, and with tags.

use thiserror::Error;

use crate::account::clean;

/// The longest name of a group, in UTF-16 code units.
pub const MAX_GROUP_CHARS: usize = 64;
/// The longest tag, in UTF-16 code units.
pub const MAX_TAG_CHARS: usize = 24;
/// The most tags of an account. All of them, with what separates them, are one tag of
/// Key Vault, which holds 256 characters.
pub const MAX_TAGS: usize = 10;

/// What separates tags where they are kept in one text.
const SEPARATOR: char = ',';

/// Where an account belongs: in one group or none, and under some tags.
///
/// Names are trimmed and freed of control characters; what differs in case only is the
/// same.
///
/// ```
/// use countersign_enrollment::filing::Filing;
///
/// let filing = Filing::new(Some("Payments"), ["production", "Berlin", "PRODUCTION"])?;
/// assert_eq!(filing.tags(), ["Berlin", "production"]);
/// assert!(filing.is_in("payments") && filing.has("berlin"));
/// # Ok::<(), countersign_enrollment::filing::FilingError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filing {
    group: Option<String>,
    tags: Vec<String>,
}

/// Why an account cannot be filed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FilingError {
    /// The group's name is too long.
    #[error("a group's name can have at most {MAX_GROUP_CHARS} characters")]
    GroupTooLong,
    /// A tag is too long.
    #[error("a tag can have at most {MAX_TAG_CHARS} characters")]
    TagTooLong,
    /// There are too many tags.
    #[error("an account can have at most {MAX_TAGS} tags")]
    TooManyTags,
    /// A tag has a comma in it.
    #[error("a tag cannot contain a comma; give each tag separately")]
    Separator,
}

impl Filing {
    /// In `group`, none if it is empty, and under `tags`, of which empty ones count for
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`FilingError`]: what is too long or too many.
    pub fn new<T: AsRef<str>>(
        group: Option<&str>,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<Self, FilingError> {
        let group = group.map(clean).filter(|name| !name.is_empty());
        if group
            .as_deref()
            .is_some_and(|name| is_longer(name, MAX_GROUP_CHARS))
        {
            return Err(FilingError::GroupTooLong);
        }
        let mut kept: Vec<String> = Vec::new();
        for tag in tags {
            let tag = clean(tag.as_ref());
            if tag.contains(SEPARATOR) {
                return Err(FilingError::Separator);
            }
            if is_longer(&tag, MAX_TAG_CHARS) {
                return Err(FilingError::TagTooLong);
            }
            if tag.is_empty() || kept.iter().any(|other| is_same(other, &tag)) {
                continue;
            }
            if kept.len() == MAX_TAGS {
                return Err(FilingError::TooManyTags);
            }
            kept.push(tag);
        }
        kept.sort_by_cached_key(|tag| tag.to_lowercase());
        Ok(Self { group, tags: kept })
    }

    /// What a vault has kept: the group, and the tags as [`Filing::joined_tags`] gave
    /// them. What no account could be filed under, since another program has written
    /// it, is left out.
    #[must_use]
    pub fn read(group: Option<&str>, joined_tags: &str) -> Self {
        let group = Self::new(group, [""; 0]).unwrap_or_default().group;
        let usable = joined_tags
            .split(SEPARATOR)
            .filter(|tag| !is_longer(&clean(tag), MAX_TAG_CHARS))
            .take(MAX_TAGS);
        let tags = Self::new(None, usable).unwrap_or_default().tags;
        Self { group, tags }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The tags, in the order of the alphabet.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The tags in one text, at most 249 UTF-16 code units; empty without any.
    #[must_use]
    pub fn joined_tags(&self) -> String {
        self.tags.join(&SEPARATOR.to_string())
    }

    /// Whether this is the group, in any case.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.group.as_deref().is_some_and(|own| is_same(own, group))
    }

    /// Whether this is one of the tags, in any case.
    #[must_use]
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| is_same(own, tag))
    }
}

fn is_longer(text: &str, limit: usize) -> bool {
    text.encode_utf16().nth(limit).is_some()
}

fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_tags_are_cleaned_and_read_back() {
        let filing = Filing::new(Some(" Pay\u{202e}ments "), [" prod ", "", "Änder", "PROD"]);
        let filing = filing.unwrap();
        assert_eq!(filing.group(), Some("Payments"));
        assert_eq!(filing.tags(), ["prod", "Änder"]);
        assert_eq!(Filing::read(filing.group(), &filing.joined_tags()), filing);
        assert!(filing.is_in(" PAYMENTS") && filing.has("änder") && !filing.has("pro"));
        assert_eq!(Filing::new(Some(" "), [""; 0]).unwrap(), Filing::default());
        assert_eq!(Filing::read(None, ""), Filing::default());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = |count| "é".repeat(count);
        assert!(Filing::new(Some(&long(MAX_GROUP_CHARS)), [long(MAX_TAG_CHARS)]).is_ok());
        let refused = |group: Option<&str>, tags: &[String]| Filing::new(group, tags).unwrap_err();
        assert_eq!(
            refused(Some(&long(MAX_GROUP_CHARS + 1)), &[]),
            FilingError::GroupTooLong
        );
        assert_eq!(
            refused(None, &[long(MAX_TAG_CHARS + 1)]),
            FilingError::TagTooLong
        );
        assert_eq!(refused(None, &["a,b".to_owned()]), FilingError::Separator);
        let many: Vec<String> = (0..=MAX_TAGS).map(|number| number.to_string()).collect();
        assert_eq!(refused(None, &many), FilingError::TooManyTags);
    }

    #[test]
    fn all_tags_fit_into_one_of_key_vault() {
        let tags = (0..MAX_TAGS).map(|n| format!("{n}{}", "é".repeat(MAX_TAG_CHARS - 1)));
        let filing = Filing::new(None, tags).unwrap();
        assert_eq!(filing.tags().len(), MAX_TAGS);
        assert!(filing.joined_tags().encode_utf16().count() <= 256);
    }

    #[test]
    fn what_another_program_wrote_is_left_out() {
        let long = "x".repeat(MAX_GROUP_CHARS + 1);
        let filing = Filing::read(Some(&long), &format!("good,{long}, fine ,"));
        assert_eq!(filing.group(), None);
        assert_eq!(filing.tags(), ["fine", "good"]);
    }
}
