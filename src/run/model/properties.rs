//! What holds in every state, and what is reached in some.

use stateright::Property;

use super::World;
use super::state::{Broken, Column, Id, LEDGER_OF, LEDGERS, PROCESSES, Phase, Row, System};
use crate::ledger::records::State;
use crate::plan::Action;

/// The properties of every world.
pub fn all() -> Vec<Property<World>> {
    vec![
        Property::always("no second session for a source", |_, system: &System| {
            system.columns.iter().all(|column| column.made.iter().sum::<u8>() <= 1)
        }),
        Property::always("never a request without a durable intent", |_, system: &System| {
            system.columns.iter().all(|column| (0..LEDGERS).all(|ledger| has_intent(column, ledger)))
        }),
        Property::always("never a request from a final state", |_, system: &System| {
            system.broken != Some(Broken::SentFromFinal)
        }),
        Property::always("no id under a wrong entry", |_, system: &System| {
            system.columns.iter().all(|column| {
                column.rows.iter().all(|row| match row.session {
                    None => row.state != Some(State::Imported),
                    Some(id) => id == Id::Right && column.is_made(),
                })
            })
        }),
        Property::always("a session made for a ledger is on record there, or open", |_, system: &System| {
            system
                .columns
                .iter()
                .all(|column| column.made.iter().zip(&column.rows).all(|(made, row)| *made == 0 || is_kept(*row)))
        }),
        Property::always("unknown comes with its instruction", |_, system: &System| {
            system.broken != Some(Broken::WithoutAdvice)
        }),
        Property::always("a run settles every entry that it took", |_, system: &System| {
            system.broken != Some(Broken::Unsettled)
        }),
        Property::always("every run ends", |_, system: &System| system.broken != Some(Broken::Endless)),
        Property::always("what is open is planned for the next run", |world: &World, system: &System| {
            (0..world.entries).all(|e| {
                (0..LEDGERS).all(|ledger| {
                    let row = &system.columns[e].rows[ledger];
                    !matches!(row.state, Some(State::Sending | State::Unknown))
                        || world.plan(system, e, ledger) == Action::Recover
                })
            })
        }),
        Property::sometimes("a session is recovered after a crash", |world: &World, system: &System| {
            system.crashes < world.crashes && all_imported(system, world.entries)
        }),
        Property::sometimes("a session is recovered after a lost answer", |world: &World, system: &System| {
            system.losses < world.losses && all_imported(system, world.entries)
        }),
    ]
}

fn has_intent(column: &Column, ledger: usize) -> bool {
    let is_sent = (0..PROCESSES).any(|p| LEDGER_OF[p] == ledger && column.jobs[p].phase == Phase::Sent);
    !is_sent || column.rows[ledger].state == Some(State::Sending)
}

fn is_kept(row: Row) -> bool {
    match row.state {
        Some(State::Imported) => row.session == Some(Id::Right),
        Some(State::Sending | State::Unknown) => true,
        Some(State::Refused | State::Expired | State::Erased) | None => false,
    }
}

fn all_imported(system: &System, entries: usize) -> bool {
    let of = |ledger: usize| system.columns[..entries].iter().map(move |column| column.rows[ledger].state);
    (0..LEDGERS).any(|ledger| of(ledger).all(|state| state == Some(State::Imported)))
}
