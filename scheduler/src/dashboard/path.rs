//! Names in paths.

use serde::{Deserialize, Deserializer};

/// The mark before a name that could not be in a path as it is.
const MARK: char = '=';

/// A hub's or instance's name as one segment of a path.
///
/// Browsers remove `.` and `..`, however they are encoded, so these have a mark before
/// them, and so has each name that begins with the mark.
pub(super) struct Segment(pub(super) String);

impl<'de> Deserialize<'de> for Segment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(named(&text).to_owned()))
    }
}

/// The name that a segment, decoded, stands for.
pub(super) fn named(segment: &str) -> &str {
    segment.strip_prefix(MARK).unwrap_or(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_decoded_from_paths() {
        for (written, name) in [
            ("a", "a"),
            ("=.", "."),
            ("=..", ".."),
            ("==a", "=a"),
            ("a=b", "a=b"),
        ] {
            let read: Segment = serde_json::from_value(written.into()).unwrap();
            assert_eq!(read.0, name, "{written}");
        }
    }
}
