//! The URIs in a web page or other markup, as a browser shows them: elements within a line and
//! soft breaks do not end a URI, and a line that was broken goes on in the next.

use zeroize::Zeroizing;

use super::lines;
use crate::otpauth::{self, MAX_URI_BYTES};
use crate::text;

/// Elements that stand within a line.
const INLINE: [&str; 34] = [
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i",
    "ins", "kbd", "label", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong",
    "sub", "sup", "time", "tt", "u", "var", "wbr", "o:p",
];
/// Elements that stand beside one another, so that what is in one does not go on in the next.
const APART: [&str; 19] = [
    "table", "tr", "td", "th", "thead", "tbody", "ul", "ol", "li", "dl", "dt", "dd", "h1", "h2",
    "h3", "h4", "hr", "field", "entry",
];
/// Elements whose content is not markup.
const RAW: [&str; 2] = ["script", "style"];
/// How an attribute's value begins that is one URI, or an address with one.
const BEGINNINGS: [&str; 4] = ["otpauth", "apple-otpauth:", "http://", "https://"];
/// The shortest secret that is looked for behind `steam://`, which also opens pages.
const SHORTEST_SECRET: usize = 16;

type Text = Zeroizing<String>;

/// Every URI, in the order of the page; a link's address follows the line that it is in.
pub(super) fn uris(page: &str) -> Vec<Text> {
    let mut flow = Flow::default();
    flow.page(page);
    flow.end_line();
    flow.found
}

#[derive(Default)]
struct Flow {
    /// The line so far, in pieces.
    line: Vec<Text>,
    /// Values of attributes, to be looked at when the line ends.
    values: Vec<Text>,
    found: Vec<Text>,
    /// Whether the last URI ended with its line.
    goes_on: bool,
}

impl Flow {
    fn page(&mut self, page: &str) {
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            self.show(&rest[..at]);
            let tag = &rest[at + 1..];
            rest = if let Some(comment) = tag.strip_prefix("!--") {
                let (inside, after) = comment.split_once("-->").unwrap_or((comment, ""));
                self.apart(inside);
                after
            } else if let Some(data) = tag.strip_prefix("![CDATA[") {
                let (inside, after) = data.split_once("]]>").unwrap_or((data, ""));
                self.show(inside);
                after
            } else if tag.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)) {
                self.element(tag)
            } else {
                self.show("<");
                tag
            };
        }
        self.show(rest);
    }

    /// Takes an element's tag; what follows it.
    fn element<'a>(&mut self, tag: &'a str) -> &'a str {
        let end = match otpauth::end_of_tag(tag) {
            // A quote is not closed, and what follows would be lost.
            end if end == tag.len() => tag.find('>').unwrap_or(end),
            end => end,
        };
        let (inside, after) = (&tag[..end], tag.get(end + 1..).unwrap_or_default());
        let name = inside.trim_start_matches('/');
        let name = name.split(|c: char| c.is_whitespace() || c == '/' || c == '>');
        let name = name.take(1).collect::<String>().to_ascii_lowercase();
        let is_inline = INLINE.contains(&name.as_str());
        if !is_inline {
            self.end_line();
        }
        let mut values = Vec::new();
        otpauth::attributes(inside, &mut values);
        let meant = values.into_iter().filter(|value| otpauth::is_meant(value));
        self.values.extend(meant.map(otpauth::without_markup));
        if !is_inline {
            self.end_line();
        }
        self.goes_on &= !APART.contains(&name.as_str());
        if RAW.contains(&name.as_str()) && !inside.starts_with('/') {
            let end = after.find("</").unwrap_or(after.len());
            self.apart(&after[..end]);
            return &after[end..];
        }
        after
    }

    /// Text within the line, as it is shown.
    fn show(&mut self, piece: &str) {
        let shown = otpauth::without_markup(piece);
        for (number, line) in shown.split(lines::ends_line).enumerate() {
            if number > 0 {
                self.end_line();
            }
            let mut piece = Zeroizing::new(String::with_capacity(line.len()));
            piece.extend(line.chars().filter(|c| !text::is_invisible(*c)));
            self.line.push(piece);
        }
    }

    /// Text on separate lines.
    fn apart(&mut self, piece: &str) {
        self.end_line();
        self.show(piece);
        self.end_line();
    }

    fn end_line(&mut self) {
        let pieces = std::mem::take(&mut self.line);
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let mut line = Zeroizing::new(String::with_capacity(length));
        pieces.iter().for_each(|piece| line.push_str(piece));
        let line = text::trim(&line);
        if !line.is_empty() {
            self.continued(line);
            self.look_at(line);
        }
        for value in std::mem::take(&mut self.values) {
            let value = text::trim(&value);
            let lower = Zeroizing::new(value.to_ascii_lowercase());
            if BEGINNINGS.iter().any(|start| lower.starts_with(start)) {
                self.found.push(Zeroizing::new(value.to_owned()));
                self.goes_on = false;
            } else {
                self.look_at(value);
            }
        }
    }

    /// Adds what a line has of the URI that the last one ended with.
    fn continued(&mut self, line: &str) {
        let goes_on = std::mem::take(&mut self.goes_on);
        let Some(last) = self.found.last_mut().filter(|_| goes_on) else {
            return;
        };
        let first = line.split_whitespace().next().unwrap_or_default();
        let is_rest = lines::is_rest(last, first)
            && (first.len() == line.len() || first.starts_with('&'))
            && last.len() <= MAX_URI_BYTES;
        if is_rest {
            *last = joined(last, '\n', first);
            self.goes_on = first.len() == line.len();
        }
    }

    /// Finds the URIs that begin in a line.
    fn look_at(&mut self, line: &str) {
        let lower = Zeroizing::new(line.to_ascii_lowercase());
        let places = beginnings(&lower);
        for (number, at) in places.iter().copied().enumerate() {
            let end = places.get(number + 1).copied().unwrap_or(line.len());
            let mut most = end.min(at + MAX_URI_BYTES + 1);
            while !line.is_char_boundary(most) {
                most -= 1;
            }
            let quote = line[..at]
                .chars()
                .next_back()
                .filter(|c| "\"'`".contains(*c));
            let (uri, is_whole) = cut(&line[at..most], quote);
            if lower[at..].starts_with("steam") {
                let secret = uri.get("steam://".len()..).unwrap_or_default();
                if !text::may_be_secret(secret, SHORTEST_SECRET) {
                    continue;
                }
            } else if !otpauth::is_meant(&uri) {
                continue;
            }
            self.goes_on = is_whole && most == line.len();
            self.found.push(uri);
        }
    }
}

