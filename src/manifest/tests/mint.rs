//! `partners` and `mint`.

use std::time::Duration;

use super::*;
use crate::manifest::{Mint, SecretRef, Severity};

/// A right head with two partners, `bank` and `kiosk`.
fn with_partners() -> String {
    head()
        + "partners:\n  kiosk: {api_key: {file: keys/kiosk}, writes_per_minute: 60}\n  bank: {api_key: {env: BANK}}\n"
}

/// The snapshot of what is wrong with this after a right head.
fn wrong(rest: &str) -> String {
    Folder::new(&[("m.yaml", &(head() + rest))]).wrong()
}

#[test]
fn an_entry_is_minted_where_it_says_so() {
    let text = with_partners()
        + &format!(
            "imports:\n  - mint: {{partner: bank, session_id: {}}}\n  - {{mint: {{partner: kiosk, session_id: {}, ttl: 1h}}, source_session_id: {}, id: zoe}}\n",
            session(1),
            session(2),
            session(2)
        );
    let folder = Folder::new(&[("m.yaml", &text)]);
    let manifest = folder.manifest();
    assert!(folder.warnings().is_empty());
    let minted = |entry: usize| manifest.entries[entry].mint().unwrap();
    let (first, second) = (minted(0), minted(1));
    assert_eq!(
        (first.partner.as_str(), first.session_id.to_string(), first.ttl),
        ("bank", session(1), Duration::from_mins(15))
    );
    assert_eq!((second.partner.as_str(), second.ttl), ("kiosk", Duration::from_hours(1)));
    let entry = &manifest.entries[0];
    assert_eq!(
        (entry.label().to_string(), entry.source_session_id.map(|id| id.to_string())),
        (session(1), Some(session(1)))
    );
    assert_eq!(entry.vendor_data().as_deref(), Some(format!("acme-{}", session(1)).as_str()));
    assert!(!entry.has_token() && entry.session_kind.is_none());
    let partners: Vec<_> = manifest.partners.iter().map(|it| (it.name.as_str(), it.writes_per_minute)).collect();
    assert_eq!(partners, [("bank", 300), ("kiosk", 60)]);
    assert_eq!(manifest.partner("bank").unwrap().api_key, SecretRef::Env("BANK".to_owned()));
}

#[test]
fn a_source_mints_for_the_sessions_of_its_rows() {
    let text = with_partners()
        + "sources:\n  - {file: a.csv, mint: {partner: bank, ttl: 60s}}\n  - {file: b.ndjson, mint: {partner: kiosk}, columns: {session_id: source_session_id}}\n  - {file: c.yaml, mint: {partner: bank}}\n";
    let folder = Folder::new(&[
        ("m.yaml", &text),
        ("a.csv", &format!("vendor_data,session_id\nuser-1,{}\nuser-1,{}\n", session(1), session(1))),
        ("b.ndjson", &format!("{{\"source_session_id\": \"{}\"}}\n", session(2))),
        (
            "c.yaml",
            &format!("- {{session_id: {}, source_session_id: {}, share_token: \"\"}}\n", session(3), session(3)),
        ),
    ]);
    let manifest = folder.manifest();
    let minted: Vec<_> = manifest.entries.iter().map(|entry| entry.mint().unwrap().clone()).collect();
    let mint = |partner: &str, n: u32, minutes: u64| Mint {
        partner: partner.to_owned(),
        session_id: session(n).parse().unwrap(),
        ttl: Duration::from_mins(minutes),
    };
    assert_eq!(minted, [mint("bank", 1, 1), mint("kiosk", 2, 15), mint("bank", 3, 15)]);
    assert_eq!(manifest.entries[0].vendor_data().as_deref(), Some("user-1"));
}

#[test]
fn partners() {
    insta::assert_snapshot!(wrong(&format!(
        "partners:\n  bank: sk_live_{CANARY}\n  kiosk: {{api_key: sk_live_{CANARY}}}\n  self: {{api_key: {{env: DIDIT_API_KEY}}}}\n  \"no name\": {{writes_per_minute: 0}}\n  shop: {{key: {CANARY}, api_key: {{env: SHOP}}}}\n  vault: {{api_key: {{file: ../out}}}}\nimports: [{{mint: {{partner: bnak, session_id: {}}}}}]\n",
        session(1)
    )));
}

