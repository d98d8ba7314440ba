//! How an import list is serialized before it is sealed: one array, the parts of split texts after
//! the entries.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::shapes::SecretText;
use super::{CodesBeside, ImportEntry, ImportList};
use crate::code_parts::CodePart;
use crate::problem::InputProblem;
use crate::recovery::RecoveryCodes;
use crate::sealed::Sealable;

/// An entry, or a part of a split text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<Text> {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    text: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<InputProblem>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    part: Option<KeptPart<Text>>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    account: Option<KeptAccount<Text>>,
}

/// An entry with recovery codes. It is separate, so that a reader that does not know them
/// refuses it instead of leaving them out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptAccount<Text> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    text: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<InputProblem>,
    recovery_codes: Vec<Text>,
    #[serde(default)]
    unread: u32,
}

fn none<T>() -> Option<T> {
    None
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptPart<Text> {
    index: u8,
    of: u8,
    parity: u8,
    /// In base64.
    bytes: Text,
    text: Text,
}

impl<Text> Kept<Text> {
    /// How many bytes it has at most, apart from its texts.
    const FRAME: usize = 256;

    fn entry(
        name: String,
        content: Result<Text, InputProblem>,
        recovery_codes: Vec<Text>,
        unread: u32,
    ) -> Self {
        let (text, problem) = match content {
            Ok(text) => (Some(text), None),
            Err(problem) => (None, Some(problem)),
        };
        let mut kept = Self {
            name,
            text,
            problem,
            part: None,
            account: None,
        };
        if !recovery_codes.is_empty() || unread > 0 {
            kept.account = Some(KeptAccount {
                text: kept.text.take(),
                problem: kept.problem.take(),
                recovery_codes,
                unread,
            });
        }
        kept
    }

    // The text of a part is separate, so that a reader that knows no parts finds nothing to
    // enroll.
    fn part(part: KeptPart<Text>) -> Self {
        Self {
            name: String::new(),
            text: None,
            problem: None,
            part: Some(part),
            account: None,
        }
    }
}

impl Sealable for ImportList {
    const PURPOSE: &'static str = "import-list";

    fn to_plaintext(&self) -> Zeroizing<Vec<u8>> {
        let encoded: Vec<Zeroizing<String>> = self
            .parts
            .iter()
            .map(|part| Zeroizing::new(BASE64.encode(&part.bytes)))
            .collect();
        let entries = self.entries.iter().map(|entry| {
            let content = entry.content.as_ref();
            let content = content.map(|text| text.as_str()).map_err(Clone::clone);
            let codes = entry.beside.codes.expose().collect();
            Kept::entry(entry.name.clone(), content, codes, entry.beside.unread)
        });
        let parts = self.parts.iter().zip(&encoded).map(|(part, bytes)| {
            Kept::part(KeptPart {
                index: part.index,
                of: part.of,
                parity: part.parity,
                bytes: bytes.as_str(),
                text: part.text.as_str(),
            })
        });
        let kept: Vec<Kept<&str>> = entries.chain(parts).collect();
        // Room for everything, so that no copy stays behind when it grows: an escaped
        // character takes at most six times its length.
        let room: usize = kept
            .iter()
            .map(|entry| {
                let part = entry.part.as_ref();
                let part = part.map_or(0, |part| part.bytes.len() + part.text.len());
                let text = entry.text.map_or(0, str::len);
                let account = entry.account.as_ref().map_or(0, |account| {
                    let codes = account.recovery_codes.iter();
                    account.text.map_or(0, str::len)
                        + codes.map(|code| code.len() + 3).sum::<usize>()
                });
                let text = text + account;
                Kept::<&str>::FRAME + 6 * (entry.name.len() + text + part)
            })
            .sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        // Strings and enums always have a JSON form.
        let written = serde_json::to_writer(&mut *bytes, &kept);
        debug_assert!(written.is_ok(), "a list has a JSON form");
        bytes
    }

    fn from_plaintext(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let kept: Vec<Kept<SecretText>> = serde_json::from_slice(&bytes).ok()?;
        let mut list = Self::default();
        for mut kept in kept {
            let mut beside = CodesBeside::default();
            if let Some(account) = kept.account.take() {
                if kept.text.is_some() || kept.problem.is_some() {
                    return None;
                }
                kept.text = account.text;
                kept.problem = account.problem;
                let codes = account.recovery_codes.iter();
                beside.codes = RecoveryCodes::new(codes.map(SecretText::expose)).ok()?;
                beside.unread = account.unread;
            }
            let content = match (kept.part, kept.text, kept.problem) {
                (Some(part), None, None) => {
                    list.parts.push(CodePart {
                        index: part.index,
                        of: part.of,
                        parity: part.parity,
                        bytes: Zeroizing::new(BASE64.decode(part.bytes.expose().as_bytes()).ok()?),
                        text: Zeroizing::new(part.text.expose().to_owned()),
                        // A caller that reads several images together does not have them.
                        region: None,
                    });
                    continue;
                }
                (None, _, Some(problem)) => Err(problem),
                (None, Some(text), None) => Ok(Zeroizing::new(text.expose().to_owned())),
                _ => return None,
            };
            let name = kept.name;
            list.entries.push(ImportEntry {
                name,
                content,
                beside,
            });
        }
        Some(list)
    }
}
