//! However a source is cut, whatever the number of threads: the same comes out; and tokens are read when they are sent.

use proptest::prelude::*;

use super::*;

/// A row, good, bad, doubled or differing.
fn row(kind: u8, n: u32) -> String {
    let own = token(n % 7, 100 + i64::from(n % 3));
    match kind % 10 {
        0 => String::new(),
        1 => "{\"share_token\": \"no token\", \"id\": \"é\"}".to_owned(),
        2 => format!("{{\"share_token\": \"{own}\", \"vendor_data\": \"x{}\"}}", n % 2),
        3 => format!("{{\"source_session_id\": \"{}\", \"trust_review\": \"maybe\"}}", session(n)),
        4 => "{\"id\": ".to_owned(),
        5 => format!("  {{\"share_token\": \"\\u0065{}\"}}  ", &own[1..]),
        6 => format!("{{\"id\": \"same\", \"source_session_id\": \"{}\"}}\r", session(100 + n)),
        _ => format!("{{\"share_token\": \"{}\"}}", token(1000 + n, 100)),
    }
}

/// A record of `share_token,source_session_id,vendor_data`, good, bad, quoted or broken over lines.
fn record(kind: u8, n: u32) -> String {
    let own = token(n % 7, 100 + i64::from(n % 3));
    match kind % 12 {
        0 => String::new(),
        1 => format!("\"{own}\",\"\",\"two\nlines, \"\"{n}\"\"\""),
        2 => format!("{own},,x{}", n % 2),
        3 => format!(",{},a\"b\r", session(n)),
        4 => "too,few".to_owned(),
        5 => format!(",{},\"a\" b", session(200 + n)),
        6 => format!("\"{own}\",,x"),
        7 => format!("no token,{},", session(n)),
        8 if n.is_multiple_of(5) => format!(",{},\"open", session(n)),
        _ => format!("{},,", token(1000 + n, 100)),
    }
}

/// An element of an array, good, bad, over lines, or broken.
fn element(kind: u8, n: u32) -> String {
    match kind % 16 {
        0 => format!("{{\"id\": \"{n}]\\\"}},\", \"source_session_id\": \"{}\",\n\"é\": [1, {{}}]}}", session(300 + n)),
        1 => "\n [\"é\", {\"a\": 1}]".to_owned(),
        2 => "12".to_owned(),
        3 if n.is_multiple_of(3) => "{\"id\": \"open}".to_owned(),
        4 if n.is_multiple_of(3) => "{\"id\": [}]}".to_owned(),
        5 if n.is_multiple_of(3) => "{\"id\": 1} {}".to_owned(),
        6 if n.is_multiple_of(3) => "{}]".to_owned(),
        7 if n.is_multiple_of(3) => String::new(),
        8 => "{\"é\": \"é\",\n  \"trust_review\": \"maybe\"}".to_owned(),
        kind => {
            let row = row(kind, n);
            if matches!(row.as_str(), "" | "{\"id\": ") { "{}".to_owned() } else { row }
        }
    }
}

