//! Passwords, and the file that holds them (`~/.pgpass`), read as libpq reads it.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;
use zeroize::Zeroizing;

/// A password: one copy in memory for all that hold it, which is wiped after the last.
#[derive(Clone)]
pub(super) struct Password(Arc<Zeroizing<Vec<u8>>>);

impl Password {
    /// Takes its bytes.
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(bytes))
    }

    /// The password itself, for the server.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(masked)")
    }
}

/// What a line of the file is about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The host's name or address, `localhost` for a socket in the usual folder.
    pub(super) host: &'a str,
    /// Its port.
    pub(super) port: u16,
    /// The database.
    pub(super) database: &'a str,
    /// The user.
    pub(super) user: &'a str,
}

/// The contents of a password file; `None` where there is none, or none that may be used: a file that others may read or
/// write is left alone, with a warning.
pub(super) fn read(path: &Path, is_named: bool) -> Option<Zeroizing<Vec<u8>>> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            warn!("the password file {shown} is not a plain file, so it is not read");
            return None;
        }
        Ok(_) => {}
        Err(error) if is_named => {
            warn!("the password file {shown} can't be read: {error}");
            return None;
        }
        Err(_) => return None,
    }
    match read_private(path) {
        Ok(Some(contents)) => Some(contents),
        Ok(None) => {
            warn!("others may use the password file {shown}, so it is not read: `chmod 600` makes it private");
            None
        }
        Err(error) => {
            warn!("the password file {shown} can't be read: {error}");
            None
        }
    }
}

/// `None` where others may use it. The open file is asked, not its name.
fn read_private(path: &Path) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.mode() & 0o077 != 0 {
        return Ok(None);
    }
    // Room for all of it at once: what a growing vector leaves behind isn't wiped.
    let mut contents = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.read_to_end(&mut contents)?;
    Ok(Some(contents))
}

/// The password of the first line that fits.
pub(super) fn find(contents: &[u8], asked: Asked<'_>) -> Option<Password> {
    let port = asked.port.to_string();
    let asked = [asked.host, &port, asked.database, asked.user];
    contents.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            return None;
        }
        let rest = asked.iter().try_fold(line, |line, field| after_field(line, field.as_bytes()))?;
        let password = unescaped(rest);
        (!password.is_empty()).then(|| Password::new(password))
    })
}

/// What follows the field that `line` begins with, if that says `expected` or is `*`.
fn after_field<'a>(line: &'a [u8], expected: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (mut line, mut expected) = (line, expected.iter());
    loop {
        let (byte, rest) = match line {
            [b':', rest @ ..] => return expected.next().is_none().then_some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (byte, rest),
            [] => return None,
        };
        if expected.next() != Some(byte) {
            return None;
        }
        line = rest;
    }
}

/// The last field: up to a colon that isn't escaped.
fn unescaped(field: &[u8]) -> Zeroizing<Vec<u8>> {
    let (mut field, mut password) = (field, Zeroizing::new(Vec::with_capacity(field.len())));
    loop {
        let (byte, rest) = match field {
            [] | [b':', ..] => return password,
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (byte, rest),
        };
        password.push(*byte);
        field = rest;
    }
}
