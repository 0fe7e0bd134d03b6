use jiff::civil::date;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::verify::{Fetched, Sent, judge};

/// Stands for personal data.
const CANARY: &str = "Carmen 99999999R";

fn rule(text: &str) -> Result<Expectation, Flaw> {
    Expectation::new("it", text, Severity::Error, &mut Compiler::default())
}

fn rules(text: &str) -> Expectations {
    Expectations::new(vec![rule(text).unwrap_or_else(|flaw| panic!("{text}: {flaw}"))])
}

fn verdict(text: &str, decision: &Value) -> Verdict {
    rules(text).judge(&decision.clone().into())[0].1
}

fn decision() -> Value {
    json!({
        "status": "Approved", "session_kind": "user", "vendor_data": "user-42", "session_number": 7,
        "liveness_checks": [{"status": "Approved", "score": 80}, {"status": "Approved", "score": 91.5}],
        "id_verifications": [{"full_name": CANARY, "nationality": "ESP", "expiration_date": "2031-06-02", "warnings": []}],
        "aml_screenings": null, "created_at": "2026-05-17T08:42:11Z", "huge": u64::MAX,
        "features": [{"feature": "LIVENESS", "status": "Approved"}],
    })
}

#[test]
fn rules_hold_or_fail() {
    let decision = decision();
    for text in [
        "session.status == 'Approved'",
        "session.liveness_checks.all(c, c.score >= 80.0)",
        "session.liveness_checks.all(c, c.score >= 80)",
        "session.liveness_checks.all(c, c.score > 79.5) && session.liveness_checks.exists(c, c.score == 80.0)",
        "session.liveness_checks[1].score > 91",
        "session.liveness_checks.map(c, double(c.score))[0] + 0.5 == 80.5",
        "session.liveness_checks.filter(c, c.score > 90).size() == 1",
        "session.liveness_checks.map(c, c.score > 90, c.status) == ['Approved']",
        "session.liveness_checks.exists_one(c, c.score in [91.5, 3])",
        "!has(session.nothing) && has(session.aml_screenings) && session.aml_screenings == null",
        "session.aml_screenings == null || session.aml_screenings.all(c, c.total_hits == 0)",
        "session.vendor_data.matches('^user-[0-9]+$') && session.vendor_data.startsWith('user')",
        "timestamp(session.created_at) > timestamp('2026-01-01T00:00:00Z')",
        "timestamp(session.created_at).getFullYear() == 2026",
        "type(session.session_number) == int && type(session.status) == string",
        "session.huge > 1 && session.session_number + 1 == 8",
        "size(session.features) == 1 && 'status' in session",
        "{'user': true}[session.session_kind]",
        "session.status in ['Approved', 'In ' + 'Review']",
    ] {
        assert_eq!(verdict(text, &decision), Verdict::Holds, "{text}");
        assert_eq!(verdict(&format!("!({text})"), &decision), Verdict::Fails, "{text}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_told_by_its_kind() {
    let decision = decision();
    for (text, reason) in [
        ("session.nothing == 1", Reason::NoSuchField),
        ("session.liveness_checks[9].score > 1", Reason::NoSuchField),
        ("session.aml_screenings.all(c, c.score > 1)", Reason::WrongType),
        ("session.status > 1", Reason::WrongType),
        ("session.id_verifications[0].full_name < 3", Reason::WrongType),
        ("session.liveness_checks[0].score + 0.5 > 1.0", Reason::WrongType),
        ("session.session_number / 0 == 1", Reason::Failed),
        ("timestamp(session.id_verifications[0].full_name) > timestamp('2026-01-01T00:00:00Z')", Reason::Failed),
        ("int(session.id_verifications[0].full_name) > 1", Reason::Failed),
        ("session.status.matches('(' + session.status)", Reason::Failed),
        ("session.status", Reason::NotBoolean),
        ("session.aml_screenings", Reason::NotBoolean),
        ("1", Reason::NotBoolean),
    ] {
        assert_eq!(verdict(text, &decision), Verdict::Unable(reason), "{text}");
    }
}

#[test]
fn a_rule_is_refused_for_what_it_is() {
    let flaw = |text: &str| rule(text).expect_err(text);
    assert_eq!(flaw(" \n "), Flaw::Empty);
    assert_eq!(flaw(&"x".repeat(2001)), Flaw::TooLong(2001));
    assert!(rule(&format!("session.status == '{}'", "x".repeat(1900))).is_ok());
    for text in ["session.status ==", "session.status = 'x'", "'x", "session.", "a b", "session.all(1, true)", "has(1)"]
    {
        assert!(matches!(flaw(text), Flaw::Syntax { .. }), "{text}: {:?}", flaw(text));
    }
    for (text, name) in [
        ("sesion.status == 'x'", "sesion"),
        ("session.x.all(c, d > 1)", "d"),
        ("[1].all(c, true) && c", "c"),
        ("Approved", "Approved"),
    ] {
        assert_eq!(flaw(text), Flaw::UnknownName(name.to_owned()), "{text}");
    }
    assert_eq!(flaw("session.status.lower() == 'x'"), Flaw::UnknownFunction("lower".to_owned()));
    assert_eq!(flaw("now() > 1"), Flaw::UnknownFunction("now".to_owned()));
    assert_eq!(flaw("session.x.all(c)"), Flaw::Misused("all".to_owned()));
    for text in
        ["session.status.matches('(')", "matches(session.status, '[a')", "session.x.all(c, c.y.matches('a{9,1}'))"]
    {
        assert!(matches!(flaw(text), Flaw::Pattern(_)), "{text}: {:?}", flaw(text));
    }
    assert_eq!(flaw("'x'.matches('(')").to_string(), "the rule has a regular expression that is none: unclosed group");
    assert!(matches!(flaw("'x'.matches('x{1000}{1000}')"), Flaw::Pattern(_)), "too large is none, too");
    // What is none only for some decisions is found when it is evaluated.
    assert!(rule("session.status.matches('^[(]A')").is_ok() && rule("'x'.matches(session.status)").is_ok());
    assert_eq!(flaw("google.protobuf.Duration{seconds: 1} == session"), Flaw::NamedType);
    for deep in [
        "(".repeat(500) + "1" + &")".repeat(500),
        "[".repeat(900) + &"]".repeat(900),
        format!("session{}", ".a".repeat(900)),
        format!("1{}", "+1".repeat(900)),
        format!("1{} == 1", " ? 1 : 1".repeat(200)),
    ] {
        let flaw = flaw(&deep);
        assert!(matches!(flaw, Flaw::TooDeep | Flaw::Syntax { .. } | Flaw::Unreadable), "{deep}: {flaw:?}");
    }
}

#[test]
fn a_complaint_is_inert_short_and_says_where() {
    let flaw = rule("session.status ==\n 'x' \u{202e} )").unwrap_err();
    let Flaw::Syntax { line, complaint, .. } = &flaw else { panic!("{flaw:?}") };
    assert_eq!(*line, 2);
    assert!(!complaint.contains(['\u{202e}', '\n']) && complaint.chars().count() <= 161, "{complaint}");
    assert!(!flaw.help().is_empty());
}

#[test]
fn every_function_that_is_offered_is_there() {
    let help = Flaw::UnknownFunction(String::new()).help();
    let names: Vec<&str> =
        help.trim_start_matches("there are ").split(", ").map(|name| name.trim_start_matches("and ")).collect();
    assert!(names.contains(&"matches") && names.contains(&"has"), "{names:?}");
    let context = cel::Context::with_env(Arc::new(cel::Env::stdlib()));
    let loops = ["all", "exists", "exists_one", "filter", "has", "map"];
    for name in names.into_iter().filter(|name| !loops.contains(name)) {
        let missing = Err(cel::ExecutionError::undeclared_reference(name));
        let is_there = |text: String| cel::Program::compile(&text).unwrap().execute(&context) != missing;
        assert!(is_there(format!("{name}(1)")) || is_there(format!("(1).{name}()")), "{name}");
    }
}

#[test]
fn the_budget_ends_what_would_take_for_ever() {
    let many = format!("[{}]", vec!["1"; 300].join(","));
    let double = (0..25).fold("['xxxxxxxx']".to_owned(), |list, _| format!("{list}.map(x, x + x + x + x)"));
    let nested = (0..25).fold("['xxxxxxxx']".to_owned(), |list, _| format!("{list}.map(x, [x, x, x, x])"));
    for text in [
        format!("{many}.all(a, {many}.all(b, {many}.all(c, session.session_number > 0)))"),
        format!("{many}.map(a, session).size() > {many}.map(a, {many}.map(b, session)).size()"),
        format!("{many}.all(a, {many}.exists(b, session.vendor_data.matches('(x{{1,99}}){{1,99}}y')))"),
        format!("{double}.size() == 1"),
        format!("{nested}.size() == 1"),
    ] {
        if text.len() <= MAX_RULE {
            let began = std::time::Instant::now();
            let verdict = rule(&text).map(|rule| Expectations::new(vec![rule]).judge(&decision().into())[0].1);
            assert!(
                matches!(verdict, Ok(Verdict::Unable(Reason::TooCostly)) | Err(Flaw::TooDeep)),
                "{verdict:?} {text}"
            );
            assert!(began.elapsed().as_secs() < 60, "{text}");
        }
    }
    let loops = "[1,2,3,4,5,6,7,8,9,10]";
    let slow =
        format!("{loops}.all(a, {loops}.all(b, {loops}.all(c, {loops}.all(d, {loops}.all(e, {loops}.all(f, true))))))");
    assert_eq!(verdict(&slow, &decision()), Verdict::Unable(Reason::TooCostly));
    let fine = format!("{loops}.all(a, {loops}.all(b, {loops}.all(c, session.session_number > 0)))");
    assert_eq!(verdict(&fine, &decision()), Verdict::Holds);
    // The next rule has a budget of its own.
    let two = Expectations::new(vec![rule(&slow).unwrap(), rule("true").unwrap()]);
    let verdicts: Vec<Verdict> = two.judge(&decision().into()).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, [Verdict::Unable(Reason::TooCostly), Verdict::Holds]);
}

#[test]
fn a_panic_in_the_library_is_a_finding() {
    let expression = cel::IdedExpr { id: 0, expr: cel::common::ast::Expr::Unspecified };
    let broken = Compiled { expression, makes_maps: false };
    let broken = Expectation { compiled: Some(Arc::new(broken)), ..rule("true").unwrap() };
    let rules = Expectations::new(vec![broken, rule("session.session_number == 7").unwrap()]);
    let verdicts: Vec<Verdict> = rules.judge(&decision().into()).into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, [Verdict::Unable(Reason::Broken), Verdict::Holds]);
}

