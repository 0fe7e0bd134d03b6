//! Faults on demand: what goes wrong, how often, and for which requests.
//!
//! A specification is a list of `[KIND.]FAULT=VALUE`, separated by commas:
//!
//! | fault | value | what happens |
//! |---|---|---|
//! | `latency` | `20ms` or `20ms..120ms` | half of it passes before the commit, half after |
//! | `throttle` | how often | 429 although the window is open; the request does not count |
//! | `html` | how often | 502 with an HTML page, nothing committed |
//! | `redirect` | how often | 307 to `/redirected/...` on the same host, nothing committed |
//! | `error-before` | how often | 500, nothing committed |
//! | `lost-before` | how often | the connection is reset without an answer, nothing committed |
//! | `hang` | how often | no answer at all until the client gives up, nothing committed |
//! | `error-after` | how often | committed, then 500 |
//! | `lost-after` | how often | committed, then the connection is reset without an answer |
//! | `hang-after` | how often | committed, then no answer until the client gives up |
//! | `cut` | how often | committed; the whole `Content-Length`, half the body, then the connection closes |
//! | `garbage` | how often | committed; the right status with a body that is not JSON |
//!
//! How often is a share such as `5%`, or `xN`: the first N attempts of each entry. KIND limits a fault to one kind
//! of request: `import`, `list`, `decision`, `workflows`, `share`, `delete`, `update`; it then takes the place of
//! the same fault without a kind. The healthcheck never fails.
//!
//! At most one fault but `latency` strikes a request: the first in the order of the table. Whether it strikes
//! depends on the seed, the fault, the entry (for an import the session its token names, else path and query) and
//! the number of that entry's attempt, not on timing: a request that the rate limit refuses is no attempt.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use uuid::Uuid;

use super::route::Kind;
use super::seed::Seed;

/// What goes wrong, and how often: read from and written as
/// `latency=20ms..120ms,import.lost-after=10%,decision.error-before=x1`.
///
/// Each item is `[KIND.]FAULT=VALUE`. The faults: `latency` (`20ms` or `20ms..120ms`; half passes before the commit,
/// half after); with nothing committed `throttle` (429 although the window is open), `html` (502 with a page),
/// `redirect`, `error-before`, `lost-before` (connection reset without an answer), `hang`; and after the commit
/// `error-after`, `lost-after`, `hang-after`, `cut` (half the body), `garbage` (not JSON). Their value is a share
/// such as `5%` or `xN`, the first N attempts of each entry. KIND is one of `import`, `list`, `decision`,
/// `workflows`, `share`, `delete`, `update`, and takes the place of the same fault without a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    latency: Vec<(Option<Kind>, Latency)>,
    troubles: Vec<(Option<Kind>, Trouble, Often)>,
}

/// What is wrong with a specification of faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{item:?}: {problem}")]
pub struct FaultError {
    item: String,
    problem: String,
}

/// What can strike a request, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Throttle,
    Html,
    Redirect,
    ErrorBefore,
    LostBefore,
    Hang,
    ErrorAfter,
    LostAfter,
    HangAfter,
    Cut,
    Garbage,
}

impl Trouble {
    const ALL: [Self; 11] = [
        Self::Throttle,
        Self::Html,
        Self::Redirect,
        Self::ErrorBefore,
        Self::LostBefore,
        Self::Hang,
        Self::ErrorAfter,
        Self::LostAfter,
        Self::HangAfter,
        Self::Cut,
        Self::Garbage,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Html => "html",
            Self::Redirect => "redirect",
            Self::ErrorBefore => "error-before",
            Self::LostBefore => "lost-before",
            Self::Hang => "hang",
            Self::ErrorAfter => "error-after",
            Self::LostAfter => "lost-after",
            Self::HangAfter => "hang-after",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Latency {
    low: Duration,
    high: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Often {
    Percent(f64),
    First(u32),
}

/// What was drawn for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) latency: Duration,
    pub(super) trouble: Option<Trouble>,
}

impl Faults {
    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latency.is_empty() && self.troubles.is_empty()
    }

    /// Draws for one attempt (counted from 1) of an entry.
    pub(super) fn draw(&self, seed: Seed, kind: Kind, entry: Uuid, attempt: u32) -> Drawn {
        let dice = |fault: &str| {
            seed.fraction(fault, &[b"fault", kind.as_str().as_bytes(), entry.as_bytes(), &attempt.to_be_bytes()])
        };
        let strikes = |trouble: &Trouble| match self.often(kind, *trouble) {
            None => false,
            Some(Often::First(attempts)) => attempt <= attempts,
            Some(Often::Percent(share)) => dice(trouble.as_str()) * 100.0 < share,
        };
        Drawn {
            latency: self.latency_of(kind).map_or(Duration::ZERO, |range| range.at(dice("latency"))),
            trouble: Trouble::ALL.into_iter().find(strikes),
        }
    }

    fn often(&self, kind: Kind, trouble: Trouble) -> Option<Often> {
        let of = |scope| self.troubles.iter().find(|rule| rule.0 == scope && rule.1 == trouble).map(|rule| rule.2);
        of(Some(kind)).or_else(|| of(None))
    }

    fn latency_of(&self, kind: Kind) -> Option<Latency> {
        let of = |scope| self.latency.iter().find(|rule| rule.0 == scope).map(|rule| rule.1);
        of(Some(kind)).or_else(|| of(None))
    }

    fn add(&mut self, item: &str) -> Result<(), String> {
        let (name, value) = item.split_once('=').ok_or("a fault is written FAULT=VALUE, such as `lost-after=10%`")?;
        let (scope, name) = match name.trim().split_once('.') {
            Some((kind, name)) => (Some(parse_kind(kind)?), name),
            None => (None, name.trim()),
        };
        if name == "latency" {
            if self.latency.iter().any(|rule| rule.0 == scope) {
                return Err("given twice".to_owned());
            }
            self.latency.push((scope, Latency::parse(value.trim())?));
            return Ok(());
        }
        let trouble = Trouble::ALL.into_iter().find(|trouble| trouble.as_str() == name).ok_or_else(unknown_fault)?;
        if self.troubles.iter().any(|rule| rule.0 == scope && rule.1 == trouble) {
            return Err("given twice".to_owned());
        }
        self.troubles.push((scope, trouble, Often::parse(value.trim())?));
        Ok(())
    }
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("no such kind of request; the kinds are {}", known.join(", "))
    })
}

