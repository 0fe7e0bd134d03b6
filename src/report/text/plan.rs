//! A plan, as a good diff reads: what would change first, what is unchanged counted.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sheet::{self, Column, Row, wrapped};
use super::{ROWS, counted, short};
use crate::console::{Style, paint};
use crate::manifest::{Manifest, Manifests};
use crate::plan::{Action, Forecast, Item, Plan};
use crate::progress::duration;
use crate::text::inert;

/// A token that lives no longer than this is marked.
const SOON: SignedDuration = SignedDuration::from_mins(10);

/// What stands last, and without `-v` not at all.
const AT_REST: [Action; 2] = [Action::Unchanged, Action::Orphan];

const COLUMNS: [Column; 6] = [
    Column::shortened("id", 0, 12),
    Column::told("", 1),
    Column::whole("expires in", 2),
    Column::whole("kind", 3),
    Column::whole("workflow", 5),
    Column::shortened("vendor_data", 4, 12),
];

fn mark(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Recover => ("?", "36"),
        Action::Import => ("+", "32"),
        Action::Retry => ("~", "33"),
        Action::Unchanged => ("=", "2"),
        Action::Conflict | Action::Expired | Action::NeedsToken | Action::Invalid => ("!", "31"),
        Action::Erased | Action::Orphan => (".", "2"),
    }
}

/// A plan: what would change first, what is unchanged counted.
#[must_use]
pub fn plan(manifests: &Manifests, plan: &Plan, now: Timestamp, style: Style) -> String {
    let mut out = String::new();
    for manifest in &manifests.manifests {
        out += &wrapped(&Heading::from(manifest).to_string(), style.width, 0);
        if manifest.unused_tokens > 0 {
            let unused = format!("{} delivered tokens agree with no entry and are not used", manifest.unused_tokens);
            out += &wrapped(&unused, style.width, 2);
        }
    }
    let last = AT_REST.into_iter().filter(|_| style.verbose > 0);
    for action in Action::ALL.into_iter().filter(|action| !AT_REST.contains(action)).chain(last) {
        out += &section(manifests, plan, action, now, style);
    }
    out += "\n";
    out += &summary(plan, style);
    out
}

/// A plan of which only that is known that everything was found unchanged.
#[must_use]
pub fn up_to_date(manifests: &[Heading], style: Style) -> String {
    let headings: String = manifests.iter().map(|it| wrapped(&it.to_string(), style.width, 0)).collect();
    let entries: u64 = manifests.iter().map(|it| it.entries).sum();
    let unchanged = |action| if action == Action::Unchanged { entries } else { 0 };
    headings + "\n" + &counts(unchanged, style) + NOTHING
}

/// What is said of a manifest as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    name: String,
    path: String,
    entries: u64,
    application_id: Option<Uuid>,
    base_url: String,
}

impl From<&Manifest> for Heading {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            path: manifest.path.clone(),
            entries: manifest.entries.len() as u64,
            application_id: manifest.application.id,
            base_url: manifest.application.base(),
        }
    }
}

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, entries, application_id, base_url } = self;
        let (path, application, base) = (inert(path), short(*application_id), inert(base_url));
        write!(f, "{name} ({path}): {entries} entries, application {application} at {base}")
    }
}

fn section(manifests: &Manifests, plan: &Plan, action: Action, now: Timestamp, style: Style) -> String {
    let all = plan.count(action) as usize;
    if all == 0 {
        return String::new();
    }
    let late: HashSet<usize> = plan.late.items.iter().copied().filter(|index| plan.action(*index) == action).collect();
    let notes = |index: usize| notes(plan, index, late.contains(&index), now);
    let (sign, color) = mark(action);
    let of_action = || plan.with(|it| it == action);
    let shown: Vec<usize> = if style.verbose > 0 || all <= ROWS {
        of_action().collect()
    } else {
        // Not all are shown, but those that deserve a look are.
        let worth_a_look = of_action().filter(|index| !notes(*index).is_empty());
        worth_a_look.chain(of_action().filter(|index| notes(*index).is_empty())).take(ROWS).collect()
    };
    let rows: Vec<Row> = shown
        .iter()
        .map(|index| (*index, plan.item(*index)))
        .map(|(index, item)| Row {
            cells: vec![
                inert(&item.id),
                notes(index),
                expiry(manifests, &item, now),
                short(item.session_kind),
                item.workflow_id.map_or_else(|| "-".to_owned(), |id| id.to_string()[..8].to_owned()),
                short(item.vendor_data.as_deref()),
            ],
            below: item.reason.as_deref().map(inert),
        })
        .collect();
    let title = paint(style.color, color, &format!("{sign} {action}: {all}"));
    let rows = sheet::draw(&COLUMNS, &rows, (sign, style.color.then_some(color)), style.width);
    let mut out = format!("\n{title}\n{rows}");
    if shown.len() < all {
        let _ = writeln!(out, "  ... and {} more (-v shows all)", all - shown.len());
    }
    out
}

