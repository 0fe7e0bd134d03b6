//! YAML to a tree that knows where everything stands: the one file that names the YAML crate.
//!
//! Serde's way stops at the first error. This tree is decoded afterwards, so that every error of a manifest is told
//! at once, each at its place. Aliases are refused (so there are no alias bombs) but leave a [`Value::Broken`] node
//! behind, about which nothing more is said; nesting is bounded by the parser, the number of values here, the size by the caller, and since nothing
//! is expanded the tree is never larger than the text warrants.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_yaml::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::code::Code;
use super::sink::Mark;
use super::unclosed;

/// How deep lists and maps may nest; a manifest needs five levels.
const NESTING: usize = 32;

/// How many values a text of so many bytes may hold: more than anybody writes by hand, and of a large text as many as
/// entries and rows have. So a tree takes some seven times the text at most, and not thirty.
pub(super) fn most_values(bytes: usize) -> usize {
    1_000_000 + bytes / 16
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) mark: Mark,
    /// The bytes of the text it covers.
    pub(super) bytes: (usize, usize),
    pub(super) value: Value<'t>,
}

/// What a node holds, by YAML's core schema.
#[derive(Debug)]
pub(super) enum Value<'t> {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`; never `yes` or `on`.
    Bool(bool),
    /// A number as written.
    Number(Cow<'t, str>),
    /// Any other scalar.
    Text(Cow<'t, str>),
    /// A list.
    List(Vec<Node<'t>>),
    /// A map, without its duplicate keys.
    Map(Vec<Pair<'t>>),
    /// Something that was reported already.
    Broken,
}

/// One key and its value.
#[derive(Debug)]
pub(super) struct Pair<'t> {
    pub(super) key: Cow<'t, str>,
    pub(super) mark: Mark,
    pub(super) value: Node<'t>,
}

/// Something wrong with the YAML itself.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) code: Code,
    pub(super) mark: Mark,
    pub(super) message: String,
    pub(super) help: String,
}

/// A text parsed: the first document (none where the text is empty or broken) and all that was wrong.
#[derive(Debug, Default)]
pub(super) struct Tree<'t> {
    pub(super) root: Option<Node<'t>>,
    pub(super) problems: Vec<Problem>,
}

impl Node<'_> {
    /// Moves what stands after a gap by the lines and bytes that were left out there.
    pub(super) fn move_down(&mut self, gap: &Gap) {
        gap.move_mark(&mut self.mark);
        if self.bytes.0 >= gap.byte {
            self.bytes = (self.bytes.0 + gap.bytes, self.bytes.1 + gap.bytes);
        }
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.move_down(gap)),
            Value::Map(pairs) => pairs.iter_mut().for_each(|pair| {
                gap.move_mark(&mut pair.mark);
                pair.value.move_down(gap);
            }),
            _ => {}
        }
    }
}

/// Lines that were left out of a text: where, by lines and bytes before it, and how many.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) line: usize,
    pub(super) byte: usize,
    pub(super) lines: usize,
    pub(super) bytes: usize,
}

impl Gap {
    fn move_mark(&self, mark: &mut Mark) {
        if mark.line as usize > self.line {
            *mark = Mark::new(mark.line as usize + self.lines, mark.column as usize, mark.width as usize);
        }
    }
}

/// Parses a text. A syntax error leaves no tree, since what follows it can't be told apart.
pub(super) fn parse(text: &str) -> Tree<'_> {
    let mut builder = Builder::new(text, NESTING, (0, 0));
    match builder.document() {
        Ok(root) => Tree { root, problems: builder.problems },
        Err(error) => {
            builder.problems.push(syntax(text, &error));
            Tree { root: None, problems: builder.problems }
        }
    }
}

/// Parses some items of a list that stand in a text after so many lines and bytes, and counts their values. `None`
/// where anything is wrong.
pub(super) fn parse_piece(piece: &str, lines: usize, bytes: usize) -> Option<(Vec<Node<'_>>, usize)> {
    // The map around the list is not seen.
    let mut builder = Builder::new(piece, NESTING - 1, (lines, bytes));
    match builder.document() {
        Ok(Some(Node { value: Value::List(nodes), .. })) if builder.problems.is_empty() => Some((nodes, builder.nodes)),
        _ => None,
    }
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    problems: Vec<Problem>,
    nodes: usize,
    most: usize,
    /// How many lines and bytes stand before the text.
    before: (usize, usize),
}

