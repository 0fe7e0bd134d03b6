//! Rows with aligned columns, one line each however narrow the terminal is: what has no room is shortened or left out.
//!
//! Texts are not tables of boxes: a row can be copied, compared and searched as a line, and what must be told of a row
//! in words stands below it.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::console::paint;

/// What stands between columns.
const GAP: usize = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Where room is scarce, the one with the least rank stays longest.
    pub(super) rank: usize,
    /// To how many columns it may be shortened; `None`: whole or not at all.
    pub(super) least: Option<usize>,
    /// Whether its cells stand below their rows where it has no room.
    pub(super) falls: bool,
}

impl Column {
    pub(super) const fn whole(title: &'static str, rank: usize) -> Self {
        Self { title, rank, least: None, falls: false }
    }

    /// What must not be left out.
    pub(super) const fn told(title: &'static str, rank: usize) -> Self {
        Self { title, rank, least: None, falls: true }
    }

    pub(super) const fn shortened(title: &'static str, rank: usize, least: usize) -> Self {
        Self { title, rank, least: Some(least), falls: false }
    }
}

/// One row: a sign, cells that are inert already, and words below it.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) below: Option<String>,
}

/// Draws rows, each led by `sign`; `width` is the terminal's.
pub(super) fn draw(
    columns: &[Column],
    rows: &[Row],
    (sign, color): (&str, Option<&str>),
    width: Option<u16>,
) -> String {
    let mut measure = Measure::new(columns);
    for row in rows {
        measure.see(&row.cells);
    }
    let sheet = Sheet::new(&measure, (sign, color), width);
    let mut out = sheet.head();
    for row in rows {
        out += &sheet.row(row);
    }
    out
}

/// What rows need, seen one by one.
#[derive(Debug)]
pub(super) struct Measure<'c> {
    columns: &'c [Column],
    widest: Vec<usize>,
    /// Columns with a word in them.
    told: Vec<bool>,
}

impl<'c> Measure<'c> {
    pub(super) fn new(columns: &'c [Column]) -> Self {
        Self { columns, widest: vec![0; columns.len()], told: vec![false; columns.len()] }
    }

    pub(super) fn see(&mut self, cells: &[String]) {
        for ((cell, widest), told) in cells.iter().zip(&mut self.widest).zip(&mut self.told) {
            *widest = cell.width().max(*widest);
            *told |= !matches!(&**cell, "" | "-");
        }
    }

    /// The width of each column; `None` where it is left out. A column without a word in it is.
    fn widths(&self, room: usize) -> Vec<Option<usize>> {
        let columns = self.columns;
        let mut order: Vec<usize> = (0..columns.len()).filter(|at| self.told[*at]).collect();
        order.sort_by_key(|at| columns[*at].rank);
        let (mut left, mut widths) = (room, vec![None; columns.len()]);
        for at in order {
            let wanted = self.widest[at].max(columns[at].title.width());
            let width = match columns[at].least {
                _ if wanted <= left => wanted,
                Some(least) if least.max(columns[at].title.width()) <= left => left,
                _ => continue,
            };
            widths[at] = Some(width);
            left = left.saturating_sub(width + GAP);
        }
        widths
    }
}

/// Columns whose widths are settled. A row that was not measured is shortened to them.
#[derive(Debug)]
pub(super) struct Sheet<'c> {
    columns: &'c [Column],
    widths: Vec<Option<usize>>,
    sign: &'c str,
    color: Option<&'c str>,
    lead: usize,
    width: Option<u16>,
}

impl<'c> Sheet<'c> {
    pub(super) fn new(measure: &Measure<'c>, (sign, color): (&'c str, Option<&'c str>), width: Option<u16>) -> Self {
        let lead = if sign.is_empty() { GAP } else { sign.width() + GAP + 1 };
        let room = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(lead));
        Self { columns: measure.columns, widths: measure.widths(room), sign, color, lead, width }
    }

    /// The titles.
    pub(super) fn head(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        self.line(" ".repeat(self.lead), &titles, self.color.map(|_| "2"))
    }

    /// A row, with what stands below it.
    pub(super) fn row(&self, row: &Row) -> String {
        let painted = format!("{:lead$}", format!("  {}", self.sign), lead = self.lead);
        let color = self.color.filter(|_| !self.sign.is_empty());
        let painted = color.map_or(painted.clone(), |code| paint(true, code, &painted));
        let mut out = self.line(painted, &row.cells, None);
        let fallen = self.columns.iter().zip(&row.cells).zip(&self.widths);
        let fallen = fallen.filter(|((column, cell), width)| column.falls && width.is_none() && !cell.is_empty());
        for words in fallen.map(|((_, cell), _)| cell).chain(&row.below) {
            out += &wrapped(words, self.width, self.lead + GAP);
        }
        out
    }

    fn line(&self, lead: String, cells: &[String], color: Option<&str>) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            if let Some(width) = width {
                let cell = shortened(cell, *width);
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + GAP));
            }
        }
        let text = lead + line.trim_end();
        color.map_or_else(|| text.clone(), |code| paint(true, code, &text)) + "\n"
    }
}

/// `text` in at most `width` columns; what is cut out of its middle is shown.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let (head, tail) = (room - room / 3, room / 3);
    let end: Vec<char> = taken(text.chars().rev(), tail);
    let begin: String = taken(text.chars(), head).into_iter().collect();
    begin + "…" + &end.into_iter().rev().collect::<String>()
}

fn taken(chars: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect()
}

/// Words on lines that fit, each after so many blanks.
pub(super) fn wrapped(words: &str, width: Option<u16>, indent: usize) -> String {
    let room = width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(indent).max(1));
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        let line = lines.last_mut().filter(|line| line.is_empty() || line.width() + 1 + word.width() <= room);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| " ".repeat(indent) + line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal_and_every_row_keeps_its_id() {
        let columns =
            [Column::shortened("id", 0, 8), Column::shortened("vendor_data", 2, 12), Column::whole("left", 1)];
        let columns = [columns[0], columns[1], columns[2], Column::told("note", 3)];
        let row = |id: &str| Row {
            cells: vec![
                id.to_owned(),
                "vendor-data-of-some-length".to_owned(),
                "23h 59m".to_owned(),
                "TRUSTED".to_owned(),
            ],
            below: Some("a reason of several words".to_owned()),
        };
        let rows = [row("日本日本日本日本日本"), row("4d86efc8-c914-4841-a1f4-b5afbb3dcf9e")];
        for width in 20..=120 {
            let drawn = draw(&columns, &rows, ("+", None), Some(width));
            for line in drawn.lines() {
                assert!(line.width() <= usize::from(width), "{width}: {line}");
            }
            assert_eq!(drawn.lines().filter(|line| line.starts_with("  + ")).count(), 2, "{drawn}");
            assert_eq!(drawn.matches("TRUSTED").count(), 2, "{drawn}");
            assert!(width < 60 || drawn.contains("4d86efc8-c914-4841-a1f4-b5afbb3dcf9e"), "{drawn}");
        }
    }

    #[test]
    fn what_is_cut_out_of_the_middle_is_shown() {
        assert_eq!(shortened("0123456789", 7), "0123…89");
        assert_eq!(shortened("0123456789", 10), "0123456789");
    }
}
