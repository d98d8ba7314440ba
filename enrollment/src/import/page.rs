//! Web pages with codes, as authenticator apps print them: URIs in their text, or QR codes as
//! images inside of the page.

use zeroize::Zeroizing;

use super::opening::base64;
use super::{ImportEntry, ImportImage, MAX_ENTRIES, MAX_IMAGES, flow, json};
use crate::otpauth;
use crate::problem::InputProblem;

const PICTURE: &str = "data:image/";
/// The column of URIs in the page of Stratum, beside which it shows each as an image.
const URI_COLUMN: &str = "<th>otp auth uri</th>";
/// How much of a row is looked at before and behind an image, in bytes.
const ROW: usize = 4 * 1024;

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
                "<pre",
                "<div",
                "<ul",
            ]
            .iter()
            .any(|tag| head.contains(tag))
}

/// The JSON document in a page that shows nothing else, as a browser saves one.
pub(super) fn document_in(text: &str) -> Option<Zeroizing<String>> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    let (before, _) = lower.split_once("<pre")?;
    let begin = before.len() + text[before.len()..].find('>')? + 1;
    let end = begin + lower[begin..].find("</pre")?;
    let is_only = lower.matches("<pre").count() == 1 && !text[begin..end].contains('<');
    let shown = otpauth::without_markup(&text[begin..end]);
    let document = crate::text::trim(&shown);
    let is_document = is_only
        && document.starts_with(['{', '['])
        && (json::is_document(document) || json::damaged(document).is_some());
    is_document.then(|| Zeroizing::new(document.to_owned()))
}

pub(super) fn read(text: &str) -> Result<(Vec<ImportEntry>, Vec<ImportImage>), InputProblem> {
    let lower = text.to_ascii_lowercase();
    let mut entries = Vec::new();
    for uri in flow::uris(text) {
        if !entries.contains(&uri) {
            entries.push(uri);
        }
        if entries.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    let mut entries: Vec<ImportEntry> = entries.iter().map(|it| ImportEntry::text(it)).collect();
    // A page can have accounts in either form, so that neither is left out.
    let images = match images(text, &lower) {
        Err(problem) if !entries.is_empty() => {
            entries.push(ImportEntry::new("", Err(problem)));
            Vec::new()
        }
        images => images?,
    };
    if entries.is_empty() && images.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    Ok((entries, images))
}

/// Whether an image at a place stands in a row with its own URI.
fn is_said_twice(text: &str, lower: &str, (at, end): (usize, usize)) -> bool {
    let mut first = at.saturating_sub(ROW);
    while !text.is_char_boundary(first) {
        first += 1;
    }
    let mut last = (end + ROW).min(text.len());
    while !text.is_char_boundary(last) {
        last -= 1;
    }
    let Some(begin) = lower[first..at].rfind("<tr").map(|begin| first + begin) else {
        return false;
    };
    let row_end = lower[end..last].find("</tr").map_or(last, |to| end + to);
    flow::uris(&text[begin..at]).len() + flow::uris(&text[end..row_end]).len() == 1
}

/// The images inside of a page.
fn images(text: &str, lower: &str) -> Result<Vec<ImportImage>, InputProblem> {
    const MARK: &str = ";base64,";
    let has_uris = lower.contains(URI_COLUMN);
    let mut images = Vec::new();
    let mut said_twice = 0;
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
        if has_uris && is_said_twice(text, lower, (at, end)) {
            said_twice += 1;
            if said_twice > MAX_ENTRIES {
                return Err(super::too_many());
            }
            continue;
        }
        // One that is damaged is refused under its name, and takes no other with it.
        let bytes = base64(data).unwrap_or_else(|| Zeroizing::new(data.as_bytes().to_vec()));
        images.push(ImportImage {
            name: format!("image {}", images.len() + 1),
            bytes,
        });
        if images.len() > MAX_IMAGES {
            return Err(super::too_many_pictures());
        }
    }
    Ok(images)
}
