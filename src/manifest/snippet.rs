//! The lines that findings point at, with every secret masked.
//!
//! Each file that has findings is read once more and its secrets are located: what stands at `share_token` or
//! `api_key` in YAML and JSON, the token column of cells, every line of a list of tokens, and anything of a JWT's or
//! key's form anywhere. Where YAML can't be parsed, a rough reading by lines masks rather too much than too little.

use super::diagnostic::{Diagnostic, Snippet};
use super::imports::IMPORTS;
use super::keys;
use super::pieces;
use super::read;
use super::sink::{FileInfo, Finding, Mark, Shape};
use super::yaml::{self, Node, Value};
use crate::mask::{MASK, Range, merged, quoted, suspects};
use crate::text::{inert, push_inert};

/// Makes diagnostics of findings, which are sorted by file.
pub(super) fn attach(files: &[FileInfo], findings: Vec<Finding>) -> Vec<Diagnostic> {
    let mut open: Option<(usize, Option<Source>)> = None;
    let mut diagnostics = Vec::with_capacity(findings.len());
    for finding in findings {
        let index = finding.at.file.index();
        if open.as_ref().is_none_or(|(at, _)| *at != index) {
            open = Some((index, Source::read(&files[index])));
        }
        let source = open.as_ref().and_then(|(_, source)| source.as_ref());
        diagnostics.push(Diagnostic {
            code: finding.code,
            severity: finding.severity,
            file: files[index].shown.clone(),
            line: finding.at.mark.line,
            column: finding.at.mark.column,
            message: scrub(&finding.message),
            help: scrub(&finding.help),
            snippet: source.and_then(|source| source.snippet(finding.at.mark)),
        });
    }
    diagnostics
}

/// A text made fit to be shown: inert, and whatever may be a secret by its form masked.
pub(super) fn scrub(text: &str) -> String {
    inert(&quoted(text))
}

/// A file whose lines can be shown.
struct Source {
    text: String,
    lines: Vec<usize>,
    secrets: Vec<Range>,
}

impl Source {
    fn read(info: &FileInfo) -> Option<Self> {
        if info.shape == Shape::Opaque || !std::fs::metadata(&info.path).is_ok_and(|file| file.is_file()) {
            return None;
        }
        let mut bytes = read::bytes(&info.path, read::SOURCE_LIMIT, None).ok()?;
        bytes.drain(..bytes.len() - read::without_bom(&bytes).len());
        let text =
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let mut secrets = match info.shape {
            Shape::Yaml => in_yaml(&text, &info.token_key, pieces::SIZE),
            Shape::Cells(delimiter) => in_cells(&text, delimiter, &info.token_key),
            Shape::Json => in_json(&text, &info.token_key),
            Shape::Tokens => vec![(0, text.len())],
            Shape::Opaque => Vec::new(),
        };
        secrets.extend(continued(&text));
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Some(Self { text, lines, secrets: merged(secrets) })
    }

    fn snippet(&self, mark: Mark) -> Option<Snippet> {
        let start = *self.lines.get(mark.line as usize - 1)?;
        let line = self.text[start..].lines().next().unwrap_or("");
        let reached = self.secrets.partition_point(|range| range.0 < start + line.len());
        let mut ranges: Vec<Range> = self.secrets[..reached]
            .iter()
            .rev()
            .take_while(|range| range.1 > start)
            .map(|range| (range.0.saturating_sub(start), (range.1 - start).min(line.len())))
            .chain(suspects(line))
            .collect();
        ranges.sort_unstable();
        Some(draw(line, &ranges, mark))
    }
}

/// The line as shown: secrets masked, the rest inert, and the mark moved along.
fn draw(line: &str, secrets: &[Range], mark: Mark) -> Snippet {
    let mut text = String::new();
    let (mut shown, mut masked_to) = (0_u32, 0);
    let (mut from, mut to) = (None, None);
    let mut column = 0;
    for (at, c) in line.char_indices() {
        column += 1;
        let begins = at >= masked_to && secrets.iter().any(|range| range.0 <= at && at < range.1);
        if column == mark.column {
            // Inside a mask, the mark stands under all of it.
            from = Some(if at < masked_to && !begins { shown.saturating_sub(MASK.len() as u32) } else { shown });
        }
        if begins {
            masked_to =
                secrets.iter().filter(|range| range.0 <= at && at < range.1).map(|range| range.1).max().unwrap_or(at);
            text.push_str(MASK);
            shown += MASK.len() as u32;
        } else if at >= masked_to {
            shown += push_inert(&mut text, c);
        }
        if column + 1 == mark.column.saturating_add(mark.width) {
            to = Some(shown);
        }
    }
    let from = from.unwrap_or(shown);
    let width = to.unwrap_or(shown).saturating_sub(from).max(1);
    Snippet { text, column: from + 1, width }
}

