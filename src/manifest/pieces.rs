//! A large list cut into pieces, so that every core parses some of it and no tree of the whole is ever held.
//!
//! A cut is made only before a line that begins an item in the list's own column. Whether that line is what it looks
//! like is not guessed but seen: a piece that leaves a quote or a bracket open does not parse, and then nothing was cut.
//! So each piece that follows a sound one begins where an item does, and the pieces are what the whole is. Whatever is
//! wrong with the YAML, or unusual, is left to [`yaml::parse`] and the whole text, which tell it in its place.

use std::ops::Range;

use rayon::prelude::*;

use super::ordinary;
use super::yaml::{self, Gap, Node, Value};

/// How large a piece is; less than two of them are not cut.
pub(super) const SIZE: usize = 512 << 10;

/// A piece: the number of lines before it, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    lines: usize,
    bytes: Range<usize>,
}

/// A list as it lies in a text: its items in pieces.
#[derive(Debug)]
struct List {
    pieces: Vec<Piece>,
    /// The lines before its first item and before what follows the list.
    lines: (usize, usize),
    bytes: Range<usize>,
}

/// A map whose one large value lies apart.
pub(super) struct Parted<'t> {
    /// The map, in which that value is null.
    pub(super) root: Node<'t>,
    pub(super) pieces: Vec<Piece>,
}

/// The text of a map without the items of the list that `key` holds; a buffer for [`part`].
pub(super) struct Rest {
    text: String,
    key_line: usize,
    /// Where the list was.
    gap: Gap,
    pieces: Vec<Piece>,
}

/// Takes the items of the list at `key` out of a text that holds a map; `None` where they are few or lie otherwise.
pub(super) fn rest(text: &str, key: &str, size: usize) -> Option<Rest> {
    let (key_line, begin) = after_key(text, key)?;
    let list = list(text, begin, key_line, size)?;
    let after = &text[list.bytes.end..];
    if !after.is_empty() && !after.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let rest = [&text[..list.bytes.start], after].concat();
    let ((line, end), byte) = (list.lines, list.bytes.start);
    let gap = Gap { line, byte, lines: end - line, bytes: list.bytes.len() };
    Some(Rest { text: rest, key_line, gap, pieces: list.pieces })
}

impl Rest {
    /// The map; `None` where its YAML is not sound, or `key` is not what it looks like.
    pub(super) fn parse(&self, key: &str) -> Option<Parted<'_>> {
        let mut tree = yaml::parse(&self.text);
        let root = tree.root.take().filter(|_| tree.problems.is_empty())?;
        let Value::Map(pairs) = &root.value else { return None };
        let pair = pairs.iter().find(|pair| pair.key == key)?;
        let is_it = pair.mark.line as usize == self.key_line && matches!(pair.value.value, Value::Null);
        let mut root = is_it.then_some(root)?;
        root.move_down(&self.gap);
        Some(Parted { root, pieces: self.pieces.clone() })
    }
}

/// What `each` makes of the pieces, in their order; `None` where one of them is not sound, or they hold too much.
pub(super) fn map<'t, T: Send>(
    text: &'t str,
    pieces: &[Piece],
    each: impl Fn(Vec<Node<'t>>) -> T + Sync,
) -> Option<Vec<T>> {
    let parsed: Option<Vec<(T, usize)>> = pieces
        .par_iter()
        .map(|piece| {
            let (nodes, count) = piece.parse(text)?;
            Some((each(nodes), count))
        })
        .collect();
    let parsed = parsed?;
    let count: usize = parsed.iter().map(|(_, count)| count).sum();
    (count <= yaml::most_values(text.len())).then(|| parsed.into_iter().map(|(made, _)| made).collect())
}

/// The pieces of a text that holds a list; `None` where it holds few items or lies otherwise.
pub(super) fn of_list(text: &str, size: usize) -> Option<Vec<Piece>> {
    Some(list(text, 0, 0, size).filter(|list| list.bytes.end == text.len())?.pieces)
}

impl Piece {
    fn parse<'t>(&self, text: &'t str) -> Option<(Vec<Node<'t>>, usize)> {
        ordinary::parse_piece(&text[self.bytes.clone()], self.lines, self.bytes.start)
    }
}

/// The line of `key:` at a line's beginning, from 1, and the byte after that line.
fn after_key(text: &str, key: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        at += line.len();
        let value = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':'));
        if value.is_some_and(|value| value.trim().is_empty() || value.trim_start_matches(' ').starts_with('#')) {
            return Some((number + 1, at));
        }
    }
    None
}

/// The list that begins at a byte, before which there are `lines` lines.
fn list(text: &str, begin: usize, lines: usize, size: usize) -> Option<List> {
    if text.len() - begin < size.saturating_mul(2) || has_lone_return(text) {
        return None;
    }
    let (mut at, mut number, mut said) = (begin, lines, "");
    let mut first: Option<(usize, usize, usize)> = None;
    let mut pieces: Vec<Piece> = Vec::new();
    for line in lines_of(&text[begin..]) {
        let indent = line.bytes().take_while(|&b| b == b' ').count();
        let bare = line[indent..].trim_ascii_end();
        let is_item = ordinary::begins_item(bare);
        match first {
            _ if bare.is_empty() || bare.starts_with('#') => {}
            None if is_item => {
                first = Some((indent, at, number));
                pieces.push(Piece { lines: number, bytes: at..at });
            }
            None => return None,
            Some((column, ..)) if indent < column || (indent == column && !is_item) => break,
            Some((column, ..)) if indent == column => {
                let last = pieces.last_mut()?;
                if at - last.bytes.start >= size && !ordinary::may_open_block(said) {
                    last.bytes.end = at;
                    pieces.push(Piece { lines: number, bytes: at..at });
                }
            }
            Some(_) => {}
        }
        if !bare.is_empty() && !bare.starts_with('#') {
            said = bare;
        }
        at += line.len();
        number += 1;
    }
    let (_, start, before) = first?;
    pieces.last_mut()?.bytes.end = at;
    Some(List { pieces, lines: (before, number), bytes: start..at })
}

/// The lines of a text, each with its end.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| end + 1);
    ends.chain((!text.ends_with('\n') && !text.is_empty()).then_some(text.len())).map(move |end| {
        let line = &text[at..end];
        at = end;
        line
    })
}

/// Whether a line ends in a carriage return alone, which only the parser counts as an end.
fn has_lone_return(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'\r', bytes).any(|at| bytes.get(at + 1) != Some(&b'\n'))
}
