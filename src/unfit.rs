//! What is wrong with a document, in plain words. The parser's own words name types of this
//! program, and can quote the document, which may hold a secret.

use std::fmt::Display;

use serde::de::{DeserializeOwned, Deserializer};
use serde_path_to_error::Path;

/// How this program's own errors begin that say what a value must be, and do not repeat it.
const OURS: [&str; 1] = ["a group's name must have "];
/// What `chrono` says of a text that is no time.
const NO_TIME: [&str; 5] = [
    "input contains invalid characters",
    "input is not enough for unique date and time",
    "input is out of range",
    "premature end of input",
    "trailing input",
];
/// The highest values of whole numbers, by the parser's name for them.
const WHOLE: [(&str, &str); 3] = [("u8", "255"), ("u16", "65535"), ("u32", "4294967295")];

/// A document's value; or what is wrong with it, where a part of it is called a `part`, such as a
/// member.
pub(crate) fn read<'de, T, D>(part: &str, document: D) -> Result<T, Unfit<D::Error>>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
    D::Error: Display,
{
    serde_path_to_error::deserialize(document).map_err(|error| Unfit {
        told: told(part, error.path(), &error.inner().to_string()),
        error: error.into_inner(),
    })
}

/// A document that is not what it should be.
pub(crate) struct Unfit<E> {
    /// What is wrong with it, without a stop at the end.
    pub(crate) told: String,
    /// The parser's error, which is not for people.
    pub(crate) error: E,
}

/// What an error says that was met at `path`. Paths are safe: they consist of members that the
/// program knows.
fn told(part: &str, path: &Path, error: &str) -> String {
    let text = error.trim_start();
    // The place, in the parsers' words for it.
    let text = text.split_once('\n').map_or(text, |(text, _)| text);
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let within = match path.to_string() {
        root if root == "." || root.is_empty() => None,
        path => Some(path),
    };
    let named = |name: &str| {
        let name = name.trim_matches('`');
        match &within {
            Some(path) if path != name => format!("The {part} `{path}.{name}`"),
            _ => format!("The {part} `{name}`"),
        }
    };
    if let Some(name) = text.strip_prefix("missing field ") {
        return format!("{} is missing", named(name));
    }
    if let Some(name) = text.strip_prefix("duplicate field ") {
        return format!("{} is given twice", named(name));
    }
    let subject = within.as_ref().map_or_else(
        || format!("A {part}"),
        |path| format!("The {part} `{path}`"),
    );
    // What was expected comes last, and from this program alone.
    match text.rsplit_once(", expected ") {
        Some((what, names)) if what.starts_with("unknown field ") => {
            format!("There is an unknown {part}; expected {names}")
        }
        Some((what, "a map" | "object"))
            if within.is_none() && what.starts_with("invalid type") =>
        {
            "It must be an object".to_owned()
        }
        Some((what, kind))
            if within.is_none()
                && what.starts_with("invalid type")
                && kind.starts_with("struct ") =>
        {
            "It must be an object".to_owned()
        }
        Some((_, kind)) => format!("{subject} has an invalid value; it must be {}", plain(kind)),
        None if NO_TIME.contains(&text) => format!(
            "{subject} has an invalid value; it must be a time such as 2026-01-31T12:00:00Z"
        ),
        None if OURS.iter().any(|own| text.starts_with(own)) => {
            format!("{subject} has an invalid value: {text}")
        }
        None => format!("{subject} has an invalid value"),
    }
}

/// The kind of a value, in place of the parser's name for it.
fn plain(kind: &str) -> String {
    if let Some((_, most)) = WHOLE.iter().find(|(name, _)| *name == kind) {
        return format!("a whole number from 0 to {most}");
    }
    let words = match kind {
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        kind if kind.starts_with("struct ") => "an object",
        kind if kind.contains("formatted date and time") => "a time such as 2026-01-31T12:00:00Z",
        kind if kind.starts_with("enum ") || kind.starts_with("variant ") => {
            "one of the values in the description"
        }
        kind => kind,
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde::Deserialize;

    use super::*;
    use crate::access::Group;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only used to see whether it can be parsed")]
    struct Sample {
        token: String,
        kind: Option<Kind>,
        number: Option<u32>,
        flag: Option<bool>,
        list: Option<Vec<Group>>,
        until: Option<DateTime<Utc>>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only used to see whether it can be parsed")]
    struct Inner {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        First,
        Second,
    }

    #[test]
    fn errors_name_the_member_and_what_it_must_be_and_never_a_value() {
        let with = |more: &str| format!(r#"{{"token": "1", {more}}}"#);
        let table = [
            ("{}".to_owned(), "The member `token` is missing"),
            ("\"JBSWY3DP\"".to_owned(), "It must be an object"),
            (
                with(r#""JBSWY3DP, expected x": 1"#),
                "There is an unknown member; expected one of `token`, `kind`",
            ),
            (
                r#"{"token": ["JBSWY3DP"]}"#.to_owned(),
                "The member `token` has an invalid value; it must be a string",
            ),
            (
                with(r#""token": "JBSW""#),
                "The member `token` is given twice",
            ),
            (
                with(r#""kind": "JBSWY3DP, expected JBSWY3DP""#),
                "The member `kind` has an invalid value; it must be `first` or `second`",
            ),
            (
                with(r#""number": -1"#),
                "The member `number` has an invalid value; it must be a whole number from 0 to",
            ),
            (
                with(r#""number": "JBSW""#),
                "The member `number` has an invalid value; it must be a whole number from 0 to",
            ),
            (
                with(r#""flag": "JBSW""#),
                "The member `flag` has an invalid value; it must be true or false",
            ),
            (
                with(r#""list": "JBSW""#),
                "The member `list` has an invalid value; it must be an array",
            ),
            (
                with(r#""list": ["ops", " JBSW"]"#),
                "The member `list[1]` has an invalid value: a group's name must have",
            ),
            (
                with(r#""until": "JBSW""#),
                "The member `until` has an invalid value; it must be a time such as",
            ),
            (with(r#""inner": {}"#), "The member `inner.name` is missing"),
            (
                with(r#""inner": 1"#),
                "The member `inner` has an invalid value; it must be an object",
            ),
        ];
        for (body, words) in table {
            let mut parser = serde_json::Deserializer::from_str(&body);
            let Err(unfit) = read::<Sample, _>("member", &mut parser) else {
                panic!("accepted: {body}");
            };
            assert!(unfit.told.starts_with(words), "{body}: {}", unfit.told);
            assert!(!unfit.told.contains("JBSW"), "{body}: {}", unfit.told);
        }
    }
}