/// Lines that go on with a secret which the line before ends in: a token broken over lines, wherever it stands.
fn continued(text: &str) -> Vec<Range> {
    let part = |c: char| c.is_ascii_alphanumeric() || "-_=.+/".contains(c);
    let mut ranges = Vec::new();
    let (mut start, mut is_open) = (0, false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let told = bare.trim_matches(|c: char| c.is_whitespace() || "\"'\\#>|-".contains(c));
        let goes_on = is_open && !told.is_empty() && told.chars().all(part);
        if goes_on {
            ranges.push((start, start + bare.len()));
        } else if is_open && let Some(end) = tail(bare, part) {
            ranges.push((start, start + end));
        }
        let whole = bare.trim_end_matches(['"', '\'', '\\']);
        is_open = goes_on || suspects(bare).last().is_some_and(|range| range.1 >= whole.len());
        start += line.len();
    }
    ranges
}

/// The end of what a line begins with, where that is the rest of a token that more follows: it has a token's dot, or its
/// quote closes here.
fn tail(line: &str, part: impl Fn(char) -> bool) -> Option<usize> {
    let told = line.trim_start();
    let run = &told[..told.find(|c: char| !part(c)).unwrap_or(told.len())];
    let is_dotted = run.split_once('.').is_some_and(|(_, after)| !after.is_empty());
    let is_closed = !run.is_empty() && told[run.len()..].starts_with(['"', '\'']);
    (is_dotted || is_closed).then_some(line.len() - told.len() + run.len())
}

/// Whether a key, rightly or nearly spelt, holds a secret.
fn is_secret_key(key: &str, token_key: &str) -> bool {
    let length = key.chars().count();
    let near = |name: &str| {
        length.abs_diff(name.len()) <= 2 && strsim::damerau_levenshtein(&key.to_ascii_lowercase(), name) <= 2
    };
    key == token_key || near("share_token") || near("api_key") || key.eq_ignore_ascii_case("token")
}

pub(super) fn in_yaml(text: &str, token_key: &str, size: usize) -> Vec<Range> {
    let (mut ranges, broken) = if let Some(ranges) = in_pieces(text, token_key, size) {
        (ranges, false)
    } else {
        let mut ranges = Vec::new();
        let tree = yaml::parse(text);
        tree.root.iter().for_each(|root| walk(root, token_key, &mut ranges));
        (ranges, tree.root.is_none())
    };
    by_lines(text, token_key, broken, &mut ranges);
    ranges
}

/// What [`walk`] finds in the whole, of which only pieces are held as trees; `None` where it can't be cut.
fn in_pieces(text: &str, token_key: &str, size: usize) -> Option<Vec<Range>> {
    let of = |nodes: &[Node<'_>]| {
        let mut ranges = Vec::new();
        for node in nodes {
            walk(node, token_key, &mut ranges);
        }
        ranges
    };
    if let Some(pieces) = pieces::of_list(text, size) {
        return Some(pieces::map(text, &pieces, |nodes| of(&nodes))?.concat());
    }
    let rest = pieces::rest(text, IMPORTS, size).filter(|_| !is_secret_key(IMPORTS, token_key))?;
    let parted = rest.parse(IMPORTS)?;
    let mut ranges = of(std::slice::from_ref(&parted.root));
    ranges.extend(pieces::map(text, &parted.pieces, |nodes| of(&nodes))?.concat());
    Some(ranges)
}

fn walk(node: &Node<'_>, token_key: &str, ranges: &mut Vec<Range>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| walk(node, token_key, ranges)),
        Value::Map(pairs) => {
            for pair in pairs {
                // Under `columns` the name of a column is told, not a token.
                if pair.key == "columns" {
                } else if pair.key == "partners" {
                    in_partners(&pair.value, ranges);
                } else if is_secret_key(&pair.key, token_key) {
                    mask(&pair.value, ranges);
                } else {
                    walk(&pair.value, token_key, ranges);
                }
            }
        }
        _ => {}
    }
}

