//! Foreign text made inert: what a manifest, a source file or a server says can't move the cursor, recolour the
//! terminal or reorder what a person reads.

use std::fmt::Write as _;
use std::io;

/// `text` with control and bidirectional formatting characters escaped: `\n`, `\t`, `\r`, else `\u{202e}`.
#[must_use]
pub fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_inert(&mut out, c);
    }
    out
}

/// Appends `c` to `out`, escaped where [`inert`] escapes; returns how many characters were written.
pub fn push_inert(out: &mut String, c: char) -> u32 {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() || is_invisible(c) => {
            let code = format!("\\u{{{:x}}}", c as u32);
            let _ = out.write_str(&code);
            return code.len() as u32;
        }
        c => {
            out.push(c);
            return 1;
        }
    }
    2
}

/// A JSON document on several lines, in which what [`inert`] escapes is escaped as JSON does (`\u202e`): the document
/// says the same, and shows it to people too.
pub fn json(document: &impl serde::Serialize) -> serde_json::Result<String> {
    Ok(escaped(&serde_json::to_string_pretty(document)?))
}

/// [`json`] on one line.
pub fn json_line(document: &impl serde::Serialize) -> serde_json::Result<String> {
    Ok(escaped(&serde_json::to_string(document)?))
}

/// Writes what [`json`] says, as it is made: a document of any length needs no memory.
pub fn write_json(document: &impl serde::Serialize, to: impl io::Write) -> io::Result<()> {
    let mut to = Escaping(io::BufWriter::with_capacity(1 << 16, to));
    serde_json::to_writer_pretty(&mut to, document)?;
    io::Write::flush(&mut to)
}

/// Escapes what passes through: `serde_json` writes whole characters.
struct Escaping<W>(W);

impl<W: io::Write> io::Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')) {
            self.0.write_all(bytes)?;
        } else {
            let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
            self.0.write_all(escaped(text).as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(plain: &str) -> String {
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        // Such characters stand in strings alone; only line ends are JSON's own.
        if c != '\n' && (c.is_control() || is_invisible(c)) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that show nothing and change how their neighbours are read: bidi controls, zero-width characters,
/// line and paragraph separators, byte-order marks, interlinear and tag characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_untouched() {
        assert_eq!(inert("Zoë & Søn, 日本 {id}"), "Zoë & Søn, 日本 {id}");
    }

    #[test]
    fn a_document_is_written_with_the_bytes_that_it_has_as_a_text() {
        let text: String =
            (0..0x300).chain(0x2000..0x2070).chain([0x1f600, 0xe0001]).filter_map(char::from_u32).collect();
        let document = serde_json::json!({"a": text, "b": [1, 2.5, null], text.as_str(): {}});
        let mut written = Vec::new();
        write_json(&document, &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), json(&document).unwrap());
    }

    #[test]
    fn control_and_bidi_characters_are_escaped() {
        assert_eq!(inert("a\u{1b}[31m\u{202e}b\n\t\r\0"), "a\\u{1b}[31m\\u{202e}b\\n\\t\\r\\u{0}");
        assert_eq!(inert("\u{feff}\u{200b}\u{2066}\u{9b}"), "\\u{feff}\\u{200b}\\u{2066}\\u{9b}");
    }
}
