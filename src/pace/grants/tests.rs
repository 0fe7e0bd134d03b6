use super::*;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A runner's words to a ledger.
struct Voice {
    runner: RunnerId,
    turn: u64,
}

impl Voice {
    fn new(number: u128) -> Self {
        Self { runner: RunnerId(Uuid::from_u128(number)), turn: 0 }
    }

    fn word(&mut self, wanted: u32) -> Ask {
        self.turn += 1;
        Ask {
            runner: self.runner,
            turn: self.turn,
            holding: Vec::new(),
            limit: 60,
            longest: seconds(30),
            reports: Vec::new(),
            refusals: Vec::new(),
            wanted,
        }
    }

    fn report(&mut self, block: &Granted, answered: usize, unsent: u32) -> Ask {
        let mut ask = self.word(0);
        let answered = vec![Duration::ZERO; answered];
        ask.reports.push(Report { block: block.block, turn: self.turn, answered, unsent });
        ask.holding.push(block.block);
        ask
    }
}

fn slots(reply: &Reply) -> usize {
    reply.granted.as_ref().map_or(0, |granted| granted.opens_in.len())
}

#[test]
fn who_is_alone_gets_three_seconds_worth_and_who_is_one_of_many_one() {
    let mut grants = Grants::default();
    let mut voices: Vec<Voice> = (1..6).map(Voice::new).collect();
    let sizes: Vec<usize> = voices
        .iter_mut()
        .map(|voice| slots(&grants.exchange(seconds(9), &Ask { limit: 300, ..voice.word(99) })))
        .collect();
    assert_eq!(sizes, [15, 7, 5, 5, 5]);
}

#[test]
fn the_next_to_open_are_given_ahead_in_the_order_of_asking() {
    let mut grants = Grants::default();
    for second in 0..60 {
        grants.recall(seconds(second));
    }
    let (mut one, mut two) = (Voice::new(1), Voice::new(2));
    let first = grants.exchange(seconds(59), &one.word(2)).granted.unwrap();
    let second = grants.exchange(seconds(59), &two.word(1)).granted.unwrap();
    let opens = |granted: &Granted| granted.opens_in.iter().map(Duration::as_millis).collect::<Vec<_>>();
    assert_eq!((opens(&first), opens(&second)), (vec![1050, 2050], vec![3050]));
    assert_eq!(first.use_within, Duration::from_millis(2050) + USE_WITHIN);
}

#[test]
fn nothing_is_given_that_opens_too_late_and_who_was_turned_away_comes_first() {
    let mut grants = Grants::default();
    for _ in 0..60 {
        grants.recall(seconds(0));
    }
    let (mut one, mut two) = (Voice::new(1), Voice::new(2));
    let word = grants.exchange(seconds(30), &one.word(1));
    assert_eq!((word.granted, word.ask_after), (None, LONGEST_WAIT));
    assert_eq!(grants.exchange(seconds(42), &one.word(1)).ask_after, Duration::from_millis(8050));
    assert_eq!(grants.exchange(seconds(49), &two.word(1)).granted, None);
    // One slot alone opens soon.
    grants.settled.insert(60_050, 1);
    grants.settled.insert(90_000, 59);
    assert_eq!(grants.exchange(seconds(51), &two.word(1)).granted, None, "it is kept for the first");
    assert_eq!(slots(&grants.exchange(seconds(51), &one.word(1))), 1);
}

#[test]
fn what_nobody_holds_yet_is_told() {
    let mut grants = Grants::default();
    for second in 0..58 {
        grants.recall(seconds(second));
    }
    let mut one = Voice::new(1);
    let told = grants.exchange(seconds(58), &one.word(1));
    let next: Vec<u128> = told.next.iter().map(Duration::as_millis).take(3).collect();
    // One of two that are free is the runner's now.
    assert_eq!((slots(&told), next), (1, vec![0, 2050, 3050]));
}

#[test]
fn a_report_that_is_told_twice_counts_once() {
    let mut grants = Grants::default();
    let mut one = Voice::new(1);
    let granted = grants.exchange(seconds(1), &Ask { limit: 300, ..one.word(9) }).granted.unwrap();
    let word = one.report(&granted, 2, 3);
    grants.exchange(seconds(2), &word);
    assert_eq!((grants.held(), grants.own()), (4, 6));
    let again = Ask { turn: 3, ..word.clone() };
    let before = grants.clone();
    grants.exchange(seconds(2), &again);
    assert_eq!((grants.held(), grants.own()), (before.held(), before.own()));
    // One that arrives after a later one.
    let late = Ask { holding: Vec::new(), reports: Vec::new(), ..word };
    grants.exchange(seconds(3), &late);
    assert_eq!(grants.held(), 4);
}

#[test]
fn a_block_that_its_runner_never_heard_of_comes_back() {
    let mut grants = Grants::default();
    let mut one = Voice::new(1);
    grants.exchange(seconds(1), &one.word(1));
    assert_eq!(grants.held(), 1);
    grants.exchange(seconds(2), &one.word(0));
    assert_eq!(grants.own(), 0);
}

