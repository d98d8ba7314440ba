//! A URI in a piece of HTML or Markdown, as people copy it from a page's source or a wiki: the
//! target of a link or image, or the text of an element.

use zeroize::Zeroizing;

use super::escapes;
use crate::problem::InputProblem;

/// How a text begins that is a URI, or an address that may carry one.
const BEGINNINGS: [&str; 6] = [
    "otpauth:",
    "otpauth-migration:",
    "otpauth%",
    "apple-otpauth:",
    "http://",
    "https://",
];

/// The only URI in a text that is markup; nothing if the text is none.
///
/// # Errors
///
/// [`InputProblem::OtpauthNotAlone`] where there are several.
pub(super) fn inner(given: &str) -> Result<Option<Zeroizing<String>>, InputProblem> {
    let mut targets = Vec::new();
    if let Some(inside) = fenced(given) {
        return Ok(Some(Zeroizing::new(inside.to_owned())));
    }
    if is_html(given) {
        html_targets(given, &mut targets);
    } else if let Some((text, target)) = markdown_link(given) {
        targets.extend([text, target]);
    } else {
        return Ok(None);
    }
    let mut found: Option<Zeroizing<String>> = None;
    for target in targets {
        let target = target.trim();
        let plain = escapes::markup(target).unwrap_or_else(|| target.to_owned());
        let plain = Zeroizing::new(plain);
        if !carries(&plain) {
            continue;
        }
        match &found {
            None => found = Some(plain),
            // A link often shows where it leads.
            Some(first) if **first == *plain => {}
            Some(_) => return Err(InputProblem::OtpauthNotAlone),
        }
    }
    Ok(found)
}

/// Whether a text begins as a URI, or is an address with one in it.
fn carries(text: &str) -> bool {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    BEGINNINGS
        .iter()
        .any(|beginning| lower.starts_with(beginning))
        && lower.contains("otpauth")
}

/// Whether a text begins with an element or a comment.
fn is_html(given: &str) -> bool {
    given.strip_prefix('<').is_some_and(|rest| {
        let begins = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!');
        begins && !carries(rest) && !rest.starts_with("![CDATA[")
    })
}

/// What attributes say, and the texts between elements and in comments.
fn html_targets<'a>(given: &'a str, targets: &mut Vec<&'a str>) {
    let mut rest = given;
    while let Some(at) = rest.find('<') {
        let (text, tag) = rest.split_at(at);
        targets.push(text);
        if let Some(comment) = tag.strip_prefix("<!--") {
            let (inside, after) = comment.split_once("-->").unwrap_or((comment, ""));
            targets.push(inside);
            rest = after;
            continue;
        }
        let (inside, after) = tag[1..].split_at(end_of_tag(&tag[1..]));
        attributes(inside, targets);
        rest = after.strip_prefix('>').unwrap_or(after);
    }
    targets.push(rest);
}

/// Where an element's tag ends: at the first `>` that is in no quotes.
pub(crate) fn end_of_tag(tag: &str) -> usize {
    let mut quote = None;
    for (at, c) in tag.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '>' => return at,
            None => {}
        }
    }
    tag.len()
}

/// The values of a tag's attributes.
pub(crate) fn attributes<'a>(tag: &'a str, targets: &mut Vec<&'a str>) {
    let mut rest = tag;
    while let Some((_, value)) = rest.split_once('=') {
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, after) = match quote {
            Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            None => value
                .split_once(|c: char| c.is_whitespace())
                .unwrap_or((value.trim_end_matches('/'), "")),
        };
        targets.push(value);
        rest = after;
    }
}

/// The text and the target of a link or image in Markdown, if that is all there is.
fn markdown_link(given: &str) -> Option<(&str, &str)> {
    let rest = given.strip_prefix('!').unwrap_or(given);
    let (text, target) = rest.strip_prefix('[')?.split_once("](")?;
    let target = target.trim_end().strip_suffix(')')?.trim();
    // A title may follow it.
    let target = match target.split_once([' ', '\t']) {
        Some((target, title)) if title.trim().starts_with(['"', '\'', '(']) => target,
        _ => target,
    };
    let target = target.strip_prefix('<').unwrap_or(target);
    Some((text, target.strip_suffix('>').unwrap_or(target)))
}

/// What is in a fenced block of Markdown.
fn fenced(given: &str) -> Option<&str> {
    let fence = ["```", "~~~"]
        .into_iter()
        .find(|fence| given.starts_with(fence))?;
    let (_, body) = given.split_once('\n')?;
    let body = body.trim_end().strip_suffix(fence)?;
    Some(body.trim())
}
