//! YAML: a list of maps.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Broken, Cell, Ground, Input, Row, Rows, SLOTS, Seen, Text};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
use crate::manifest::pieces;
use crate::manifest::sink::Mark;
use crate::manifest::yaml::{self, Node, Pair, Value};

/// Reads a list of maps, in pieces where it is large. A file whose YAML is wrong anywhere is broken as a whole.
pub(super) fn read<P: Rows + Send>(
    text: &Text,
    input: Input<'_>,
    part: &(dyn Fn() -> P + Sync),
    take: &mut (dyn FnMut(P) + Send),
) -> Result<(), Broken> {
    let file = text.file.as_ref().and_then(|file| Some(input.keep(file.try_clone().ok()?)));
    let each = |nodes: &[Node<'_>]| {
        // Threads share no counters.
        let file = file.as_deref().map(|file| Arc::new(file.clone()));
        let ground = file.as_ref().map(|file| Ground { file, offset: text.offset, bytes: text.content.as_bytes() });
        let mut rows = part();
        let seen = list(nodes, input.columns, ground, &mut rows);
        (rows, seen)
    };
    let pieces = pieces::of_list(&text.content, input.chunk.min(pieces::SIZE));
    let parts = match pieces.and_then(|pieces| pieces::map(&text.content, &pieces, |nodes| each(&nodes))) {
        Some(parts) => parts,
        None => vec![each(&whole(&text.content)?)],
    };
    let mut seen = Seen::default();
    for (rows, found) in parts {
        take(rows);
        seen.add(&found);
    }
    seen.check(input.columns)
}

/// The items of the list that is the text.
fn whole(text: &str) -> Result<Vec<Node<'_>>, Broken> {
    let tree = yaml::parse(text);
    if let Some(problem) = tree.problems.into_iter().next() {
        return Err(Broken::Format {
            code: problem.code,
            mark: problem.mark,
            message: problem.message,
            help: problem.help,
        });
    }
    match tree.root {
        None | Some(Node { value: Value::Null, .. }) => Ok(Vec::new()),
        Some(Node { value: Value::List(nodes), .. }) => Ok(nodes),
        Some(node) => Err(Broken::Format {
            code: Code::BadFormat,
            mark: node.mark,
            message: "the file has to hold one list of maps".to_owned(),
            help: "begin each row with `- share_token: ...`".to_owned(),
        }),
    }
}

fn list(nodes: &[Node<'_>], columns: &Columns, ground: Option<Ground<'_>>, rows: &mut dyn Rows) -> Seen {
    let mut seen = Seen::default();
    for node in nodes {
        match &node.value {
            Value::Map(pairs) => row(pairs, node.mark, columns, ground, &mut seen, rows),
            _ => rows.bad(node.mark, Code::BadRow, "the row is not a map".to_owned()),
        }
    }
    seen
}

fn row(
    pairs: &[Pair<'_>],
    start: Mark,
    columns: &Columns,
    ground: Option<Ground<'_>>,
    seen: &mut Seen,
    rows: &mut dyn Rows,
) {
    let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
    let mut marks = [start; SLOTS];
    let mut expect = false;
    for pair in pairs {
        if let Some(slot) = columns.slot(&pair.key) {
            cells[slot] = Some(cell(&pair.value));
            marks[slot] = pair.value.mark;
        } else {
            expect |= pair.key == "expect";
        }
    }
    seen.row(&cells);
    rows.row(&Row { start, cells, expect, locate: &|slot| marks[slot], ground });
}

fn cell<'a>(node: &'a Node<'_>) -> Cell<'a> {
    match &node.value {
        Value::Text(text) => Cell::Text(Cow::Borrowed(text)),
        Value::Bool(value) => Cell::Bool(*value),
        Value::Number(text) => Cell::Number(text.to_string()),
        Value::Null => Cell::Null,
        _ => Cell::Nested,
    }
}
