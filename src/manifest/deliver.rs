//! Tokens delivered apart from the roster: each goes to the entry whose session its claims name. What agrees with no
//! entry is counted and not used, since the reviewed roster decides who is imported.

use std::sync::Arc;

use super::code::Code;
use super::decode::{LITERAL_HELP, NOT_A_TOKEN};
use super::draft::Files;
use super::entry::{Entry, TokenSource};
use super::gather::{Gather, is_same_token};
use super::sink::{At, FileId, Mark};
use super::sources::{self, Cell, Input, Row, Rows};
use crate::token::Claims;

/// Delivers the tokens of one item of `tokens`.
pub(super) fn tokens(gather: &mut Gather<'_>, files: &Files) {
    let mut skipped = 0;
    for (found, format) in gather.files(files) {
        let file = gather.file(&found, format, files);
        let (name, open) = (gather.sink.name(file), Arc::clone(&gather.open));
        let input = Input {
            path: &found.path,
            format,
            columns: &files.columns,
            wanted: &[sources::TOKEN],
            name: &name,
            roots: &gather.bounds.roots,
            files: &open,
            chunk: gather.options.chunk,
            contents: gather.options.contents.as_ref(),
        };
        let read = sources::read(input, &TokenRows::default, &mut |rows: TokenRows| {
            for found in rows.0 {
                skipped += u64::from(!take(gather, files, file, found));
            }
        });
        if let Err(broken) = read {
            let before = gather.sink.len();
            gather.report_broken(broken, file, files);
            if files.skip {
                for finding in gather.sink.take_from(before) {
                    gather.sink.warning(finding.code, finding.at, finding.message, finding.help);
                }
            }
        }
    }
    if skipped > 0 {
        let message = match skipped {
            1 => "1 malformed token was left out".to_owned(),
            n => format!("{n} malformed tokens were left out"),
        };
        gather.sink.warning(Code::SkippedTokens, files.at, message, "ask the partner to send them again");
    }
}

/// What a row of a file of tokens holds.
enum Found {
    Token(TokenSource, Option<Claims>, Mark),
    Malformed { mark: Mark, code: Code, message: String, help: &'static str },
}

/// The tokens of a part of a file.
#[derive(Default)]
struct TokenRows(Vec<Found>);

/// Takes what a row holds; false for a malformed token that may be left out.
fn take(gather: &mut Gather<'_>, files: &Files, file: FileId, found: Found) -> bool {
    match found {
        Found::Token(source, claims, mark) => deliver(gather, files, source, claims.as_ref(), mark.of(file)),
        Found::Malformed { .. } if files.skip => return false,
        Found::Malformed { mark, code, message, help } => gather.sink.error(code, mark.of(file), message, help),
    }
    true
}

fn deliver(gather: &mut Gather<'_>, files: &Files, source: TokenSource, claims: Option<&Claims>, at: At) {
    let session = claims.and_then(|claims| claims.session_id);
    let Some(index) = session.and_then(|session| gather.entry_of(session)) else {
        gather.unused_tokens += 1;
        return;
    };
    let item = &gather.items[index];
    // What an entry refers to itself is read again before its request, what is minted is made then, and both stand.
    if matches!(item.entry.token, TokenSource::Reference(_) | TokenSource::Mint(_))
        || is_same_token(&item.entry.token, &source)
    {
        return;
    }
    let mut delivered = Entry { token: source, ..item.entry.clone() };
    delivered.learn(claims);
    if item.entry.has_token() {
        if !files.latest {
            let earlier = gather.sink.place(item.token_at());
            let session = session.unwrap_or_default();
            let message = format!("another token for session {session} stands at {earlier}");
            let help = "keep one of the two, or write `on_duplicate: latest` into the item of `tokens`";
            gather.sink.error(Code::DuplicateSession, at, message, help);
            return;
        }
        if !gather.is_better(&delivered, &item.entry) {
            return;
        }
    }
    let item = &mut gather.items[index];
    item.entry = delivered;
    item.set_token_at(at);
}

impl Rows for TokenRows {
    fn row(&mut self, row: &Row<'_>) {
        let malformed = |code, message: &str| {
            let (mark, message) = ((row.locate)(sources::TOKEN), message.to_owned());
            Found::Malformed { mark, code, message, help: LITERAL_HELP }
        };
        self.0.push(match &row.cells[sources::TOKEN] {
            None | Some(Cell::Null) => return,
            Some(Cell::Text(text)) if text.trim().is_empty() => return,
            Some(Cell::Text(text)) => match row.token(text) {
                Some((source, claims)) => Found::Token(source, claims, row.start),
                None => malformed(Code::MalformedToken, NOT_A_TOKEN),
            },
            Some(_) => malformed(Code::TokenNotLiteral, "a token is a literal here"),
        });
    }

    fn bad(&mut self, mark: Mark, code: Code, message: String) {
        let help = "correct the row, or write `on_invalid: skip`";
        self.0.push(Found::Malformed { mark, code, message, help });
    }
}
