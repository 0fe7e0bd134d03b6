//! The entries that a repair is for: from the command line, or many from a file. All are looked up before anything
//! changes, and all that is wrong is told at once.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use super::Failure;
use crate::exit::Condition;
use crate::ledger::records::{Record, State};
use crate::ledger::{Ledger, LedgerError};
use crate::manifest::{Code, Diagnostic, Severity};
use crate::mask::quoted;
use crate::text::inert;
use crate::token::{Fingerprint, FingerprintKey};

/// An entry as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    /// The second column.
    pub(super) session: String,
    /// From 1; 0 on the command line.
    pub(super) line: u32,
}

impl Named {
    pub(super) fn given(name: &str) -> Self {
        Self { name: name.to_owned(), session: String::new(), line: 0 }
    }
}

/// What is wrong with the names, in words and with what to do about it.
#[derive(Debug)]
pub(super) struct Problems<'f> {
    file: Option<&'f Path>,
    found: Vec<(u32, Code, String, String)>,
}

impl<'f> Problems<'f> {
    pub(super) fn new(file: Option<&'f Path>) -> Self {
        Self { file, found: Vec::new() }
    }

    pub(super) fn add(&mut self, named: &Named, code: Code, message: String, help: impl Into<String>) {
        self.found.push((named.line, code, message, help.into()));
    }

    /// Nothing is changed unless all is well.
    pub(super) fn check(self) -> Result<(), Failure> {
        if self.found.is_empty() {
            return Ok(());
        }
        let (given, in_file): (Vec<_>, Vec<_>) = self.found.into_iter().partition(|(line, ..)| *line == 0);
        let told: Vec<&str> = given.iter().map(|(_, _, message, _)| message.as_str()).collect();
        let file = self.file.map(|path| quoted(&path.display().to_string()).into_owned()).unwrap_or_default();
        let count = match in_file.len() {
            0 => None,
            1 => Some(format!("1 error in {}", inert(&file))),
            n => Some(format!("{n} errors in {}", inert(&file))),
        };
        let message = told.into_iter().map(str::to_owned).chain(count).collect::<Vec<_>>().join("; ");
        let mut failure = Failure::new(Condition::Usage, message);
        let help = given.first().map_or("nothing was changed", |(.., help)| help);
        failure = failure.with_help(help);
        failure.diagnostics = in_file
            .into_iter()
            .map(|(line, code, message, help)| Diagnostic {
                code,
                severity: Severity::Error,
                file: file.clone(),
                line,
                column: 1,
                message: quoted(&message).into_owned(),
                help: quoted(&help).into_owned(),
                snippet: None,
            })
            .collect();
        Err(failure)
    }
}

/// Reads a file of names: CSV or TSV with a column `id` (and `session_id`, where `with_session`), else, for names
/// alone, one a line. Empty lines, and lines that begin with `#`, are skipped.
pub(super) fn read(path: &Path, with_session: bool) -> Result<Vec<Named>, Failure> {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::new(Condition::Usage, format!("{} can't be read: {why}", inert(&path.display().to_string())))
    };
    let text = fs::read_to_string(path).map_err(|e| unreadable(&e))?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let delimiter = if ending == "tsv" || (first.contains('\t') && !first.contains(',')) { b'\t' } else { b',' };
    let has_header = first.split(delimiter as char).any(|cell| cell.trim().trim_matches('"') == "id");
    if !with_session && !has_header && ending != "csv" && ending != "tsv" {
        let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
        let named = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        return Ok(named.map(|(line, number)| Named { line: number, ..Named::given(line) }).collect());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut columns = (0, 1);
    let mut names = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (index, row) in reader.records().enumerate() {
        let row = row.map_err(|e| unreadable(&e))?;
        // The reader's own position is before the lines that it skipped.
        let mut start = row.position().map_or(0, |position| position.byte() as usize);
        let skipped = |line: &&str| line.trim_end_matches(['\r', '\n']).is_empty() || line.starts_with('#');
        start += text[start..].split_inclusive('\n').take_while(skipped).map(str::len).sum::<usize>();
        line += text[counted..start].matches('\n').count() as u32;
        counted = start;
        if index == 0 && has_header {
            let column = |name: &str| row.iter().position(|cell| cell == name);
            columns = (column("id").unwrap_or(0), column("session_id").unwrap_or(usize::MAX));
            if with_session && columns.1 == usize::MAX {
                return Err(unreadable(&"it has no column session_id"));
            }
            continue;
        }
        if index == 0 && !with_session && row.len() > 1 {
            return Err(unreadable(&"it has no column id"));
        }
        let cell = |at: usize| row.get(at).unwrap_or_default().to_owned();
        names.push(Named { name: cell(columns.0), session: cell(columns.1), line });
    }
    Ok(names)
}

