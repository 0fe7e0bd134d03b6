//! Secrets in texts that are not ours: found by their form, and masked.
//!
//! People paste tokens and keys into the wrong places: an argument, a label, the name of a file. Whatever quotes such a
//! text passes here. Two readings, since a wrong guess costs differently:
//!
//! - [`masked`] takes what is certainly a secret by its form, and is the last thing that happens to everything that is
//!   printed or written as a report: a false alarm would falsify data.
//! - [`quoted`] takes what may be one as well (the beginning of a token, a long run of letters and digits that nobody
//!   writes by hand, as older keys are), and is for errors, which quote what was given.

use std::borrow::Cow;
use std::io;

/// What stands in place of a secret.
pub const MASK: &str = "(masked)";

/// Bytes from, to.
pub(crate) type Range = (usize, usize);

/// The form of a reading: the least lengths of a token, of what follows a key's prefix, and of an opaque run.
struct Form {
    token: usize,
    dotted: bool,
    key: usize,
    opaque: Option<usize>,
}

/// What keys begin with, of one length.
const KEYS: [&str; 2] = ["sk_live_", "sk_test_"];

const CERTAIN: Form = Form { token: 24, dotted: true, key: 16, opaque: None };
const DOUBTFUL: Form = Form { token: 20, dotted: false, key: 4, opaque: Some(32) };

/// `text` without what is certainly a share token or an API key.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    replace(text, find(text, &CERTAIN))
}

/// Masks what passes through as [`masked`] does: line by line, since no secret goes over the end of one.
pub struct Masking<W: io::Write> {
    to: W,
    /// From the beginning of a line.
    kept: Vec<u8>,
}

impl<W: io::Write> Masking<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, kept: Vec::new() }
    }

    /// Writes the last line, and gives back what was written to.
    pub fn end(mut self) -> io::Result<W> {
        self.pass(self.kept.len())?;
        Ok(self.to)
    }

    fn pass(&mut self, length: usize) -> io::Result<()> {
        let text = std::str::from_utf8(&self.kept[..length]).map_err(io::Error::other)?;
        self.to.write_all(masked(text).as_bytes())?;
        self.kept.drain(..length);
        Ok(())
    }
}

impl<W: io::Write> io::Write for Masking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
            self.pass(self.kept.len() - bytes.len() + end + 1)?;
        }
        Ok(bytes.len())
    }

    /// An unfinished line stays until [`Masking::end`].
    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// `text` without what may be a share token or an API key: for errors that quote it.
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    replace(text, suspects(text))
}

/// Whether `text` certainly holds a share token or an API key, so that it may not be kept.
#[must_use]
pub fn holds_secret(text: &str) -> bool {
    // Labels, of which there are many, are mostly shorter than any secret.
    let least = CERTAIN.token.min(KEYS[0].len() + CERTAIN.key);
    text.len() >= least && !find(text, &CERTAIN).is_empty()
}

/// Where secrets may stand, in order and without overlaps.
pub(crate) fn suspects(text: &str) -> Vec<Range> {
    find(text, &DOUBTFUL)
}

fn replace(text: &str, ranges: Vec<Range>) -> Cow<'_, str> {
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in ranges {
        out.push_str(&text[from..start]);
        out.push_str(MASK);
        from = end;
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

fn find(text: &str, form: &Form) -> Vec<Range> {
    let mut ranges = tokens(text, form);
    ranges.extend(keys(text, form.key));
    ranges.extend(form.opaque.map(|least| opaque(text, least)).unwrap_or_default());
    merged(ranges)
}

/// Sorted, without overlaps.
pub(crate) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Runs that begin like a JWT and are long, or dotted, or both.
fn tokens(text: &str, form: &Form) -> Vec<Range> {
    let part = |b: u8| is_base64url(b) || matches!(b, b'=' | b'.' | b'+' | b'/');
    runs_from(text, "eyJ", part)
        .filter(|(start, end)| {
            let mut pairs = text.as_bytes()[*start..*end].windows(2);
            let is_dotted = pairs.any(|pair| pair[0] == b'.' && pair[1].is_ascii_alphanumeric());
            if form.dotted { is_dotted && end - start >= form.token } else { is_dotted || end - start >= form.token }
        })
        .collect()
}

/// Runs that begin with a key's prefix (`didit-api.md` section 10).
fn keys(text: &str, least: usize) -> Vec<Range> {
    let long = |(start, end): &Range| end - start >= KEYS[0].len() + least;
    KEYS.into_iter().flat_map(|prefix| runs_from(text, prefix, is_base64url).filter(long)).collect()
}

fn runs_from<'t>(text: &'t str, prefix: &'t str, part: impl Fn(u8) -> bool + 't) -> impl Iterator<Item = Range> + 't {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + memchr::memmem::find(text.as_bytes().get(from..)?, prefix.as_bytes())?;
        from = start + text.as_bytes()[start..].iter().take_while(|&&b| part(b)).count();
        Some((start, from))
    })
}

