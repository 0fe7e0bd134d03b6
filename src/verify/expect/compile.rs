//! From the text of a rule to an expression that can be evaluated without harm.
//!
//! The library knows no budget, so one is built into the expression: each loop asks `@step` before each round, each
//! regular expression asks `@match`, and each value that is made (a sum, a list, a map) passes through `@weigh`; the
//! whole, through `@truth`. These
//! names can't be written in CEL; [`super::evaluate`] has the functions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::common::types::CelBool;

use super::evaluate::{MATCH, STEP, TRUTH, WEIGH};
use crate::mask::quoted;
use crate::text::inert;

/// The longest rule, in bytes.
pub const MAX_RULE: usize = 2000;

/// How deep an expression may nest, loops as the library expands them: each level takes some stack.
const MAX_DEPTH: usize = 24;

/// Enough stack for the parser on whatever text of [`MAX_RULE`] bytes.
const STACK: usize = 64 << 20;

/// How much of the library's complaint is shown.
const COMPLAINT: usize = 160;

/// The functions and methods of the language, loops aside.
const FUNCTIONS: [&str; 24] = [
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// The loops, which become comprehensions when they are written right.
const LOOPS: [&str; 6] = ["all", "exists", "exists_one", "filter", "has", "map"];

/// The names of types, which `type(x)` is compared with.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is nothing in it.
    #[error("the rule is empty")]
    Empty,
    /// It is longer than [`MAX_RULE`].
    #[error("the rule has {0} bytes, over the {max} that one may have", max = MAX_RULE)]
    TooLong(usize),
    /// It nests too deep.
    #[error("the rule is nested too deep")]
    TooDeep,
    /// It is no CEL.
    #[error("the rule is not CEL: line {line}, character {column}: {complaint}")]
    Syntax {
        /// The line of the rule, from 1.
        line: usize,
        /// The character in it, from 1.
        column: usize,
        /// The library's complaint, about the rule's own text; inert, one line.
        complaint: String,
    },
    /// It names something that is not there.
    #[error("the rule names `{0}`, which is not there")]
    UnknownName(String),
    /// It calls something that is not there.
    #[error("the rule calls `{0}`, which is no function")]
    UnknownFunction(String),
    /// It has a loop or `has` with the wrong number of arguments, or the like.
    #[error("the rule uses `{0}` in another way than it can be used")]
    Misused(String),
    /// A regular expression that is written in it is none.
    #[error("the rule has a regular expression that is none: {0}")]
    Pattern(String),
    /// It makes a value of a named type.
    #[error("the rule makes a value of a type that is not there")]
    NamedType,
    /// The library could not cope with it.
    #[error("the rule can't be read")]
    Unreadable,
}

impl Flaw {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Empty => "write a CEL expression over `session`, such as \"session.status == 'Approved'\"".to_owned(),
            Self::TooLong(_) | Self::TooDeep => "split it into several rules".to_owned(),
            Self::Syntax { .. } | Self::Unreadable => {
                "write one CEL expression in double quotes, texts in it in single ones: \"session.status == 'Approved'\""
                    .to_owned()
            }
            Self::UnknownName(_) => {
                "the decision is `session`, so its fields are `session.status` and so on; texts go in single quotes"
                    .to_owned()
            }
            Self::UnknownFunction(_) => {
                format!("there are {}, and {}", FUNCTIONS.join(", "), LOOPS.join(", "))
            }
            Self::Misused(name) => match name.as_str() {
                "has" => "write `has(session.field)`".to_owned(),
                name => format!("write `list.{name}(x, condition)`"),
            },
            Self::Pattern(_) => {
                "to match a character such as ( itself, write [(]; YAML and CEL both take a backslash away".to_owned()
            }
            Self::NamedType => "write a map, {'key': value}, or a list".to_owned(),
        }
    }
}

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) expression: IdedExpr,
    /// Whether it writes a map.
    pub(super) makes_maps: bool,
}

/// Compiles texts, each once. A clone knows what the other does.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    known: Arc<Mutex<Known>>,
}

type Known = HashMap<String, Result<Arc<Compiled>, Flaw>>;

