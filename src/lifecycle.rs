//! The life of one entry within a run, as a pure state machine: what follows from an answer, and from a lookup.
//!
//! This is the heart of the promises of spec section 6. A request has three outcomes, never two: it was answered, it
//! certainly was not processed, or nobody knows. As long as one request of an entry is in the third case the entry is
//! *open*: a session may exist whose id is on no record. An open entry is sent again while its token lives, since the
//! server refuses a second import of one source session, and unless that answers with success its session is looked
//! for.
//!
//! ```text
//!            ┌────────── again ◄───────────┐
//!            ▼                             │
//! begin ──► send ──► answer ──► settle     │ nothing found, token lives
//!   │                  │                   │
//!   └─ token dead ─────┴──► look up ───────┴──► settle
//! ```

use crate::didit::Class;
use crate::pace::MAX_SENDS;

/// What is known of an entry while a run works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// A request of it, in this run or an earlier one, has an unknown outcome.
    pub open: bool,
    /// Sends of this run that spent the retry budget.
    pub sends: u32,
    /// The token.
    pub token: TokenLife,
}

/// What there is of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenLife {
    /// One that lives, as far as is known.
    Lives,
    /// One that is past its end.
    Dead,
    /// None can be had now, which says nothing about one sent earlier.
    Missing,
}

/// What an answer to an import amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A session was made, and its id is known.
    Imported,
    /// The server said no, in words that we know.
    Refused(Class),
    /// A 401 or 403 in words that we don't know: about the key, or about the entry.
    Unexplained,
    /// Certainly not processed: 429, or no connection.
    NotProcessed(Class),
    /// Nobody knows.
    Unknown(Class),
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// The entry's session.
    Found,
    /// Sessions that may be the entry's, and nothing to decide by.
    Ambiguous,
    /// No session that could be the entry's.
    Nothing,
    /// The lookup itself failed.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Send (again), after a backoff where the retry budget was spent.
    Send,
    /// Wait for the budget to open, then send again: nothing was spent.
    SendWhenOpen,
    /// Look for the session.
    LookUp,
    /// Check the key with one read; if it is good, look for the session.
    CheckKey,
    /// Nothing can be sent for lack of a token, and nothing is open.
    AwaitToken,
    /// Record this, and be done.
    Settle(Settled),
    /// Record this, and stop the run: going on would only repeat it.
    Stop(Settled),
}

/// How an entry ends in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settled {
    /// Imported; an answer named the session.
    Imported,
    /// Imported; a lookup found the session.
    Recovered,
    /// Refused with the last answer's class.
    Refused,
    /// The token died before a session was made.
    Expired,
    /// Not settled; the entry stays open for the next run, or for a person.
    Unknown,
}

impl Standing {
    /// The first step of a run.
    #[must_use]
    pub fn begin(self) -> Next {
        match (self.token, self.open) {
            (TokenLife::Lives, _) => Next::Send,
            (TokenLife::Dead | TokenLife::Missing, true) => Next::LookUp,
            (TokenLife::Dead, false) => Next::Settle(Settled::Expired),
            (TokenLife::Missing, false) => Next::AwaitToken,
        }
    }

    /// The standing after an answer.
    #[must_use]
    pub fn answered(self, answer: Answer) -> Self {
        let spent = !matches!(answer, Answer::NotProcessed(Class::Throttled));
        Self { open: self.open || matches!(answer, Answer::Unknown(_)), sends: self.sends + u32::from(spent), ..self }
    }

