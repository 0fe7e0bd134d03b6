//! Listing the sessions among which a lookup chooses.
//!
//! With vendor data the API filters, and the list is short. Without, everything made since the first attempt is listed,
//! newest first and no further back; many lookups want the same then, so one list serves all who asked before it
//! was begun. A list moves while imports run: rows come twice and are taken once.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::lane::{CallError, Lane};
use crate::didit::{ListQuery, SessionRow};
use crate::pace::MAX_SENDS;
use crate::token::SessionKind;

/// Rows a page.
const PAGE: u32 = 50;
/// Pages of one vendor data, and pages of everything, that are read at most.
const PAGES: usize = 20;
const PAGES_OF_ALL: usize = 400;

/// Clocks tell seconds, and a request takes its time.
const SLACK: SignedDuration = SignedDuration::from_secs(5);

/// Listed sessions.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// Each session once.
    pub(super) rows: Arc<Vec<SessionRow>>,
    /// Whether they are all that there are.
    pub(super) complete: bool,
}

/// The newest list of each kind that was read without a filter.
#[derive(Debug, Default)]
pub(super) struct Lists {
    user: Mutex<Option<Shared>>,
    business: Mutex<Option<Shared>>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    since: Option<Timestamp>,
    listed: Listed,
}

impl Shared {
    /// Whether it serves a lookup that began at `asked` and looks back to `since`.
    fn serves(&self, asked: Instant, since: Option<Timestamp>) -> bool {
        let reaches = match (self.since, since) {
            (None, _) => true,
            (Some(listed), Some(wanted)) => listed <= wanted,
            (Some(_), None) => false,
        };
        self.begun >= asked && reaches
    }
}

/// The sessions of a kind with this vendor data.
pub(super) async fn with_vendor_data(lane: &Lane, kind: SessionKind, vendor_data: &str) -> Result<Listed, CallError> {
    let query = ListQuery { vendor_data: Some(vendor_data.to_owned()), limit: PAGE, ..ListQuery::new(kind) };
    let Listed { rows, complete } = read(lane, &query, None, PAGES).await?;
    // A server that ignores the filter lists everything.
    let rows = rows.iter().filter(|row| row.vendor_data.value().is_none_or(|listed| listed == vendor_data));
    Ok(Listed { rows: Arc::new(rows.cloned().collect()), complete })
}

/// The sessions of a kind that were made since a time, as they are now or later.
pub(super) async fn made_since(lane: &Lane, kind: SessionKind, since: Option<Timestamp>) -> Result<Listed, CallError> {
    let asked = Instant::now();
    let mut newest = match kind {
        SessionKind::User => lane.lists.user.lock().await,
        SessionKind::Business => lane.lists.business.lock().await,
    };
    if let Some(shared) = newest.as_ref().filter(|shared| shared.serves(asked, since)) {
        return Ok(shared.listed.clone());
    }
    let begun = Instant::now();
    // A day's grain, and a day for whatever the clocks say.
    let query = ListQuery { date_from: since.and_then(day_before), limit: PAGE, ..ListQuery::new(kind) };
    let listed = read(lane, &query, since, PAGES_OF_ALL).await?;
    *newest = Some(Shared { begun, since, listed: listed.clone() });
    Ok(listed)
}

/// Reads page after page, until there is none or a whole page is older than `since`.
async fn read(lane: &Lane, query: &ListQuery, since: Option<Timestamp>, most: usize) -> Result<Listed, CallError> {
    let mut rows: Vec<SessionRow> = Vec::new();
    let mut known: HashSet<Uuid> = HashSet::new();
    let mut page = lane.read(MAX_SENDS, || lane.client.sessions(query)).await?;
    for number in 1.. {
        let is_past = !page.rows.is_empty() && !page.rows.iter().any(|row| is_young_enough(since, row.created_at));
        rows.extend(page.rows.into_iter().filter(|row| known.insert(row.session_id)));
        let Some(next) = page.next.filter(|_| !is_past) else { break };
        if number == most {
            return Ok(Listed { rows: Arc::new(rows), complete: false });
        }
        page = lane.read(MAX_SENDS, || lane.client.sessions_after(&next)).await?;
    }
    Ok(Listed { rows: Arc::new(rows), complete: true })
}

/// Whether a session can have been made since a time, as far as both are known.
pub(super) fn is_young_enough(since: Option<Timestamp>, created_at: Option<Timestamp>) -> bool {
    match (since, created_at) {
        (Some(since), Some(created_at)) => created_at.checked_add(SLACK).is_ok_and(|latest| latest >= since),
        _ => true,
    }
}

fn day_before(time: Timestamp) -> Option<jiff::civil::Date> {
    time.to_zoned(jiff::tz::TimeZone::UTC).date().yesterday().ok()
}