impl Compiler {
    /// The expression of a text.
    pub(super) fn compile(&mut self, text: &str) -> Result<Arc<Compiled>, Flaw> {
        if text.trim().is_empty() {
            return Err(Flaw::Empty);
        }
        if text.len() > MAX_RULE {
            return Err(Flaw::TooLong(text.len()));
        }
        if let Some(known) = self.known().get(text) {
            return known.clone();
        }
        let compiled = with_room(text).map(Arc::new);
        // Two threads may have compiled it: both go on with one of the results.
        self.known().entry(text.to_owned()).or_insert(compiled).clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a text on a stack of its own: the parser goes as deep as the text does, and may panic.
fn with_room(text: &str) -> Result<Compiled, Flaw> {
    let owned = text.to_owned();
    let thread = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK).spawn(move || read(&owned));
    thread.ok().and_then(|thread| thread.join().ok()).unwrap_or(Err(Flaw::Unreadable))
}

fn read(text: &str) -> Result<Compiled, Flaw> {
    let mut expression = cel::parser::Parser::new().parse(text).map_err(|errors| syntax(text, &errors))?;
    let mut checker = Checker::default();
    checker.check(&expression, 0)?;
    let makes_maps = checker.makes_maps;
    rewrite(&mut expression);
    Ok(Compiled { expression: call(TRUTH, vec![expression]), makes_maps })
}

fn syntax(text: &str, errors: &cel::ParseErrors) -> Flaw {
    let Some(first) = errors.errors.first() else { return Flaw::Unreadable };
    let count = |n: isize| usize::try_from(n).unwrap_or(0).clamp(1, text.len() + 1);
    Flaw::Syntax { line: count(first.pos.0), column: count(first.pos.1), complaint: complaint(&first.msg) }
}

/// What a library says of a rule's own text, inert and short.
fn complaint(text: &str) -> String {
    let whole = inert(text.trim_end());
    let mut complaint: String = whole.chars().take(COMPLAINT).collect();
    if complaint.len() < whole.len() {
        complaint.push('…');
    }
    quoted(&complaint).into_owned()
}

/// Walks an expression with the variables of the loops around.
#[derive(Default)]
struct Checker<'e> {
    variables: Vec<&'e str>,
    makes_maps: bool,
}

impl<'e> Checker<'e> {
    fn check(&mut self, expression: &'e IdedExpr, depth: usize) -> Result<(), Flaw> {
        if depth > MAX_DEPTH {
            return Err(Flaw::TooDeep);
        }
        let inner = depth + 1;
        match &expression.expr {
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.check(&select.operand, inner),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.check(element, inner)),
            Expr::Call(call) => {
                // A loop that is none has variables that are none.
                if LOOPS.contains(&call.func_name.as_str()) {
                    return Err(Flaw::Misused(call.func_name.clone()));
                }
                // The root of a name is what is most likely misspelt.
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                parts.into_iter().try_for_each(|part| self.check(part, inner))?;
                function(&call.func_name)?;
                pattern(call)
            }
            Expr::Map(map) => {
                self.makes_maps = true;
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.check(&entry.key, inner).and_then(|()| self.check(&entry.value, inner))
                    }
                    EntryExpr::StructField(_) => Err(Flaw::NamedType),
                })
            }
            Expr::Comprehension(fold) => self.fold(fold, inner),
            Expr::Struct(_) => Err(Flaw::NamedType),
            Expr::Unspecified => Err(Flaw::Unreadable),
        }
    }

    fn fold(&mut self, fold: &'e ComprehensionExpr, inner: usize) -> Result<(), Flaw> {
        self.check(&fold.iter_range, inner)?;
        self.check(&fold.accu_init, inner)?;
        let outside = self.variables.len();
        self.variables.extend([fold.accu_var.as_str(), fold.iter_var.as_str()]);
        self.variables.extend(fold.iter_var2.as_deref());
        let parts = [&fold.loop_cond, &fold.loop_step, &fold.result];
        let checked = parts.into_iter().try_for_each(|part| self.check(part, inner));
        self.variables.truncate(outside);
        checked
    }

    fn name(&self, name: &str) -> Result<(), Flaw> {
        let known = name == "session" || TYPES.contains(&name) || self.variables.contains(&name);
        if known { Ok(()) } else { Err(Flaw::UnknownName(shown(name))) }
    }
}