/// Where URIs may begin in a line in small letters, in ascending order.
fn beginnings(lower: &str) -> Vec<usize> {
    let begins = |word: &'static str| {
        let places = lower.match_indices(word).map(|(at, _)| at);
        places.filter(|at| {
            let before = lower[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_ascii_alphanumeric())
        })
    };
    let mut places: Vec<usize> = begins("otpauth").chain(begins("steam://")).collect();
    places.sort_unstable();
    places
}

/// The URI that a text begins with, and whether nothing follows it.
fn cut(window: &str, quote: Option<char>) -> (Text, bool) {
    let ends = |c: char| match quote {
        Some(quote) => c == quote,
        None => "\"<>`".contains(c),
    };
    let escaped = |c: char| window.starts_with("otpauth%") && matches!(c, '&' | '#');
    let end = window.find(|c: char| ends(c) || escaped(c));
    let window = &window[..end.unwrap_or(window.len())];
    let mut words = window.split_whitespace();
    let mut uri = Zeroizing::new(words.next().unwrap_or_default().to_owned());
    let mut rest = window.trim_start().get(uri.len()..).unwrap_or_default();
    for word in words {
        let is_label = !uri.contains('?') && rest.contains('?');
        let secret = word.split('&').next().unwrap_or_default();
        let is_secret = otpauth::open_secret(&uri).is_some() && text::may_be_secret(secret, 2);
        if !(is_label || is_secret || word.starts_with('&')) {
            return (listed(&uri), false);
        }
        // A word that could be one of its own is recognized by its line.
        uri = joined(&uri, if is_label { ' ' } else { '\n' }, word);
        rest = rest.trim_start().get(word.len()..).unwrap_or_default();
    }
    if window.ends_with(char::is_whitespace) {
        return (listed(&uri), false);
    }
    (uri, end.is_none())
}

/// A URI of several in a row, without the mark that separates them.
fn listed(uri: &str) -> Text {
    Zeroizing::new(uri.trim_end_matches([',', ';']).to_owned())
}

fn joined(first: &str, between: char, second: &str) -> Text {
    let mut whole = Zeroizing::new(String::with_capacity(first.len() + second.len() + 1));
    whole.push_str(first);
    whole.push(between);
    whole.push_str(second);
    whole
}
