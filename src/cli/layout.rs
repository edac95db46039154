//! Text on a page: tables, paragraphs, and text from elsewhere made harmless.

use anstyle::Style;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use super::look::{Ink, Look};

/// Marks around a styled cell while the table is laid out. They have no width, and
/// [`harmless`] lets none of them in from outside.
const OPEN: char = '\u{2061}';
const CLOSE: char = '\u{2062}';

/// Space between two columns.
const GAP: u16 = 2;
/// Columns that a name keeps while others are broken: `admin@8002` and some.
const NAME_WIDTH: usize = 12;
/// Columns that any broken text keeps.
const TEXT_WIDTH: u16 = 6;

/// How a column uses its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// Never broken; only such columns may hold styled cells.
    Whole,
    /// Never broken, and aligned to the right.
    Number,
    /// Broken into lines where the page is too narrow, the last of all.
    Name,
    /// Broken into lines where the page is too narrow.
    Broken,
}

/// A column: its heading and how it uses its space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) Fit);

/// One cell of a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Text in a style.
    pub(super) fn styled(text: &str, style: Style) -> Self {
        Self { text: harmless(text).replace('\n', " "), style }
    }

    /// Text as it is.
    pub(super) fn plain(text: &(impl ToString + ?Sized)) -> Self {
        Self::styled(&text.to_string(), Style::new())
    }

    /// The text of `value`, or a dash where there is none.
    pub(super) fn maybe(value: Option<impl ToString>) -> Self {
        value.map_or_else(|| Self::plain("-"), |value| Self::plain(&value))
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn marked(&self, ink: Ink) -> String {
        if ink == Ink::Colour && self.style != Style::new() {
            format!("{OPEN}{}{CLOSE}", self.text)
        } else {
            self.text.clone()
        }
    }
}

/// A table without lines, at most as wide as the page where its columns can be broken.
pub(super) fn table(columns: &[Column], rows: &[Vec<Cell>], look: Look) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(look.width).unwrap_or(u16::MAX).max(20));
    table.set_header(columns.iter().map(|column| column.0));
    for row in rows {
        table.add_row(row.iter().map(|cell| cell.marked(look.ink)));
    }
    for (at, Column(_, fit)) in columns.iter().enumerate() {
        let longest = rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max();
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, if at + 1 == columns.len() { 0 } else { GAP }));
            if *fit == Fit::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
            column.set_constraint(constraint(*fit, longest.unwrap_or_default()));
        }
    }
    let styles =
        rows.iter().flatten().map(|cell| cell.style).filter(|style| *style != Style::new());
    finish(&table, styles)
}

fn constraint(fit: Fit, longest: usize) -> ColumnConstraint {
    let at_least = |width| ColumnConstraint::LowerBoundary(Width::Fixed(width + GAP));
    match fit {
        Fit::Whole | Fit::Number => ColumnConstraint::ContentWidth,
        Fit::Name => at_least(u16::try_from(longest.min(NAME_WIDTH)).unwrap_or(TEXT_WIDTH)),
        Fit::Broken => at_least(TEXT_WIDTH),
    }
}

/// Puts the styles where their marks are: cells come out in the order they went in.
fn finish(table: &Table, mut styles: impl Iterator<Item = Style>) -> String {
    let mut text = String::new();
    let mut open = Style::new();
    for line in table.lines() {
        for c in line.trim_end().chars() {
            match c {
                OPEN => {
                    open = styles.next().unwrap_or_default();
                    text.push_str(&open.render().to_string());
                }
                CLOSE => text.push_str(&open.render_reset().to_string()),
                c => text.push(c),
            }
        }
        text.push('\n');
    }
    text
}

/// Text from elsewhere (an application's output, nginx's words) without escape sequences and
/// control characters, which could draw over the rest of the page. Line ends stay.
pub(super) fn harmless(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    stripped
        .chars()
        .filter(|c| !matches!(*c, OPEN | CLOSE))
        .filter_map(|c| match c {
            '\n' => Some('\n'),
            '\t' => Some(' '),
            c if c.is_control() => None,
            c => Some(c),
        })
        .collect()
}

/// `text` broken at spaces into lines of at most `width` columns; its own line ends stay, and so
/// do words longer than a line.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in harmless(text).lines() {
        let mut line = paragraph.trim_end();
        while line.chars().count() > width {
            let Some(cut) = break_at(line, width) else { break };
            let (head, tail) = line.split_at(cut);
            lines.push(head.trim_end().to_owned());
            line = tail.trim_start();
        }
        lines.push(line.to_owned());
    }
    lines
}

/// The byte after which `line` is broken: the last space within `width`, else the first one at all.
fn break_at(line: &str, width: usize) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    let spaces = || line.match_indices(' ').map(|(at, _)| at).filter(move |at| *at >= indent);
    let limit = line.char_indices().nth(width).map_or(line.len(), |(at, _)| at);
    spaces().take_while(|at| *at <= limit).last().or_else(|| spaces().next())
}

/// Each line of `text` behind two spaces, none of them broken.
pub(super) fn indented(text: &str) -> String {
    harmless(text).lines().flat_map(|line| ["  ", line, "\n"]).collect::<Vec<_>>().concat()
}

/// `text` wrapped to `width`, with `first` before its first line and as much space before others.
pub(super) fn hanging(first: &str, text: &str, width: usize) -> String {
    let indent = first.chars().count();
    let mut out = String::new();
    for (at, line) in wrapped(text, width.saturating_sub(indent).max(20)).iter().enumerate() {
        if at == 0 {
            out.push_str(first);
        } else {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_draw() {
        assert_eq!(harmless("\u{1b}[2J\u{1b}[31mred\u{1b}[0m\r\u{8}!\tx\nnext"), "red! x\nnext");
        assert_eq!(harmless("\u{2061}a\u{2062}"), "a");
    }

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("unbreakablelongword and", 8), ["unbreakablelongword", "and"]);
        assert_eq!(wrapped("a\n\nb", 8), ["a", "", "b"]);
        assert_eq!(wrapped("    indentedlongword", 8), ["    indentedlongword"]);
        assert_eq!(wrapped("żółw żółw żółw", 9), ["żółw żółw", "żółw"]);
    }

    #[test]
    fn a_style_stays_in_its_cell() {
        let columns = [Column("A", Fit::Whole), Column("B", Fit::Broken)];
        let rows = [vec![Cell::styled("x", super::super::look::BAD), Cell::plain("y")]];
        let text = table(&columns, &rows, Look::COLOURED);
        assert_eq!(super::super::look::visible(&text), "A  B\n␛[1m␛[31mx␛[0m  y\n");
    }
}
