//! How long carrying out a plan takes, and which tokens die before their turn.
//!
//! The API counts writes and reads in any 60 seconds, apart, for each key. The best schedule uses each window whole as
//! soon as it opens, earliest deadline first: with a limit of 300, the 301st request leaves 60 s after the first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Action, Item};
use crate::ledger::records::RecentImports;
use crate::manifest::{Application, Entry, Manifest, Manifests, Partner, SecretRef};

/// The span over which the API counts, in seconds.
const WINDOW: u64 = 60;

/// What carrying out a plan takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forecast {
    /// Writes to be sent, of all keys: imports, and the minting of tokens.
    pub writes: u64,
    /// Reads to be sent: the checks before the first send, lookups, and one decision for each import.
    pub reads: u64,
    /// Seconds spent waiting for windows to open, by the slowest key; the answers come on top.
    pub seconds: u64,
    /// Tokens that expire before their turn.
    pub expire_before_turn: u64,
    /// New imports that keep the partner's status.
    pub trusted: u64,
}

/// The items whose token dies before its turn, and what would save them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// By index, in order of expiry.
    pub items: Vec<usize>,
    /// What would save them all.
    pub remedy: Option<Remedy>,
}

/// What would save all tokens that die before their turn; one of these is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// Tokens that live so many seconds longer.
    pub longer_seconds: u64,
    /// So many writes a minute, of one key or of several together.
    pub writes_per_minute: u64,
}

/// An item that asks for a request, as the forecast sees it.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Its place in the plan.
    pub index: usize,
    /// Its action.
    pub action: Action,
    /// Its entry: indices into `Manifests::manifests` and its `entries`.
    pub at: (usize, usize),
    /// When its token dies.
    pub expires_at: Option<Timestamp>,
    /// Whether the source's status is kept.
    pub trust_review: Option<bool>,
}

impl Due {
    /// Of an item; `None` where it asks for none.
    #[must_use]
    pub fn of(item: &Item, index: usize) -> Option<Self> {
        let at = item.entry.filter(|_| item.action.is_pending())?;
        let Item { action, expires_at, trust_review, .. } = *item;
        Some(Self { index, action, at, expires_at, trust_review })
    }
}

/// Forecasts a plan. Keys of several applications, partners among them, have budgets of their own, used side by side.
#[must_use]
pub fn forecast(
    due: impl Iterator<Item = Due>,
    manifests: &Manifests,
    recent: &[RecentImports],
    now: Timestamp,
) -> (Forecast, Late) {
    let mut budgets = Budgets::default();
    for item in due {
        let (m, e) = item.at;
        let manifest = &manifests.manifests[m];
        budgets.of(m, &manifest.application, &manifest.application.api_key).add(&item, manifest, now);
        let mint = manifest.entries.get(e).and_then(Entry::mint);
        if let Some(partner) = mint.and_then(|mint| manifest.partner(&mint.partner)) {
            budgets.of(m, &manifest.application, &partner.api_key).mint(partner);
        }
    }
    for RecentImports { base_url, api_key, at } in recent {
        if let Some(number) = budgets.known.get(&(base_url.clone(), api_key.clone())) {
            budgets.all[*number].recall(at, now);
        }
    }
    let (mut total, mut late) = (Forecast::default(), Late::default());
    // In the order of their keys.
    for number in budgets.known.into_values() {
        let (forecast, of_budget) = std::mem::take(&mut budgets.all[number]).forecast(now);
        total = total.beside(forecast);
        late = late.and(of_budget);
    }
    (total, late)
}

/// The budgets of keys.
#[derive(Default)]
struct Budgets<'m> {
    all: Vec<Budget>,
    known: BTreeMap<(String, String), usize>,
    /// As manifests name keys: most items name the same as the one before.
    named: Vec<(usize, &'m SecretRef, usize)>,
}

impl<'m> Budgets<'m> {
    fn of(&mut self, m: usize, application: &Application, key: &'m SecretRef) -> &mut Budget {
        let is = |it: &&(usize, &SecretRef, usize)| it.0 == m && std::ptr::eq(it.1, key);
        let number = if let Some((.., number)) = self.named.iter().find(is) {
            *number
        } else {
            let next = self.all.len();
            let number = *self.known.entry((application.base(), key.to_json().to_string())).or_insert(next);
            if number == next {
                self.all.push(Budget::default());
            }
            self.named.push((m, key, number));
            number
        };
        &mut self.all[number]
    }
}

