//! The preferences of an Android app, as they are on a phone: XML with texts that are JSON. FreeOTP
//! keeps its tokens so, one in each text (`tokens.xml`); Authy and TOTP Authenticator all of theirs
//! in one.

use quick_xml::Reader;
use quick_xml::events::Event;
use zeroize::Zeroizing;

use super::opening::{Opening, malformed};
use super::{ImportEntry, MAX_ENTRIES, free_otp_plus, json};
use crate::problem::{ImportFormat, InputProblem};

/// What FreeOTP keeps beside its tokens: their order.
const ORDER: &str = "tokenOrder";

pub(super) fn is_document(text: &str) -> bool {
    let head = text.get(..text.len().min(512)).unwrap_or(text);
    let head = head.split_once("?>").map_or(head, |(_, head)| head);
    head.trim_start().starts_with("<map>") && text.contains("<string name=")
}

pub(super) fn read(
    text: &str,
    opening: &Opening<'_>,
) -> Result<(ImportFormat, Vec<ImportEntry>), InputProblem> {
    let mut format = ImportFormat::UriList;
    let mut found = Vec::new();
    for (name, value) in texts(text)? {
        if name == ORDER {
            format = ImportFormat::FreeOtpPlus;
            continue;
        }
        let value = value.trim();
        if let Some(token) = free_otp_plus::token(value) {
            format = ImportFormat::FreeOtpPlus;
            found.push(token);
        } else if json::is_document(value) {
            match json::read(value, opening) {
                Ok((of, entries)) => {
                    format = of;
                    found.extend(entries);
                }
                Err(InputProblem::ImportUnknown | InputProblem::ImportEmpty) => {}
                Err(problem) if problem.ends_import() => return Err(problem),
                Err(problem) => found.push(ImportEntry::new(&name, Err(problem))),
            }
        }
        if found.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
    if found.is_empty() {
        return Err(InputProblem::ImportUnknown);
    }
    Ok((format, found))
}

/// Every text with its name.
fn texts(text: &str) -> Result<Vec<(String, Zeroizing<String>)>, InputProblem> {
    let damaged = || malformed(ImportFormat::FreeOtpPlus);
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let mut open: Option<(String, Zeroizing<String>)> = None;
    let mut is_whole = false;
    loop {
        // The error's own text can quote the document.
        match reader.read_event().map_err(|_| damaged())? {
            Event::Eof if is_whole => return Ok(found),
            Event::Eof => return Err(damaged()),
            Event::End(tag) if tag.local_name().as_ref() == b"map" => is_whole = true,
            Event::Start(tag) if tag.local_name().as_ref() == b"string" => {
                let name = tag.try_get_attribute("name").map_err(|_| damaged())?;
                let name = name.map(|name| String::from_utf8_lossy(&name.value).into_owned());
                open = Some((name.unwrap_or_default(), Zeroizing::default()));
            }
            Event::End(tag) if tag.local_name().as_ref() == b"string" => found.extend(open.take()),
            Event::Text(text) => {
                if let Some((_, value)) = &mut open {
                    value.push_str(&text.decode().map_err(|_| damaged())?);
                }
            }
            Event::GeneralRef(reference) => {
                if let Some((_, value)) = &mut open {
                    match reference.resolve_char_ref() {
                        Ok(Some(character)) => value.push(character),
                        _ => {
                            let name = reference.decode().map_err(|_| damaged())?;
                            let text = quick_xml::escape::resolve_predefined_entity(&name);
                            value.push_str(text.ok_or_else(damaged)?);
                        }
                    }
                }
            }
            _ => {}
        }
        if found.len() > MAX_ENTRIES {
            return Err(super::too_many());
        }
    }
}