    /// What follows from an answer. `self` is the standing before it.
    #[must_use]
    pub fn after_answer(self, answer: Answer) -> Next {
        let spent = self.sends + 1 >= MAX_SENDS;
        match answer {
            Answer::Imported => Next::Settle(Settled::Imported),
            Answer::NotProcessed(Class::Throttled) => Next::SendWhenOpen,
            Answer::NotProcessed(_) if !spent => Next::Send,
            Answer::NotProcessed(_) if self.open => Next::LookUp,
            Answer::NotProcessed(_) => Next::Settle(Settled::Refused),
            Answer::Unknown(_) if self.open || spent => Next::LookUp,
            Answer::Unknown(_) => Next::Send,
            Answer::Unexplained => Next::CheckKey,
            Answer::Refused(Class::Credentials | Class::NoCredit) if self.open => Next::Stop(Settled::Unknown),
            Answer::Refused(Class::Credentials | Class::NoCredit) => Next::Stop(Settled::Refused),
            Answer::Refused(Class::AlreadyImported) => Next::LookUp,
            Answer::Refused(_) if self.open => Next::LookUp,
            Answer::Refused(_) => Next::Settle(Settled::Refused),
        }
    }

    /// What follows from a lookup. `self` is the standing after the `last` answer of this run, if there was one.
    #[must_use]
    pub fn after_lookup(self, last: Option<Answer>, lookup: Lookup) -> Next {
        match lookup {
            Lookup::Found => return Next::Settle(Settled::Recovered),
            Lookup::Ambiguous | Lookup::Failed => {
                return match last {
                    Some(Answer::Unexplained) => Next::Stop(Settled::Unknown),
                    _ => Next::Settle(Settled::Unknown),
                };
            }
            Lookup::Nothing => {}
        }
        match last {
            None => match self.token {
                TokenLife::Lives => Next::Send,
                TokenLife::Dead => Next::Settle(Settled::Expired),
                // A token sent earlier may still live, and its request be under way.
                TokenLife::Missing => Next::Settle(Settled::Unknown),
            },
            // The server knows of a session that can't be found.
            Some(Answer::Refused(Class::AlreadyImported)) => Next::Settle(Settled::Unknown),
            Some(Answer::Refused(Class::TokenExpired)) => Next::Settle(Settled::Expired),
            Some(Answer::Refused(_)) => Next::Settle(Settled::Refused),
            Some(Answer::Unexplained) => Next::Stop(Settled::Refused),
            Some(_) if self.token == TokenLife::Dead => Next::Settle(Settled::Expired),
            Some(_) if self.token == TokenLife::Missing => Next::Settle(Settled::Unknown),
            Some(_) if self.sends < MAX_SENDS => Next::Send,
            Some(_) => Next::Settle(Settled::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings() -> impl Iterator<Item = Standing> {
        [false, true].into_iter().flat_map(|open| {
            [TokenLife::Lives, TokenLife::Dead, TokenLife::Missing]
                .into_iter()
                .flat_map(move |token| (0..=MAX_SENDS).map(move |sends| Standing { open, sends, token }))
        })
    }

    fn answers() -> Vec<Answer> {
        let classed = [Answer::Refused as fn(Class) -> Answer, Answer::NotProcessed, Answer::Unknown];
        let mut all = vec![Answer::Imported, Answer::Unexplained];
        all.extend(classed.iter().flat_map(|make| Class::ALL.into_iter().map(make)));
        all
    }

    const LOOKUPS: [Lookup; 4] = [Lookup::Found, Lookup::Ambiguous, Lookup::Nothing, Lookup::Failed];

    #[test]
    fn promise_2_an_open_entry_is_never_given_up_without_looking_for_its_session() {
        for standing in standings().filter(|standing| standing.open) {
            for answer in answers().into_iter().filter(|answer| *answer != Answer::Imported) {
                let next = standing.after_answer(answer);
                let given_up = matches!(next, Next::Settle(_) | Next::Stop(Settled::Refused | Settled::Expired));
                assert!(!given_up, "{standing:?} {answer:?} {next:?}");
            }
        }
    }

    #[test]
    fn promise_2_a_lost_answer_opens_the_entry_and_only_a_lookup_or_success_closes_it() {
        for standing in standings() {
            for answer in answers() {
                let after = standing.answered(answer);
                assert_eq!(after.open, standing.open || matches!(answer, Answer::Unknown(_)));
            }
        }
    }

    #[test]
    fn the_retry_budget_ends_every_path() {
        for standing in standings().filter(|standing| standing.sends + 1 >= MAX_SENDS) {
            for answer in answers() {
                assert_ne!(standing.after_answer(answer), Next::Send, "{standing:?} {answer:?}");
                let after = standing.answered(answer);
                if after.sends >= MAX_SENDS {
                    for lookup in LOOKUPS {
                        assert_ne!(after.after_lookup(Some(answer), lookup), Next::Send, "{standing:?} {answer:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn promise_2_a_dead_or_missing_token_is_never_sent() {
        for standing in standings().filter(|standing| standing.token != TokenLife::Lives) {
            assert_ne!(standing.begin(), Next::Send);
            for last in answers().into_iter().map(Some).chain([None]) {
                for lookup in LOOKUPS {
                    assert_ne!(standing.after_lookup(last, lookup), Next::Send);
                }
            }
        }
    }

    #[test]
    fn promise_2_an_open_entry_expires_only_with_its_token() {
        for standing in standings().filter(|standing| standing.token == TokenLife::Missing) {
            assert_ne!(standing.after_lookup(None, Lookup::Nothing), Next::Settle(Settled::Expired));
        }
    }

    #[test]
    fn only_a_found_session_ends_as_recovered_and_only_an_answer_as_imported() {
        for standing in standings() {
            for answer in answers() {
                let imported = standing.after_answer(answer) == Next::Settle(Settled::Imported);
                assert_eq!(imported, answer == Answer::Imported);
                for lookup in LOOKUPS {
                    let recovered = standing.after_lookup(Some(answer), lookup) == Next::Settle(Settled::Recovered);
                    assert_eq!(recovered, lookup == Lookup::Found);
                }
            }
        }
    }

    /// The whole machine as people can read it: every answer and lookup, in every standing.
    #[test]
    fn the_table_of_the_machine() {
        use std::fmt::Write as _;

        let mut table = String::from("begin\n");
        for token in [TokenLife::Lives, TokenLife::Dead, TokenLife::Missing] {
            let begin = |open| Standing { open, sends: 0, token }.begin();
            let _ =
                writeln!(table, "  token {token:<10?} closed {:<24} open {}", told(begin(false)), told(begin(true)));
        }
        let with = |open, sends| Standing { open, sends, token: TokenLife::Lives };
        table += "\nafter an answer: closed, closed with the budget spent, open, open with the budget spent\n";
        for answer in answers() {
            let next = |open, sends| told(with(open, sends).after_answer(answer));
            let (last, name) = (MAX_SENDS - 1, format!("{answer:?}"));
            let cells = [next(false, 0), next(false, last), next(true, 0), next(true, last)];
            let _ = writeln!(table, "  {name:<32} {:<16} {:<16} {:<16} {}", cells[0], cells[1], cells[2], cells[3]);
        }
        table += "\nafter a lookup of an entry that is open: token lives, token dead, token missing, budget spent\n";
        for last in [None].into_iter().chain(answers().into_iter().map(Some)) {
            for lookup in LOOKUPS {
                let next = |token, sends| told(Standing { open: true, sends, token }.after_lookup(last, lookup));
                let name = last.map_or_else(|| "nothing sent".to_owned(), |answer| format!("{answer:?}"));
                let cells = [
                    next(TokenLife::Lives, 1),
                    next(TokenLife::Dead, 1),
                    next(TokenLife::Missing, 1),
                    next(TokenLife::Lives, MAX_SENDS),
                ];
                let lookup = format!("{lookup:?}");
                let row = format!(
                    "  {name:<32} {lookup:<10} {:<16} {:<16} {:<16} {}",
                    cells[0], cells[1], cells[2], cells[3]
                );
                let _ = writeln!(table, "{row}");
            }
        }
        insta::assert_snapshot!("machine", table);
    }

    fn told(next: Next) -> String {
        match next {
            Next::Settle(settled) => format!("{settled:?}"),
            Next::Stop(settled) => format!("{settled:?}, stop"),
            other => format!("{other:?}"),
        }
    }
}