#[test]
fn the_deepest_rule_fits_a_small_stack() {
    let deepest = |of: &dyn Fn(usize) -> String| {
        let most = (1..200).take_while(|n| rule(&of(*n)).is_ok()).last().unwrap();
        rules(&of(most))
    };
    let all = [
        deepest(&|n| format!("{}true{}", "(!".repeat(n), ")".repeat(n))),
        deepest(&|n| format!("{}true{}", "[1].all(a, ".repeat(n), ")".repeat(n))),
        deepest(&|n| format!("1{} == 1", "+1".repeat(n))),
        deepest(&|n| format!("[1]{}.size() == 1", ".map(a, a)".repeat(n))),
    ];
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let judged = small.spawn(move || all.iter().map(|rules| rules.judge(&decision().into())[0].1).collect::<Vec<_>>());
    let judged = judged.unwrap().join().unwrap();
    assert!(judged.iter().all(|verdict| matches!(verdict, Verdict::Holds | Verdict::Fails)), "{judged:?}");
}

fn subject(expect: Expectations) -> Subject {
    Subject {
        manifest: "acme".into(),
        id: "carmen".into(),
        session_id: Uuid::from_u128(1),
        source_session_id: None,
        kind: None,
        sent: Sent::default(),
        import_status: None,
        key_environment: None,
        expect,
    }
}

