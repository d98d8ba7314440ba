//! SafeInCloud's XML. Each card has fields with a name and a type; the code is a URI or a bare
//! secret. Templates and what was deleted are not shown in the app, and not read.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zeroize::Zeroizing;

use super::item::Item;
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
    hidden: bool,
    login: String,
    codes: Vec<Zeroizing<String>>,
    beside: CodesBeside,
}

/// What the text that comes next is.
#[derive(Default)]
struct Field {
    name: String,
    kind: String,
    value: Zeroizing<String>,
}

pub(super) fn read(text: &str) -> Result<Vec<ImportEntry>, InputProblem> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    let mut card: Option<Card> = None;
    let mut field: Option<Field> = None;
    loop {
        // The error's own text can quote the document.
        match reader.read_event().map_err(|_| malformed(FORMAT))? {
            Event::Eof if card.is_some() => return Err(malformed(FORMAT)),
            Event::Eof => return Ok(found),
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"card" => {
                    card = Some(Card {
                        title: attribute(&tag, "title")?,
                        hidden: attribute(&tag, "template")? == "true"
                            || attribute(&tag, "deleted")? == "true",
                        ..Card::default()
                    });
                }
                b"field" => {
                    field = Some(Field {
                        name: attribute(&tag, "name")?,
                        kind: attribute(&tag, "type")?,
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
                    if let Some(card) = card.take().filter(|card| !card.hidden) {
                        found.extend(card.entries());
                    }
                    if found.len() > MAX_ENTRIES {
                        return Err(super::too_many());
                    }
                }
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
            "one_time_password" => self.codes.push(field.value),
            "login" if self.login.is_empty() => self.login = field.value.trim().to_owned(),
            "notes" => self.beside.note(&field.value),
            _ => self.beside.field(&field.name, &field.value),
        }
    }

    fn entries(self) -> Vec<ImportEntry> {
        let item = Item {
            title: &self.title,
            account_name: &self.login,
            code: "",
        };
        item.entries(self.codes.iter().map(|code| code.as_str()), self.beside)
    }
}