#[derive(Default)]
struct Budget {
    writes_per_minute: u64,
    reads_per_minute: u64,
    /// Of each item to be sent.
    deadlines: Vec<(Option<Timestamp>, usize)>,
    minted: u64,
    /// When each slot is free that was used in the last minute, in seconds from now, ascending.
    taken: Vec<u64>,
    recovered: u64,
    trusted: u64,
}

impl Budget {
    fn add(&mut self, item: &Due, manifest: &Manifest, now: Timestamp) {
        self.writes_per_minute = narrow(self.writes_per_minute, manifest.limits.writes_per_minute);
        self.reads_per_minute = narrow(self.reads_per_minute, manifest.limits.reads_per_minute);
        let is_recovered = item.action == Action::Recover;
        // What is only looked for is not sent.
        if !is_recovered || item.expires_at.is_none_or(|at| at > now) {
            self.deadlines.push((item.expires_at, item.index));
        }
        self.recovered += u64::from(is_recovered);
        self.trusted += u64::from(item.trust_review == Some(true) && item.action != Action::Recover);
    }

    fn mint(&mut self, partner: &Partner) {
        self.writes_per_minute = narrow(self.writes_per_minute, partner.writes_per_minute);
        self.minted += 1;
    }

    fn recall(&mut self, at: &[Timestamp], now: Timestamp) {
        let left = |at: &Timestamp| u64::try_from(at.as_second() + WINDOW as i64 + 1 - now.as_second()).ok();
        self.taken.extend(at.iter().filter_map(left));
        self.taken.sort_unstable();
    }

    /// When, in seconds from now, the write with this many before it leaves: slot after slot, those that are free first.
    fn turn(&self, before: u64, per_minute: u64) -> u64 {
        let Some(slot) = before.checked_rem(per_minute) else { return 0 };
        // Of more than a window holds, the last ones decide.
        let taken = &self.taken[self.taken.len().saturating_sub(per_minute as usize)..];
        let free = per_minute - taken.len() as u64;
        let first = slot.checked_sub(free).map_or(0, |nth| taken[nth as usize]);
        wait(before, per_minute) + first
    }

    fn forecast(mut self, now: Timestamp) -> (Forecast, Late) {
        // Earliest deadline first; entries without a known one come last.
        self.deadlines.sort_by_key(|(deadline, index)| (deadline.is_none(), *deadline, *index));
        let late = self.late(now, self.writes_per_minute);
        let mut writes = (self.deadlines.len() - late.len()) as u64;
        let remedy = (!late.is_empty()).then(|| self.remedy(now, &late, writes));
        let late = Late { items: late.into_iter().map(|(_, index)| index).collect(), remedy };
        // A key that only mints reads nothing.
        let is_receiver = self.reads_per_minute > 0;
        let reads = if is_receiver { 2 + writes + 2 * self.recovered } else { 0 };
        writes += self.minted;
        let last_write = if writes > 0 { self.turn(writes - 1, self.writes_per_minute) } else { 0 };
        let forecast = Forecast {
            writes,
            reads,
            seconds: last_write.max(wait(reads.saturating_sub(1), self.reads_per_minute)),
            expire_before_turn: late.items.len() as u64,
            trusted: self.trusted,
        };
        (forecast, late)
    }

    /// Which deadlines are missed with so many writes a minute.
    fn late(&self, now: Timestamp, per_minute: u64) -> Vec<(Timestamp, usize)> {
        let (mut writes, mut late) = (0, Vec::new());
        for (deadline, index) in &self.deadlines {
            match deadline
                .filter(|deadline| deadline.as_second() <= now.as_second() + self.turn(writes, per_minute) as i64)
            {
                Some(deadline) => late.push((deadline, *index)),
                None => writes += 1,
            }
        }
        late
    }

