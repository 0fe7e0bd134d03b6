//! Sources and tokens: matching, duplicates, bad rows, formats.

use std::io::Write as _;

use super::*;
use crate::didit::Class;
use crate::manifest::{TokenSource, WorkflowChoice};

fn with_source(settings: &str, files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new(files);
    folder.write(
        "m.yaml",
        format!("{}sources:\n  - {{file: \"people/*\"{settings}}}\n", head())
            .replace("people/*\"", "people/*.csv\"")
            .as_bytes(),
    );
    folder
}

/// Small files are read side by side; a large one among them by itself.
#[test]
fn hundreds_of_files_come_in_the_order_of_their_names() {
    let name = |n: u32| format!("people/{n:03}.csv");
    let write = |folder: &Folder, n: u32| {
        let padding = if n == 150 { " ".repeat(5 << 20) } else { String::new() };
        let rows = format!("share_token,note\n{},{padding}\n{},\n", token(2 * n, 100), token(2 * n + 1, 100));
        folder.write(&name(n), rows.as_bytes());
    };
    let folder = with_source("", &[]);
    (0..300).for_each(|n| write(&folder, n));
    let manifest = folder.manifest();
    let found: Vec<_> = manifest.entries.iter().map(|entry| entry.source_session_id).collect();
    let expected: Vec<_> = (0..600).map(|n| Some(session(n).parse().unwrap())).collect();
    assert_eq!(found, expected);
    assert!(manifest.entries.iter().all(|entry| entry.read_token().unwrap().is_some()));

    // Of two rows for one session, the later is that of the later file; a file that can't be read is told as itself.
    folder.write(&name(7), format!("share_token\n{}\n", token(2, 200)).as_bytes());
    folder.write(&name(9), b"nothing\n1\n");
    assert_eq!(folder.codes(), ["duplicate-session 007.csv:2:1", "missing-column 009.csv:1:1"]);
}

#[test]
fn every_format_gives_the_same_entries() {
    let (a, b) = (token(1, 100), token(2, 200));
    let csv = format!("share_token,vendor_data,extra\n{a},x,1\n{b},\"y, \"\"z\"\"\",2\n");
    let tsv = format!("share_token\tvendor_data\n{a}\tx\n{b}\ty, \"z\"\n").replace("y, \"z\"", "\"y, \"\"z\"\"\"");
    let ndjson = format!(
        "{{\"share_token\":\"{a}\",\"vendor_data\":\"x\"}}\n\n{{\"extra\":[1],\"vendor_data\":\"y, \\\"z\\\"\",\"share_token\":\"{b}\"}}\n"
    );
    let json = format!(
        "[\n{{\"share_token\":\"{a}\",\"vendor_data\":\"x\"}},\n{{\"vendor_data\":\"y, \\\"z\\\"\",\"share_token\":\"{b}\"}}]\n"
    );
    let yaml = format!("- {{share_token: {a}, vendor_data: x}}\n- share_token: {b}\n  vendor_data: 'y, \"z\"'\n");
    let gz = |text: &str| {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        gz.finish().unwrap()
    };
    let zst = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("p.csv.gz", gz(&csv)),
        ("p.csv.zst", zst(&csv)),
        ("p.ndjson.gz", gz(&ndjson)),
        ("p.ndjson.zst", zst(&ndjson)),
        ("p.json.gz", gz(&json)),
        ("p.json.zst", zst(&json)),
        ("p.yaml.gz", gz(&yaml)),
        ("p.csv", csv.clone().into_bytes()),
        ("p.tsv", tsv.into_bytes()),
        ("p.ndjson", ndjson.clone().into_bytes()),
        ("p.jsonl", ndjson.into_bytes()),
        ("p.json", json.into_bytes()),
        ("p.yaml", yaml.into_bytes()),
        ("bom.csv", [b"\xef\xbb\xbf", csv.as_bytes()].concat()),
        ("crlf.csv", csv.replace('\n', "\r\n").into_bytes()),
    ];
    let mut digests = std::collections::BTreeSet::new();
    for (name, bytes) in cases {
        let folder = Folder::new(&[("m.yaml", &format!("{}sources: [{{file: {name}}}]\n", head()))]);
        folder.write(name, &bytes);
        let manifest = folder.manifest();
        let vendors: Vec<_> = manifest.entries.iter().map(|entry| entry.vendor_data().unwrap()).collect();
        assert_eq!(vendors, ["x", "y, \"z\""], "{name}");
        assert_eq!(manifest.entries[0].label(), session(1), "{name}");
        let is_packed = name.split('.').count() > 2;
        for (entry, token) in manifest.entries.iter().zip([&a, &b]) {
            // What is packed can't be read again where it stands.
            assert_eq!(matches!(entry.token, TokenSource::Row(_)), !is_packed, "{name}");
            assert_eq!(entry.read_token().unwrap().unwrap().expose(), token, "{name}");
        }
        digests.insert(manifest.digest().to_owned());
    }
    assert_eq!(digests.len(), 1);
}

