//! Tokens delivered apart from the roster: each goes to the entry whose session its claims name. What agrees with no
//! entry is counted and not used, since the reviewed roster decides who is imported.

use super::code::Code;
use super::decode::{LITERAL_HELP, NOT_A_TOKEN};
use super::draft::Files;
use super::entry::{Entry, TokenSource};
use super::gather::{Gather, is_same_token};
use super::sink::{At, FileId, Mark};
use super::sources::{self, Cell, Row, Rows};
use crate::token::Claims;

/// Delivers the tokens of one item of `tokens`.
pub(super) fn tokens(gather: &mut Gather<'_>, files: &Files) {
    let mut skipped = 0;
    for (found, format) in gather.files(files) {
        let file = gather.file(&found, format, files);
        let mut rows = TokenRows { gather, files, file, skipped: 0 };
        let read = sources::read(&found.path, format, &files.columns, &[sources::TOKEN], &mut rows);
        skipped += rows.skipped;
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

/// The tokens of one file.
struct TokenRows<'g, 'a> {
    gather: &'g mut Gather<'a>,
    files: &'g Files,
    file: FileId,
    skipped: u64,
}

impl TokenRows<'_, '_> {
    fn malformed(&mut self, mark: Mark, code: Code, message: String, help: &str) {
        if self.files.skip {
            self.skipped += 1;
        } else {
            self.gather.sink.error(code, mark.of(self.file), message, help);
        }
    }

    fn deliver(&mut self, source: TokenSource, claims: Option<&Claims>, at: At) {
        let session = claims.and_then(|claims| claims.session_id);
        let Some(index) = session.and_then(|session| self.gather.entry_of(session)) else {
            self.gather.unused_tokens += 1;
            return;
        };
        let item = &self.gather.items[index];
        // What an entry refers to itself is read again before its request, what is minted is made then, and both stand.
        if matches!(item.entry.token, TokenSource::Reference(_) | TokenSource::Mint(_))
            || is_same_token(&item.entry.token, &source)
        {
            return;
        }
        let mut delivered = Entry { token: source, ..item.entry.clone() };
        delivered.learn(claims);
        if item.entry.has_token() {
            if !self.files.latest {
                let earlier = self.gather.sink.place(item.token_at());
                let session = session.unwrap_or_default();
                let message = format!("another token for session {session} stands at {earlier}");
                let help = "keep one of the two, or write `on_duplicate: latest` into the item of `tokens`";
                self.gather.sink.error(Code::DuplicateSession, at, message, help);
                return;
            }
            if !self.gather.is_better(&delivered, &item.entry) {
                return;
            }
        }
        let item = &mut self.gather.items[index];
        item.entry = delivered;
        item.set_token_at(at);
    }
}

impl Rows for TokenRows<'_, '_> {
    fn row(&mut self, row: &Row<'_>) {
        let text = match &row.cells[sources::TOKEN] {
            Some(Cell::Text(text)) if !text.trim().is_empty() => text,
            None | Some(Cell::Null | Cell::Text(_)) => return,
            Some(_) => {
                let mark = (row.locate)(sources::TOKEN);
                return self.malformed(
                    mark,
                    Code::TokenNotLiteral,
                    "a token is a literal here".to_owned(),
                    LITERAL_HELP,
                );
            }
        };
        if let Some((source, claims)) = row.token(text) {
            self.deliver(source, claims.as_ref(), row.start.of(self.file));
        } else {
            let mark = (row.locate)(sources::TOKEN);
            self.malformed(mark, Code::MalformedToken, NOT_A_TOKEN.to_owned(), LITERAL_HELP);
        }
    }

    fn bad(&mut self, mark: Mark, code: Code, message: String) {
        self.malformed(mark, code, message, "correct the row, or write `on_invalid: skip`");
    }
}
