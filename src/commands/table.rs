//! Tables with columns as wide as their content, with color on a terminal.

use std::io::IsTerminal as _;

use super::output;

/// The meaning of a cell's color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
    Waiting,
    Faint,
}

/// A cell: its text and its tone.
pub(super) type Cell = (String, Tone);

/// A cell without a color.
pub(super) fn plain(text: impl Into<String>) -> Cell {
    (text.into(), Tone::Plain)
}

/// Prints a table on standard output.
pub(super) fn print(heads: &[&str], rows: &[Vec<Cell>]) {
    for line in lines(heads, rows, colored()) {
        output::line(&line);
    }
}

/// Whether standard output is a terminal on which colors are wanted.
fn colored() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !refused
}

fn lines(heads: &[&str], rows: &[Vec<Cell>], colored: bool) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|(text, _)| text.chars().count());
        let head = heads.get(column).map_or(0, |head| head.chars().count());
        widths.chain([head]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let shown = |text: &str, column: usize, code: Option<&str>| {
        // The last column needs no padding.
        let space = match column + 1 == widths.len() {
            true => 0,
            false => widths
                .get(column)
                .map_or(0, |width| width - text.chars().count()),
        };
        let text = match code.filter(|_| colored && !text.is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        };
        format!("{text}{}", " ".repeat(space))
    };
    let joined = |cells: Vec<String>| cells.join("  ").trim_end().to_owned();
    let head = heads.iter().enumerate();
    let head = joined(head.map(|(n, text)| shown(text, n, Some("1"))).collect());
    let body = rows.iter().map(|row| {
        let cells = row.iter().enumerate();
        joined(
            cells
                .map(|(n, (text, tone))| shown(text, n, code(*tone)))
                .collect(),
        )
    });
    [head].into_iter().chain(body).collect()
}

const fn code(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some("32"),
        Tone::Bad => Some("31"),
        Tone::Waiting => Some("33"),
        Tone::Faint => Some("2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_with_color_and_without() {
        let rows = [
            vec![plain("a"), ("Enrolled".to_owned(), Tone::Good), plain("x")],
            vec![
                plain("b\u{e4}\u{e4}"),
                ("Failed".to_owned(), Tone::Bad),
                plain(""),
            ],
        ];
        let heads = ["ID", "STAGE", "ACCOUNT"];
        assert_eq!(
            lines(&heads, &rows, false),
            [
                "ID   STAGE     ACCOUNT",
                "a    Enrolled  x",
                "b\u{e4}\u{e4}  Failed",
            ]
        );
        let colored = lines(&heads, &rows, true);
        assert_eq!(colored[1], "a    \x1b[32mEnrolled\x1b[0m  x");
        assert_eq!(colored[2], "b\u{e4}\u{e4}  \x1b[31mFailed\x1b[0m");
        assert!(colored[0].starts_with("\x1b[1mID\x1b[0m "));
    }
}
