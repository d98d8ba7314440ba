//! SafeInCloud's XML. Each card has fields with a name and a type; the code is a URI or a bare
//! secret. Templates are not accounts, and not read; what is in the bin is
//! named.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde_json::Value;
use zeroize::Zeroizing;

use super::item::Item;
use super::meaning;
use super::member::{checked_entries, unless_binned};
use super::opening::malformed;
use super::{CodesBeside, ImportEntry, MAX_ENTRIES};
use crate::problem::{ImportFormat, InputProblem};

const FORMAT: ImportFormat = ImportFormat::SafeInCloud;

pub(super) fn is_document(text: &str) -> bool {
    let head = text.get(..text.len().min(1_024)).unwrap_or(text);
    text.starts_with('<') && head.contains("<database") && text.contains("<card")
}

#[derive(Default)]
struct Card {
    title: String,
    is_template: bool,
    is_binned: bool,
    login: String,
    codes: Vec<Zeroizing<String>>,
    /// What else stands in it, in which there can be further URIs.
    texts: Vec<Zeroizing<String>>,
    /// That something about a code is said in a way that is not known.
    unknown: Option<InputProblem>,
    beside: CodesBeside,
}

/// The attributes of a field that decide nothing about a code.
const ATTRIBUTES: [&str; 6] = ["name", "type", "score", "hash", "autofill", "id"];

/// What the text that comes next is.
#[derive(Default)]
struct Field {
    name: String,
    kind: String,
    unknown: Option<InputProblem>,
    value: Zeroizing<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let mut card: Option<Card> = None;
    let mut field: Option<Field> = None;
    let mut is_whole = false;
    loop {
        // The error's own text can quote the document.
        match reader.read_event().map_err(|_| malformed(FORMAT))? {
            Event::Eof if !is_whole => return Err(malformed(FORMAT)),
            Event::Eof => return Ok(found),
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"card" => {
                    card = Some(Card {
                        title: attribute(&tag, "title")?,
                        is_template: attribute(&tag, "template")? == "true",
                        is_binned: attribute(&tag, "deleted")? == "true",
                        ..Card::default()
                    });
                }
                b"field" => {
                    field = Some(Field {
                        name: attribute(&tag, "name")?,
                        kind: attribute(&tag, "type")?,
                        unknown: unknown_attribute(&tag)?,
                        ..Field::default()
                    });
                }
                b"notes" => {
                    field = Some(Field {
                        kind: "notes".to_owned(),
                        ..Field::default()
                    });
                }
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                b"card" => {
                    if let Some(card) = card.take().filter(|card| !card.is_template) {
                        found.extend(card.entries());
                    }
                    if found.len() > MAX_ENTRIES {
                        return Err(super::too_many());
                    }
                }
                b"database" => is_whole = true,
                b"field" | b"notes" => {
                    if let (Some(card), Some(field)) = (&mut card, field.take()) {
                        card.add(field);
                    }
                }
                _ => {}
            },
            Event::Text(text) => {
                let text = text.decode().map_err(|_| malformed(FORMAT))?;
                if let Some(field) = &mut field {
                    field.value.push_str(&text);
                }
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|_| malformed(FORMAT))?;
                if let Some(field) = &mut field {
                    field.value.push_str(&text);
                }
            }
            Event::GeneralRef(reference) => {
                let Some(field) = &mut field else { continue };
                match reference.resolve_char_ref() {
                    Ok(Some(character)) => field.value.push(character),
                    _ => {
                        let name = reference.decode().map_err(|_| malformed(FORMAT))?;
                        let text = quick_xml::escape::resolve_predefined_entity(&name);
                        field.value.push_str(text.ok_or(malformed(FORMAT))?);
                    }
                }
            }
            _ => {}
        }
    }
}

/// That an attribute decides which codes come out, or seems to.
fn unknown_attribute(tag: &BytesStart<'_>) -> Result<Option<InputProblem>, InputProblem> {
    for found in tag.attributes() {
        let found = found.map_err(|_| malformed(FORMAT))?;
        let name = String::from_utf8_lossy(found.key.as_ref()).into_owned();
        let value = Value::String(attribute(tag, &name)?);
        let decides = || meaning::deciding(&name, &value, std::iter::empty());
        if let Some(problem) = Some(&name)
            .filter(|name| !ATTRIBUTES.contains(&name.as_str()))
            .and_then(|_| decides())
        {
            return Ok(Some(problem));
        }
    }
    Ok(None)
}

/// An attribute's value; empty without one.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<String, InputProblem> {
    let damaged = malformed(FORMAT);
    let Some(found) = tag.try_get_attribute(name).map_err(|_| damaged.clone())? else {
        return Ok(String::new());
    };
    let text = std::str::from_utf8(&found.value).map_err(|_| damaged.clone())?;
    let text = quick_xml::escape::unescape(text).map_err(|_| damaged)?;
    Ok(text.into_owned())
}

impl Card {
    fn add(&mut self, field: Field) {
        match field.kind.as_str() {
            "one_time_password" => {
                self.unknown = self.unknown.take().or(field.unknown);
                self.codes.push(field.value);
                return;
            }
            "login" if self.login.is_empty() => self.login = field.value.trim().to_owned(),
            "notes" => self.beside.note(&field.value),
            _ => self.beside.field(&field.name, &field.value),
        }
        self.texts.push(field.value);
    }

    fn entries(self) -> Vec<ImportEntry> {
        let item = Item {
            title: &self.title,
            account_name: &self.login,
            code: "",
        };
        let codes = self.codes.iter().map(|code| code.as_str());
        let texts = self.texts.iter().map(|text| text.as_str());
        let checked = match (self.is_binned, self.unknown) {
            (false, Some(problem)) => Err(problem),
            (is_binned, _) => unless_binned(is_binned),
        };
        checked_entries(item.entries(codes, self.beside), item, texts, checked)
    }
}