#[test]
fn mints() {
    insta::assert_snapshot!(wrong(&format!(
        "partners: {{bank: {{api_key: {{env: BANK}}}}}}\nimports:\n  - mint: bank\n  - mint: {{session_id: {one}}}\n  - mint: {{partner: bank, session: {one}}}\n  - mint: {{partner: bank, session_id: nobody, ttl: 900}}\n  - mint: {{partner: bank, session_id: {two}, ttl: 59s}}\n  - mint: {{partner: bank, session_id: {two}, ttl: 25h}}\n  - mint: {{partner: bank, session_id: {one}}}\n    share_token: {token}\n  - mint: {{partner: bank, session_id: {one}}}\n    source_session_id: {two}\n  - mint: {{partner: credit-union, session_id: {one}}}\n",
        one = session(1),
        two = session(2),
        token = token(1, 5),
    )));
}

#[test]
fn minting_rows() {
    let text = head()
        + "partners: {bank: {api_key: {env: BANK}}, kiosk: {api_key: {env: KIOSK}}}\nsources:\n  - {file: a.csv, mint: {partner: bank}}\n  - {file: b.csv, mint: {partner: bank}}\n  - {file: c.ndjson, mint: {partner: kiosk}}\n  - {file: d.yaml, mint: {partner: bank, session_id: x}}\n  - {file: a.csv, columns: {session_id: x}}\n  - {file: b.csv, columns: {share_token: t}, mint: {partner: bank}}\n  - {file: e.json, mint: {partner: bank}}\n";
    let folder = Folder::new(&[
        ("m.yaml", &text),
        (
            "a.csv",
            &format!(
                "session_id,share_token,source_session_id\n{one},{token},\n,,{one}\n{one},,{two}\nnone,,\n{three},,\n",
                one = session(1),
                two = session(2),
                three = session(3),
                token = token(1, 5)
            ),
        ),
        ("b.csv", &format!("source_session_id\n{}\n", session(1))),
        ("c.ndjson", &format!("{{\"id\": \"a\"}}\n{{\"id\": \"b\", \"session_id\": \"{}\"}}\n", session(3))),
        ("d.yaml", &format!("- share_token: {}\n  session_id: {}\n", token(4, 5), session(4))),
        ("e.json", &format!("[{{\"session_id\": \"{}\", \"share_token\": \"{}\"}}]", session(5), token(5, 5))),
    ]);
    insta::assert_snapshot!(folder.wrong());
}

#[test]
fn minting_needs_an_application_to_mint_for() {
    let text = head().replace(&format!("application: {{id: {OURS}}}\n"), "")
        + &format!(
            "partners: {{bank: {{api_key: {{env: BANK}}}}}}\nimports:\n  - source_session_id: {}\n  - mint: {{partner: bank, session_id: {}}}\nsources:\n  - {{file: a.csv, mint: {{partner: bank}}}}\n",
            session(1),
            session(2)
        );
    let folder = Folder::new(&[("m.yaml", &text), ("a.csv", "session_id\n")]);
    assert_eq!(folder.codes(), ["missing-application-id m.yaml:7:5"]);
    folder.write("m.yaml", text.replace("version: 1\n", "version: 1\napplication: {id: x}\n").as_bytes());
    assert_eq!(folder.codes(), ["bad-uuid m.yaml:2:19"]);
}

#[test]
fn a_partner_nobody_mints_by_is_worth_a_word() {
    let folder = Folder::new(&[("m.yaml", &with_partners())]);
    assert_eq!(folder.warnings(), [Code::UnusedPartner, Code::UnusedPartner]);
    let bad = with_partners() + "imports: [{mint: {partner: bnak, session_id: x}}]\n";
    folder.write("m.yaml", bad.as_bytes());
    let wrong = folder.load(&["m.yaml"]).unwrap_err();
    let unknown = wrong.0.iter().find(|it| it.code == Code::UnknownPartner).unwrap();
    assert_eq!((unknown.severity, unknown.help.as_str()), (Severity::Error, "did you mean `bank`?"));
}