#[test]
fn findings_have_the_rules_name_and_severity_and_no_personal_data() {
    let texts = [
        "session.status == 'Declined'",
        "session.id_verifications[0].full_name",
        "session.id_verifications[0].full_name > 3",
        "session[session.id_verifications[0].full_name]",
        "{'a': 1}[session.id_verifications[0].full_name] == 1",
        "session.liveness_checks[session.id_verifications[0].full_name]",
        "timestamp(session.id_verifications[0].full_name) > timestamp('2026-01-01T00:00:00Z')",
        "duration(session.id_verifications[0].full_name) > duration('1s')",
        "session.status.matches(session.id_verifications[0].full_name + '(')",
        "-session.id_verifications[0].full_name == 1",
        "session.id_verifications[0] + 1 == 2",
        "{session.id_verifications[0].full_name: 1, session.id_verifications[0].full_name: 2}.size() == 1",
    ];
    let mut compiler = Compiler::default();
    let severity = |n: usize| [Severity::Error, Severity::Warning, Severity::Info][n % 3];
    let each =
        |(n, text): (usize, &&str)| Expectation::new(&format!("r{n:02}"), text, severity(n), &mut compiler).unwrap();
    let rules = Expectations::new(texts.iter().enumerate().map(each).collect());
    let mut body = decision();
    body["session_id"] = json!(Uuid::from_u128(1));
    let read = crate::didit::Decision::read(body.to_string().as_bytes()).unwrap();
    let today = date(2026, 11, 24);
    let findings = judge(&subject(rules.clone()), &Fetched::Decision(Box::new(read)), today);
    assert_eq!(findings.len(), texts.len(), "{findings:#?}");
    for (n, finding) in findings.iter().enumerate() {
        assert_eq!((finding.rule.as_str(), finding.severity), (format!("expect:r{n:02}").as_str(), severity(n)));
        assert_eq!(finding.expected.as_deref(), Some("true"));
        assert_eq!(finding.actual.as_deref(), (n == 0).then_some("false"), "{}", texts[n]);
        let shown = serde_json::to_string(finding).unwrap();
        assert!(!shown.contains("Carmen") && !shown.contains("999"), "{shown}");
        assert!(!CANARY.split(' ').any(|part| shown.contains(part)));
    }
    for fetched in [Fetched::Missing, Fetched::NotChecked] {
        let found = judge(&subject(rules.clone()), &fetched, today);
        assert!(found.iter().all(|finding| !matches!(finding.rule, Rule::Expect(_))), "only decisions are judged");
    }
}