impl<'t> Builder<'t> {
    fn new(text: &'t str, nesting: usize, before: (usize, usize)) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        options.flow_nesting_limit = NESTING;
        options.block_nesting_limit = nesting;
        let parser = Parser::new_from_str_with_options(text, options);
        Self { parser, text, problems: Vec::new(), nodes: 0, most: most_values(text.len()), before }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), ScanError> {
        self.parser.next_event().unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())))
    }

    fn document(&mut self) -> Result<Option<Node<'t>>, ScanError> {
        let mut root = None;
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents == 2 {
                        self.problem(
                            Code::MultipleDocuments,
                            &span,
                            "a second document begins here",
                            "keep one document to a file: drop the `---`, or move what follows into its own file",
                        );
                        return Ok(root);
                    }
                }
                Event::StreamStart | Event::DocumentEnd => {}
                event => root = Some(self.node(event, span)?),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node<'t>, ScanError> {
        self.nodes += 1;
        if self.nodes > self.most {
            return Err(ScanError::new(span.start, "too many values"));
        }
        let mark = self.mark(&span);
        let (start, mut end) = span.byte_range().map_or((0, 0), |range| (range.start, range.end));
        let value = match event {
            Event::Scalar(text, style, _, tag) => self.scalar(text, style, tag.as_deref(), &span),
            Event::SequenceStart(_, _, tag) => {
                self.check_tag(tag.as_deref(), "seq", &span);
                let (nodes, after) = self.list()?;
                end = after;
                Value::List(nodes)
            }
            Event::MappingStart(_, _, tag) => {
                self.check_tag(tag.as_deref(), "map", &span);
                let (pairs, after) = self.map()?;
                end = after;
                Value::Map(pairs)
            }
            _ => {
                self.problem(
                    Code::Alias,
                    &span,
                    "YAML aliases are not supported",
                    "write the value out, or put what entries share under `defaults`",
                );
                Value::Broken
            }
        };
        Ok(Node { mark, bytes: (start + self.before.1, end + self.before.1), value })
    }

    fn list(&mut self) -> Result<(Vec<Node<'t>>, usize), ScanError> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, span) => return Ok((nodes, end_of(&span))),
                (event, span) => nodes.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<(Vec<Pair<'t>>, usize), ScanError> {
        let mut pairs: Vec<Pair<'t>> = Vec::new();
        // Small maps, the many, are searched; large ones, which only a hostile text holds, are indexed.
        let mut seen: HashSet<String> = HashSet::new();
        loop {
            let (key, mark, key_span) = match self.next()? {
                (Event::MappingEnd | Event::StreamEnd, span) => return Ok((pairs, end_of(&span))),
                (Event::Scalar(text, ..), span) => (Some(text), self.mark(&span), span),
                (event, span) => {
                    let key = self.node(event, span)?;
                    (None, key.mark, span)
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            let Some(key) = key else {
                self.problem(Code::WrongType, &key_span, "a key has to be plain text", "write `key: value`");
                continue;
            };
            let twice = if pairs.len() < 32 {
                pairs.iter().any(|pair| pair.key == key)
            } else {
                if seen.is_empty() {
                    seen = pairs.iter().map(|pair| pair.key.to_string()).collect();
                }
                !seen.insert(key.to_string())
            };
            if twice {
                let first = pairs.iter().find(|pair| pair.key == key).map_or(0, |pair| pair.mark.line);
                let message = format!("the key `{key}` stands twice in this map, first in line {first}");
                self.problem(Code::DuplicateKey, &key_span, &message, "keep one of the two");
            } else {
                pairs.push(Pair { key, mark, value });
            }
        }
    }

    fn scalar(&mut self, text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Value<'t> {
        match tag.map(|tag| (tag, tag.core_suffix())) {
            None if style == ScalarStyle::Plain => resolve(text),
            None | Some((_, Some("str"))) => Value::Text(text),
            Some((_, Some("null" | "bool" | "int" | "float"))) => resolve(text),
            // The non-specific tag `!` asks for text.
            Some((tag, None)) if tag.suffix().is_empty() => Value::Text(text),
            Some((tag, _)) => {
                self.bad_tag(tag, span);
                Value::Broken
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, expected: &str, span: &Span) {
        if let Some(tag) = tag.filter(|tag| tag.core_suffix() != Some(expected)) {
            self.bad_tag(tag, span);
        }
    }

    fn bad_tag(&mut self, tag: &Tag, span: &Span) {
        let message = format!("the YAML tag `{}` is not supported", tag.original());
        let span = span.tag_span().unwrap_or(*span);
        self.problem(Code::UnsupportedTag, &span, &message, "drop the tag");
    }

    fn problem(&mut self, code: Code, span: &Span, message: &str, help: &str) {
        let mark = self.mark(span);
        self.problems.push(Problem { code, mark, message: message.to_owned(), help: help.to_owned() });
    }

    fn mark(&self, span: &Span) -> Mark {
        let width = if span.end.line() == span.start.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            let rest = span.start.byte_offset().and_then(|at| self.text.get(at..)).unwrap_or("");
            rest.lines().next().unwrap_or("").trim_end().chars().count()
        };
        Mark::new(span.start.line() + self.before.0, span.start.col() + 1, width)
    }
}

fn end_of(span: &Span) -> usize {
    span.byte_range().map_or(0, |range| range.end)
}

/// YAML's core schema, with `true` and `false` as the only booleans.
pub(super) fn resolve(text: Cow<'_, str>) -> Value<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        other if is_number(other) => Value::Number(text),
        _ => Value::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = unsigned.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(digits) = unsigned.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'7'));
    }
    matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
        || (unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.contains(|c: char| c.is_ascii_digit())
            && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.parse::<f64>().is_ok())
}