fn unknown_fault() -> String {
    let known: Vec<&str> = Trouble::ALL.iter().map(|trouble| trouble.as_str()).collect();
    format!("no such fault; the faults are latency, {}", known.join(", "))
}

impl FromStr for Faults {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut faults = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            faults.add(item).map_err(|problem| FaultError { item: item.to_owned(), problem })?;
        }
        Ok(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scoped = |scope: &Option<Kind>| scope.map_or(String::new(), |kind| format!("{}.", kind.as_str()));
        let latency = self.latency.iter().map(|(scope, range)| format!("{}latency={range}", scoped(scope)));
        let troubles = self
            .troubles
            .iter()
            .map(|(scope, trouble, often)| format!("{}{}={often}", scoped(scope), trouble.as_str()));
        let items: Vec<String> = latency.chain(troubles).collect();
        f.pad(&items.join(","))
    }
}

impl Latency {
    fn parse(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        let range = Self { low: parse_duration(low)?, high: parse_duration(high)? };
        if range.low > range.high { Err("the first time is the longer one".to_owned()) } else { Ok(range) }
    }

    fn at(self, fraction: f64) -> Duration {
        self.low + self.high.saturating_sub(self.low).mul_f64(fraction)
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms..{}ms", self.low.as_millis(), self.high.as_millis())
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1000),
    };
    let wrong = || format!("`{text}` is no time: write `20ms`, `2s` or `20ms..120ms`");
    let count: u64 = number.parse().map_err(|_| wrong())?;
    if count > 3_600_000 { Err(wrong()) } else { Ok(Duration::from_millis(count * unit)) }
}

impl Often {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` says not how often: write a share such as `10%`, or `x2` for the first two");
        if let Some(number) = text.strip_prefix('x') {
            return number.parse().map(Self::First).map_err(|_| wrong());
        }
        let share: f64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        if (0.0..=100.0).contains(&share) { Ok(Self::Percent(share)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Often {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(share) => write!(f, "{share}%"),
            Self::First(attempts) => write!(f, "x{attempts}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Faults {
        text.parse().unwrap()
    }

    #[test]
    fn a_specification_reads_back() {
        let text = "latency=20ms..120ms,decision.latency=50ms..50ms,error-before=5%,import.lost-after=12.5%,cut=x2";
        assert_eq!(faults(text).to_string(), text);
        assert_eq!(faults(&faults(text).to_string()), faults(text));
        assert!(faults("").is_empty() && faults(" , ").is_empty());
    }

    #[test]
    fn errors_name_what_is_known() {
        let error = |text: &str| text.parse::<Faults>().unwrap_err().to_string();
        assert!(error("losst=1%").contains("latency, throttle, html"), "{}", error("losst=1%"));
        assert!(error("post.cut=1%").contains("import, list, decision"));
        assert!(error("cut=1").contains("`10%`"));
        assert!(error("cut=101%").contains("`10%`"));
        assert!(error("cut").contains("FAULT=VALUE"));
        assert!(error("latency=9").contains("`20ms`"));
        assert!(error("latency=9s..1s").contains("longer"));
        assert!(error("cut=1%,cut=2%").contains("twice"));
    }

    #[test]
    fn the_dice_follow_from_seed_entry_and_attempt() {
        let faults = faults("lost-after=10%");
        let hits = |seed| {
            let entry = |n: u128| Uuid::from_u128(n);
            (0..2000)
                .map(|n| faults.draw(Seed(seed), Kind::Import, entry(n), 1).trouble.is_some())
                .collect::<Vec<bool>>()
        };
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        let struck = hits(1).iter().filter(|hit| **hit).count();
        assert!((140..260).contains(&struck), "{struck}");
    }

    #[test]
    fn a_kind_takes_the_place_of_the_general_rule() {
        let faults = faults("cut=100%,import.cut=0%,latency=10ms,list.latency=5ms,share.error-before=x1");
        let draw = |kind, attempt| faults.draw(Seed(1), kind, Uuid::nil(), attempt);
        assert_eq!(draw(Kind::Import, 1).trouble, None);
        assert_eq!(draw(Kind::List, 1), Drawn { latency: Duration::from_millis(5), trouble: Some(Trouble::Cut) });
        assert_eq!(draw(Kind::Share, 1).trouble, Some(Trouble::ErrorBefore));
        assert_eq!(draw(Kind::Share, 2).trouble, Some(Trouble::Cut));
    }
}