/// Masks whatever in `partners` is not known to be no key: a key may stand where its reference belongs.
fn in_partners(node: &Node<'_>, ranges: &mut Vec<Range>) {
    let Value::Map(partners) = &node.value else { return ranges.push(node.bytes) };
    for partner in partners {
        let Value::Map(fields) = &partner.value.value else {
            ranges.push(partner.value.bytes);
            continue;
        };
        for field in fields {
            match keys::likely(&field.key, keys::PARTNER) {
                Some("writes_per_minute") if matches!(field.value.value, Value::Number(_)) => {}
                _ => mask(&field.value, ranges),
            }
        }
    }
}

/// Masks a secret's value. Of a reference, what it refers by is shown: a variable, a path, a program.
fn mask(node: &Node<'_>, ranges: &mut Vec<Range>) {
    match &node.value {
        // What looks like a key may be the secret itself, in braces.
        Value::Map(pairs) if pairs.iter().any(|pair| keys::likely(&pair.key, keys::REFERENCE).is_none()) => {
            ranges.push(node.bytes);
        }
        Value::Map(pairs) => {
            for pair in pairs {
                match (pair.key.as_ref(), &pair.value.value) {
                    ("env" | "file", Value::Text(_)) => {}
                    ("exec", Value::List(words)) => words.iter().skip(1).for_each(|word| ranges.push(word.bytes)),
                    _ => ranges.push(pair.value.bytes),
                }
            }
        }
        Value::Null => {}
        _ => ranges.push(node.bytes),
    }
}

/// Masks what follows a secret's key, line by line, for texts and parts that have no tree.
fn by_lines(text: &str, token_key: &str, broken: bool, ranges: &mut Vec<Range>) {
    let mut start = 0;
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        match inside {
            Some(column) if line.trim().is_empty() || indent > column => ranges.push((start, start + line.len())),
            _ => inside = None,
        }
        if let Some((key, value)) = secret_in(line, token_key) {
            let rest = line[value..].trim_end();
            let lead = rest.len() - rest.trim_start().len();
            let flow = line[..key].contains('{');
            let end = if flow && !broken { rest.find([',', '}']).unwrap_or(rest.len()) } else { rest.len() };
            if broken || !rest.trim_start().starts_with('{') {
                ranges.push((start + value + lead, start + value + end.max(lead)));
                if broken {
                    inside = Some(key);
                    open_quote(text, start + value + lead, ranges);
                }
            }
        }
        start += line.len();
    }
}

/// A secret in quotes that runs over lines.
fn open_quote(text: &str, at: usize, ranges: &mut Vec<Range>) {
    if let Some(quote) = text[at..].chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let end = text[at + 1..].find(quote).map_or(text.len(), |end| at + 2 + end);
        ranges.push((at, end));
    }
}

/// Where a line names a secret: the bytes at which its key and its value begin.
fn secret_in(line: &str, token_key: &str) -> Option<(usize, usize)> {
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|at| at + from) {
        let key = line[..colon].trim_end().trim_end_matches(['"', '\'']);
        let word = key
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .map_or(0, |at| at + key[at..].chars().next().map_or(1, char::len_utf8));
        if is_secret_key(&key[word..], token_key) {
            return Some((word, colon + 1));
        }
        from = colon + 1;
    }
    None
}

fn in_cells(text: &str, delimiter: u8, token_key: &str) -> Vec<Range> {
    let mut token_column = None;
    let mut ranges = Vec::new();
    for cell in super::cells::Cells::new(text, delimiter) {
        if cell.record == 0 {
            if cell.text(text).trim() == token_key {
                token_column = Some(cell.index);
            }
        } else if token_column == Some(cell.index) && cell.start < cell.end {
            ranges.push((cell.start, cell.end));
        }
    }
    ranges
}

