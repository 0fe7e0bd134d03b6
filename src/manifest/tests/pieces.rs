//! A manifest says the same, and the same is wrong with it, however it is cut.

use proptest::prelude::*;

use super::*;
use crate::manifest::load::load_in_pieces;
use crate::manifest::pieces;

/// What a manifest loads to, or what is told of it, in pieces of this size.
fn outcome(folder: &Folder, size: usize) -> String {
    let paths = [folder.path("m.yaml").to_str().unwrap().to_owned()];
    match load_in_pieces(&paths, &folder.options, size) {
        Ok(loaded) => format!("{loaded:#?}"),
        Err(wrong) => folder.shown(&wrong),
    }
}

/// An item as people write it, or as they should not.
pub(super) fn item(n: u32, form: u8) -> String {
    let (session, token) = (session(n), token(n, 4_000_000_000));
    match form {
        0 | 1 => format!("  - {{id: e{n}, share_token: {token}}}\n"),
        2 | 3 => format!("  - id: e{n}\n    share_token: \"{token}\"\n"),
        4 => format!("# a comment\n\n  -\n    source_session_id: {session}   # another\n"),
        5 => format!("  - {{id: e{n},\n  share_token: {token}}}\n"),
        6 => format!("  - id: |\n      x\n      - y {n}\n    source_session_id: {session}\n"),
        7 => format!("  - id: \"a\n  - b {n}\"\n    source_session_id: {session}\n"),
        8 => format!("  - {{id: e{n}, share_tokn: {token}}}\n"),
        9 => "  - text\n".to_owned(),
        10 => format!("  - {{id: e{n}, id: e{n}, source_session_id: {session}}}\n"),
        11 => "  - {id: \"open\n".to_owned(),
        12 => format!("  - &a {{source_session_id: {session}}}\n"),
        13 => "  - *a\n".to_owned(),
        14 => format!("  - source_session_id: {session}\n    mint: {{partner: bank, session_id: {session}}}\n"),
        15 => format!("   - {{id: e{n}}}\n"),
        16 => "...\n".to_owned(),
        17 => format!("  - source_session_id: {session}\r\n    trust_review: maybe\r\n"),
        18 => format!("- {{id: e{n}}}\n"),
        _ => format!("  - {{source_session_id: {session}, expect: [{{name: a, rule: 'tru'}}]}}\n"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pieces_make_the_whole(
        forms in proptest::collection::vec(prop_oneof![9 => 0_u8..5, 1 => 5_u8..20], 1..16),
        tail in any::<bool>(),
        size in 1_usize..2000,
    ) {
        let items: String = forms.iter().zip(1..).map(|(form, n)| item(n, *form)).collect();
        let text = if tail { format!("imports:\n{items}{}", head()) } else { format!("{}imports: # all\n\n{items}", head()) };
        let folder = Folder::new(&[("m.yaml", &text)]);
        prop_assert_eq!(outcome(&folder, size), outcome(&folder, usize::MAX), "{}", text);
    }
}

#[test]
fn a_list_is_cut_and_what_stands_after_it_is_in_its_line() {
    let items: String = (1..=200).map(|n| item(n, (n % 5) as u8)).collect();
    let text = format!("imports:\n{items}nmae: x\n{}", head());
    let rest = pieces::rest(&text, "imports", 2000).unwrap();
    assert!(rest.parse("imports").unwrap().pieces.len() > 5);
    let folder = Folder::new(&[("m.yaml", &text)]);
    let told = outcome(&folder, 2000);
    let line = text.lines().position(|line| line == "nmae: x").unwrap() + 1;
    assert!(told.contains(&format!("m.yaml:{line}:1: error[unknown-key]")), "{told}");
    assert_eq!(told, outcome(&folder, usize::MAX));
}

#[test]
fn a_list_that_lies_otherwise_is_not_cut() {
    for text in [
        "imports: [\n  {a: 1},\n  {a: 2}\n]\n",
        "imports:\n  - a\n  - b\n---\nimports:\n",
        "imports:\n  a:\n  - b\n",
        "name: x\n",
        "imports:\n  - a\r  - b\n",
    ] {
        assert!(pieces::rest(text, "imports", 1).is_none(), "{text:?}");
    }
    // The key is inside a text.
    let rest = pieces::rest("name: \"x\nimports:\n  - a\n  - b\nname: y\"\n", "imports", 1).unwrap();
    assert!(rest.parse("imports").is_none());
}

/// What the rows of a list come to, in pieces of this size.
fn rows(folder: &mut Folder, chunk: usize) -> String {
    folder.options.chunk = chunk;
    outcome(folder, usize::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_the_same_in_pieces(
        forms in proptest::collection::vec(prop_oneof![9 => 0_u8..5, 1 => 5_u8..20], 1..16),
        tail in any::<bool>(),
        size in 1_usize..2000,
        settings in prop_oneof![Just(""), Just(", on_invalid: skip"), Just(", columns: {vendor_data: who}")],
    ) {
        let mut text: String = forms.iter().zip(1..).map(|(form, n)| item(n, *form)).collect();
        text.push_str(if tail { "" } else { "x: 1\n" });
        let manifest = format!("{}sources: [{{file: a.yaml{settings}}}]\n", head());
        let mut folder = Folder::new(&[("m.yaml", &manifest), ("a.yaml", &text)]);
        prop_assert_eq!(rows(&mut folder, size), rows(&mut folder, usize::MAX), "{}", text);
    }
}

#[test]
fn a_token_of_a_list_is_read_again_where_it_stands() {
    let text = format!(
        "\u{feff}- share_token: {}\n- {{share_token: \"{}\"}}\n- share_token: \"\\x65{}\"\n",
        token(1, 100),
        token(2, 100),
        &token(3, 100)[1..]
    );
    for chunk in [1, 1 << 20] {
        let mut folder =
            Folder::new(&[("m.yaml", &format!("{}sources: [{{file: a.yaml}}]\n", head())), ("a.yaml", &text)]);
        folder.options.chunk = chunk;
        let entries = folder.manifest().entries;
        let is_held = |n: usize| matches!(entries[n].token, crate::manifest::TokenSource::Literal(_));
        assert_eq!([is_held(0), is_held(1), is_held(2)], [false, false, true]);
        for (entry, n) in entries.iter().zip(1..) {
            assert_eq!(entry.read_token().unwrap().unwrap().expose(), token(n, 100));
        }
    }
}

/// An item whose secrets are to be masked, rightly written or not.
fn secret(n: u32, form: u8) -> String {
    match form {
        0 => format!("  - {{id: e{n}, share_token: {{env: TOKEN, n: \"hunter2\"}}}}\n"),
        1 => format!("  - id: e{n}\n    share_tokn: hunter2\n"),
        2 => "  - share_token: |\n      hunter2\n      hunter2\n    id: x\n".to_owned(),
        3 => format!("  - {{\"share_token\" : 'hunter2', id: \"é{n}\"}}\n"),
        4 => "  - share_token:\n      hunter2\n  - [a, {api_key: [hunter2]}]\n".to_owned(),
        5 => "  - share_token: {exec: [vault, hunter2]}\n".to_owned(),
        6 => "  - share_token: \"hunter2\n".to_owned(),
        _ => item(n, form - 7),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn promise_5_what_is_masked_in_pieces_is_what_is_masked_in_the_whole(
        forms in proptest::collection::vec(0_u8..24, 1..12),
        is_list in any::<bool>(),
        tail in any::<bool>(),
        size in 1_usize..1500,
    ) {
        let items: String = forms.iter().zip(1..).map(|(form, n)| secret(n, *form)).collect();
        let other = "partners: {bank: {api_key: hunter2}}\napplication:\n  api_key: hunter2\n";
        let text = match (is_list, tail) {
            (true, _) => items,
            (_, true) => format!("{}{other}imports:\n{items}", head()),
            _ => format!("imports:\n{items}{other}{}", head()),
        };
        let masked = |size| crate::mask::merged(crate::manifest::snippet::in_yaml(&text, "share_token", size));
        prop_assert_eq!(masked(size), masked(usize::MAX), "{}", text);
    }
}
