//! Items of the ordinary form, read without the YAML parser: maps of known-looking keys, in braces or a key a line,
//! whose values are short words, tokens, or texts in quotes without escapes.
//!
//! The form is so narrow that YAML leaves no second way to read it: ASCII, one space where a space belongs, nothing that
//! goes on in another line. Whatever is not of it, item by item, is left to the parser, and so is what is wrong.

use std::borrow::Cow;

use super::sink::Mark;
use super::yaml::{self, Node, Pair, Value};

/// How many keys a map may have; that many are compared one by one.
const MOST_KEYS: usize = 16;

/// How deep maps in braces may nest.
const NESTING: usize = 3;

/// How many items the parser is given at once, at most, before the next is looked at again.
const LONGEST_RUN: usize = 256;

/// Reads items of a list that stand in a text after so many lines and bytes, and counts their values, as
/// [`yaml::parse_piece`] does.
pub(super) fn parse_piece(piece: &str, lines: usize, bytes: usize) -> Option<(Vec<Node<'_>>, usize)> {
    let mut nodes = Vec::new();
    let column = piece.len() - piece.trim_start_matches(' ').len();
    let place = Place { at: 0, start: 0, line: lines };
    let mut reader = Reader { text: piece, before: bytes, place, column, values: 1 };
    let mut run = 1;
    while reader.place.at < piece.len() {
        let (before, values) = (reader.place, reader.values);
        if let Some(node) = reader.item() {
            nodes.push(node);
            run = 1;
            continue;
        }
        (reader.place, reader.values) = (before, values);
        reader.leave_out(run);
        let (parsed, count) = yaml::parse_piece(&piece[before.at..reader.place.at], before.line, bytes + before.at)?;
        nodes.extend(parsed);
        reader.values += count;
        run = (run * 2).min(LONGEST_RUN);
    }
    Some((nodes, reader.values))
}

/// Whether a line, without its indentation, begins an item.
pub(super) fn begins_item(bare: &str) -> bool {
    bare == "-" || bare.starts_with("- ")
}

/// Whether a line may end in the header of a block scalar: where an empty one stands, the parser tells from what follows.
pub(super) fn may_open_block(line: &str) -> bool {
    line.contains(['|', '>'])
}

/// A byte, the first one of its line, and how many lines stand before that.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    start: usize,
    line: usize,
}

struct Reader<'t> {
    text: &'t str,
    /// How many bytes stand before the text.
    before: usize,
    place: Place,
    /// How far the items are indented.
    column: usize,
    values: usize,
}

