//! A decision as the language sees it: looked at where it stands, not copied.
//!
//! A rule asks for a few fields of a decision that has hundreds. An object stays what it is ([`Fields`]) until one of its
//! fields is asked for; texts are borrowed. The library's own maps do not know how to compare themselves with such an
//! object, so a rule that writes a map gets a decision of copies ([`Objects::Copied`]).
//!
//! Whole numbers are ints, others doubles; the language compares them with each other as numbers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::ExecutionError;
use cel::common::traits::{Container, Indexer, Iterable, Iterator as Lending, Sizer};
use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, MAP_TYPE, Type,
};
use cel::common::value::{CowVal, Val};

use crate::didit::{self, Json};

/// What becomes of the objects of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// They are looked at.
    Seen,
    /// They become maps of the library.
    Copied,
}

/// A value of a decision.
pub(super) fn view(json: &Json, objects: Objects) -> Box<dyn Val + '_> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(flag) => Box::new(CelBool::from(*flag)),
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(items) => Box::new(CelList::from(items.iter().map(|item| view(item, objects)).collect::<Vec<_>>())),
        Json::Object(fields) if objects == Objects::Seen => Box::new(Fields::new(fields)),
        Json::Object(fields) => {
            let copied = fields.iter().map(|(key, value)| (key_of(key), view(value, objects)));
            Box::new(CelMap::from(copied.collect::<HashMap<_, _>>()))
        }
        Json::Int(whole) => Box::new(CelInt::from(*whole)),
        Json::UInt(whole) => Box::new(CelUInt::from(*whole)),
        Json::Float(float) => Box::new(CelDouble::from(*float)),
    }
}

fn key_of(key: &str) -> CelMapKey<'_> {
    CelMapKey::String(CelString::from(key))
}

/// An object of a decision, as a map.
#[derive(Debug)]
struct Fields<'v> {
    fields: &'v didit::Fields,
    /// The names, made when somebody goes through them.
    names: OnceLock<Vec<CelString<'v>>>,
}

impl<'v> Fields<'v> {
    fn new(fields: &'v didit::Fields) -> Self {
        Self { fields, names: OnceLock::new() }
    }

    fn find(&self, key: &dyn Val) -> Option<&'v Json> {
        self.fields.get(key.downcast_ref::<CelString>()?.inner())
    }

    fn child(&self, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        match self.find(key) {
            Some(value) => Ok(view(value, Objects::Seen)),
            None if is_key(key) => Err(ExecutionError::NoSuchKey(Arc::default())),
            None => Err(no_key(key)),
        }
    }
}

/// Whether a map may be asked for it: numbers and truths are no names of fields, but keys.
fn is_key(key: &dyn Val) -> bool {
    key.downcast_ref::<CelString>().is_some()
        || key.downcast_ref::<CelInt>().is_some()
        || key.downcast_ref::<CelUInt>().is_some()
        || key.downcast_ref::<CelDouble>().is_some()
        || key.downcast_ref::<CelBool>().is_some()
}

fn no_key(key: &dyn Val) -> ExecutionError {
    ExecutionError::UnexpectedType { got: key.get_type().name().to_owned(), want: "map key".to_owned() }
}

impl Val for Fields<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        let (Some(sizer), Some(indexer)) = (other.as_sizer(), other.as_indexer()) else { return false };
        let is_equal = |key: &str, value: &Json| {
            let other = indexer.get(&CelString::from(key));
            other.is_ok_and(|other| view(value, Objects::Seen).equals(&*other))
        };
        other.get_type() == &MAP_TYPE
            && *sizer.size().inner() == *self.size().inner()
            && self.fields.iter().all(|(key, value)| is_equal(key, value))
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(Self::new(self.fields))
    }
}

impl Container for Fields<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        if is_key(key) { Ok(self.find(key).is_some()) } else { Err(no_key(key)) }
    }
}

impl Indexer for Fields<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.child(key).map(|child| CowVal::Owned(child))
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.child(key).map(|child| child as Box<dyn Val + 'w>)
    }
}

impl Sizer for Fields<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.fields.len()).unwrap_or(i64::MAX))
    }
}

impl Iterable for Fields<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn Lending<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let names = self.names.get_or_init(|| self.fields.iter().map(|(key, _)| CelString::from(key)).collect());
        Box::new(Names(names.iter()))
    }
}

/// Lends the names of an object, in its order.
struct Names<'b, 'v>(std::slice::Iter<'b, CelString<'v>>);

impl<'b, 'v: 'w, 'w> Lending<'b, 'w> for Names<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|name| name as &(dyn Val + 'w))
    }
}
