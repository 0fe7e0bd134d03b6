//! Where the cells of a CSV text stand. Reading is the csv crate's; this only finds places, when one is to be shown.

/// One cell, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Its record, from 0; empty lines are none.
    pub(super) record: usize,
    /// Its place in the record, from 0.
    pub(super) index: usize,
    /// Its bytes in the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it begins with a quote that is never closed, or closed by what looks like the opening of another.
    pub(super) unclosed: bool,
}

impl Cell {
    /// The cell as it stands, without its outer quotes.
    pub(super) fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or("").trim_matches('"')
    }
}

/// The cells of a text in order.
pub(super) struct Cells<'t> {
    bytes: &'t [u8],
    delimiter: u8,
    at: usize,
    record: usize,
    index: usize,
}

impl<'t> Cells<'t> {
    pub(super) fn new(text: &'t str, delimiter: u8) -> Self {
        Self::of_bytes(text.as_bytes(), delimiter)
    }

    pub(super) fn of_bytes(bytes: &'t [u8], delimiter: u8) -> Self {
        Self { bytes, delimiter, at: 0, record: 0, index: 0 }
    }

    /// The end of the cell that begins here, and whether its quote seems left open.
    fn end(&self) -> (usize, bool) {
        let mut at = self.at;
        let mut quoted = self.bytes.get(at) == Some(&b'"');
        let opened = quoted;
        let mut trailing = false;
        at += usize::from(quoted);
        while let Some(&byte) = self.bytes.get(at) {
            if quoted {
                if byte == b'"' {
                    if self.bytes.get(at + 1) == Some(&b'"') {
                        at += 1;
                    } else {
                        quoted = false;
                    }
                }
            } else if byte == self.delimiter || byte == b'\n' || byte == b'\r' {
                break;
            } else {
                trailing = opened;
            }
            at += 1;
        }
        (at, opened && (quoted || trailing))
    }
}

impl Iterator for Cells<'_> {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        if self.index == 0 {
            while matches!(self.bytes.get(self.at), Some(b'\n' | b'\r')) {
                self.at += 1;
            }
        }
        if self.at > self.bytes.len() || (self.at == self.bytes.len() && self.index == 0) {
            return None;
        }
        let (end, unclosed) = self.end();
        let cell = Cell { record: self.record, index: self.index, start: self.at, end, unclosed };
        if self.bytes.get(end) == Some(&self.delimiter) {
            self.at = end + 1;
            self.index += 1;
        } else {
            self.at = end;
            self.record += 1;
            self.index = 0;
        }
        Some(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_found_through_quotes_and_empty_lines() {
        let text = "a,b\r\n\r\n\"x,\"\"\ny\",z\n,\n\"open,1\n";
        let found: Vec<_> = Cells::new(text, b',').map(|c| (c.record, c.index, &text[c.start..c.end])).collect();
        assert_eq!(
            found,
            [
                (0, 0, "a"),
                (0, 1, "b"),
                (1, 0, "\"x,\"\"\ny\""),
                (1, 1, "z"),
                (2, 0, ""),
                (2, 1, ""),
                (3, 0, "\"open,1\n"),
            ]
        );
        assert!(Cells::new(text, b',').last().is_some_and(|cell| cell.unclosed));
    }
}
