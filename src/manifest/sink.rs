//! Where everything wrong is gathered while loading goes on, so that all of it is told at once.
//!
//! A finding is small and knows only its place; the line it points at is fetched and masked at the very end, by
//! [`super::snippet`], when there is something to show at all.

use std::borrow::Cow;
use std::path::PathBuf;

use super::code::Code;
use super::diagnostic::{Diagnostic, Severity};
use super::entry::FileName;
use super::snippet;
use crate::mask::quoted;

/// A place in some text: line and column from 1, and how many characters are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) width: u32,
}

impl Mark {
    /// The first character of a file.
    pub(super) const START: Self = Self { line: 1, column: 1, width: 1 };

    pub(super) fn new(line: usize, column: usize, width: usize) -> Self {
        let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: clip(line), column: clip(column), width: clip(width).max(1) }
    }

    /// This file and place.
    pub(super) fn of(self, file: FileId) -> At {
        At { file, mark: self }
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub(super) file: FileId,
    pub(super) mark: Mark,
}

impl At {
    /// The same place, where files have moved by so many.
    pub(super) fn moved(self, by: u32) -> Self {
        Self { file: FileId(self.file.0 + by), ..self }
    }
}

/// A file that [`Sink`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(u32);

/// How a file is read when a line of it is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// YAML: a manifest or a list of rows.
    Yaml,
    /// Cells parted by this byte.
    Cells(u8),
    /// JSON, one document or one a line.
    Json,
    /// One token a line: nothing of it is shown.
    Tokens,
    /// It can't be shown.
    Opaque,
}

/// A file that diagnostics can point into.
#[derive(Clone, Debug)]
pub(super) struct FileInfo {
    /// As given, or found from what was given.
    pub(super) shown: String,
    /// Where it is read.
    pub(super) path: PathBuf,
    pub(super) shape: Shape,
    /// The name of the column or key that holds tokens.
    pub(super) token_key: String,
}

/// Something wrong at a place.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) code: Code,
    pub(super) severity: Severity,
    pub(super) at: At,
    pub(super) message: String,
    pub(super) help: String,
}

/// All files and findings of one load.
#[derive(Debug, Default)]
pub(super) struct Sink {
    files: Vec<FileInfo>,
    names: Vec<FileName>,
    findings: Vec<Finding>,
    errors: usize,
}

impl Sink {
    /// Makes a file known. Its name is shown and kept as the place of entries, so a secret in it is masked.
    pub(super) fn file(&mut self, mut info: FileInfo) -> FileId {
        if let Cow::Owned(masked) = quoted(&info.shown) {
            info.shown = masked;
        }
        self.names.push(info.shown.as_str().into());
        self.files.push(info);
        FileId(self.files.len() as u32 - 1)
    }

    /// The path of a file as shown.
    pub(super) fn shown(&self, file: FileId) -> &str {
        &self.files[file.0 as usize].shown
    }

    /// The path of a file as shown, for the places of entries.
    pub(super) fn name(&self, file: FileId) -> FileName {
        self.names[file.0 as usize].clone()
    }

    /// One that knows the same files and has no findings: for work done apart, of which [`Sink::absorb`] takes them.
    pub(super) fn apart(&self) -> Self {
        Self { files: self.files.clone(), names: self.names.clone(), ..Self::default() }
    }

    /// Takes over what another found in files that are known here.
    pub(super) fn absorb(&mut self, other: Self) {
        self.errors += other.errors;
        self.findings.extend(other.findings);
    }

    /// Takes over the files and findings of another that knew nothing of this one; by how much its files move.
    pub(super) fn append(&mut self, other: Self) -> u32 {
        let by = self.files.len() as u32;
        self.files.extend(other.files);
        self.names.extend(other.names);
        self.errors += other.errors;
        let findings = other.findings.into_iter().map(|mut finding| {
            finding.at.file.0 += by;
            finding
        });
        self.findings.extend(findings);
        by
    }

    /// `FILE:LINE` of a place, for messages about another.
    pub(super) fn place(&self, at: At) -> String {
        format!("{}:{}", self.shown(at.file), at.mark.line)
    }

    /// Notes an error.
    pub(super) fn error(&mut self, code: Code, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.push(code, Severity::Error, at, message.into(), help.into());
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, code: Code, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.push(code, Severity::Warning, at, message.into(), help.into());
    }

    fn push(&mut self, code: Code, severity: Severity, at: At, message: String, help: String) {
        self.errors += usize::from(severity == Severity::Error);
        self.findings.push(Finding { code, severity, at, message, help });
    }

    /// How many errors there are.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// How many findings there are, to take back later ones with [`Sink::take_from`].
    pub(super) fn len(&self) -> usize {
        self.findings.len()
    }

    /// Takes back what was found since there were `len` findings.
    pub(super) fn take_from(&mut self, len: usize) -> Vec<Finding> {
        let taken = self.findings.split_off(len);
        self.errors -= taken.iter().filter(|finding| finding.severity == Severity::Error).count();
        taken
    }

    /// Everything, sorted by file, line and column, each said once, with the lines they point at.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let Self { files, mut findings, .. } = self;
        findings.sort_by(|a, b| {
            let key = |f: &Finding| (f.at.mark.line, f.at.mark.column, f.severity, f.code);
            let (file_a, file_b) = (&files[a.at.file.0 as usize], &files[b.at.file.0 as usize]);
            file_a.shown.cmp(&file_b.shown).then_with(|| key(a).cmp(&key(b))).then_with(|| a.message.cmp(&b.message))
        });
        findings.dedup_by(|a, b| {
            let file = |f: &Finding| files[f.at.file.0 as usize].shown.as_str();
            a.code == b.code && a.at.mark == b.at.mark && a.message == b.message && file(a) == file(b)
        });
        snippet::attach(&files, findings)
    }
}

impl FileId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
