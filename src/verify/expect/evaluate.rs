//! Rules applied to a decision, within a budget.
//!
//! The functions that ask for the budget are part of the language ([`LANGUAGE`]), made once; what is left of it belongs
//! to the thread ([`PURSE`]), since a rule is evaluated on one.

use std::cell::{Cell, LazyCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelBytes, CelList, CelMap, CelNull, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, Value};

use super::compile::Compiled;
use super::view::{Objects, view};
use super::{Expectation, Verdict};
use crate::didit::Json;

/// Asked before each round of a loop.
pub(super) const STEP: &str = "@step";
/// Asked before each regular expression.
pub(super) const MATCH: &str = "@match";
/// Passed through by each value that is made.
pub(super) const WEIGH: &str = "@weigh";
/// Passed through by what the whole comes to; null, if that is neither true nor false.
pub(super) const TRUTH: &str = "@truth";

/// What one rule may spend on one decision; about the bytes that it may make.
const BUDGET: i64 = 16_000_000;
/// A round of a loop costs at least this: some hundred thousand rounds.
const ROUND: i64 = 160;
/// It costs the more the larger the decision is: one byte in so many, since a round may look at, or copy, much of it.
const SHARE: i64 = 64;
/// A regular expression: some hundred of them.
const REGEX: i64 = 160_000;
/// Any value, whatever it holds.
const NODE: i64 = 32;

/// Why a rule could not be evaluated. Says nothing of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A field or item is not there.
    NoSuchField,
    /// A value is of another type than the rule takes it to be.
    WrongType,
    /// A function or a sum failed: no time, no number, a division by zero.
    Failed,
    /// The budget was spent.
    TooCostly,
    /// It came to something else than true or false.
    NotBoolean,
    /// This release can't read it.
    Unreadable,
    /// The library broke off.
    Broken,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchField => "the decision has no such field or item",
            Self::WrongType => "a value is of another type, or null, as checks are that did not run",
            Self::Failed => "a computation in it failed",
            Self::TooCostly => "it is too costly",
            Self::NotBoolean => "the rule is not true or false",
            Self::Unreadable => "this release can't read it",
            Self::Broken => "the evaluation broke off",
        })
    }
}

static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut language = Env::stdlib();
    let declared = language
        .add_overload(STEP, STEP, Vec::new(), |_| asked(PURSE.with(|purse| purse.round.get())))
        .and_then(|()| language.add_overload(MATCH, MATCH, Vec::new(), |_| asked(REGEX)))
        .and_then(|()| language.add_overload(WEIGH, WEIGH, vec![DYN_TYPE.to_owned()], weighed))
        .and_then(|()| language.add_overload(TRUTH, TRUTH, vec![DYN_TYPE.to_owned()], truth));
    debug_assert!(declared.is_ok(), "each is declared once");
    Arc::new(language)
});

/// What may still be spent, counted down.
struct Purse {
    left: Cell<i64>,
    round: Cell<i64>,
}

thread_local! {
    static PURSE: Purse = const { Purse { left: Cell::new(0), round: Cell::new(0) } };
}

fn spend(cost: i64) -> Result<(), ExecutionError> {
    let left = PURSE.with(|purse| {
        purse.left.set(purse.left.get().saturating_sub(cost));
        purse.left.get()
    });
    if left < 0 { Err(ExecutionError::InternalError(String::new())) } else { Ok(()) }
}

fn asked<'b, 'v>(cost: i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    spend(cost).map(|()| CowVal::owned(CelBool::from(true)))
}

fn weighed<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.into_iter().next().ok_or_else(|| ExecutionError::InternalError(String::new()))?;
    spend(weight(&*value)).map(|()| value)
}

fn truth<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let truth = args.into_iter().next().filter(|value| value.downcast_ref::<CelBool>().is_some());
    Ok(truth.unwrap_or_else(|| CowVal::owned(CelNull)))
}

pub(super) fn all<'r>(rules: &'r [Expectation], decision: &Json) -> Vec<(&'r Expectation, Verdict)> {
    let round = ROUND + size(decision) / SHARE;
    // Copies are made where a rule needs them.
    let seen = context(decision, Objects::Seen);
    let copied = LazyCell::new(|| context(decision, Objects::Copied));
    let verdict = |rule: &Expectation| match &rule.compiled {
        None => Verdict::Unable(Reason::Unreadable),
        Some(compiled) => {
            PURSE.with(|purse| {
                purse.left.set(BUDGET);
                purse.round.set(round);
            });
            let context = if compiled.makes_maps { &*copied } else { &seen };
            catch_unwind(AssertUnwindSafe(|| evaluate(compiled, context))).unwrap_or(Verdict::Unable(Reason::Broken))
        }
    };
    rules.iter().map(|rule| (rule, verdict(rule))).collect()
}

fn context(decision: &Json, objects: Objects) -> Context<'_, '_> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    context.add_variable_as_val("session", view(decision, objects));
    context
}

fn evaluate(compiled: &Compiled, context: &Context<'_, '_>) -> Verdict {
    match Value::resolve(&compiled.expression, context) {
        Ok(Value::Bool(true)) => Verdict::Holds,
        Ok(Value::Bool(false)) => Verdict::Fails,
        Ok(_) => Verdict::Unable(Reason::NotBoolean),
        Err(_) if PURSE.with(|purse| purse.left.get() < 0) => Verdict::Unable(Reason::TooCostly),
        Err(error) => Verdict::Unable(reason(&error)),
    }
}

/// Only the kind of an error is looked at: its text may quote the decision.
fn reason(error: &ExecutionError) -> Reason {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => Reason::NoSuchField,
        ExecutionError::FunctionError { .. }
        | ExecutionError::DivisionByZero(_)
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::Overflow(..)
        | ExecutionError::DuplicateKey(_)
        | ExecutionError::InternalError(_) => Reason::Failed,
        _ => Reason::WrongType,
    }
}

/// About the bytes that a value takes. What is only looked at takes a node.
fn weight(value: &dyn Val) -> i64 {
    let inner = if let Some(text) = value.downcast_ref::<CelString>() {
        text.inner().len() as i64
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        bytes.inner().len() as i64
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().map(|item| weight(&**item)).sum()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().values().map(|value| NODE + weight(&**value)).sum()
    } else {
        0
    };
    NODE + inner
}

/// About the bytes that a decision takes.
fn size(json: &Json) -> i64 {
    let inner = match json {
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(fields) => fields.iter().map(|(_, value)| NODE + size(value)).sum(),
        Json::String(text) => text.len() as i64,
        Json::Null | Json::Bool(_) | Json::Int(_) | Json::UInt(_) | Json::Float(_) => 0,
    };
    NODE + inner
}
