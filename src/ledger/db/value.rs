//! The five kinds of value that a ledger keeps, as they are bound and as they are read.

use std::borrow::Cow;
use std::error::Error as StdError;

use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A value to be bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::ledger) enum Value<'v> {
    /// Nothing.
    Null,
    /// A number, a time in milliseconds, or whether something holds.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// A text.
    Text(&'v str),
    /// Bytes.
    Blob(&'v [u8]),
}

/// A value as it stands in a row.
pub(in crate::ledger) type Cell<'r> = Value<'r>;

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(value),
            Self::Real(value) => ValueRef::Real(value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            // PostgreSQL tells which kind it expects.
            Self::Int(value) => match *kind {
                Type::BOOL => (value != 0).to_sql(kind, out),
                Type::INT2 => i16::try_from(value)?.to_sql(kind, out),
                Type::INT4 => i32::try_from(value)?.to_sql(kind, out),
                Type::FLOAT8 => (value as f64).to_sql(kind, out),
                Type::INT8 => value.to_sql(kind, out),
                _ => Err(format!("a number is bound where {kind} is expected").into()),
            },
            Self::Real(value) => value.to_sql(kind, out),
            Self::Text(text) if text.contains('\0') => {
                Err("PostgreSQL keeps no text that has a zero byte in it".into())
            }
            Self::Text(text) => text.to_sql(kind, out),
            Self::Blob(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'r> FromSql<'r> for Value<'r> {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> std::result::Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(match *kind {
            Type::BOOL => Self::Int(i64::from(bool::from_sql(kind, raw)?)),
            Type::INT2 => Self::Int(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => Self::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::FLOAT8 => Self::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Self::Blob(raw),
            _ => Self::Text(<&str>::from_sql(kind, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::BOOL | Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT8 | Type::BYTEA)
            || <&str as FromSql>::accepts(kind)
    }
}

/// What can be bound.
pub(in crate::ledger) trait ToValue {
    /// As one of the five kinds.
    fn value(&self) -> Value<'_>;
}

macro_rules! integers {
    ($($kind:ty),+) => { $(impl ToValue for $kind {
        fn value(&self) -> Value<'_> {
            // Counts and numbers of ours are far from what doesn't fit.
            Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
        }
    }

    impl FromCell for $kind {
        fn from_cell(cell: Cell<'_>) -> Option<Self> {
            match cell {
                Cell::Int(value) => value.try_into().ok(),
                _ => None,
            }
        }
    })+ };
}

/// What can be read.
pub(in crate::ledger) trait FromCell: Sized {
    /// `None`: it is of another kind, or out of range.
    fn from_cell(cell: Cell<'_>) -> Option<Self>;
}

integers!(i64, i32, u8, u16, u32, u64);

impl ToValue for bool {
    fn value(&self) -> Value<'_> {
        Value::Int(i64::from(*self))
    }
}

impl ToValue for f64 {
    fn value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl ToValue for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

/// An id as its text, for which nothing is allocated: an import binds a dozen.
#[derive(Clone, Copy)]
pub(in crate::ledger) struct IdText([u8; Hyphenated::LENGTH]);

impl From<Uuid> for IdText {
    fn from(id: Uuid) -> Self {
        let mut text = Self([0; Hyphenated::LENGTH]);
        id.hyphenated().encode_lower(&mut text.0);
        text
    }
}

impl ToValue for IdText {
    fn value(&self) -> Value<'_> {
        // Digits and hyphens.
        Value::Text(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl ToValue for Cow<'_, str> {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for [u8] {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<const N: usize> ToValue for [u8; N] {
    fn value(&self) -> Value<'_> {
        Value::Blob(self)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, ToValue::value)
    }
}

impl FromCell for bool {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(value) => Some(value != 0),
            _ => None,
        }
    }
}

impl FromCell for f64 {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Real(value) => Some(value),
            Cell::Int(value) => Some(value as f64),
            _ => None,
        }
    }
}

impl FromCell for String {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl FromCell for Vec<u8> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Blob(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl<const N: usize> FromCell for [u8; N] {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Blob(bytes) => bytes.try_into().ok(),
            _ => None,
        }
    }
}

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

/// The parameters of a statement.
pub(in crate::ledger) trait Params {
    /// Has the values used, in order.
    fn with<R>(self, use_them: impl FnOnce(&[Value<'_>]) -> R) -> R;
}

impl Params for &[&dyn ToValue] {
    fn with<R>(self, use_them: impl FnOnce(&[Value<'_>]) -> R) -> R {
        use_them(&self.iter().map(|value| value.value()).collect::<Vec<_>>())
    }
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn with<R>(self, use_them: impl FnOnce(&[Value<'_>]) -> R) -> R {
        use_them(&self.each_ref().map(ToValue::value))
    }
}

/// None.
impl Params for () {
    fn with<R>(self, use_them: impl FnOnce(&[Value<'_>]) -> R) -> R {
        use_them(&[])
    }
}
