//! Payloads as JSON text, with errors that never repeat the payload.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Turns a value into JSON text.
///
/// ```
/// assert_eq!(durabletask_core::codec::encode(&("tea", 3)), Ok(r#"["tea",3]"#.to_owned()));
/// ```
///
/// # Errors
///
/// A sentence with the type and the kind of fault, if the value's own
/// serialization fails; never any part of the value.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<String, String> {
    serde_json::to_string(value).map_err(|_| {
        format!(
            "a value of the type {} cannot be written as JSON",
            std::any::type_name::<T>()
        )
    })
}

/// Reads a value from JSON text; an absent or empty payload reads as `null`.
///
/// ```
/// use durabletask_core::codec::decode;
///
/// assert_eq!(decode::<(String, u32)>(Some(r#"["tea",3]"#)), Ok(("tea".to_owned(), 3)));
/// assert_eq!(decode::<Option<u32>>(None), Ok(None));
/// let error = decode::<u32>(Some("\"tea\"")).unwrap_err();
/// assert!(error.contains("u32") && !error.contains("tea"), "{error}");
/// ```
///
/// # Errors
///
/// A sentence with the expected type, the kind of fault and its position. The
/// texts of `serde_json` quote the offending value, so they are not used.
pub fn decode<T: DeserializeOwned>(payload: Option<&str>) -> Result<T, String> {
    let text = match payload {
        None | Some("") => {
            return serde_json::from_str("null").map_err(|_| {
                format!(
                    "there is no payload, but the type {} needs one",
                    std::any::type_name::<T>()
                )
            });
        }
        Some(text) => text,
    };
    serde_json::from_str(text).map_err(|error| {
        let fault = match error.classify() {
            Category::Syntax => "it is not valid JSON",
            Category::Eof => "the JSON ends too early",
            Category::Data => "the JSON has another shape",
            Category::Io => "it cannot be read",
        };
        format!(
            "expected the type {}, but {fault} (line {}, column {})",
            std::any::type_name::<T>(),
            error.line(),
            error.column()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_payload_is_null() {
        assert_eq!(decode::<Option<u32>>(None), Ok(None));
        assert_eq!(decode::<()>(Some("")), Ok(()));
        assert!(decode::<u32>(None).unwrap_err().contains("no payload"));
    }

    #[test]
    fn an_error_names_the_place_and_hides_the_value() {
        let reason = decode::<u32>(Some("\"planted-value\"")).unwrap_err();
        assert!(reason.contains("u32"), "{reason}");
        assert!(reason.contains("line 1"), "{reason}");
        assert!(!reason.contains("planted"), "{reason}");
    }
}