    /// With longer lives the late ones go behind the others; with more writes a minute all go as they are.
    fn remedy(&self, now: Timestamp, late: &[(Timestamp, usize)], writes: u64) -> Remedy {
        let too_late = |(nth, (deadline, _)): (usize, &(Timestamp, usize))| {
            let turn = now.as_second() + self.turn(writes + nth as u64, self.writes_per_minute) as i64;
            u64::try_from(turn - deadline.as_second()).unwrap_or(0) + 1
        };
        let longer_seconds = late.iter().enumerate().map(too_late).max().unwrap_or(0);
        // With all of them in the first window none is late, but for what is dead already.
        let (mut least, mut most) = (self.writes_per_minute, self.deadlines.len() as u64 + 1);
        while least + 1 < most {
            let middle = u64::midpoint(least, most);
            if self.late(now, middle).is_empty() {
                most = middle;
            } else {
                least = middle;
            }
        }
        Remedy { longer_seconds, writes_per_minute: most }
    }
}

impl Late {
    fn and(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        self.remedy = match (self.remedy, other.remedy) {
            (Some(a), Some(b)) => Some(Remedy {
                longer_seconds: a.longer_seconds.max(b.longer_seconds),
                writes_per_minute: a.writes_per_minute.max(b.writes_per_minute),
            }),
            (a, b) => a.or(b),
        };
        self
    }
}

fn narrow(known: u64, new: u32) -> u64 {
    if known == 0 { u64::from(new) } else { known.min(u64::from(new)) }
}

/// When, in seconds from now, the request with this many before it leaves.
fn wait(before: u64, per_minute: u64) -> u64 {
    WINDOW * before.checked_div(per_minute).unwrap_or(0)
}

impl Forecast {
    fn beside(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            seconds: self.seconds.max(other.seconds),
            expire_before_turn: self.expire_before_turn + other.expire_before_turn,
            trusted: self.trusted + other.trusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(count: usize, deadline: Option<Timestamp>) -> Budget {
        Budget {
            writes_per_minute: 300,
            reads_per_minute: 600,
            deadlines: (0..count).map(|index| (deadline, index)).collect(),
            ..Budget::default()
        }
    }

    #[test]
    fn a_window_is_used_whole_as_soon_as_it_opens() {
        for (count, seconds) in [(1, 0), (300, 0), (301, 60), (600, 60), (601, 120), (1500, 240)] {
            let (forecast, _) = budget(count, None).forecast(Timestamp::UNIX_EPOCH);
            assert_eq!((forecast.writes, forecast.seconds), (count as u64, seconds), "{count} entries");
        }
    }

    #[test]
    fn what_was_sent_in_the_last_minute_is_waited_for() {
        let now = Timestamp::from_second(1000).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut recalled = budget(150, None);
        // 200 slots are taken, half of them for 11 s more and half for 41 s.
        recalled.recall(&[vec![at(950); 100], vec![at(980); 100], vec![at(900); 50]].concat(), now);
        let turns = [0, 99, 100, 199, 200, 299, 300, 400].map(|before| recalled.turn(before, 300));
        assert_eq!(turns, [0, 0, 11, 11, 41, 41, 60, 71]);
        assert_eq!(recalled.forecast(now).0.seconds, 11);
    }

    #[test]
    fn a_key_that_only_mints_reads_nothing_and_the_slower_key_decides() {
        let minting = Budget { writes_per_minute: 100, minted: 250, ..Budget::default() };
        let (minting, _) = minting.forecast(Timestamp::UNIX_EPOCH);
        assert_eq!((minting.writes, minting.reads, minting.seconds), (250, 0, 120));
        let both = budget(250, None).forecast(Timestamp::UNIX_EPOCH).0.beside(minting);
        assert_eq!((both.writes, both.reads, both.seconds), (500, 252, 120));
    }

    #[test]
    fn tokens_that_die_before_their_turn_are_counted_and_take_no_slot() {
        let now = Timestamp::UNIX_EPOCH;
        let mut budget = budget(450, Some(Timestamp::from_second(30).unwrap()));
        budget.deadlines.extend((450..460).map(|index| (None, index)));
        let (forecast, late) = budget.forecast(now);
        assert_eq!((forecast.writes, forecast.expire_before_turn), (310, 150));
        assert!(late.items.into_iter().eq(300..450));
        // 150 more in the first window; or those of the last turn, 60 s from now, live past it.
        assert_eq!(late.remedy, Some(Remedy { longer_seconds: 31, writes_per_minute: 450 }));
    }
}
