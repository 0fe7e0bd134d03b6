//! `html`: one self-contained page for people.
//!
//! It loads nothing, and a policy in its head (`default-src 'none'`, its own style and script by their hashes) holds it
//! to that. Foreign text is made inert, then escaped by the template; what the script puts on the page it puts there as
//! text. Tables are packed (see `table`), so that a run of 50,000 entries stays under 5 MB; without the script the
//! totals, the charts and the first rows are there all the same.
//!
//! Nothing on the page depends on when it is made: a report made later has the same bytes.

mod chart;
mod summary;
mod table;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use self::chart::{Bars, Timeline};
use self::summary::{Fact, Tile};
use self::table::Table;
use super::Report;
use super::kind::RenderError;
use crate::exit::{Condition, Exit};
use crate::text::inert;

const STYLE: &str = include_str!("../../../templates/report.css");
const SCRIPT: &str = include_str!("../../../templates/report.js");

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    title: String,
    exit: Outcome,
    error: Option<String>,
    facts: Vec<Fact>,
    tiles: Vec<Tile>,
    timeline: Option<Timeline>,
    bars: Vec<Bars>,
    tables: Vec<Table>,
}

/// The exit, and whether it is good, bad or in between.
struct Outcome {
    tone: &'static str,
    text: String,
}

/// The page of a run.
pub fn render(report: &Report) -> Result<String, RenderError> {
    let exit = report.exit();
    let page = Page {
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        title: format!("didit-sync {}, run {}", inert(&report.run.command), report.run.id.0),
        exit: outcome(&exit),
        error: report.end.error.as_ref().map(|error| inert(&error.message)),
        facts: summary::facts(report),
        tiles: summary::tiles(report),
        timeline: Timeline::of(report),
        bars: chart::all(report),
        tables: table::all(report)?,
    };
    let mut text = page.render().map_err(|_| std::fmt::Error)?;
    text.push('\n');
    Ok(text)
}

/// What the page may load: nothing, but for its own style and script.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn outcome(exit: &Exit) -> Outcome {
    let tone = match exit.conditions().next() {
        None => "good",
        Some(Condition::Incomplete | Condition::NeedsInput | Condition::ChangesPending) => "warn",
        Some(_) => "bad",
    };
    let others: Vec<&str> = exit.conditions().skip(1).map(Condition::name).collect();
    let also = if others.is_empty() { String::new() } else { format!(", also {}", others.join(", ")) };
    Outcome { tone, text: format!("exit {}: {}{also}", exit.code(), exit.name()) }
}
