//! Words that the glossary has replaced stay out of what people read: the documents, the command
//! line's help, the texts of the page, and the texts and comments of the code.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use countersign::cli::Cli;

use super::markdown::{documents, prose, root};
use super::table;

const GLOSSARY: &str = include_str!("../../docs/GLOSSARY.md");

/// Where replaced words are left. This list only shrinks: it fails where nothing is left.
const NOT_YET: [&str; 0] = [];

/// The words and phrases that the glossary has replaced.
fn replaced() -> Vec<String> {
    let rows = table(GLOSSARY, "Replaced words", "Instead of");
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

/// Those of `words` that are in a text, as whole words in any case.
fn found<'a>(words: &'a [String], text: &str) -> Vec<&'a str> {
    let text = text.to_lowercase();
    let is_whole = |start: usize, end: usize| {
        let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        // What follows a dot or a colon without a space is code.
        let before = |c: char| part(c) || c == '.' || c == ':';
        !text[..start].ends_with(before) && !text[end..].starts_with(part)
    };
    let is_in = |word: &&'a String| {
        let mut places = text.match_indices(word.as_str());
        places.any(|(start, _)| is_whole(start, start + word.len()))
    };
    words.iter().filter(is_in).map(String::as_str).collect()
}

/// The words of a text in Markdown that are read: without code and the targets of links.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split('`').step_by(2).collect();
    let words = words.join(" ");
    let mut parts = words.split("](");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push(' ');
        shown.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    shown
}

/// The texts and comments of Rust code, with their lines: comments, and literals of several words.
fn texts(code: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    let mut keep = |start: usize, text: &str| {
        texts.push((code[..start].matches('\n').count() + 1, plain(text)));
    };
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let length = if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            keep(at, rest[..length].trim_start_matches(['/', '!']));
            length
        } else if let Some(length) = literal(rest) {
            if rest[..length].contains(' ') {
                keep(at, rest[..length].trim_matches(['r', '#', '"']));
            }
            length
        } else if let Some(length) = character(rest) {
            length
        } else {
            c.len_utf8()
        };
        at += length;
    }
    texts
}

/// How long a string literal is that `code` begins with.
fn literal(code: &str) -> Option<usize> {
    let raw = code
        .strip_prefix('r')
        .map(|rest| rest.trim_start_matches('#'));
    if let Some(inner) = raw.and_then(|rest| rest.strip_prefix('"')) {
        let hashes = code.len() - inner.len() - 2;
        let end = format!("\"{}", "#".repeat(hashes));
        let start = code.len() - inner.len();
        return inner.find(&end).map(|at| start + at + end.len());
    }
    let mut escaped = false;
    let inner = code.strip_prefix('"')?;
    let end = inner.char_indices().find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + 2)
}

/// How long a character literal is that `code` begins with; a lifetime is none.
fn character(code: &str) -> Option<usize> {
    let mut inner = code.strip_prefix('\'')?.char_indices();
    if let (_, '\\') = inner.next()? {
        inner.next()?;
        let (end, _) = inner.find(|(_, c)| *c == '\'')?;
        return Some(end + 2);
    }
    let (end, c) = inner.next()?;
    (c == '\'').then_some(end + 2)
}

/// All files below `folder` whose name ends in `ending`, without tests and what is built.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let skipped = name.starts_with('.')
            || [
                "target",
                "node_modules",
                "tests",
                "tests.rs",
                "benches",
                "fuzz",
                "examples",
            ]
            .contains(&name.as_str());
        if path.is_dir() && !skipped {
            files(&path, ending, found);
        } else if !skipped && name.ends_with(ending) {
            found.push(path);
        }
    }
}

#[test]
fn replaced_words_are_in_no_text() {
    let words = replaced();
    let mut left: Vec<(String, String)> = Vec::new();
    let mut seen = 0;
    let mut check = |place: String, line: usize, text: &str| {
        seen += 1;
        for word in found(&words, text) {
            left.push((place.clone(), format!("{place}:{line}: {word:?}")));
        }
    };
    let name = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap_or(path);
        path.to_string_lossy().into_owned()
    };

    for (path, text) in documents() {
        // The glossary names the words that it replaces.
        if path.ends_with("docs/GLOSSARY.md") {
            continue;
        }
        for (number, line) in prose(&text).enumerate() {
            check(name(&path), number + 1, &plain(line));
        }
    }
    let mut sources = Vec::new();
    files(root(), ".rs", &mut sources);
    for path in sources {
        let code = fs::read_to_string(&path).unwrap();
        // Tests stand at the end of a file.
        let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (number, text) in texts(code) {
            check(name(&path), number, &text);
        }
    }
    let mut page = Vec::new();
    files(&root().join("web"), ".js", &mut page);
    for path in page {
        let file = name(&path);
        if file.starts_with("web/text") {
            let text = fs::read_to_string(&path).unwrap();
            text.lines()
                .enumerate()
                .for_each(|(at, line)| check(file.clone(), at + 1, line));
        }
    }
    let mut commands = vec![Cli::command()];
    while let Some(mut command) = commands.pop() {
        let help = command.render_long_help().to_string();
        check(format!("the help of {}", command.get_name()), 0, &help);
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(seen > 10_000, "only {seen} texts were read");

    for allowed in NOT_YET {
        assert!(
            left.iter().any(|(place, _)| place.starts_with(allowed)),
            "{allowed} has no replaced words any more: take it off the list"
        );
    }
    let left: Vec<&str> = left
        .iter()
        .filter(|(place, _)| !NOT_YET.iter().any(|allowed| place.starts_with(allowed)))
        .map(|(_, report)| report.as_str())
        .collect();
    assert!(
        left.is_empty(),
        "words that docs/GLOSSARY.md has replaced:\n{}",
        left.join("\n")
    );
}

#[test]
fn whole_words_are_found_in_any_case() {
    let words = ["amid".to_owned(), "is told".to_owned()];
    assert_eq!(found(&words, "Amid a start"), ["amid"]);
    assert_eq!(found(&words, "a pyramid, amid-ships"), Vec::<&str>::new());
    assert_eq!(found(&words, "it is told."), ["is told"]);
    let code = "let x = ('\\'', '\"', \"it is told\");\n// one\n/// [amid](is::told) `is told`\nlet y: &'a str = \"amid\";";
    let texts: Vec<String> = texts(code).into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["it is told", " one", " [amid   "]);
}