/// All that shows of a load.
fn outcome(folder: &Folder) -> String {
    let diagnostics = |told: &[crate::manifest::Diagnostic]| serde_json::to_string(told).unwrap();
    match folder.load(&["m.yaml"]) {
        Err(wrong) => diagnostics(&wrong.0),
        Ok(loaded) => {
            let manifest = &loaded.manifests[0];
            let entries = manifest.entries.iter().map(|e| {
                let token = e.read_token().unwrap().map(|token| token.expose().to_owned());
                format!("{} {} {token:?} {:?} {:?}\n", e.label(), e.place, e.vendor_data(), e.invalid)
            });
            format!("{} {}{}", manifest.digest(), diagnostics(&loaded.warnings), entries.collect::<String>())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_size_of_chunks_and_the_number_of_threads_do_not_show(
        kinds in proptest::collection::vec(any::<u8>(), 0..40),
        bytes in proptest::option::of(any::<u8>()),
        format in 0_usize..4,
        chunk in 1_usize..3000,
        threads in 1_usize..4,
        settings in prop_oneof![
            Just(""), Just(", on_invalid: skip"), Just(", on_duplicate: latest"),
            Just(", on_invalid: skip, on_duplicate: latest"),
        ],
        ending in prop_oneof![Just("\n"), Just("")],
    ) {
        let (name, head_line, between, row): (_, _, _, fn(u8, u32) -> String) = match format {
            0 => ("a.csv", "\u{feff}\"share_token\",source_session_id,\"vendor_data\"\r\n", "\n", record),
            1 => ("a.ndjson", "", "\n", row),
            2 => ("a.json", "\u{feff}\n[", ",", element),
            _ => ("a.json", "[\n", " ,\n", element),
        };
        let rows: Vec<String> = kinds.iter().zip(0..).map(|(kind, n)| row(*kind, n)).collect();
        let end = if format < 2 { "" } else { "]" };
        let mut text = format!("{head_line}{}{end}", rows.join(between)).into_bytes();
        text.extend(bytes);
        text.extend(ending.as_bytes());
        let manifest = format!("{}sources: [{{file: {name}{settings}}}]\n", head());
        let mut folder = Folder::new(&[("m.yaml", &manifest)]);
        folder.write(name, &text);
        folder.options.chunk = 1 << 20;
        let whole = outcome(&folder);
        folder.options.chunk = chunk;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        prop_assert_eq!(pool.install(|| outcome(&folder)), whole);
    }
}

#[test]
fn a_token_of_an_array_is_read_again_where_it_stands() {
    let text = format!(
        "\u{feff}[{{\"é\": 1, \"share_token\": \"{}\"}}, {{\"share_token\": \"\\u0065{}\"}}]",
        token(1, 100),
        &token(2, 100)[1..]
    );
    for chunk in [1, 1 << 20] {
        let mut folder = Folder::new(&[("m.yaml", &format!("{}sources: [{{file: a.json}}]\n", head()))]);
        folder.write("a.json", text.as_bytes());
        folder.options.chunk = chunk;
        let entries = folder.manifest().entries;
        assert!(matches!(entries[0].token, crate::manifest::TokenSource::Row(_)));
        assert!(matches!(entries[1].token, crate::manifest::TokenSource::Literal(_)), "what is escaped is held");
        let read = |n: usize| entries[n].read_token().unwrap().unwrap().expose().to_owned();
        assert_eq!((read(0), read(1)), (token(1, 100), token(2, 100)));
    }
}

#[test]
fn an_array_in_one_line_is_told_by_its_columns_however_it_is_cut() {
    let row = |n: u32| format!("{{\"é\": 0, \"source_session_id\": \"{}\"}}", session(n));
    let text = format!("[{}, {{\"id\": 1}}, {}]", row(1), row(2));
    let column = 1 + "[".len() + row(1).chars().count() + ", {\"id\": ".len();
    for chunk in [1, 60, 1 << 20] {
        let mut folder = Folder::new(&[("m.yaml", &format!("{}sources: [{{file: a.json}}]\n", head()))]);
        folder.write("a.json", text.as_bytes());
        folder.options.chunk = chunk;
        let told = folder.codes();
        assert!(told.contains(&format!("wrong-type a.json:1:{column}")), "{told:?}");
    }
}

#[test]
fn a_token_of_a_row_is_not_held_but_read_again_from_the_file_that_was_loaded() {
    let text = format!("{{\"share_token\": \"{}\"}}\n{{\"share_token\": \"{}\"}}\n", token(1, 100), token(2, 100));
    let folder = Folder::new(&[("m.yaml", &format!("{}sources: [{{file: a.ndjson}}]\n", head())), ("a.ndjson", &text)]);
    let manifest = folder.manifest();
    let read = |n: usize| manifest.entries[n].read_token().map(|token| token.unwrap().expose().to_owned());
    assert!(manifest.entries.iter().all(|entry| matches!(entry.token, crate::manifest::TokenSource::Row(_))));

    folder.write("b.ndjson", b"{}");
    std::fs::rename(folder.path("a.ndjson"), folder.path("old.ndjson")).unwrap();
    std::fs::rename(folder.path("b.ndjson"), folder.path("a.ndjson")).unwrap();
    assert_eq!((read(0).unwrap(), read(1).unwrap()), (token(1, 100), token(2, 100)));

    folder.write("old.ndjson", text.replace(&token(2, 100), &token(2, 200)).as_bytes());
    assert_eq!(read(0).unwrap(), token(1, 100), "what did not change is sent");
    assert!(read(1).unwrap_err().to_string().ends_with("was changed since the manifest was loaded"));
}

#[test]
fn hundreds_of_files_are_read_in_order_and_few_stay_open() {
    let folder = Folder::new(&[("m.yaml", &format!("{}sources: [{{file: \"in/*.ndjson\"}}]\n", head()))]);
    for n in 0..300 {
        folder.write(&format!("in/{n:03}.ndjson"), format!("{{\"share_token\": \"{}\"}}", token(n, 100)).as_bytes());
    }
    let manifest = folder.manifest();
    assert_eq!(manifest.entries.len(), 300);
    for (n, entry) in manifest.entries.iter().enumerate() {
        assert_eq!(entry.read_token().unwrap().unwrap().expose(), token(n as u32, 100));
        assert!(entry.place.to_string().ends_with(&format!("in/{n:03}.ndjson:1")));
    }
}