#[test]
fn a_row_and_an_inline_entry_of_one_meaning_digest_alike() {
    let inline = Folder::new(&[("m.yaml", &format!("{}imports: [{{share_token: {}}}]\n", head(), token(1, 9)))]);
    let row = Folder::new(&[
        ("m.yaml", &format!("{}sources: [{{file: p.csv}}]\n", head())),
        ("p.csv", &format!("source_session_id\n{}\n", session(1))),
    ]);
    assert_eq!(inline.manifest().digest(), row.manifest().digest());
}

#[test]
fn the_entry_beats_the_source_and_the_source_the_defaults() {
    let other = "11111111-aaaa-bbbb-cccc-1234567890ab";
    let folder = with_source(
        &format!(", workflow_id: {other}, trust_review: true"),
        &[(
            "people/a.csv",
            &format!("source_session_id,vendor_data,trust_review\n{},own,true\n{},,\n", session(1), session(2)),
        )],
    );
    let manifest = folder.manifest();
    let entries = &manifest.entries;
    assert_eq!(entries[0].vendor_data().as_deref(), Some("own"));
    assert_eq!(entries[1].vendor_data().as_deref(), Some(format!("acme-{}", session(2)).as_str()));
    assert!(entries.iter().all(|entry| entry.trust_review() == Some(true)));
    assert!(entries.iter().all(|entry| entry.workflow() == Some(WorkflowChoice::One(other.parse().unwrap()))));
}

#[test]
fn tokens_go_to_the_roster_and_strangers_are_counted() {
    let folder = Folder::new(&[
        (
            "m.yaml",
            &format!(
                "{}imports:\n  - source_session_id: {}\n    id: carmen\nsources:\n  - file: roster.csv\ntokens:\n  - file: inbox/*.csv\n  - file: inbox/*.txt\n",
                head(),
                session(1)
            ),
        ),
        ("roster.csv", &format!("source_session_id,id\n{},dora\n{},emil\n", session(2), session(3))),
        ("inbox/a.csv", &format!("share_token\n{}\n{}\n", token(1, 100), token(9, 100))),
        ("inbox/b.txt", &format!("# from the bank\n{}\n\n", token(2, 100))),
    ]);
    let manifest = folder.manifest();
    let by_id = |id: &str| manifest.entries.iter().find(|entry| entry.label() == id).unwrap();
    assert_eq!(manifest.unused_tokens, 1);
    assert!(by_id("carmen").has_token() && by_id("dora").has_token());
    assert!(matches!(by_id("emil").token, TokenSource::Missing));
    assert_eq!(by_id("dora").expires_at().map(jiff::Timestamp::as_second), Some(100));
}

#[test]
fn a_delivered_duplicate_is_an_error_or_the_latest() {
    let manifest = |latest: &str| {
        Folder::new(&[
            (
                "m.yaml",
                &format!(
                    "{}imports: [{{source_session_id: {}}}]\ntokens:\n  - file: t.txt\n{latest}",
                    head(),
                    session(1)
                ),
            ),
            ("t.txt", &format!("{}\n{}\n{}\n", token(1, 100), token(1, 300), token(1, 200))),
        ])
    };
    assert_eq!(manifest("").codes(), ["duplicate-session t.txt:2:1", "duplicate-session t.txt:3:1"]);
    let entry = &manifest("    on_duplicate: latest\n").manifest().entries[0];
    assert_eq!(entry.expires_at().map(jiff::Timestamp::as_second), Some(300));
}

#[test]
fn the_same_row_twice_is_no_error() {
    let row = format!("{},{},x\n", session(1), token(1, 100));
    let text = format!("source_session_id,share_token,vendor_data\n{row}{row}");
    let folder = with_source("", &[("people/a.csv", &text), ("people/b.csv", &text)]);
    assert_eq!(folder.manifest().entries.len(), 1);
}

#[test]
fn several_tokens_for_one_session() {
    let rows = [token(1, 100), token(1, 300), token(1, 200)];
    let text = format!("share_token\n{}\n", rows.join("\n"));
    let folder = with_source("", &[("people/a.csv", &text)]);
    assert_eq!(folder.codes(), ["duplicate-session a.csv:3:1", "duplicate-session a.csv:4:1"]);
    let folder = with_source(", on_duplicate: latest", &[("people/a.csv", &text)]);
    let manifest = folder.manifest();
    assert_eq!(manifest.entries.len(), 1);
    assert_eq!(manifest.entries[0].expires_at().map(jiff::Timestamp::as_second), Some(300));
    assert_eq!(manifest.entries[0].place.line, 3);
}