/// The names of the command line and of the file.
pub(super) fn all(given: &[String], file: Option<&Path>) -> Result<Vec<Named>, Failure> {
    let mut names: Vec<Named> = given.iter().map(|name| Named::given(name)).collect();
    if let Some(path) = file {
        names.extend(read(path, false)?);
    }
    Ok(names)
}

/// All entries among which those of these names are to be looked for.
pub(super) async fn candidates(ledger: &Ledger, names: impl Iterator<Item = &str>) -> Result<Vec<Record>, LedgerError> {
    let names: Vec<String> = names.map(str::to_owned).collect();
    let key = &ledger.identity().key;
    let hashes = names.iter().filter_map(|name| hash(name, key)).collect();
    ledger.meant(names, hashes).await
}

/// By what an erased entry is known, if this names a source session.
fn hash(name: &str, key: &FingerprintKey) -> Option<Fingerprint> {
    Uuid::try_parse(name).ok().map(|id| key.fingerprint(id.to_string().as_bytes()))
}

/// The one entry of a name. An erased one is known by its source session still.
pub(super) fn find<'r>(
    records: &'r [Record],
    key: &FingerprintKey,
    named: &Named,
    problems: &mut Problems<'_>,
) -> Option<&'r Record> {
    let name = inert(&named.name);
    let hash = hash(&named.name, key);
    let is_erased = |record: &Record| record.state == State::Erased && hash.is_some() && record.source_hash == hash;
    let mut found = records.iter().filter(|record| record.is_named(&named.name) || is_erased(record));
    match (found.next(), found.next()) {
        (Some(record), None) => return Some(record),
        (None, _) if named.name.is_empty() => {
            problems.add(named, Code::BadRow, "the line names no entry".to_owned(), "write one entry a line");
        }
        (None, _) => problems.add(
            named,
            Code::BadValue,
            format!("the ledger knows nothing of `{name}`"),
            "`didit-sync status` lists what it knows",
        ),
        (Some(_), Some(_)) => problems.add(
            named,
            Code::BadValue,
            format!("`{name}` names several entries"),
            "name the one by its source session",
        ),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str, text: &str, with_session: bool) -> Vec<(String, String, u32)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::write(&path, text).unwrap();
        read(&path, with_session).unwrap().into_iter().map(|it| (it.name, it.session, it.line)).collect()
    }

    fn row(name: &str, session: &str, line: u32) -> (String, String, u32) {
        (name.to_owned(), session.to_owned(), line)
    }

    #[test]
    fn lines_and_tables_are_told_apart() {
        assert_eq!(of("a.txt", "\u{feff}a, b\n\n# no\nc\n", false), [row("a, b", "", 1), row("c", "", 4)]);
        assert_eq!(of("a.csv", "note,id\nx,a\n\ny,\"b,c\"\n", false), [row("a", "", 2), row("b,c", "", 4)]);
        assert_eq!(of("a.csv", "a\nb\n", false), [row("a", "", 1), row("b", "", 2)]);
        assert_eq!(of("a.tsv", "session_id\tid\ns\ta\n", true), [row("a", "s", 2)]);
        assert_eq!(of("a", "a,s\nb,t\n", true), [row("a", "s", 1), row("b", "t", 2)]);
    }
}
