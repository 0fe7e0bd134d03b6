//! What holds for every manifest.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Entries as one would compare them, without their places.
fn meaning(manifest: &Manifest) -> BTreeSet<String> {
    manifest
        .entries
        .iter()
        .map(|e| {
            format!(
                "{} {:?} {:?} {:?} {:?}",
                e.label(),
                e.source_session_id,
                e.workflow(),
                e.trust_review(),
                e.vendor_data()
            )
        })
        .collect()
}

fn entry(n: u32, trust: bool, style: u8) -> String {
    let session = session(n);
    match style % 4 {
        0 => format!("  - {{source_session_id: {session}, trust_review: {trust}}}\n"),
        1 => format!("  - trust_review:   {trust}   # why not\n    source_session_id: '{session}'\n"),
        2 => format!("  # a comment\n\n  -\n      source_session_id: \"{session}\"\n      trust_review: {trust}\n"),
        _ => format!("  - {{\"trust_review\": {trust},\n      \"source_session_id\": >-\n        {session}}}\n")
            .replace(">-\n        ", ""),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn comments_order_and_formatting_change_nothing(
        mut entries in proptest::collection::btree_map(0_u32..50, (any::<bool>(), any::<u8>(), any::<u8>()), 1..8)
            .prop_map(|map| map.into_iter().collect::<Vec<_>>()),
        rotate in 0_usize..8,
    ) {
        let render = |entries: &[(u32, (bool, u8, u8))], second: bool| {
            let body: String = entries.iter().map(|(n, (trust, one, two))| entry(*n, *trust, if second { *two } else { *one })).collect();
            if second {
                format!("# other\nimports:\n{body}{}", head())
            } else {
                format!("{}imports:\n{body}", head())
            }
        };
        let first = Folder::new(&[("m.yaml", &render(&entries, false))]).manifest();
        let middle = rotate % entries.len();
        entries.rotate_left(middle);
        let second = Folder::new(&[("m.yaml", &render(&entries, true))]).manifest();
        prop_assert_eq!(meaning(&first), meaning(&second));
        prop_assert_eq!(first.digest(), second.digest());
    }

    #[test]
    fn no_bytes_make_it_panic(
        manifest in proptest::collection::vec(any::<u8>(), 0..80),
        source in proptest::collection::vec(any::<u8>(), 0..80),
        tail in "[-a-z:\\[\\]{}\"'# \n,~]{0,60}",
    ) {
        let folder = Folder::new(&[]);
        for (name, bytes) in [("a.yaml", manifest.clone()), ("b.yaml", [head().as_bytes(), b"imports: ", tail.as_bytes()].concat())] {
            folder.write(name, &bytes);
        }
        let mut files = Vec::new();
        for ending in ["csv", "tsv", "ndjson", "json", "yaml", "csv.gz", "csv.zst"] {
            let header: &[u8] = if ending.ends_with("sv") { b"share_token,id\n" } else { b"" };
            folder.write(&format!("p.{ending}"), &[header, &source].concat());
            files.push(format!("  - file: p.{ending}\n"));
        }
        let files = files.concat();
        folder.write("c.yaml", format!("{}sources:\n{files}", head()).as_bytes());
        for name in ["a.yaml", "b.yaml", "c.yaml"] {
            if let Err(wrong) = folder.load(&[name]) {
                prop_assert!(!wrong.render(true).is_empty());
            }
        }
    }

    #[test]
    fn a_token_is_never_shown(
        before in "[-a-z:\\[\\]{}\"'# \n,!&*|>]{0,20}",
        after in "[-a-z:\\[\\]{}\"'# \n,]{0,20}",
    ) {
        let folder = Folder::new(&[("m.yaml", &format!("{}imports:\n  - share_token: {before}{}{after}\n  - id: 7\n", head(), token(1, 1)))]);
        if let Err(wrong) = folder.load(&["m.yaml"]) {
            let shown = folder.shown(&wrong);
            prop_assert!(!shown.contains(CANARY), "{}", shown);
        }
    }

    #[test]
    fn a_secret_without_the_form_of_a_token_is_never_shown(
        before in "[-a-z\"'\\[{ ]{0,6}",
        after in "[-a-z:\\]}\"'# ,]{0,10}",
    ) {
        let folder = Folder::new(&[("m.yaml", &format!("version: 1\nname: A\napplication:\n  api_key: {before}hunter2{after}\nimports:\n  - share_token: {before}hunter2{after}\n    id: 7\n"))]);
        if let Err(wrong) = folder.load(&["m.yaml"]) {
            let shown = folder.shown(&wrong);
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }
}
