//! Web pages with codes, as authenticator apps print them: URIs in their text, or QR codes as
//! pictures inside of the page.

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
    text.starts_with('<')
        && ["<html", "<!doctype html", "<body", "<table", "<a ", "<img", "<p>", "<div", "<ul"]
            .iter()
            .any(|tag| head.contains(tag))
}

pub(super) fn read(text: &str) -> Result<(Vec<ImportEntry>, Vec<ImportPicture>), InputProblem> {
    let mut uris: Vec<Zeroizing<String>> = Vec::new();
    let lower = text.to_ascii_lowercase();
    for (at, _) in lower.match_indices("otpauth") {
        let end = text[at..].find(|c: char| c.is_whitespace() || "\"'<>`".contains(c));
        let found = &text[at..end.map_or(text.len(), |end| at + end)];
        if !otpauth::is_meant(found) {
            continue;
        }
        let plain = otpauth::without_markup(found);
        // A link's address and its text are one.
        if uris.last().is_none_or(|last| *last != plain) {
            uris.push(plain);
        }
        if uris.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    let entries: Vec<ImportEntry> = uris.iter().map(|uri| ImportEntry::text(uri)).collect();
    if !entries.is_empty() {
        return Ok((entries, Vec::new()));
    }
    let mut pictures = Vec::new();
    for (at, _) in lower.match_indices(PICTURE) {
        let Some((_, data)) = text[at..].split_once(";base64,") else {
            continue;
        };
        let end = data.find(|c: char| "\"'<>)".contains(c));
        let data = &data[..end.unwrap_or(data.len())];
        let Some(bytes) = base64(data) else {
            return Err(InputProblem::ImageUnreadable);
        };
        pictures.push(ImportPicture {
            name: String::new(),
            bytes,
        });
        if pictures.len() > MAX_PICTURES {
            return Err(super::too_many());
        }
    }
    if pictures.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    Ok((entries, pictures))
}