/// Runs of base64url with capitals, small letters and digits, and a part longer than words and those of a UUID are.
fn opaque(text: &str, least: usize) -> Vec<Range> {
    const LONGEST_PART: usize = 12;
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    let mut start = 0;
    for run in bytes.split(|b| !is_base64url(*b)) {
        let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
        let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        let is_long = run.split(|b| matches!(b, b'-' | b'_')).any(|part| part.len() > LONGEST_PART);
        if run.len() >= least && is_mixed && is_long {
            ranges.push((start, start + run.len()));
        }
        start += run.len() + 1;
    }
    ranges
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzZXNzaW9uX2lkIjoiMSJ9.bm90IGEgcmVhbCBzaWduYXR1cmU";

    #[test]
    fn promise_5_what_has_a_secrets_form_is_masked_wherever_it_stands() {
        for key in ["sk_live_0123456789abcdef", "sk_test_canary0key0000000000"] {
            for text in ["{}", "x{}", "é: '{}'", "{\"a\":\"{}\"}", "https://host/{}", "\u{1b}[33m{}\u{1b}[0m"] {
                for secret in [TOKEN, key] {
                    let (text, expected) = (text.replace("{}", secret), text.replace("{}", MASK));
                    assert_eq!((masked(&text), quoted(&text)), (expected.as_str().into(), expected.as_str().into()));
                    assert!(holds_secret(&text));
                }
            }
        }
        assert_eq!(masked(&format!("{TOKEN} {TOKEN}")), "(masked) (masked)");
    }

    #[test]
    fn promise_5_what_passes_through_is_masked_however_it_is_cut() {
        use std::io::Write as _;
        let text = format!("a {TOKEN}\né {TOKEN} sk_live_0123456789abcdef\n\n{TOKEN}");
        for size in [1, 2, 7, 64, 1000] {
            let mut masking = Masking::new(Vec::new());
            text.as_bytes().chunks(size).for_each(|part| masking.write_all(part).unwrap());
            assert_eq!(String::from_utf8(masking.end().unwrap()).unwrap(), masked(&text));
        }
    }

    #[test]
    fn promise_5_errors_quote_nothing_that_may_be_a_secret() {
        let signature = "Qm90TmVhcmx5QVJlYWxTaWduYXR1cmUxMjM0NTY3ODkw";
        for doubtful in [&TOKEN[..20], "eyJh.b", "sk_live_c4nary", signature] {
            assert_eq!(quoted(&format!("`{doubtful}…`")), "`(masked)…`");
            assert_eq!(masked(doubtful), doubtful, "data are not falsified on a guess");
        }
    }

    #[test]
    fn what_people_write_is_left_alone() {
        for text in [
            "heyJude",
            "9F9B1234-aaaa-bbbb-cccc-1234567890ab",
            "/var/lib/Didit/2026/ledger-of-the-receiving-application.db",
            "Customer-2001-of-the-Northern-branch-of-ACME",
            "task_test_1",
            "",
        ] {
            assert_eq!((masked(text), quoted(text)), (text.into(), text.into()));
        }
    }
}
