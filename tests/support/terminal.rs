//! Terminals: what a person sees and types, and what a program has for it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal of this size: the person's side, and the program's.
pub fn terminal(rows: u16, columns: u16) -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap();
    let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&program, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (File::from(person), program)
}

pub fn on_terminal(file: &File) -> Stdio {
    Stdio::from(OwnedFd::from(file.try_clone().unwrap()))
}

/// What came of a program that had a terminal for everything.
pub struct Seen {
    pub code: Option<i32>,
    /// Every byte that it wrote.
    pub bytes: Vec<u8>,
    /// The screen at the end, one text for each line that has one.
    pub lines: Vec<String>,
}

/// Runs a program on a terminal, where a person types `answer` once `question` stands there.
pub fn run(command: &mut Command, (rows, columns): (u16, u16), question: &str, answer: &str) -> Seen {
    let (mut person, program) = terminal(rows, columns);
    let child = command.stdin(on_terminal(&program)).stdout(on_terminal(&program)).stderr(on_terminal(&program));
    let mut child = child.spawn().unwrap();
    // Only the program has it open now, so that its end is the end of what can be read. The command keeps copies.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(program);
    let mut parser = vt100::Parser::new(NonZero::new(rows).unwrap(), NonZero::new(columns).unwrap(), 0);
    let (mut all, mut bytes, mut has_answered) = (Vec::new(), [0; 4096], question.is_empty());
    // At the end the kernel says EIO.
    while let Ok(read @ 1..) = person.read(&mut bytes) {
        parser.process(&bytes[..read]);
        all.extend_from_slice(&bytes[..read]);
        if !has_answered && String::from_utf8_lossy(&all).contains(question) {
            person.write_all(format!("{answer}\n").as_bytes()).unwrap();
            has_answered = true;
        }
    }
    let code = crate::support::end_of(&mut child).code();
    let lines = parser.screen().rows(0, columns).map(|line| line.trim_end().to_owned()).filter(|it| !it.is_empty());
    Seen { code, lines: lines.collect(), bytes: all }
}