impl<'t> Reader<'t> {
    /// The item that begins in this line, and the lines after it that say nothing; `None` where it is not of the form.
    fn item(&mut self) -> Option<Node<'t>> {
        self.place.at += self.is_indented(self.column).then_some(self.column)?;
        self.eat(b"- ")?;
        let node = if self.peek() == Some(b'{') {
            let map = self.braces(0)?;
            self.end_line()?;
            self.skip_idle()?;
            map
        } else {
            self.lines()?
        };
        let rest = &self.bytes()[self.place.at..];
        let begins = |rest: &[u8]| rest.starts_with(b"- ") || rest.starts_with(b"-\n");
        (rest.is_empty() || (self.is_indented(self.column) && begins(&rest[self.column..]))).then_some(node)
    }

    /// A map with a key a line, from its first key.
    fn lines(&mut self) -> Option<Node<'t>> {
        let (mark, from) = (self.mark(1), self.place.at);
        let indent = from - self.place.start;
        let mut pairs = Vec::with_capacity(4);
        loop {
            self.pair(&mut pairs, false, 0)?;
            self.end_line()?;
            self.skip_idle()?;
            if !self.is_indented(indent) || !self.byte(indent).is_some_and(|byte| byte.is_ascii_lowercase()) {
                return Some(self.node(mark, from, Value::Map(pairs)));
            }
            self.place.at += indent;
        }
    }

    /// A map in braces, all in this line.
    fn braces(&mut self, depth: usize) -> Option<Node<'t>> {
        let (mark, from) = (self.mark(1), self.place.at);
        self.eat(b"{")?;
        let _ = self.eat(b" ");
        let mut pairs = Vec::with_capacity(4);
        loop {
            self.pair(&mut pairs, true, depth)?;
            if self.eat(b", ").is_some() {
                continue;
            }
            let _ = self.eat(b" ");
            self.eat(b"}")?;
            return Some(self.node(mark, from, Value::Map(pairs)));
        }
    }

    fn pair(&mut self, pairs: &mut Vec<Pair<'t>>, is_in_braces: bool, depth: usize) -> Option<()> {
        let is_key = |byte: &&u8| byte.is_ascii_lowercase() || **byte == b'_';
        let length = self.bytes()[self.place.at..].iter().take(64).take_while(is_key).count();
        let key = &self.text[self.place.at..self.place.at + length];
        if key.is_empty() || pairs.len() == MOST_KEYS || pairs.iter().any(|pair| pair.key == key) {
            return None;
        }
        let mark = self.mark(length);
        self.place.at += length;
        self.eat(b": ")?;
        let value = match self.peek()? {
            b'{' if depth < NESTING => self.braces(depth + 1)?,
            quote @ (b'"' | b'\'') => self.quoted(quote)?,
            _ => self.plain(is_in_braces)?,
        };
        pairs.push(Pair { key: Cow::Borrowed(key), mark, value });
        Some(())
    }

    /// A text in quotes that holds neither quotes nor escapes.
    fn quoted(&mut self, quote: u8) -> Option<Node<'t>> {
        let from = self.place.at + 1;
        let length = memchr::memchr3(quote, b'\n', b'\\', &self.bytes()[from..])?;
        let (text, end) = (&self.text[from..from + length], from + length);
        if self.bytes()[end] != quote || self.bytes().get(end + 1) == Some(&quote) || !is_printable(text.as_bytes()) {
            return None;
        }
        let mark = self.mark(length + 2);
        self.place.at = end + 1;
        Some(self.node(mark, from - 1, Value::Text(Cow::Borrowed(text))))
    }

    /// A value without quotes.
    fn plain(&mut self, is_in_braces: bool) -> Option<Node<'t>> {
        let rest = &self.bytes()[self.place.at..];
        let end =
            if is_in_braces { memchr::memchr3(b',', b'}', b'\n', rest) } else { memchr::memchr2(b'\n', b'\r', rest) };
        let bytes = &rest[..end.unwrap_or(rest.len())];
        let bytes = if is_in_braces { bytes.strip_suffix(b" ").unwrap_or(bytes) } else { bytes };
        let is_first = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/' | b'.');
        if !bytes.first().is_some_and(|byte| is_first(*byte)) || !is_plain(bytes) {
            return None;
        }
        let from = self.place.at;
        let text = &self.text[from..from + bytes.len()];
        let mark = self.mark(text.len());
        self.place.at += text.len();
        Some(self.node(mark, from, yaml::resolve(Cow::Borrowed(text))))
    }

    /// Goes on behind this line, of which nothing is left.
    fn end_line(&mut self) -> Option<()> {
        let _ = self.eat(b"\r");
        if self.place.at == self.text.len() && self.bytes().last() != Some(&b'\r') {
            return Some(());
        }
        self.eat(b"\n")?;
        self.next_line();
        Some(())
    }

    /// Goes on behind lines that are empty or a comment.
    fn skip_idle(&mut self) -> Option<()> {
        while self.place.at < self.text.len() {
            let rest = &self.bytes()[self.place.at..];
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let line = if end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
            let bare = &line[line.iter().take_while(|byte| **byte == b' ').count()..];
            if !bare.is_empty() && bare[0] != b'#' {
                return Some(());
            }
            if !is_printable(bare) {
                return None;
            }
            self.place.at += end.map_or(rest.len(), |end| end + 1);
            self.next_line();
        }
        Some(())
    }

    /// Goes on behind so many items or some more, whatever they are.
    fn leave_out(&mut self, items: usize) {
        let (mut begun, mut said) = (0, "");
        let rest = &self.text[self.place.at..];
        for line in rest.split_inclusive('\n') {
            let bare = line.trim_start_matches(' ');
            begun += usize::from(line.len() - bare.len() == self.column && begins_item(bare.trim_ascii_end()));
            if begun > items && !may_open_block(said) {
                return;
            }
            if !bare.trim_ascii_end().is_empty() && !bare.starts_with('#') {
                said = bare;
            }
            self.place.at += line.len();
            self.next_line();
        }
    }

    fn next_line(&mut self) {
        self.place = Place { at: self.place.at, start: self.place.at, line: self.place.line + 1 };
    }

    /// A value that ends here, and begins at this byte.
    fn node(&mut self, mark: Mark, from: usize, value: Value<'t>) -> Node<'t> {
        self.values += 1;
        Node { mark, bytes: (self.before + from, self.before + self.place.at), value }
    }

    /// All that stands before it in its line is ASCII.
    fn mark(&self, width: usize) -> Mark {
        Mark::new(self.place.line + 1, self.place.at - self.place.start + 1, width)
    }

    fn bytes(&self) -> &'t [u8] {
        self.text.as_bytes()
    }

    fn peek(&self) -> Option<u8> {
        self.byte(0)
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.bytes().get(self.place.at + ahead).copied()
    }

    fn eat(&mut self, sign: &[u8]) -> Option<()> {
        self.bytes()[self.place.at..].starts_with(sign).then(|| self.place.at += sign.len())
    }

    /// Whether a line begins here with so many spaces.
    fn is_indented(&self, by: usize) -> bool {
        let rest = &self.bytes()[self.place.at..];
        rest.len() >= by && rest[..by].iter().all(|byte| *byte == b' ')
    }
}

