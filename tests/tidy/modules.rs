//! Sibling modules depend on each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::files;

/// A module by its path in its crate; the crate's root has none.
type Module = Vec<String>;

/// Circles that were there when this check was made: the crate's folder, the module that they
/// are in, and the modules that depend on each other. The list only shrinks.
const CIRCLES: &[(&str, &str, &[&str])] = &[
    (
        "activities/src",
        "vault",
        &["content", "embedded", "recovery"],
    ),
    (
        "durabletask/core/src",
        "",
        &["action", "entity", "registry", "replay"],
    ),
    (
        "durabletask/core/src",
        "replay",
        &["context", "entities", "patches", "state", "tasks"],
    ),
    (
        "durabletask/core/src",
        "testing",
        &["behavior", "hub", "instance"],
    ),
    ("durabletask/src", "", &["caller", "connection"]),
    ("durabletask/src", "spans", &["entities", "otel", "steps"]),
    ("durabletask/src", "worker", &["filters", "limits"]),
    ("durabletask/src", "worker", &["orchestration", "prepare"]),
    ("scheduler/core/src", "", &["entity", "event_form"]),
    (
        "scheduler/src",
        "dispatch",
        &["chunks", "entities", "lanes", "backoff", "removal", "state"],
    ),
    ("src", "", &["access", "audit", "config", "telemetry"]),
    ("src", "", &["cli", "commands"]),
    ("src", "", &["http", "metrics"]),
    ("src", "commands", &["import", "import_parts"]),
    ("src", "commands", &["request", "status"]),
    (
        "src",
        "http::edge",
        &[
            "arrival", "auth", "body", "error", "facts", "limits", "observe", "refusals",
        ],
    ),
];

/// The modules of a crate, and which of them names which.
struct Crate {
    modules: BTreeSet<Module>,
    arrows: BTreeSet<(Module, Module)>,
}

impl Crate {
    /// Reads the crate whose sources are in this folder.
    fn load(folder: &Path) -> Self {
        let sources: Vec<(Module, String)> = files::all("rs")
            .into_iter()
            .filter(|path| path.starts_with(folder))
            .map(|path| {
                let inside = path.strip_prefix(folder).expect("it is in the folder");
                (module_of(inside), files::read(&path))
            })
            .collect();
        let modules: BTreeSet<Module> = sources
            .iter()
            .flat_map(|(module, _)| (0..=module.len()).map(|end| module[..end].to_vec()))
            .collect();
        let mut arrows = BTreeSet::new();
        for (module, text) in &sources {
            for path in named_paths(&code_of(text)) {
                let target = resolve(&modules, module, &path);
                arrows.extend(target.map(|target| (module.clone(), target)));
            }
        }
        Self { modules, arrows }
    }

    /// The circles of modules with the same parent, by that parent.
    fn circles(&self) -> Vec<(String, BTreeSet<String>)> {
        let mut by_parent: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, to) in &self.arrows {
            let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            // What a module and its parent say to each other is their own business.
            let (Some(one), Some(other)) = (from.get(common), to.get(common)) else {
                continue;
            };
            let siblings = by_parent.entry(from[..common].to_vec()).or_default();
            let names = siblings.entry(one.clone()).or_default();
            names.insert(other.clone());
        }
        by_parent
            .iter()
            .flat_map(|(parent, names)| {
                let parent = parent.join("::");
                circles_among(names)
                    .into_iter()
                    .map(move |circle| (parent.clone(), circle))
            })
            .collect()
    }
}

/// The module that a file is, by the file's path in the crate's sources.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str()))
    {
        module.pop();
    }
    module
}

/// A file's code, without its tests and what is said about it.
fn code_of(text: &str) -> String {
    let code = text
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or(text);
    let lines = code.lines().map(|line| match line.split_once("//") {
        Some((code, _)) if !code.contains('"') => code,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths from the crate's root or from a parent that some code names: what `use` brings
/// in, and what is named where it is used.
fn named_paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | ':' | '$')) {
                read_path(
                    &mut code[at..].chars().peekable(),
                    &mut Vec::new(),
                    &mut found,
                );
            }
        }
    }
    found
}