#[test]
fn what_a_dead_runner_held_counts_until_it_can_have_been_sent_and_forgotten() {
    let mut grants = Grants::default();
    let (mut one, mut two) = (Voice::new(1), Voice::new(2));
    let ask = Ask { limit: 1, ..one.word(1) };
    grants.exchange(seconds(1), &ask);
    let end = 1 + USE_WITHIN.as_secs() + 30 + 60;
    let mut next = |second| slots(&grants.exchange(seconds(second), &Ask { limit: 1, ..two.word(1) }));
    assert_eq!((next(end), next(end + 1)), (0, 1));
}

#[test]
fn what_is_given_back_before_it_opens_is_still_taken_until_then() {
    let mut grants = Grants::default();
    grants.recall(seconds(0));
    let mut one = Voice::new(1);
    let granted = grants.exchange(seconds(55), &Ask { limit: 1, ..one.word(1) }).granted.unwrap();
    grants.exchange(seconds(56), &one.report(&granted, 0, 1));
    let again = grants.exchange(seconds(57), &Ask { limit: 1, ..one.word(1) }).granted.unwrap();
    assert_eq!(again.opens_in, [Duration::from_millis(3050)]);
}

#[test]
fn a_429_pauses_everyone_teaches_the_limit_and_one_tries_the_way() {
    let mut grants = Grants::default();
    let (mut one, mut two) = (Voice::new(1), Voice::new(2));
    let granted = grants.exchange(seconds(1), &one.word(1)).granted.unwrap();
    let mut word = one.report(&granted, 0, 1);
    word.refusals.push(Refusal { age: seconds(1), retry_after: Some(seconds(7)), limit: Some(20) });
    assert_eq!(grants.exchange(seconds(10), &word).pause, Some(seconds(6) + GRAIN));
    let told = grants.exchange(seconds(12), &two.word(9));
    assert_eq!((told.pause, told.granted, told.limit), (Some(seconds(4) + GRAIN), None, 20));
    let first = grants.exchange(seconds(17), &two.word(9));
    assert_eq!((slots(&first), first.report_at_once), (1, true));
    assert_eq!(slots(&grants.exchange(seconds(17), &one.word(9))), 0);
}

#[test]
fn a_429_without_a_header_pauses_for_longer_each_time() {
    let mut grants = Grants::default();
    let mut one = Voice::new(1);
    let mut now = seconds(1);
    for expected in [5, 10, 20, 40, 40] {
        let mut word = one.word(0);
        word.refusals.push(Refusal { age: Duration::ZERO, retry_after: None, limit: None });
        let pause = grants.exchange(now, &word).pause.unwrap();
        assert_eq!(pause, seconds(expected) + GRAIN);
        now += pause;
    }
}

#[test]
fn a_limit_that_was_learnt_is_probed_upwards() {
    let mut grants = Grants { learnt: Some(Learnt { limit: 50, probe_at: 600_000 }), ..Grants::default() };
    let mut one = Voice::new(1);
    let mut limit = |second| grants.exchange(seconds(second), &one.word(0)).limit;
    assert_eq!([limit(599), limit(600), limit(659), limit(660)], [50, 55, 55, 60]);
}

#[test]
fn a_clock_that_is_set_back_makes_nobody_wait_for_more_than_a_window() {
    let mut grants = Grants::default();
    let day = seconds(86_400);
    let (mut one, mut two) = (Voice::new(1), Voice::new(2));
    let granted = grants.exchange(day, &Ask { limit: 2, ..one.word(1) }).granted.unwrap();
    grants.exchange(day, &Ask { limit: 2, ..one.report(&granted, 1, 0) });
    grants.exchange(day, &Ask { limit: 2, ..one.word(1) });
    let slots = |grants: &mut Grants, voice: &mut Voice, second| {
        grants.exchange(seconds(second), &Ask { limit: 2, ..voice.word(2) }).granted.map_or(0, |it| it.opens_in.len())
    };
    assert_eq!(slots(&mut grants, &mut two, 1), 0);
    assert_eq!(slots(&mut grants, &mut two, 62), 1);
    assert_eq!(slots(&mut grants, &mut two, 98), 1);
}

#[test]
fn what_is_kept_survives_being_written_and_read() {
    let mut grants = Grants::default();
    let mut one = Voice::new(1);
    let granted = grants.exchange(seconds(1), &one.word(5)).granted.unwrap();
    let mut word = one.report(&granted, 1, 0);
    word.refusals.push(Refusal { age: Duration::ZERO, retry_after: None, limit: Some(9) });
    grants.exchange(seconds(2), &word);
    let text = serde_json::to_string(&grants).unwrap();
    assert_eq!(serde_json::from_str::<Grants>(&text).unwrap(), grants);
}
