//! An entry on its way: what one place says of it, each setting with its position, before sources and defaults fill
//! in the rest.

use std::time::Duration;

use compact_str::CompactString;
use url::Url;
use uuid::Uuid;

use super::entry::TokenSource;
use super::model::{Limits, SecretRef, WorkflowChoice};
use super::sink::{At, FileId};
use super::template::Template;
use crate::token::{Claims, ShareToken};
use crate::verify::Expectations;

/// A setting: not there, there but wrong (and reported), or good.
#[derive(Clone, Debug, Default)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Bad,
    Good(T, At),
}

impl<T> Field<T> {
    /// A value, or `Bad` for none.
    pub(super) fn from(value: Option<T>, at: At) -> Self {
        value.map_or(Self::Bad, |value| Self::Good(value, at))
    }

    pub(super) fn good(&self) -> Option<&T> {
        match self {
            Self::Good(value, _) => Some(value),
            _ => None,
        }
    }

    pub(super) fn at(&self) -> Option<At> {
        match self {
            Self::Good(_, at) => Some(*at),
            _ => None,
        }
    }

    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Self::Bad)
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// The settings that an entry, a source and the defaults share.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) workflow: Field<WorkflowChoice>,
    pub(super) trust: Field<bool>,
    pub(super) vendor: Field<Template>,
    pub(super) expect: Field<Expectations>,
}

/// Where a token comes from.
#[derive(Clone, Debug)]
pub(super) enum TokenSpec {
    Literal(ShareToken),
    Reference(SecretRef),
    /// One of a row, read already: where it is to be had again, and what it says.
    Row(TokenSource, Option<Claims>),
}

/// `mint` as written: of a source without a session, which each row has.
#[derive(Clone, Debug)]
pub(super) struct MintSpec {
    pub(super) partner: Field<String>,
    pub(super) session: Field<Uuid>,
    pub(super) ttl: Field<Duration>,
}

/// One entry as written.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) at: At,
    pub(super) token: Field<TokenSpec>,
    pub(super) mint: Field<MintSpec>,
    pub(super) session: Field<Uuid>,
    pub(super) id: Field<CompactString>,
    pub(super) settings: Settings,
}

impl Draft {
    pub(super) fn new(at: At) -> Self {
        Self {
            at,
            token: Field::Absent,
            mint: Field::Absent,
            session: Field::Absent,
            id: Field::Absent,
            settings: Settings::default(),
        }
    }

    /// The source session that the entry itself names.
    pub(super) fn own_session(&self) -> Option<Uuid> {
        let minted = self.mint.good().and_then(|mint| mint.session.good());
        self.session.good().or(minted).copied()
    }
}

/// `columns`: the name in the file for each of ours, in the order of [`super::keys::COLUMNS`].
#[derive(Clone, Debug)]
pub(super) struct Columns(pub(super) Vec<Column>);

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Where the manifest names it; then it has to exist.
    pub(super) named: Option<At>,
}

impl Columns {
    /// Every column under our own name.
    pub(super) fn unnamed() -> Self {
        Self(super::keys::COLUMNS.iter().map(|name| Column { name: (*name).to_owned(), named: None }).collect())
    }

    /// Which of our columns a column of the file is. One that was given away under its own name is ours no more.
    pub(super) fn slot(&self, name: &str) -> Option<usize> {
        let of = |named: bool| self.0.iter().position(|column| column.name == name && column.named.is_some() == named);
        if name.is_empty() { None } else { of(true).or_else(|| of(false)) }
    }

    /// Lets a column go: whatever is so called in the file means nothing.
    pub(super) fn forget(&mut self, slot: usize) {
        self.0[slot] = Column { name: String::new(), named: None };
    }
}

/// Where files of rows or tokens are, and how bad ones are dealt with.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The first line of the item.
    pub(super) at: At,
    pub(super) pattern: Field<String>,
    pub(super) columns: Columns,
    /// `on_duplicate: latest`.
    pub(super) latest: bool,
    /// `on_invalid: skip`.
    pub(super) skip: bool,
}

/// One item of `sources`.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) files: Files,
    pub(super) mint: Field<MintSpec>,
    pub(super) settings: Settings,
}

/// One item of `partners`.
#[derive(Clone, Debug)]
pub(super) struct RawPartner {
    pub(super) name: String,
    /// Where its name stands.
    pub(super) at: At,
    pub(super) api_key: Field<SecretRef>,
    pub(super) writes_per_minute: u32,
}

/// `application` as written, defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct RawApplication {
    pub(super) id: Option<Uuid>,
    /// Where it stands, right or wrong.
    pub(super) id_at: Option<At>,
    pub(super) base_url: Url,
    pub(super) base_url_at: Option<At>,
    pub(super) api_key: SecretRef,
    pub(super) api_key_at: Option<At>,
}

/// A manifest as written.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) file: FileId,
    pub(super) name: Field<String>,
    pub(super) application: RawApplication,
    pub(super) partners: Vec<RawPartner>,
    pub(super) limits: Limits,
    pub(super) defaults: Settings,
    /// `mint` of each entry of `imports` that has one, at the entry.
    pub(super) mints: Vec<(At, Field<MintSpec>)>,
    pub(super) sources: Vec<Source>,
    pub(super) tokens: Vec<Files>,
}
