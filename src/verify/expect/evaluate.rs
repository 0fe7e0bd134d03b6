//! Rules applied to a decision, within a budget.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use serde_json::Value as Json;

use super::{Expectation, Verdict};

/// Asked before each round of a loop.
pub(super) const STEP: &str = "@step";
/// Asked before each regular expression.
pub(super) const MATCH: &str = "@match";
/// Passed through by each value that is made.
pub(super) const WEIGH: &str = "@weigh";

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

static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What is left, counted down.
#[derive(Clone)]
struct Budget {
    left: Arc<AtomicI64>,
    round: i64,
}

impl Budget {
    fn spend(&self, cost: i64) -> Result<(), ExecutionError> {
        let left = self.left.load(Ordering::Relaxed).saturating_sub(cost);
        self.left.store(left, Ordering::Relaxed);
        if left < 0 { Err(ExecutionError::InternalError(String::new())) } else { Ok(()) }
    }

    fn is_spent(&self) -> bool {
        self.left.load(Ordering::Relaxed) < 0
    }
}

pub(super) fn all<'r>(rules: &'r [Expectation], decision: &Json) -> Vec<(&'r Expectation, Verdict)> {
    let broken = |_| rules.iter().map(|rule| (rule, Verdict::Unable(Reason::Broken))).collect();
    catch_unwind(AssertUnwindSafe(|| judge(rules, decision))).unwrap_or_else(broken)
}

fn judge<'r>(rules: &'r [Expectation], decision: &Json) -> Vec<(&'r Expectation, Verdict)> {
    let session = to_cel(decision);
    let budget = Budget { left: Arc::default(), round: ROUND + weight(&session) / SHARE };
    let Some(context) = context(session, &budget) else {
        return rules.iter().map(|rule| (rule, Verdict::Unable(Reason::Broken))).collect();
    };
    let verdict = |rule: &Expectation| {
        budget.left.store(BUDGET, Ordering::Relaxed);
        match &rule.expression {
            None => Verdict::Unable(Reason::Unreadable),
            Some(expression) => catch_unwind(AssertUnwindSafe(|| evaluate(expression, &context, &budget)))
                .unwrap_or(Verdict::Unable(Reason::Broken)),
        }
    };
    rules.iter().map(|rule| (rule, verdict(rule))).collect()
}

fn context(session: Value, budget: &Budget) -> Option<Context<'static, 'static>> {
    let mut context = Context::with_env(Arc::clone(&LANGUAGE));
    context.add_variable_from_value("session", session);
    let asked = |cost: i64| {
        let budget = budget.clone();
        move || budget.spend(cost).map(|()| Value::Bool(true))
    };
    context.add_function(STEP, asked(budget.round)).ok()?;
    context.add_function(MATCH, asked(REGEX)).ok()?;
    let weighing = budget.clone();
    let weigh = move |value: Value| weighing.spend(weight(&value)).map(|()| value);
    context.add_function(WEIGH, weigh).ok()?;
    Some(context)
}

fn evaluate(expression: &IdedExpr, context: &Context<'_, '_>, budget: &Budget) -> Verdict {
    match Value::resolve(expression, context) {
        Ok(Value::Bool(true)) => Verdict::Holds,
        Ok(Value::Bool(false)) => Verdict::Fails,
        Ok(_) => Verdict::Unable(Reason::NotBoolean),
        Err(_) if budget.is_spent() => Verdict::Unable(Reason::TooCostly),
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

/// A decision as the language has it. Whole numbers are ints, others doubles; the language compares them with each
/// other as numbers.
fn to_cel(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (Key::from(key.as_str()), to_cel(value)));
            Value::Map(Map { map: Arc::new(fields.collect::<HashMap<_, _>>()) })
        }
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(whole)) => Value::UInt(whole),
            (None, None) => number.as_f64().map_or(Value::Null, Value::Float),
        },
    }
}

/// About the bytes that a value takes.
fn weight(value: &Value) -> i64 {
    let inner = match value {
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(map) => map.map.values().map(|value| NODE + weight(value)).sum(),
        Value::String(text) => text.len() as i64,
        Value::Bytes(bytes) => bytes.len() as i64,
        _ => 0,
    };
    NODE + inner
}
