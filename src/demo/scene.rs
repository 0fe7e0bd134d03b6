//! Who is shared with us, and by which tokens.

use jiff::SignedDuration;
use uuid::Uuid;

use crate::sandbox::{Error, FaultError, Faults, MintOptions, Running, Status};
use crate::token::SessionKind;

/// Sessions that can be imported, beside the one of the manifest's own entry.
const ROWS: usize = 56;
/// An application that is neither the receiver nor the partner.
const ELSEWHERE: Uuid = Uuid::from_u128(0x5e1f_0000_0000_4000_8000_0000_0000_0001);

/// A line of the roster.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The entry's label.
    pub id: String,
    /// The share token.
    pub token: String,
    /// The receiving application's name for the person or company.
    pub user_ref: String,
}

/// Labels and sessions of what was shared, and what has to become of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Scene {
    /// The token of the entry that stands in the manifest itself.
    pub carmen: String,
    /// The roster.
    pub rows: Vec<Row>,
    /// Entries that have to end as imported sessions.
    pub good: usize,
}

/// What goes wrong on the way: answers that take a moment, and a few that are lost after the import was done.
pub fn faults() -> Result<Faults, FaultError> {
    "latency=10ms..40ms,import.lost-after=4%".parse()
}

impl Scene {
    /// The label of the entry whose token has expired.
    pub const EXPIRED: &str = "too-late";
    /// The label of the entry whose token was minted for another application.
    pub const ELSEWHERE: &str = "not-for-us";
    /// The label of the entry whose session the partner deleted.
    pub const DELETED: &str = "deleted";
    /// The label of the entry with two tokens.
    pub const TWICE: &str = "minted-twice";

    /// Gives the partner sessions, and mints their tokens.
    pub fn seed(sandbox: &Running) -> Result<Self, Error> {
        let mut rows = Vec::new();
        let world = sandbox.world();
        let mint = |source, options| world.mint(source, options);
        let carmen = world.seed_session(SessionKind::User, Status::Approved, None);
        for index in 0..ROWS {
            let (kind, status) = variety(index);
            let source = world.seed_session(kind, status, None);
            let legacy = kind == SessionKind::User && index % 7 == 0;
            let token = mint(source, MintOptions { ttl: lifetime(index), legacy, ..MintOptions::default() })?;
            let id = if index == 0 { Self::TWICE.to_owned() } else { format!("{kind}-{index:02}") };
            if index == 0 {
                // The partner minted again: same session, another token.
                let again =
                    mint(source, MintOptions { ttl: SignedDuration::from_hours(24), ..MintOptions::default() })?;
                rows.push(row(&id, again));
            }
            rows.push(row(&id, token));
        }
        let trouble = |options| {
            let source = world.seed_session(SessionKind::User, Status::Approved, None);
            Ok::<_, Error>((source, mint(source, options)?))
        };
        let hour = MintOptions::default();
        let (_, expired) = trouble(MintOptions { ttl: SignedDuration::from_mins(-90), ..hour })?;
        let (_, elsewhere) = trouble(MintOptions { for_application: Some(ELSEWHERE), ..hour })?;
        let (gone, deleted) = trouble(hour)?;
        world.delete_source(gone)?;
        rows.push(row(Self::EXPIRED, expired));
        rows.push(row(Self::ELSEWHERE, elsewhere));
        rows.push(row(Self::DELETED, deleted));
        Ok(Self { carmen: mint(carmen, hour)?, rows, good: ROWS + 1 })
    }
}

/// Every kind with every status that can be shared.
fn variety(index: usize) -> (SessionKind, Status) {
    let kind = if index % 4 == 3 { SessionKind::Business } else { SessionKind::User };
    let status = [Status::Approved, Status::InReview, Status::Declined][index % 3];
    (kind, status)
}

/// Tokens live between an hour and a day.
fn lifetime(index: usize) -> SignedDuration {
    SignedDuration::from_mins(60 + 20 * (index as i64 % 60))
}

fn row(id: &str, token: String) -> Row {
    Row { id: id.to_owned(), token, user_ref: format!("customer-{id}") }
}
