//! What the documents are made of: blocks, commands, links, headings.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All documents of the repository.
pub(crate) fn documents() -> Vec<(PathBuf, String)> {
    fn find(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let skipped =
                name.starts_with('.') || ["target", "node_modules"].contains(&name.as_str());
            if path.is_dir() && !skipped {
                find(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    find(root(), &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    found.into_iter().map(read).collect()
}

/// A fenced block of a document.
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    pub(crate) text: String,
}

/// The fenced blocks of a document, without their indentation.
pub(crate) fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let fence = lines.find(|line| line.trim_start().starts_with("```"))?;
        let indent = fence.len() - fence.trim_start().len();
        let block = lines.by_ref().take_while(|line| line.trim() != "```");
        let text: Vec<&str> = block.map(|line| line.get(indent..).unwrap_or("")).collect();
        Some(Block {
            language: fence.trim().trim_start_matches('`'),
            text: text.join("\n"),
        })
    })
}

/// The lines of a shell block that are typed; in `console`, those after a prompt.
pub(crate) fn commands(block: &Block<'_>) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let typed = joined.lines().filter_map(|line| match block.language {
        "console" => {
            let (prompt, command) = line.split_once("$ ")?;
            prompt.chars().all(char::is_alphabetic).then_some(command)
        }
        _ => Some(line),
    });
    typed.map(str::to_owned).collect()
}

/// The words of a line as a shell splits them, without comments and expansions.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The lines of a document outside of fenced blocks.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Where the links and images of a document lead.
pub(crate) fn links(text: &str) -> impl Iterator<Item = String> + '_ {
    prose(text).flat_map(|line| {
        // What stands between backticks is no link.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("``");
        let targets = plain
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect::<Vec<_>>()
    })
}

/// The anchors that GitHub gives a document's headings.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim();
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let name = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let more = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone())
            .chain(more)
            .find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}