/// A syntax error in the reader's words. What is left unclosed is shown where it opens.
fn syntax(text: &str, error: &ScanError) -> Problem {
    let at = *error.marker();
    let mark = Mark::new(at.line(), at.col() + 1, 1);
    let offset = at.byte_offset().unwrap_or(text.len()).min(text.len());
    let problem = |code, mark, message: &str, help: &str| Problem {
        code,
        mark,
        message: message.to_owned(),
        help: help.to_owned(),
    };
    let open = |sign: char, mark| {
        let (message, help) = unclosed::words(sign);
        problem(Code::Unclosed, mark, message, help)
    };
    match error.kind() {
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            let sign = text.get(offset..).and_then(|rest| rest.chars().next()).unwrap_or('"');
            open(sign, mark)
        }
        ErrorKind::UnclosedFlowCollection { open: sign }
        | ErrorKind::MismatchedFlowCollectionEnd { open: sign, .. } => open(*sign, mark),
        ErrorKind::Custom(_) => problem(
            Code::TooLarge,
            mark,
            "the file holds more values than a manifest may",
            "move the entries into source files: see `sources`",
        ),
        ErrorKind::RecursionLimitExceeded => problem(
            Code::TooDeep,
            mark,
            "lists and maps are nested too deep here",
            "a manifest needs no more than a handful of levels",
        ),
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar => {
            match unclosed::quote_over_lines(text, offset) {
                Some((sign, line, column)) => open(sign, Mark::new(line, column, 1)),
                None => problem(
                    Code::Syntax,
                    mark,
                    "something follows a closing quote",
                    "write a quote inside double quotes as \\\", inside single quotes as ''",
                ),
            }
        }
        ErrorKind::TabInPlainScalar
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => {
            let (line, column) = unclosed::tab(text, at.line()).unwrap_or((at.line(), at.col() + 1));
            problem(Code::Syntax, Mark::new(line, column, 1), "a tab is not allowed here", "indent with spaces")
        }
        kind => match unclosed::bracket(text, offset) {
            Some((sign, line, column)) => open(sign, Mark::new(line, column, 1)),
            None => problem(Code::Syntax, mark, &words(kind), help(kind)),
        },
    }
}

fn words(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::MappingValueNotAllowed => "a `:` is not allowed here".to_owned(),
        ErrorKind::ExpectedBlockMappingKey => "a key was expected here".to_owned(),
        ErrorKind::SimpleKeyExpected => "this line has no `key:`".to_owned(),
        ErrorKind::ExpectedBlockSequenceEntry => "a `- ` was expected here".to_owned(),
        kind => format!("not valid YAML: {kind}"),
    }
}