#[test]
fn rows_that_differ_in_more_than_the_token_are_an_error_naming_both() {
    let text = format!("source_session_id,vendor_data\n{},x\n{},y\n", session(1), session(1));
    for settings in ["", ", on_duplicate: latest", ", on_invalid: skip"] {
        let shown = with_source(settings, &[("people/a.csv", &text)]).wrong();
        assert!(
            shown.contains("people/a.csv:3:1: error[rows-differ]") && shown.contains("people/a.csv:2 and"),
            "{shown}"
        );
    }
}

#[test]
fn bad_rows_are_skipped_when_asked_and_told_with_their_line() {
    let text = format!(
        "share_token,source_session_id,id\n{},,good\nnot-a-token-{CANARY},,bad\n,12,worse\n{}\n,{},\n",
        token(1, 100),
        "a,b",
        session(4)
    );
    let folder = with_source("", &[("people/a.csv", &text)]);
    assert_eq!(folder.codes(), ["malformed-token a.csv:3:1", "bad-uuid a.csv:4:2", "bad-row a.csv:5:1"]);
    folder.wrong();
    let manifest = with_source(", on_invalid: skip", &[("people/a.csv", &text)]).manifest();
    let invalid: Vec<_> = manifest
        .entries
        .iter()
        .filter_map(|entry| {
            entry.invalid.as_ref().map(|invalid| {
                (entry.label().to_string().rsplit('/').next().unwrap().to_owned(), entry.place.line, invalid.class)
            })
        })
        .collect();
    assert_eq!(
        invalid,
        [("bad", 3, Class::TokenInvalid), ("worse", 4, Class::BadRequest), ("a.csv:5", 5, Class::BadRequest)]
            .map(|(label, line, class)| (label.to_owned(), line, class))
    );
    assert_eq!(manifest.entries.len(), 5);
}

#[test]
fn an_unreadable_file_is_an_error_or_an_invalid_entry() {
    let manifest = |skip: &str, file: &str| {
        let folder = Folder::new(&[("m.yaml", &format!("{}sources:\n  - file: {file}\n{skip}", head()))]);
        folder.write("broken.csv.gz", b"\x1f\x8bnot gzip");
        folder.write("broken.json", b"[{\"id\": 1},\n {oops}]");
        folder.write("broken.csv", b"name;token\n");
        folder
    };
    assert_eq!(manifest("", "none.csv").codes(), ["unreadable-source m.yaml:6:5"]);
    assert_eq!(manifest("", "broken.csv.gz").codes(), ["unreadable-source m.yaml:6:5"]);
    assert_eq!(manifest("", "broken.csv").codes(), ["missing-column broken.csv:1:1"]);
    assert!(manifest("", "broken.json").codes().contains(&"bad-format broken.json:2:3".to_owned()));
    for file in ["none.csv", "broken.csv.gz", "broken.csv"] {
        let loaded = manifest("    on_invalid: skip\n", file).manifest();
        assert_eq!(loaded.entries.len(), 1, "{file}");
        assert_eq!(loaded.entries[0].invalid.as_ref().map(|invalid| invalid.class), Some(Class::BadRequest));
    }
}

#[test]
fn lines_and_columns_hold_through_quoted_cells() {
    let text = format!("vendor_data,source_session_id\n\"two\nlines, é\",{}\n\nx,bad\n\"a\nb\",worse\n", session(1));
    let folder = with_source("", &[("people/a.csv", &text)]);
    assert_eq!(folder.codes(), ["bad-uuid a.csv:5:3", "bad-uuid a.csv:7:4"]);
}

#[test]
fn a_row_may_not_contradict_its_source() {
    let text = format!("source_session_id,trust_review,vendor_data\n{},true,x\n{},maybe,x\n", session(1), session(2));
    let folder = with_source(", trust_review: false, vendor_data: y", &[("people/a.csv", &text)]);
    let codes = folder.codes();
    assert_eq!(
        codes,
        [
            "contradicts-source a.csv:2:38",
            "contradicts-source a.csv:2:43",
            "wrong-type a.csv:3:38",
            "contradicts-source a.csv:3:44"
        ]
    );
}

