//! Where bars are drawn: the last lines of the terminal, rewritten by one write at a time.
//!
//! indicatif counts the lines that it drew, and takes that many away. A terminal that became narrower has wrapped them
//! since, so that the count is wrong and litter stays. Here the columns of each line are remembered, and what they
//! take at today's width is taken away. (A terminal that cuts lines instead of wrapping them loses as many lines of
//! its past.) Lines stay one column short of the width, and end with a line end, so that they are never joined.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use crate::console::Console;

/// What a screen is drawn on.
pub(super) trait Terminal: fmt::Debug + Send + Sync {
    /// Columns and rows.
    fn size(&self) -> (u16, u16);
    /// Writes at once.
    fn write(&self, text: &str);
}

impl Terminal for Console {
    fn size(&self) -> (u16, u16) {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
        size.map(|size| (size.ws_col, size.ws_row))
            .filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or((80, 24))
    }

    fn write(&self, text: &str) {
        self.draw(text);
    }
}

/// A place for bars on a terminal.
#[derive(Debug)]
pub(super) struct Screen<T> {
    terminal: T,
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    /// What was not written yet.
    pending: String,
    /// The columns of each line that stands there.
    lines: Vec<usize>,
}

impl<T: Terminal> Screen<T> {
    pub(super) fn new(terminal: T) -> Self {
        Self { terminal, drawn: Mutex::default() }
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        // Whole after every call, whoever panicked.
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away all that stands there. indicatif asks for it by several movements; the first does it.
    fn take_away(&self) {
        let width = usize::from(self.terminal.size().0).max(1);
        let mut drawn = self.drawn();
        if drawn.lines.is_empty() {
            return;
        }
        let rows: usize = drawn.lines.drain(..).map(|columns| columns.div_ceil(width).max(1)).sum();
        drawn.pending.push('\r');
        if rows > 1 {
            drawn.pending.push_str(&format!("\x1b[{}A", rows - 1));
        }
        drawn.pending.push_str("\x1b[J");
    }
}

impl<T: Terminal> TermLike for Screen<T> {
    fn width(&self) -> u16 {
        self.terminal.size().0.saturating_sub(1).max(1)
    }

    fn height(&self) -> u16 {
        self.terminal.size().1
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        self.take_away();
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    /// One line. What is blank only fills up the line before, which nothing stands behind here.
    fn write_str(&self, text: &str) -> io::Result<()> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let line: String = text.trim_end().chars().take(usize::from(self.width())).collect();
        let mut drawn = self.drawn();
        if !drawn.lines.is_empty() {
            drawn.pending.push_str("\r\n");
        }
        drawn.lines.push(line.chars().count());
        drawn.pending.push_str(&line);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.take_away();
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.drawn().pending);
        if !pending.is_empty() {
            self.terminal.write(&pending);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Paper {
        columns: Arc<AtomicU16>,
        text: Arc<Mutex<Vec<String>>>,
    }

    impl Terminal for Paper {
        fn size(&self) -> (u16, u16) {
            (self.columns.load(Ordering::Relaxed), 24)
        }

        fn write(&self, text: &str) {
            self.text.lock().unwrap().push(text.to_owned());
        }
    }

    fn draw(screen: &Screen<Paper>, lines: &[&str]) {
        screen.move_cursor_up(9).unwrap();
        screen.clear_line().unwrap();
        for line in lines {
            screen.write_str(line).unwrap();
            screen.write_str("   ").unwrap();
        }
        screen.flush().unwrap();
    }

    #[test]
    fn what_a_narrower_terminal_has_wrapped_is_taken_away_whole() {
        let paper = Paper::default();
        paper.columns.store(11, Ordering::Relaxed);
        let screen = Screen::new(paper.clone());
        draw(&screen, &["0123456789 too long", "abc"]);
        draw(&screen, &["0123456789", "def"]);
        paper.columns.store(4, Ordering::Relaxed);
        draw(&screen, &["x"]);
        draw(&screen, &[]);
        assert_eq!(
            *paper.text.lock().unwrap(),
            ["0123456789\r\nabc", "\r\x1b[1A\x1b[J0123456789\r\ndef", "\r\x1b[3A\x1b[Jx", "\r\x1b[J"],
            "each is one write"
        );
    }
}
