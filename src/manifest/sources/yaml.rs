//! YAML: a list of maps.

use std::borrow::Cow;

use super::{Broken, Cell, Row, Rows, SLOTS, check_seen};
use crate::manifest::code::Code;
use crate::manifest::draft::Columns;
use crate::manifest::pieces;
use crate::manifest::sink::Mark;
use crate::manifest::yaml::{Node, Pair, Value};

/// Reads a list of maps. A file whose YAML is wrong anywhere is broken as a whole.
pub(super) fn read(text: &str, columns: &Columns, rows: &mut dyn Rows) -> Result<(), Broken> {
    let tree = pieces::parse(text, pieces::SIZE);
    if let Some(problem) = tree.problems.into_iter().next() {
        return Err(Broken::Format {
            code: problem.code,
            mark: problem.mark,
            message: problem.message,
            help: problem.help,
        });
    }
    let nodes = match tree.root {
        None | Some(Node { value: Value::Null, .. }) => return Ok(()),
        Some(Node { value: Value::List(nodes), .. }) => nodes,
        Some(node) => {
            return Err(Broken::Format {
                code: Code::BadFormat,
                mark: node.mark,
                message: "the file has to hold one list of maps".to_owned(),
                help: "begin each row with `- share_token: ...`".to_owned(),
            });
        }
    };
    let (mut seen, mut count) = ([false; SLOTS], 0);
    for node in &nodes {
        match &node.value {
            Value::Map(pairs) => {
                count += 1;
                row(pairs, node.mark, columns, &mut seen, rows);
            }
            _ => rows.bad(node.mark, Code::BadRow, "the row is not a map".to_owned()),
        }
    }
    check_seen(columns, seen, count)
}

fn row(pairs: &[Pair<'_>], start: Mark, columns: &Columns, seen: &mut [bool; SLOTS], rows: &mut dyn Rows) {
    let mut cells: [Option<Cell<'_>>; SLOTS] = [const { None }; SLOTS];
    let mut marks = [start; SLOTS];
    let mut expect = false;
    for pair in pairs {
        if let Some(slot) = columns.slot(&pair.key) {
            cells[slot] = Some(cell(&pair.value));
            marks[slot] = pair.value.mark;
            seen[slot] = true;
        } else {
            expect |= pair.key == "expect";
        }
    }
    rows.row(&Row { start, cells, expect, locate: &|slot| marks[slot], ground: None });
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