#[test]
fn in_rows_a_token_is_a_literal_and_rules_are_not_taken() {
    let folder = Folder::new(&[
        ("m.yaml", &format!("{}sources: [{{file: p.ndjson}}, {{file: p.yaml}}, {{file: q.csv}}]\n", head())),
        ("q.csv", &format!("source_session_id,expect\n{},\n{},[]\n", session(2), session(3))),
        ("p.ndjson", "{\"id\": \"é\", \"share_token\": {\"env\": \"X\"}}\n{\"source_session_id\": 7}\n"),
        ("p.yaml", &format!("- share_token: {{exec: [sh]}}\n- source_session_id: {}\n  expect: []\n- 7\n", session(1))),
    ]);
    assert_eq!(
        folder.codes(),
        [
            "token-not-literal p.ndjson:1:28",
            "wrong-type p.ndjson:2:23",
            "token-not-literal p.yaml:1:16",
            "bad-row p.yaml:2:3",
            "bad-row p.yaml:4:3",
            "bad-row q.csv:3:1"
        ]
    );
}

#[test]
fn a_named_column_has_to_exist() {
    let files: &[(&str, &str)] = &[("people/a.csv", &format!("source_session_id,ref\n{},x\n", session(1)))];
    let folder = with_source(", columns: {vendor_data: user_ref}", files);
    assert_eq!(folder.codes(), ["missing-column m.yaml:6:51"]);
    let folder = with_source(", columns: {vendor_data: ref}", files);
    assert_eq!(folder.manifest().entries[0].vendor_data().as_deref(), Some("x"));
}

#[test]
fn a_column_given_away_under_its_own_name_is_ours_no_more() {
    let rows = format!("source_session_id,id\n{},user-1\n", session(1));
    let folder = with_source(", columns: {vendor_data: id}", &[("people/a.csv", &rows)]);
    let entry = folder.manifest().entries.remove(0);
    assert_eq!((entry.vendor_data().as_deref(), entry.label().to_string()), (Some("user-1"), session(1)));
}

#[test]
fn malformed_tokens_are_errors_or_one_warning() {
    let manifest = |skip: &str| {
        Folder::new(&[
            ("m.yaml", &format!("{}imports: []\ntokens:\n  - file: t.txt\n{skip}", head())),
            ("t.txt", &format!("oops-{CANARY}\n{}\nsecond\n", token(1, 1))),
        ])
    };
    assert_eq!(manifest("").codes(), ["malformed-token t.txt:1:1", "malformed-token t.txt:3:1"]);
    manifest("").wrong();
    let folder = manifest("    on_invalid: skip\n");
    assert_eq!((folder.manifest().unused_tokens, folder.warnings()), (1, vec![Code::SkippedTokens]));
}

#[test]
fn a_token_for_another_application_makes_its_entry_invalid_only() {
    let foreign = token_of(&serde_json::json!({"session_id": session(1), "for_application_id": THEIRS}));
    let folder = Folder::new(&[("m.yaml", &format!("{}imports:\n  - share_token: {foreign}\n", head()))]);
    let entry = &folder.manifest().entries[0];
    assert_eq!(entry.invalid.as_ref().map(|invalid| invalid.class), Some(Class::WrongAudience));
    assert!(entry.has_token() && entry.workflow_id().is_some());
}

#[test]
fn an_empty_pattern_and_shared_vendor_data_are_one_warning_each() {
    let text = format!(
        "version: 1\nname: acme\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false, vendor_data: same}}\nimports:\n  - source_session_id: {}\n  - source_session_id: {}\nsources: [{{file: none/*.csv}}]\n",
        session(1),
        session(2)
    );
    let folder = Folder::new(&[("m.yaml", &text)]);
    assert_eq!(folder.warnings(), [Code::NoVendorData, Code::EmptyGlob]);
}

#[test]
fn claims_that_cannot_be_read_leave_the_place_as_id() {
    let odd = token_of(&serde_json::json!(7));
    let text = format!(
        "version: 1\nname: acme\ndefaults: {{workflow_id: {WORKFLOW}, trust_review: false}}\nimports:\n  - share_token: {odd}\n"
    );
    let folder = Folder::new(&[("m.yaml", &text)]);
    let entry = &folder.manifest().entries[0];
    assert!(
        entry.label().to_string().ends_with("m.yaml:5")
            && entry.source_session_id.is_none()
            && entry.session_kind.is_none()
    );
}

#[test]
fn a_quote_left_open_never_swallows_rows_in_silence() {
    let rows = format!("{},x\n{},\"y\n{},z\n", session(1), session(2), session(3));
    let folder = with_source("", &[("people/a.csv", &format!("source_session_id,vendor_data\n{rows}"))]);
    assert_eq!(folder.codes(), ["unclosed a.csv:3:38"]);
    let folder = with_source("", &[("people/a.csv", &format!("source_session_id,\"vendor_data\n{rows}"))]);
    assert_eq!(folder.codes().len(), 1);
    let folder = with_source("", &[("people/a.csv", &format!("source_session_id,\"vendor_data\n{}\n", session(1)))]);
    assert_eq!(folder.codes(), ["unclosed a.csv:1:19"]);
}
