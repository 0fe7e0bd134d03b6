//! The guards of a run, in simulated time: the retry budget, `max_failures`, and the time limit.

use super::tests::{played, seconds};
use super::*;
use crate::didit::Class;
use crate::exit::Condition;
use crate::manifest::MaxFailures;
use crate::run::TimeLimit;

const FAILS: (u16, &str) = (500, r#"{"detail": "Internal server error."}"#);
const THROTTLED: (u16, &str) = (429, r#"{"detail": "Request was throttled."}"#);
const GONE: (u16, &str) = (400, r#"{"share_token": ["Original session does not exist."]}"#);
const DEAD: (u16, &str) = (400, r#"{"share_token": ["Share token has expired."]}"#);

/// Entries that go one after the other, so that it is known which request is the last.
fn in_a_row(entries: usize, refusal: Refusal) -> Scenario {
    Scenario { entries, concurrency: 1, refusal: Some(refusal), verify: false, ..Scenario::default() }
}

fn limited(most: u64, grace: u64, scenario: Scenario) -> Scenario {
    let time_limit = Some(TimeLimit { most: seconds(most), grace: seconds(grace) });
    Scenario { time_limit, ..scenario }
}

fn count(outcome: &Outcome, name: &str) -> usize {
    outcome.ran.outcomes.iter().filter(|it| it.outcome == name).count()
}

fn conditions(outcome: &Outcome) -> Vec<Condition> {
    outcome.ran.exit.conditions().collect()
}

fn message(outcome: &Outcome) -> &str {
    outcome.ran.end.error.as_ref().map_or("", |error| &error.message)
}

fn attempts(outcome: &Outcome) -> Vec<u32> {
    outcome.ran.outcomes.iter().map(|it| it.attempts).collect()
}

#[test]
fn one_entry_is_sent_five_times_in_a_run_and_the_others_go_on() {
    let outcome = played(&in_a_row(4, |n, _| (n == 0).then_some(FAILS)));
    assert_eq!((attempts(&outcome), outcome.imported), (vec![5, 1, 1, 1], 3));
    let error = outcome.ran.outcomes.iter().next().unwrap().error;
    assert_eq!(error.map(|error| error.class), Some(Class::Server));
    // 0.5 s doubling to 4 s, of which jitter takes up to a half.
    assert!(outcome.importing >= Duration::from_millis(3750), "{outcome:?}");
}

#[test]
fn a_429_spends_no_retry_budget_and_counts_as_no_failure() {
    let outcome = played(&in_a_row(3, |_, before| (before < 9).then_some(THROTTLED)));
    assert_eq!((attempts(&outcome), conditions(&outcome)), (vec![10; 3], vec![]));
    let outcome = played(&in_a_row(1, |_, before| match before {
        4..7 => Some(THROTTLED),
        _ => Some(FAILS),
    }));
    // Four failures, three times throttled, and the fifth failure.
    assert_eq!(attempts(&outcome), [8]);
}

#[test]
fn twenty_failures_in_a_row_end_the_run() {
    let failures: [(&str, Refusal); 3] =
        [("server", |_, _| Some(FAILS)), ("timeout", |_, _| Some((408, "{}"))), ("protocol", |_, _| Some((201, "{")))];
    for (class, refusal) in failures {
        let outcome = played(&in_a_row(60, refusal));
        assert_eq!((outcome.traffic.writes, conditions(&outcome)[0]), (20, Condition::Unavailable));
        let told = format!("failed 20 times in a row, last with {class}");
        assert!(message(&outcome).contains(&told), "{}", message(&outcome));
    }
}

#[test]
fn nineteen_in_a_row_do_not_and_one_that_goes_well_starts_the_count_anew() {
    let outcome = played(&in_a_row(60, |n, before| (before == 0 && n % 20 != 19).then_some(FAILS)));
    assert_eq!((outcome.imported, conditions(&outcome)), (60, vec![]));
}

#[test]
fn a_refusal_is_no_failure_of_the_api() {
    let outcome = played(&in_a_row(60, |n, before| match n % 20 {
        19 => Some(DEAD),
        _ => (before == 0).then_some(FAILS),
    }));
    assert_eq!((outcome.imported, conditions(&outcome)), (57, vec![Condition::Partial]));
}

#[test]
fn where_fewer_than_twenty_fail_and_nothing_goes_well_the_api_is_unavailable() {
    let outcome = played(&in_a_row(3, |_, _| Some(FAILS)));
    assert_eq!((outcome.traffic.writes, conditions(&outcome)[0]), (15, Condition::Unavailable));
    let outcome = played(&in_a_row(3, |n, _| (n > 0).then_some(FAILS)));
    assert!(!conditions(&outcome).contains(&Condition::Unavailable), "{:?}", conditions(&outcome));
}

#[test]
fn max_failures_as_a_number_bears_that_many() {
    let refuse_some =
        |most, refusal: Refusal| played(&Scenario { max_failures: MaxFailures::Count(most), ..in_a_row(40, refusal) });
    let outcome = refuse_some(3, |n, _| (n < 3).then_some(GONE));
    assert_eq!((outcome.imported, conditions(&outcome)), (37, vec![Condition::Partial]));
    let outcome = refuse_some(3, |_, _| Some(GONE));
    assert_eq!((count(&outcome, "refused"), count(&outcome, "not_sent"), outcome.traffic.writes), (4, 36, 4));
    assert_eq!(conditions(&outcome), [Condition::StoppedByGuard, Condition::Partial]);
    assert_eq!(
        message(&outcome),
        "4 of 40 entries of simulated were refused, more than max_failures allows; nothing more is sent"
    );
    let outcome = refuse_some(0, |n, _| (n == 9).then_some(GONE));
    assert_eq!((outcome.imported, count(&outcome, "not_sent")), (9, 30));
}

#[test]
fn max_failures_as_a_share_is_of_the_entries_to_be_sent_and_not_judged_before_twenty() {
    for (entries, share, refused) in [(100, 5.0, 20), (1000, 2.5, 26), (300, 0.0, 20), (19, 0.0, 19)] {
        let max_failures = MaxFailures::Percent(share);
        let outcome = played(&Scenario { max_failures, ..in_a_row(entries, |_, _| Some(GONE)) });
        assert_eq!(count(&outcome, "refused"), refused, "{share}% of {entries}");
        assert_eq!(conditions(&outcome).contains(&Condition::StoppedByGuard), refused >= 20);
    }
}

#[test]
fn what_says_nothing_of_the_manifest_is_no_failure_for_max_failures() {
    for refusal in [(|_, _| Some(DEAD)) as Refusal, |_, before| (before < 2).then_some(FAILS)] {
        let scenario = Scenario { max_failures: MaxFailures::Count(0), ..in_a_row(10, refusal) };
        let outcome = played(&scenario);
        assert!(!conditions(&outcome).contains(&Condition::StoppedByGuard), "{outcome:?}");
        assert_eq!(count(&outcome, "not_sent"), 0);
    }
}

#[test]
fn max_failures_counts_refusals_of_five_classes() {
    let counting: [(Class, Refusal); 5] = [
        (Class::SourceGone, |_, _| Some(GONE)),
        (Class::TokenInvalid, |_, _| Some((400, r#"{"share_token": ["Invalid share token."]}"#))),
        (Class::WrongAudience, |_, _| Some((403, r#"{"detail": "This token is not valid for this application."}"#))),
        (Class::WorkflowUnknown, |_, _| {
            Some((400, r#"{"workflow_id": ["Workflow does not exist for this application."]}"#))
        }),
        (Class::BadRequest, |_, _| Some((400, r#"{"vendor_data": ["Not a valid string."]}"#))),
    ];
    for (class, refusal) in counting {
        let outcome = played(&Scenario { max_failures: MaxFailures::Count(1), ..in_a_row(6, refusal) });
        let classes: Vec<_> = outcome.ran.outcomes.iter().filter_map(|it| Some(it.error.as_ref()?.class)).collect();
        assert_eq!((classes, count(&outcome, "not_sent")), (vec![class; 2], 4));
        assert_eq!(conditions(&outcome), [Condition::StoppedByGuard, Condition::Partial]);
    }
}

#[test]
fn no_credit_and_a_rejected_key_stop_at_once_whatever_max_failures_bears() {
    let outcome = played(&in_a_row(6, |n, _| {
        (n == 2).then_some((403, r#"{"detail": "You don't have enough credits to perform this request."}"#))
    }));
    assert_eq!((outcome.traffic.writes, count(&outcome, "not_sent")), (3, 3));
    assert_eq!(conditions(&outcome)[0], Condition::StoppedByGuard);
    assert!(message(&outcome).starts_with("no credit: "), "{}", message(&outcome));
    let outcome = played(&in_a_row(6, |n, _| (n == 2).then_some((401, r#"{"detail": "This API key has expired."}"#))));
    assert_eq!((outcome.traffic.writes, count(&outcome, "not_sent")), (3, 3));
    assert_eq!(conditions(&outcome)[0], Condition::Credentials);
}

#[test]
fn when_the_time_is_up_nothing_new_leaves_and_the_run_is_incomplete() {
    let outcome = played(&limited(90, 10, Scenario { entries: 1000, ..Scenario::default() }));
    assert_eq!((outcome.imported, count(&outcome, "not_sent"), outcome.traffic.writes), (600, 400, 600));
    assert!(outcome.took >= seconds(90) && outcome.took <= seconds(94), "{:?}", outcome.took);
    assert_eq!(conditions(&outcome), [Condition::Incomplete]);
    assert_eq!(message(&outcome), "its time is up (--max-duration 1m 30s), and work is left: run again to go on");
}

#[test]
fn a_run_that_has_nothing_left_when_its_time_is_up_ends_as_usual() {
    let five = Scenario { entries: 5, ..Scenario::default() };
    let outcome = played(&limited(60, 10, five.clone()));
    assert_eq!((outcome.imported, outcome.verified, conditions(&outcome)), (5, 5, vec![]));
    assert!(outcome.took < seconds(20), "the limit is not waited for: {:?}", outcome.took);
    // The last four are on their way when the time is up.
    let slow = Scenario { work: seconds(20)..seconds(20), verify: false, ..five };
    let outcome = played(&limited(30, 15, slow));
    assert_eq!((outcome.imported, conditions(&outcome), message(&outcome)), (5, vec![], ""));
    assert!(outcome.took > seconds(40));
}

#[test]
fn sessions_that_are_not_verified_when_the_time_is_up_are_work_left() {
    let work = seconds(20)..seconds(20);
    let outcome = played(&limited(30, 15, Scenario { entries: 5, work, ..Scenario::default() }));
    assert_eq!((outcome.imported, outcome.verified), (5, 1));
    assert_eq!(outcome.ran.end.verified, Some((5, 1)));
    assert_eq!(conditions(&outcome), [Condition::Incomplete]);
}

#[test]
fn what_is_in_flight_is_waited_for_as_long_as_the_grace_lasts() {
    let slow = Scenario { entries: 5, work: seconds(25)..seconds(25), verify: false, ..Scenario::default() };
    let outcome = played(&limited(30, 10, slow));
    assert_eq!((outcome.imported, count(&outcome, "unknown")), (1, 4));
    assert_eq!(conditions(&outcome), [Condition::UnknownOutcome, Condition::Incomplete]);
    assert!(outcome.took >= seconds(40) && outcome.took < seconds(41), "{:?}", outcome.took);
}

#[test]
fn a_time_of_nothing_sends_nothing() {
    let outcome = played(&limited(0, 10, Scenario { entries: 5, ..Scenario::default() }));
    assert_eq!((outcome.traffic.writes, count(&outcome, "not_sent")), (0, 5));
    assert_eq!(conditions(&outcome), [Condition::Incomplete]);
}

#[test]
fn a_pause_after_a_429_does_not_outlive_the_time() {
    let outcome = played(&limited(2, 10, in_a_row(2, |_, _| Some(THROTTLED))));
    assert!(outcome.took <= seconds(3), "{:?}", outcome.took);
    assert_eq!((count(&outcome, "not_sent"), conditions(&outcome)), (2, vec![Condition::Incomplete]));
}

#[test]
fn a_guard_that_trips_while_the_last_answers_come_is_told_with_the_time() {
    let slow = Scenario { work: seconds(20)..seconds(20), concurrency: 32, ..in_a_row(60, |_, _| Some(GONE)) };
    let outcome = played(&limited(30, 30, Scenario { max_failures: MaxFailures::Count(3), ..slow }));
    assert_eq!(conditions(&outcome), [Condition::StoppedByGuard, Condition::Partial, Condition::Incomplete]);
}
