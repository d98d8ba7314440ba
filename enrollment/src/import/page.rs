//! Web pages with codes, as authenticator apps print them: URIs in their text, or QR codes as
//! images inside of the page.

use zeroize::Zeroizing;

use super::opening::base64;
use super::{ImportEntry, ImportPicture, MAX_ENTRIES, MAX_PICTURES};
use crate::otpauth;
use crate::problem::InputProblem;

const PICTURE: &str = "data:image/";

/// Whether a text is a web page.
pub(super) fn is_document(text: &str) -> bool {
    let head: String = text.chars().take(2_048).collect();
    let head = head.to_ascii_lowercase();
    text.starts_with("<?xml") && otpauth::is_meant(text)
        || text.starts_with('<')
            && [
                "<html",
                "<!doctype html",
                "<body",
                "<table",
                "<a ",
                "<img",
                "<p>",
                "<div",
                "<ul",
            ]
            .iter()
            .any(|tag| head.contains(tag))
}

pub(super) fn read(text: &str) -> Result<(Vec<ImportEntry>, Vec<ImportPicture>), InputProblem> {
    let lower = text.to_ascii_lowercase();
    let uris = uris(text, &lower)?;
    if !uris.is_empty() {
        let entries = uris.iter().map(|uri| ImportEntry::text(uri)).collect();
        return Ok((entries, Vec::new()));
    }
    let pictures = pictures(text, &lower)?;
    if pictures.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    Ok((Vec::new(), pictures))
}

/// The URIs in a page, each once where a link's address and its text are one.
fn uris(text: &str, lower: &str) -> Result<Vec<Zeroizing<String>>, InputProblem> {
    let mut uris: Vec<Zeroizing<String>> = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find("otpauth").map(|at| from + at) {
        let mut most = text.len().min(at + otpauth::MAX_URI_BYTES + 1);
        while !text.is_char_boundary(most) {
            most -= 1;
        }
        let window = &text[at..most];
        let ends = |c: char| c.is_whitespace() || "\"'<>`".contains(c);
        let found = &window[..window.find(ends).unwrap_or(window.len())];
        from = at + "otpauth".len();
        if !otpauth::is_meant(found) {
            continue;
        }
        from = from.max(at + found.len());
        let plain = otpauth::without_markup(found);
        if uris.last().is_none_or(|last| *last != plain) {
            uris.push(plain);
        }
        if uris.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    Ok(uris)
}

/// The images inside of a page.
fn pictures(text: &str, lower: &str) -> Result<Vec<ImportPicture>, InputProblem> {
    const MARK: &str = ";base64,";
    let mut pictures = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find(PICTURE).map(|at| from + at) {
        let ends = |c: char| "\"'<>)".contains(c);
        from = at + PICTURE.len();
        let end = text[from..].find(ends).map_or(text.len(), |end| from + end);
        let Some((_, data)) = text[at..end].split_once(MARK) else {
            from = end;
            continue;
        };
        from = end;
        // One that is damaged is refused under its name, and takes no other with it.
        let bytes = base64(data).unwrap_or_else(|| Zeroizing::new(data.as_bytes().to_vec()));
        pictures.push(ImportPicture {
            name: format!("image {}", pictures.len() + 1),
            bytes,
        });
        if pictures.len() > MAX_PICTURES {
            return Err(super::too_many_pictures());
        }
    }
    Ok(pictures)
}