#[test]
fn programs_for_a_partners_key_run_only_when_allowed_and_only_to_send_tokens() {
    let text = head()
        + &format!(
            "partners: {{bank: {{api_key: {{exec: [vault, {CANARY}]}}}}}}\nimports: [{{mint: {{partner: bank, session_id: {}}}}}]\n",
            session(1)
        );
    let mut folder = Folder::new(&[("m.yaml", &text)]);
    assert_eq!(folder.warnings(), [Code::ExecNotAllowed]);
    folder.options.sending = true;
    assert_eq!(folder.codes(), ["exec-not-allowed m.yaml:5:28"]);
    folder.wrong();
    folder.options.tokens = false;
    assert!(folder.warnings().is_empty());
    folder.options.tokens = true;
    folder.options.allow_exec = true;
    assert!(folder.warnings().is_empty());
}

#[test]
fn a_row_that_mints_beats_a_row_without_a_token_and_differs_from_one_with_another() {
    let text = with_partners() + "sources:\n  - {file: a.csv}\n  - {file: b.csv, mint: {partner: bank}}\n";
    let folder = Folder::new(&[
        ("m.yaml", &text),
        ("a.csv", &format!("source_session_id,session_id\n{},whatever\n", session(1))),
        ("b.csv", &format!("session_id\n{}\n", session(1))),
    ]);
    assert!(folder.manifest().entries[0].mint().is_some());
    folder.write("a.csv", format!("share_token\n{}\n", token(1, 5)).as_bytes());
    assert!(folder.codes().contains(&"rows-differ b.csv:2:1".to_owned()));
}

#[test]
fn a_token_delivered_for_a_minted_entry_is_not_needed() {
    let text = head()
        + &format!(
            "partners: {{bank: {{api_key: {{env: BANK}}}}}}\nimports: [{{mint: {{partner: bank, session_id: {}}}}}]\ntokens: [{{file: t.txt}}]\n",
            session(1)
        );
    let folder = Folder::new(&[("m.yaml", &text), ("t.txt", &token(1, 5))]);
    let manifest = folder.manifest();
    assert!(manifest.entries[0].mint().is_some() && !manifest.entries[0].has_token());
}

#[test]
fn the_digest_covers_what_is_minted_where() {
    let digest = |old: &str, new: &str| {
        let text = with_partners()
            + &format!("imports: [{{mint: {{partner: bank, session_id: {}, ttl: 15m}}}}]\n", session(1));
        Folder::new(&[("m.yaml", &text.replace(old, new))]).manifest().digest().to_owned()
    };
    let usual = digest("", "");
    assert_eq!(digest(", ttl: 15m", ""), usual);
    assert_eq!(digest("keys/kiosk", "keys/other"), usual, "a path is no part of it");
    for (old, new) in [
        ("ttl: 15m", "ttl: 16m"),
        ("partner: bank", "partner: kiosk"),
        ("env: BANK", "env: OTHER"),
        (", writes_per_minute: 60", ""),
    ] {
        assert_ne!(digest(old, new), usual, "{old} {new}");
    }
}

#[test]
fn bad_rows_of_a_source_that_mints_are_skipped_where_it_says_so() {
    let text = with_partners() + "sources: [{file: a.csv, mint: {partner: bank}, on_invalid: skip}]\n";
    let folder = Folder::new(&[
        ("m.yaml", &text),
        ("a.csv", &format!("session_id,trust_review\n{},perhaps\n,true\n{},true\n", session(1), session(2))),
    ]);
    let manifest = folder.manifest();
    let told: Vec<_> =
        manifest.entries.iter().map(|entry| (entry.label().to_string(), entry.invalid.is_some())).collect();
    let place = told.iter().find(|(id, _)| id.ends_with("a.csv:3")).expect("named by its place");
    assert!(place.1 && told.contains(&(session(1), true)) && told.contains(&(session(2), false)), "{told:?}");
}