fn help(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::MappingValueNotAllowed => {
            "put quotes around a value that contains `: `, and align keys of one map in one column"
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidIndentation => {
            "align the keys of a map, and the `-` of a list, in one column; write `key: value`"
        }
        ErrorKind::UnexpectedCharacter { .. } => "put quotes around a value that begins with a special character",
        _ => "put quotes around values with special characters, and indent with spaces",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> (Code, u32, u32) {
        let tree = parse(text);
        let first = tree.problems.first().unwrap_or_else(|| panic!("no problem in {text:?}"));
        (first.code, first.mark.line, first.mark.column)
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let tree =
            parse("[true, yes, 42, 4.5e3, 0x1f, '42', ~, 1-2, 20bb3c3b-6146-439f-84a4-bd30d00ac6a2, !!str 7, 1e]");
        let Some(Node { value: Value::List(nodes), .. }) = tree.root else { panic!() };
        let kinds: Vec<_> = nodes
            .iter()
            .map(|node| match &node.value {
                Value::Null => 'n',
                Value::Bool(_) => 'b',
                Value::Number(_) => '#',
                Value::Text(_) => 't',
                _ => '?',
            })
            .collect();
        assert_eq!(kinds, ['b', 't', '#', '#', '#', 't', 'n', 't', 't', 't', 't']);
    }

    #[test]
    fn what_is_left_unclosed_is_shown_where_it_opens() {
        for (text, line, column) in [
            ("a: \"x\nb: 1\n", 1, 4),
            ("a: \"x\nb: \"y\"\n", 1, 4),
            ("a: 'x\nb: 'y'\n", 1, 4),
            ("a: {user: x\nb: 1\n", 1, 4),
            ("a: [1, 2\nb: 3\n", 1, 4),
            ("a: [1, 2", 1, 4),
            ("a: {b: [1, 2}", 1, 8),
            ("i:\n  - {a: 1, b: 2\n  - {c: 1}\n", 2, 5),
            ("i:\n  - {a: 1, b: 2\n    c: 3\n", 2, 5),
            ("a: # [x\n  - y\nb: it's\nc: [1\nd: 2\n", 4, 4),
        ] {
            assert_eq!(problem(text), (Code::Unclosed, line, column), "{text:?}");
        }
    }

    #[test]
    fn other_errors_are_shown_where_they_are_seen() {
        assert_eq!(problem("a: \"x\" y\n"), (Code::Syntax, 1, 8));
        assert_eq!(problem("a: b: c\n"), (Code::Syntax, 1, 5));
        assert_eq!(problem("a: 1\na: 2\n"), (Code::DuplicateKey, 2, 1));
        assert_eq!(problem("a: &x 1\nb: *x\n"), (Code::Alias, 2, 4));
        assert_eq!(problem("a: 1\n---\nb: 2\n"), (Code::MultipleDocuments, 2, 1));
        assert_eq!(problem("a: !secret x\n"), (Code::UnsupportedTag, 1, 4));
        assert_eq!(problem("? [a]\n: 1\n").0, Code::WrongType);
        assert_eq!(problem(&"[".repeat(5000)).0, Code::TooDeep);
        assert_eq!(problem(&"- ".repeat(5000)).0, Code::TooDeep);
    }

    #[test]
    fn a_text_of_nothing_but_values_is_refused() {
        let many = |count: usize| format!("[{}]", "0,".repeat(count));
        assert!(parse(&many(100_000)).problems.is_empty());
        assert_eq!(problem(&many(1_200_000)).0, Code::TooLarge);
    }

    #[test]
    fn a_longer_text_may_hold_more_values() {
        let many = |count: usize| format!("[{}]", "0,".repeat(count));
        let padded = |count: usize| format!("{}\n# {}", many(count), "x".repeat(16 * count));
        assert!(parse(&padded(1_200_000)).problems.is_empty());
    }

    #[test]
    fn an_alias_bomb_is_refused_at_once() {
        let mut bomb = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned()];
        for level in 1..40 {
            let before = level - 1;
            bomb.push(format!("a{level}: &a{level} [*a{before}, *a{before}, *a{before}]\n"));
        }
        assert!(parse(&bomb.concat()).problems.iter().all(|problem| problem.code == Code::Alias));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[-a:\\[\\]{}\"'#|>&*! \n,~?%@é\u{feff}]{0,60}") {
            let _ = parse(&text);
        }
    }
}