/// Reads one path, or all those of a group in braces, that `rest` begins with.
fn read_path(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    if rest.next_if_eq(&'{').is_some() {
        loop {
            read_path(rest, &mut path.clone(), found);
            // Up to the next of the group: past `as name` as well.
            while rest.next_if(|c| !matches!(c, ',' | '}' | ';')).is_some() {}
            if rest.next_if_eq(&',').is_none() {
                rest.next();
                return;
            }
        }
    }
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if name.is_empty() {
        found.push(path.clone());
        return;
    }
    path.push(name);
    if rest.next_if_eq(&':').is_some() && rest.next_if_eq(&':').is_some() {
        read_path(rest, path, found);
    } else {
        found.push(path.clone());
    }
}

/// The module that a path leads to; none if it leads out of what is read here.
fn resolve(modules: &BTreeSet<Module>, from: &Module, path: &[String]) -> Option<Module> {
    let mut at = from.clone();
    let mut names = path.iter().peekable();
    if names.next_if(|name| *name == "crate").is_some() {
        at.clear();
    }
    while names.next_if(|name| *name == "super").is_some() {
        at.pop()?;
    }
    for name in names {
        at.push(name.clone());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    (at != *from).then_some(at)
}

/// The sets of names that all lead to each other.
fn circles_among(names: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            for next in names.get(name).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> =
        names.keys().map(|name| (name, reached(name))).collect();
    all.iter()
        .filter(|(name, reached)| reached.contains(**name))
        .map(|(name, reached)| {
            let back = |other: &&String| all.get(other).is_some_and(|it| it.contains(*name));
            reached.iter().filter(back).cloned().collect()
        })
        .collect()
}

/// The folders of the sources of all crates here.
fn crates() -> Vec<std::path::PathBuf> {
    let sources = files::all("rs").into_iter();
    let roots = sources.filter(|path| path.ends_with("src/lib.rs"));
    roots
        .filter_map(|path| Some(path.parent()?.to_owned()))
        .collect()
}

#[test]
fn sibling_modules_have_no_new_dependency_cycles() {
    let mut listed: BTreeSet<(String, String, BTreeSet<String>)> = CIRCLES
        .iter()
        .map(|(folder, parent, names)| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            ((*folder).to_owned(), (*parent).to_owned(), names)
        })
        .collect();
    let mut new = Vec::new();
    for folder in crates() {
        for (parent, names) in Crate::load(&folder).circles() {
            let circle = (folder.display().to_string(), parent, names);
            if !listed.remove(&circle) {
                new.push(circle);
            }
        }
    }
    assert!(
        new.is_empty(),
        "modules depend on each other in a circle; move what both need into a module below \
         them: {new:#?}"
    );
    assert!(
        listed.is_empty(),
        "circles are open now; take them off the list: {listed:#?}"
    );
}

#[test]
fn the_edge_of_the_front_door_knows_no_operation() {
    let front = Crate::load(Path::new("src"));
    let module = |path: &[&str]| {
        path.iter()
            .map(|name| (*name).to_owned())
            .collect::<Module>()
    };
    let (edge, api) = (module(&["http", "edge"]), module(&["http", "api"]));
    assert!(front.modules.contains(&edge) && front.modules.contains(&api));
    let mut known = 0;
    for (from, to) in &front.arrows {
        known += usize::from(from.starts_with(&api) && to.starts_with(&edge));
        assert!(
            !(from.starts_with(&edge) && to.starts_with(&api)),
            "{} must not use {}",
            from.join("::"),
            to.join("::")
        );
    }
    // What reads the sources still sees the arrows of the allowed direction.
    assert!(known > 50, "only {known} uses of the edge were found");
}

#[test]
fn paths_are_read_from_code() {
    let paths = |code: &str| {
        let named = named_paths(&code_of(code));
        named.iter().map(|path| path.join("::")).collect::<Vec<_>>()
    };
    assert_eq!(
        paths("use crate::{a::{b, c as d}, e::*};\nfn f() { super::super::g::h(1) } // crate::i"),
        [
            "crate::a::b",
            "crate::a::c",
            "crate::e",
            "super::super::g::h"
        ]
    );
    assert_eq!(paths("other::super::x, $crate::y, \"text\""), [""; 0]);
}