/// The strings that follow the key in JSON text, whole or by lines.
fn in_json(text: &str, token_key: &str) -> Vec<Range> {
    let mut ranges = Vec::new();
    for key in [token_key, "share_token", "api_key"] {
        let needle = serde_json::Value::from(key).to_string();
        for (at, found) in text.match_indices(&needle) {
            let after = at + found.len();
            let rest = text[after..].trim_start();
            let Some(value) = rest.strip_prefix(':').map(str::trim_start) else { continue };
            let start = text.len() - value.len();
            let end =
                if value.starts_with('"') { super::json::string_end(value) } else { value.find([',', '}', '\n']) };
            ranges.push((start, end.map_or(text.len(), |end| start + end)));
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, ranges: Vec<Range>, line: usize) -> String {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let source = Source { text: text.to_owned(), lines, secrets: merged(ranges) };
        source.snippet(Mark::new(line, 1, 1)).unwrap().text
    }

    #[test]
    fn promise_5_whatever_stands_at_a_secret_key_is_masked() {
        for text in [
            "share_token: hunter2",
            "- {id: a, share_token: hunter2, id: b}",
            "- {id: a, \"share_token\" : 'hunter2', id: b}",
            "share_tokn: hunter2",
            "api_key: hunter2 # and hunter2",
            "api_key: {value: hunter2}",
            "api_key: {hunter2}",
            "api_key: {evn: hunter2}",
            "api_key: {exec: [vault, hunter2]}",
            "share_token: [hunter2]",
            "share_token: \"hunter2",
            "share_token: hunter2\nshare_token: hunter2",
            "share_token: !x hunter2",
            "share_token: >-\n  hunter2\n  hunter2",
            "share_token: \"a\n  hunter2\n",
            "share_token: \"a\nhunter2\n",
            "partners: hunter2",
            "partners: {bank: hunter2}",
            "partners:\n  bank: {key: hunter2}",
            "partners:\n  bank:\n    api_key: hunter2\n    writes_per_minute: hunter2",
            "partners:\n  bank:\n    api_key: {env: X, key: hunter2}",
        ] {
            for line in 1..=text.lines().count() {
                let shown = shown(text, in_yaml(text, "share_token", usize::MAX), line);
                assert!(!shown.contains("hunter2"), "{text:?} shows {shown:?}");
            }
        }
    }

    #[test]
    fn references_and_neighbours_are_shown() {
        let text = "- {share_token: {env: NAME}, id: carmen}\n- {share_token: abc, id: carmen}";
        let ranges = || in_yaml(text, "share_token", usize::MAX);
        assert_eq!(shown(text, ranges(), 1), "- {share_token: {env: NAME}, id: carmen}");
        assert_eq!(shown(text, ranges(), 2), "- {share_token: (masked), id: carmen}");
    }

    #[test]
    fn promise_5_a_token_broken_over_lines_is_masked_on_each() {
        for text in [
            "id: |\n  eyJhbGciOiJIUzI1NiJ9.eyJzZXNz\n  hunter2\n  hunter2==\nnmae: x",
            "id: eyJhbGciOiJIUzI1NiJ9.eyJzZXNz\n  hunter2\nnmae: x",
            "# eyJhbGciOiJIUzI1NiJ9.eyJzZXNz\n# hunter2\nnmae: x",
            "id: \"eyJhbGciOiJIUzI1NiJ9.eyJzZXNz\\\n  hunter2\"\nnmae: x",
        ] {
            let lines = text.lines().count();
            let shown: Vec<String> = (1..=lines).map(|line| shown(text, continued(text), line)).collect();
            assert!(shown.iter().all(|line| !line.contains("hunter2") && !line.contains("eyJ")), "{shown:?}");
            assert_eq!(shown[lines - 1], "nmae: x");
        }
    }

    #[test]
    fn promise_5_jwts_are_masked_wherever_they_stand() {
        assert_eq!(scrub("see eyJhbGci.eyJzZXNz.c2ln, and x=eyJhbGciOiJIUzI1NiIsInR5"), "see (masked), and x=(masked)");
        assert_eq!(scrub("heyJude\n"), "heyJude\\n");
        assert_eq!(scrub("bank: sk_live_AbC-1_2, or 'sk_test_x1y2z3'"), "bank: (masked), or '(masked)'");
    }

    #[test]
    fn promise_5_cells_and_json_are_masked_by_column() {
        let text = "id,token\nx,\"sec\nret\"\n";
        let ranges = || in_cells(text, b',', "token");
        assert_eq!((shown(text, ranges(), 2), shown(text, ranges(), 3)), ("x,(masked)".into(), "(masked)".into()));
        let text = "{\"id\": \"a\", \"token\" : \"sec\\\"ret\", \"x\": 1}";
        assert_eq!(shown(text, in_json(text, "token"), 1), "{\"id\": \"a\", \"token\" : (masked), \"x\": 1}");
    }

    #[test]
    fn the_mark_moves_with_masks_and_escapes() {
        let snippet = draw("\tabc: sec, x: 1", &[(6, 9)], Mark::new(1, 12, 1));
        assert_eq!(snippet.text, "\\tabc: (masked), x: 1");
        assert_eq!(&snippet.text[snippet.column as usize - 1..], "x: 1");
        let on_mask = draw("a: secret", &[(3, 9)], Mark::new(1, 4, 6));
        assert_eq!((on_mask.column, on_mask.width), (4, 8));
    }
}
