//! `explain`: what a code means.

use schemars::JsonSchema;
use serde::Serialize;

use super::Failure;
use super::args::ExplainArgs;
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::explain::{self, Topic};
use crate::report::schema::Output;
use crate::text::inert;

/// `didit-sync/explain.v1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct ExplainDocument<'a> {
    #[schemars(extend("const" = Output::Explain.format()))]
    format: &'static str,
    topics: &'a [Topic],
    exit: &'a Exit,
}

pub(super) fn run(args: &ExplainArgs, console: &Console) -> Result<Exit, Failure> {
    let topics = match &args.code {
        None => explain::topics(),
        Some(code) => found(code)?,
    };
    let exit = Exit::ok();
    if args.json.json {
        console.json(&ExplainDocument { format: Output::Explain.format(), topics: &topics, exit: &exit });
    } else if args.code.is_some() {
        console.out(&explain::text(&topics));
    } else {
        console.out(&explain::list(&topics));
    }
    Ok(exit)
}

fn found(code: &str) -> Result<Vec<Topic>, Failure> {
    let topics = explain::find(code);
    if !topics.is_empty() {
        return Ok(topics);
    }
    let near = explain::near(code);
    let help = match near.as_slice() {
        [] => "`didit-sync explain` lists all codes".to_owned(),
        near => format!("did you mean {}?", near.join(", ")),
    };
    Err(Failure::new(Condition::Usage, format!("there is no code `{}`", inert(code))).with_help(help))
}
