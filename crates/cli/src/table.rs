//! Tables for people.

use callgate_abi::Site;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent};

use crate::terminal::{colours_stdout, escape};

/// The width of a table where standard output is no terminal.
const WIDTH: u16 = 80;

/// An empty table with this head, as wide as the terminal at the most.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .remove_style(TableComponent::LeftBorderIntersections)
        .remove_style(TableComponent::RightBorderIntersections)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok());
        table.set_width(columns.unwrap_or(WIDTH));
    }
    if !colours_stdout() {
        table.force_no_tty();
    }
    table.set_header(
        head.iter()
            .map(|word| Cell::new(word).add_attribute(Attribute::Bold)),
    );
    table
}

/// Text that may come from elsewhere.
pub(crate) fn text(text: impl AsRef<str>) -> Cell {
    Cell::new(escape(text.as_ref()))
}

/// A number, at the right.
pub(crate) fn number(number: impl ToString) -> Cell {
    Cell::new(number.to_string()).set_alignment(CellAlignment::Right)
}

/// What a policy does to a call.
pub(crate) fn verdict(action: &str) -> Cell {
    let (word, colour) = judged(action);
    coloured(Cell::new(word), colour)
}

/// A number with what a policy does to it: `79 killed`.
pub(crate) fn number_and_verdict(number: u32, action: &str) -> Cell {
    let (word, colour) = judged(action);
    coloured(Cell::new(format!("{number:>3} {word}")), colour)
}

fn coloured(cell: Cell, colour: Option<Color>) -> Cell {
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}

fn judged(action: &str) -> (String, Option<Color>) {
    match action {
        "allow" => ("allowed".to_owned(), Some(Color::Green)),
        "kill" | "kill-thread" | "trap" => ("killed".to_owned(), Some(Color::Red)),
        "conditional" => ("depends".to_owned(), Some(Color::Yellow)),
        other => match other
            .strip_prefix("errno(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            Some(errno) => (format!("refused {errno}"), Some(Color::Yellow)),
            None => (other.to_owned(), None),
        },
    }
}

/// Whether something is there.
pub(crate) fn mark(present: bool) -> Cell {
    if present {
        Cell::new("✓").fg(Color::Green)
    } else {
        Cell::new("✗").fg(Color::Red)
    }
}

/// Where a call was made first; `-` where nothing is known.
pub(crate) fn site(site: Option<&Site>) -> Cell {
    match site {
        Some(site) => text(short(site)),
        None => Cell::new("-"),
    }
}

/// A site that is short enough for a table: of a library's file, what comes after the library's place.
pub(crate) fn short(site: &Site) -> String {
    let file = ["/site-packages/", "/dist-packages/"]
        .iter()
        .find_map(|mark| site.file.rsplit_once(mark).map(|(_, rest)| rest))
        .or_else(|| in_standard_library(&site.file))
        .unwrap_or(&site.file);
    match site.line {
        0 => file.rsplit('/').next().unwrap_or(file).to_owned(),
        line => format!("{file}:{line}"),
    }
}

/// What comes after `lib/python3.11/`.
fn in_standard_library(file: &str) -> Option<&str> {
    let (_, rest) = file.rsplit_once("/lib/python3.")?;
    let (minor, rest) = rest.split_once('/')?;
    minor.bytes().all(|b| b.is_ascii_digit()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_librarys_file_is_shown_without_the_librarys_place() {
        let at = |file: &str| {
            short(&Site {
                file: file.into(),
                line: 7,
                function: String::new(),
            })
        };
        assert_eq!(
            at("/e/lib/python3.11/site-packages/numpy/__init__.py"),
            "numpy/__init__.py:7"
        );
        assert_eq!(at("/usr/lib/python3/dist-packages/yaml/a.py"), "yaml/a.py:7");
        assert_eq!(at("/usr/lib/python3.11/json/decoder.py"), "json/decoder.py:7");
        assert_eq!(at("/home/me/lib/python3.x/a.py"), "/home/me/lib/python3.x/a.py:7");
    }
}