/// Whether all of it is ASCII that can be seen, or spaces.
fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |wrong, byte| wrong | u8::from(byte.wrapping_sub(0x20) > 0x5e)) == 0
}

/// Whether these bytes go on with a value without quotes: letters, digits and some signs, single spaces between words.
fn is_plain(bytes: &[u8]) -> bool {
    // A number, so that many bytes are looked at in one step.
    let is_foreign = |byte: u8| {
        let is_letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // From `-` to `9`: also `.` and `/`.
        let is_digit = byte.wrapping_sub(b'-') < 13;
        let is_sign = u8::from(byte == b'_') | u8::from(byte == b'=') | u8::from(byte == b'+') | u8::from(byte == b'@');
        1 - (u8::from(is_letter) | u8::from(is_digit) | is_sign)
    };
    let has_foreign = |bytes: &[u8]| bytes.iter().fold(0, |wrong, byte| wrong | is_foreign(*byte)) != 0;
    let is_word = |word: &[u8]| word.first().is_some_and(u8::is_ascii_alphanumeric) && !has_foreign(word);
    !has_foreign(bytes)
        || (bytes.len() < 256 && bytes.split(|byte| *byte == b' ').skip(1).all(is_word) && {
            let first = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
            !has_foreign(&bytes[..first])
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that a node says. Where a map with a key a line ends, the parser tells from what comes after it, and of a
    /// block scalar whether the next line's indentation is its own.
    fn told(node: &Node<'_>, piece: &str) -> String {
        let (from, to) = node.bytes;
        let text = &piece[from - 100..to - 100];
        let is_map = matches!(node.value, Value::Map(_));
        let to = if is_map && !text.starts_with('{') { 0 } else { from + text.trim_end().len() };
        let value = match &node.value {
            Value::List(nodes) => nodes.iter().map(|node| told(node, piece)).collect(),
            Value::Map(pairs) => {
                let each =
                    pairs.iter().map(|pair| format!("{} {:?} {}", pair.key, pair.mark, told(&pair.value, piece)));
                each.collect()
            }
            scalar => format!("{scalar:?}"),
        };
        format!("({:?} {from}-{to} {value})", node.mark)
    }

    /// What both readings make of a piece; the number of values may be larger by one for each run that was left out.
    fn compare(piece: &str) {
        let Some((nodes, values)) = parse_piece(piece, 7, 100) else { return };
        let (parsed, count) = yaml::parse_piece(piece, 7, 100).unwrap_or_else(|| panic!("not YAML: {piece:?}"));
        let all = |nodes: &[Node<'_>]| nodes.iter().map(|node| told(node, piece)).collect::<Vec<_>>();
        assert_eq!(all(&nodes), all(&parsed), "{piece:?}");
        assert!((count..=count + nodes.len()).contains(&values), "{piece:?}: {values}, {count}");
    }

    /// How many items of a piece are of the form.
    fn ordinary(piece: &str) -> usize {
        let column = piece.len() - piece.trim_start_matches(' ').len();
        let mut reader =
            Reader { text: piece, before: 0, place: Place { at: 0, start: 0, line: 0 }, column, values: 1 };
        std::iter::from_fn(|| (reader.place.at < piece.len()).then(|| reader.item())?).count()
    }

    #[test]
    fn ordinary_items_need_no_parser() {
        for (piece, items) in [
            ("  - {id: e-1, share_token: eyJh.eyJz.c2ln}\n  - {id: e-2}\n", 2),
            ("- id: e-1\n  share_token: eyJh.eyJz.c2ln\r\n\n# so\n- id: \"e 2\"\n", 2),
            ("  - { id: 'a b', n: 12, share_token: {env: TOKEN_1} }\n  # next\n  -\n    id: x\n", 1),
            ("  - trust_review: true\n    id: Anna Maria\n\n    mint: {partner: bank}\n  - {id: 2026-01-01}", 2),
            ("  - id: x\n      y\n", 0),
            ("  - id: x # so\n", 0),
            ("  - {id: x,\n    n: 1}\n", 0),
            ("  - {id: x, id: y}\n", 0),
            ("  - id: \"\\t\"\n", 0),
            ("  - id: é\n", 0),
            ("  - id: &a x\n", 0),
            ("  - id: 'it''s'\n", 0),
            ("  - text\n", 0),
        ] {
            assert_eq!(ordinary(piece), items, "{piece:?}");
            compare(piece);
        }
    }

    #[test]
    fn values_mean_what_the_parser_says() {
        for value in
            ["true", "False", "null", "~", "1.5", ".5", "0x1f", "1e5", "12-3", "...", "a b", "a  b", "a #b", "a b:"]
        {
            compare(&format!("- a: {value}\n- {{a: {value}, b: {value}}}\n- b: \"{value}\"\n"));
        }
    }

    /// Pieces that look ordinary, with something else here and there.
    fn any_piece() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            4 => "[a-zA-Z0-9_./=+@-]{1,12}",
            1 => "[ -~é\t]{0,10}",
            1 => "\"[ -~]{0,8}\"",
            1 => "'[a-z ,{}:#-]{0,8}'",
            1 => Just("{env: TOKEN}".to_owned()),
            1 => "(true|null|~|1e3|0o7|[|]|>|\\[a, b\\]|&a x|\\*a|!!str 1|)",
        ];
        let pair = ("(id|share_token|trust_review|a)", value).prop_map(|(key, value)| format!("{key}: {value}"));
        let pairs = proptest::collection::vec(pair, 1..4);
        let end = "(\n|\n|\n|\n|\n|\r\n|\n\n|\n  \n| \n| # so\n|\n# so\n|\n      # é\n|\n      more\n|\n  - b\n|)";
        let item = (pairs, any::<bool>(), end, "(|||||| |  )").prop_map(|(pairs, is_in_braces, end, space)| {
            if is_in_braces {
                format!("  - {{{space}{}{space}}}{end}", pairs.join(&format!(", {space}")))
            } else {
                format!("  - {space}{}{end}", pairs.join("\n    "))
            }
        });
        proptest::collection::vec(item, 1..5).prop_map(|items| items.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_is_what_the_parser_reads(piece in any_piece(), cut in any::<proptest::sample::Index>(), byte in "[ -~\n]") {
            compare(&piece);
            // Once more, with one character replaced.
            let (at, replaced) = piece.char_indices().nth(cut.index(piece.chars().count())).unwrap();
            compare(&format!("{}{byte}{}", &piece[..at], &piece[at + replaced.len_utf8()..]));
        }
    }
}