fn function(name: &str) -> Result<(), Flaw> {
    // Operators are calls of names that can't be written.
    let operator = !name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.bytes().all(is_word);
    if operator || FUNCTIONS.contains(&name) { Ok(()) } else { Err(Flaw::UnknownFunction(shown(name))) }
}

/// A regular expression that is written out is compiled as the library will do it.
fn pattern(call: &CallExpr) -> Result<(), Flaw> {
    match call.args.last().map(|pattern| &pattern.expr) {
        Some(Expr::Literal(LiteralValue::String(pattern))) if call.func_name == "matches" => {
            // Its last line says what is wrong; those before show where.
            let wrong = |text: &str| complaint(text.lines().last().unwrap_or_default().trim_start_matches("error: "));
            regex::Regex::new(pattern.inner()).map(drop).map_err(|error| Flaw::Pattern(wrong(&error.to_string())))
        }
        _ => Ok(()),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn shown(name: &str) -> String {
    let name: String = name.chars().take(40).collect();
    quoted(&inert(&name)).into_owned()
}

/// Builds the budget in.
fn rewrite(expression: &mut IdedExpr) {
    match &mut expression.expr {
        Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) | Expr::Unspecified => {}
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Comprehension(fold) => rewrite_fold(fold),
        Expr::List(list) => {
            list.elements.iter_mut().for_each(rewrite);
            weigh(expression);
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
            }
            weigh(expression);
        }
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(rewrite);
            match call.func_name.as_str() {
                operators::ADD => weigh(expression),
                "matches" => only_if(MATCH, expression),
                _ => {}
            }
        }
    }
}

/// The shape of `map` and `filter` is kept, since the library then appends in place.
fn rewrite_fold(fold: &mut ComprehensionExpr) {
    rewrite(&mut fold.iter_range);
    let accu = fold.accu_var.clone();
    if let Some(item) = appended(&mut fold.loop_step, &accu) {
        rewrite(item);
        weigh(item);
        let step = std::mem::take(&mut fold.loop_step);
        fold.loop_step = conditional(call(STEP, Vec::new()), step, ident(&accu));
        return;
    }
    match &mut fold.loop_step.expr {
        Expr::Call(step) if step.func_name == operators::CONDITIONAL && step.args.len() == 3 => {
            rewrite(&mut step.args[0]);
            match appended(&mut step.args[1], &accu) {
                Some(item) => {
                    rewrite(item);
                    weigh(item);
                    only_if(STEP, &mut step.args[0]);
                }
                None => only_if(STEP, &mut fold.loop_cond),
            }
        }
        _ => {
            rewrite(&mut fold.loop_step);
            only_if(STEP, &mut fold.loop_cond);
        }
    }
}

/// The item that a step appends to what was gathered, if it does that.
fn appended<'e>(step: &'e mut IdedExpr, accu: &str) -> Option<&'e mut IdedExpr> {
    let Expr::Call(call) = &mut step.expr else { return None };
    let (ADDED, [gathered, added]) = (call.func_name.as_str(), call.args.as_mut_slice()) else { return None };
    match (&gathered.expr, &mut added.expr) {
        (Expr::Ident(name), Expr::List(list)) if name == accu => list.elements.first_mut(),
        _ => None,
    }
}

const ADDED: &str = operators::ADD;

fn weigh(expression: &mut IdedExpr) {
    let weighed = std::mem::take(expression);
    *expression = call(WEIGH, vec![weighed]);
}

/// `asked() ? expression : false`; asked fails when the budget is spent.
fn only_if(asked: &str, expression: &mut IdedExpr) {
    let inner = std::mem::take(expression);
    let never = new(Expr::Literal(LiteralValue::Boolean(CelBool::from(false))));
    *expression = conditional(call(asked, Vec::new()), inner, never);
}

fn conditional(asked: IdedExpr, then: IdedExpr, otherwise: IdedExpr) -> IdedExpr {
    call(operators::CONDITIONAL, vec![asked, then, otherwise])
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    new(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn ident(name: &str) -> IdedExpr {
    new(Expr::Ident(name.to_owned()))
}

fn new(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}