fn expiry(manifests: &Manifests, item: &Item, now: Timestamp) -> String {
    let entry = item.entry.and_then(|(m, e)| manifests.manifests.get(m)?.entries.get(e));
    let is_minted = entry.is_some_and(|entry| entry.mint().is_some());
    match item.expires_at {
        None if is_minted && item.action.is_pending() => "minted".to_owned(),
        None => "-".to_owned(),
        Some(at) if at <= now => "expired".to_owned(),
        Some(at) => duration(at.duration_since(now).as_secs().unsigned_abs()),
    }
}

/// What deserves a look, in words.
fn notes(plan: &Plan, index: usize, is_late: bool, now: Timestamp) -> String {
    let is_pending = plan.action(index).is_pending();
    let is_soon = |at: Timestamp| at > now && at.duration_since(now) < SOON;
    let mut notes = Vec::new();
    if plan.trust_review(index) == Some(true) && is_pending {
        notes.push("TRUSTED");
    }
    if is_late {
        notes.push("TOO LATE");
    } else if is_pending && plan.expires_at(index).is_some_and(is_soon) {
        notes.push("EXPIRES SOON");
    }
    notes.join(" ")
}

const NOTHING: &str = "Nothing to send.\n";

fn summary(plan: &Plan, style: Style) -> String {
    let mut out = counts(|action| plan.count(action), style);
    if plan.pending() == 0 {
        return out + NOTHING;
    }
    let forecast = plan.forecast;
    let (writes, reads) = (counted(forecast.writes as usize, "write"), counted(forecast.reads as usize, "read"));
    out += &wrapped(&format!("Forecast: {writes}, {reads}, {}.", time(forecast)), style.width, 0);
    if forecast.trusted > 0 {
        let imports = counted(forecast.trusted as usize, "new import");
        let trusted = format!("{imports} with trust_review: true, which takes over the partner's status.");
        out += &wrapped(&trusted, style.width, 2);
    }
    out + &late(plan, style)
}

/// How many entries have each action.
fn counts(count: impl Fn(Action) -> u64, style: Style) -> String {
    let counts: Vec<String> = Action::ALL
        .into_iter()
        .filter_map(|action| match count(action) {
            0 => None,
            count => Some(format!("{count} {action}")),
        })
        .collect();
    if counts.is_empty() {
        return "Nothing is listed.\n".to_owned();
    }
    wrapped(&format!("Plan: {}.", counts.join(", ")), style.width, 0)
}

pub(super) fn time(forecast: Forecast) -> String {
    match forecast.seconds {
        0 => "a few seconds".to_owned(),
        seconds => format!("about {}", duration(seconds)),
    }
}

/// Which tokens die before their turn, and what would save them.
fn late(plan: &Plan, style: Style) -> String {
    const SHOWN: usize = 3;
    let items = &plan.late.items;
    let Some(remedy) = plan.late.remedy.filter(|_| !items.is_empty()) else { return String::new() };
    let mut names: Vec<String> = items.iter().take(SHOWN).map(|index| inert(&plan.item(*index).id)).collect();
    if items.len() > SHOWN {
        names.push(format!("and {} more", items.len() - SHOWN));
    }
    let tokens = counted(items.len(), "token");
    let dying = format!("{tokens} will expire before their turn and not be sent: {}.", names.join(", "));
    let saving = format!(
        "To save them: let them live {} longer, or mint them here (`partners`); or send {} times a minute, where Didit \
         allows it or with a second key; or leave out as many entries that go before them.",
        duration(remedy.longer_seconds),
        remedy.writes_per_minute,
    );
    wrapped(&dying, style.width, 2) + &wrapped(&saving, style.width, 2)
}