#[test]
fn rules_are_kept_as_json_and_read_back() {
    let mut compiler = Compiler::default();
    let approved =
        Expectation::new("approved", "session.status == 'Approved'", Severity::Warning, &mut compiler).unwrap();
    let rules = Expectations::new(vec![approved]);
    let json = rules.to_json();
    assert_eq!(json, json!([{"name": "approved", "rule": "session.status == 'Approved'", "severity": "warning"}]));
    assert_eq!(Expectations::from_json(&json, &mut compiler), Some(rules));
    for damaged in [json!(null), json!({}), json!([1]), json!([{"name": "a", "rule": "true"}])] {
        assert_eq!(Expectations::from_json(&damaged, &mut compiler), None, "{damaged}");
    }
    // A rule of another release that this one can't read is told where it is applied.
    let other = json!([{"name": "a", "rule": "session.later()", "severity": "error"}]);
    let other = Expectations::from_json(&other, &mut compiler).unwrap();
    assert_eq!(other.judge(&decision().into())[0].1, Verdict::Unable(Reason::Unreadable));
}

#[test]
fn a_text_is_compiled_once() {
    let mut compiler = Compiler::default();
    let one = compiler.compile("session.status == 'x'").unwrap();
    assert!(Arc::ptr_eq(&one, &compiler.compile("session.status == 'x'").unwrap()));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9 :éT-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![
            Just("status".to_owned()),
            Just("score".to_owned()),
            Just("liveness_checks".to_owned()),
            Just("id_verifications".to_owned()),
            "[a-z]{1,4}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(key, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The same rule over copies of the decision.
fn over_copies(rule: &Expectation) -> Expectation {
    let Compiled { expression, .. } = rule.compiled.as_deref().unwrap();
    let compiled = Compiled { expression: expression.clone(), makes_maps: true };
    Expectation { compiled: Some(Arc::new(compiled)), ..rule.clone() }
}

#[test]
fn objects_are_maps_wherever_they_stand() {
    let decision = json!({
        "contact": {"email": "a@example.com", "n": 1, "of": {"x": [1, {"y": null}]}}, "same": {"n": 1.0,
        "of": {"x": [1, {"y": null}]}, "email": "a@example.com"}, "more": {"email": "a@example.com", "n": 1, "of": {}, "z": 0},
        "list": [{"n": 1}, {"n": 2}], "empty": {}, "key": "email",
    });
    for text in [
        "session.contact == session.same && session.same == session.contact",
        "session.contact != session.more && session.more != session.contact && session.contact != session.empty",
        "session.contact != session.list && session.list != session.contact && session.contact != 'x'",
        "session.list[0] in session.list && session.list.filter(x, x.n == 1) == [session.list[0]]",
        "{'n': 1} in session.list && session.list[0] == {'n': 1} && {'n': 1} == session.list[0]",
        "session.list == [{'n': 1}, {'n': 2.0}] && [{'n': 1}, {'n': 2}] == session.list",
        "session.empty == {} && session.empty.size() == 0 && session.contact.size() == 3",
        "'email' in session.contact && !('x' in session.contact) && !(1 in session.contact)",
        "session.contact.all(key, key in session.same) && session.contact.map(key, key).size() == 3",
        "session.contact.exists(key, key == 'n') && session.contact[session.key] == 'a@example.com'",
        "type(session) == map && type(session.contact) == type(session.empty) && has(session.contact.of.x)",
        "has(session.contact.of) && !has(session.contact.other) && session.contact['of'].x[1].y == null",
        "[session.contact][0].n == 1 && dyn(session).contact.n == 1 && (true ? session : session.empty).key == 'email'",
    ] {
        assert_eq!(verdict(text, &decision), Verdict::Holds, "{text}");
    }
    assert_eq!(verdict("session[1] == 2", &decision), Verdict::Unable(Reason::NoSuchField));
    assert_eq!(verdict("session[null] == 2", &decision), Verdict::Unable(Reason::WrongType));
    assert_eq!(verdict("null in session", &decision), verdict("null in {'a': 1}", &decision));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn no_decision_makes_a_rule_panic(decision in any_json().prop_map(Json::from)) {
        let texts = [
            "session.liveness_checks.all(c, c.score >= 80.0)",
            "session.status == 'Approved' || session.status + 'x' == session.score",
            "session.id_verifications.map(v, v.status).filter(s, s != null).size() > 0",
            "session.score % 3 == 1 || session.score / 7 > -session.score || session.score * session.score < 0",
            "timestamp(session.status) - timestamp(session.score) > duration(session.status)",
            "int(session.score) + int(session.status) > 0 || double(session.status) < 1.0",
            "session[session.status] == session && session.status.matches(session.score)",
            "session.all(key, session[key] == session[key]) && session.liveness_checks == session.id_verifications",
            "session.liveness_checks in session.id_verifications || session.score in session.liveness_checks",
            "session.id_verifications.all(v, has(v.score) && v.size() > 1 && type(v) == type(session))",
        ];
        let mut compiler = Compiler::default();
        let each = |text: &&str| Expectation::new("it", text, Severity::Error, &mut compiler).unwrap();
        let rules = Expectations::new(texts.iter().map(each).collect());
        for (rule, verdict) in rules.judge(&decision) {
            prop_assert_ne!(verdict, Verdict::Unable(Reason::Broken));
            let copied = Expectations::new(vec![over_copies(rule)]);
            prop_assert_eq!(copied.judge(&decision)[0].1, verdict);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn no_text_makes_the_compiler_panic(text in "[a-z().'\"0-9 =<>!&|?:,\\[\\]{}+*/\\\\\\-\n]{0,60}") {
        let _ = rule(&text).map(|rule| Expectations::new(vec![rule]).judge(&json!({}).into()).len());
    }
}
