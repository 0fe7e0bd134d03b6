//! The terminal: the one value that owns stdout and stderr.
//!
//! Results go to stdout, progress and everything said on the way to stderr. A reader that went away (a closed pipe)
//! is no error: the work is done and on record all the same. A stdout that can't be written otherwise, such as a file on
//! a full disk, is one, told at the end.
//!
//! Whatever is written is held against the forms of share tokens and API keys at the very last, wherever it came from.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::mask::{Masking, masked};

/// How lines on stderr are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How grave a line on stderr is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something deserves a look.
    Warning,
    /// What is going on.
    Info,
    /// What is going on, in detail.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Its name, where colours are wanted in its own.
    #[must_use]
    pub fn painted(self, color: bool) -> String {
        let code = match self {
            Self::Error => "1;31",
            Self::Warning => "1;33",
            Self::Info | Self::Debug => "2",
        };
        paint(color, code, self.name())
    }
}

/// What the terminal is like, and what was asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colour on stdout.
    pub color: bool,
    /// Colour on stderr.
    pub color_err: bool,
    /// `-q`: only errors on stderr.
    pub quiet: bool,
    /// `-v`, counted.
    pub verbose: u8,
    /// `--log-format`.
    pub log_format: LogFormat,
    /// Columns of stdout, if it is a terminal.
    pub width: Option<u16>,
}

/// The owner of stdout and stderr.
#[derive(Clone, Debug)]
pub struct Console {
    style: Style,
    voice: Arc<Voice>,
}

/// What all clones of a console share.
#[derive(Debug, Default)]
struct Voice {
    is_sealed: AtomicBool,
    has_told: AtomicBool,
    drawing: Mutex<Option<Arc<dyn Drawing>>>,
    /// The first error of stdout.
    lost: OnceLock<String>,
}

/// Something drawn on the terminal, as bars are, that gives way to lines.
pub trait Drawing: Send + Sync + fmt::Debug {
    /// Takes itself away, lets `write` write, and draws itself anew.
    fn give_way(&self, write: &mut dyn FnMut());
}

impl Console {
    /// A console of this style.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self { style, voice: Arc::default() }
    }

    /// Its style.
    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// Silences this console and its clones for good, unless one has told a document: then it says no, and all stays.
    #[must_use]
    pub fn seal(&self) -> bool {
        // Under the lock, what is being written ends first.
        let _stdout = io::stdout().lock();
        if self.voice.has_told.load(Ordering::SeqCst) {
            return false;
        }
        self.voice.is_sealed.store(true, Ordering::SeqCst);
        true
    }

    fn is_sealed(&self) -> bool {
        self.voice.is_sealed.load(Ordering::SeqCst)
    }

    /// Writes to stdout, secrets masked.
    pub fn out(&self, text: &str) {
        self.write_out(&masked(text), false);
    }

    /// Writes to stdout as it is: for what is asked for because it is a secret, as the sandbox's keys are.
    pub fn reveal(&self, text: &str) {
        self.write_out(text, false);
    }

    fn write_out(&self, text: &str, is_document: bool) {
        self.fill_out(is_document, |stdout| stdout.write_all(text.as_bytes()));
    }

    /// Writes to stdout as it is made, secrets masked.
    pub fn fill(&self, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        let mut fill = Some(fill);
        self.fill_out(false, |stdout| {
            let Some(fill) = fill.take() else { return Ok(()) };
            let mut masking = Masking::new(io::BufWriter::with_capacity(1 << 16, stdout));
            fill(&mut masking)?;
            masking.end()?.flush()
        });
    }

    fn fill_out(&self, is_document: bool, mut fill: impl FnMut(&mut dyn Write) -> io::Result<()>) {
        self.beside_drawing(&mut || {
            let mut stdout = io::stdout().lock();
            if self.is_sealed() {
                return;
            }
            self.voice.has_told.fetch_or(is_document, Ordering::SeqCst);
            if let Err(error) = fill(&mut stdout).and_then(|()| stdout.flush())
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                self.voice.lost.get_or_init(|| error.to_string());
            }
        });
    }

    /// Why something that was to stand on stdout does not, but for a reader that went away.
    #[must_use]
    pub fn lost(&self) -> Option<&str> {
        self.voice.lost.get().map(String::as_str)
    }

    /// Writes one JSON document to stdout, as it is made, secrets masked.
    pub fn json(&self, document: &impl serde::Serialize) {
        self.fill_out(true, |stdout| {
            let mut masking = Masking::new(stdout);
            crate::text::write_json(document, &mut masking)?;
            masking.write_all(b"\n")?;
            masking.end().map(|_| ())
        });
    }

    /// Writes a line to stderr.
    pub fn say(&self, level: Level, message: &str) {
        self.tell(level, message, &Map::new(), |color| match level {
            Level::Info | Level::Debug => format!("{message}\n"),
            Level::Error | Level::Warning => format!("{}: {message}\n", level.painted(color)),
        });
    }

    /// Writes a line to stderr that somebody asked for, so that `-q` does not drop it.
    pub fn answer(&self, message: &str) {
        let told = Self { style: Style { quiet: false, ..self.style }, voice: Arc::clone(&self.voice) };
        told.say(Level::Info, message);
    }

    /// Writes something with more to it than a message to stderr: for people as `text` says, else as one JSON object
    /// with these `facts`.
    pub fn tell(&self, level: Level, message: &str, facts: &Map<String, Value>, text: impl FnOnce(bool) -> String) {
        if self.style.quiet && level != Level::Error {
            return;
        }
        match self.style.log_format {
            LogFormat::Json => self.err(&json_line(level, message, facts)),
            LogFormat::Text => self.err(&text(self.style.color_err)),
        }
    }

    /// Writes text to stderr, secrets masked.
    pub fn err(&self, text: &str) {
        self.beside_drawing(&mut || self.draw(text));
    }

    /// From now on lines are written beside `drawing`; `None` when it is gone.
    pub fn set_drawing(&self, drawing: Option<Arc<dyn Drawing>>) {
        *self.voice.drawing.lock().unwrap_or_else(PoisonError::into_inner) = drawing;
    }

    fn beside_drawing(&self, write: &mut dyn FnMut()) {
        let drawing = self.voice.drawing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match drawing {
            Some(drawing) => drawing.give_way(write),
            None => write(),
        }
    }

    /// Writes what is drawn itself to stderr, at once.
    pub fn draw(&self, text: &str) {
        if self.is_sealed() {
            return;
        }
        let _ = io::stderr().lock().write_all(masked(text).as_bytes());
    }

    /// Whether somebody is there to ask: stdin and stderr are terminals.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Asks; only `yes` counts.
    #[must_use]
    pub fn ask(&self, question: &str) -> bool {
        self.err(question);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("yes")
    }
}

fn json_line(level: Level, message: &str, facts: &Map<String, Value>) -> String {
    let mut line = Map::new();
    line.insert("time".to_owned(), Timestamp::now().to_string().into());
    line.insert("level".to_owned(), level.name().into());
    line.insert("message".to_owned(), message.into());
    line.extend(facts.clone());
    crate::text::json_line(&line).map_or_else(|_| String::new(), |line| line + "\n")
}

/// `text` in a colour, where colours are wanted.
#[must_use]
pub fn paint(on: bool, code: &str, text: &str) -> String {
    if on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
