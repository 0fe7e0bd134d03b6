//! Manifests that are loaded side by side are what they are one after another.

use proptest::prelude::*;

use super::pieces::item;
use super::*;

/// All that shows of a load.
fn outcome(folder: &Folder, names: &[String], threads: usize) -> String {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match pool.install(|| folder.load(&names)) {
        Ok(loaded) => format!("{loaded:#?}"),
        Err(wrong) => format!("{}{}", folder.shown(&wrong), serde_json::to_string(&wrong).unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn however_many_are_loaded_at_once(
        manifests in proptest::collection::vec((0_u8..12, proptest::collection::vec((0_u8..20, 0_u32..40), 0..4)), 1..8),
        threads in 2_usize..5,
    ) {
        let row = |n: u32| format!("{{\"share_token\": \"{}\", \"id\": \"r{}\"}}\n", token(n, 100), n % 6);
        let folder = Folder::new(&[("a.ndjson", &row(1)), ("b.ndjson", &format!("{}nothing\n", row(2)))]);
        std::fs::create_dir(folder.path("empty")).unwrap();
        let mut names = Vec::new();
        for ((form, items), n) in manifests.iter().zip(0..) {
            let items: String = items.iter().map(|(form, n)| item(*n, *form)).collect();
            let head = head().replace("name: acme", &format!("name: acme-{}", n % 5));
            let name = format!("{n}.yaml");
            let text = match form {
                0 => format!("{head}nmae: x\n"),
                1 => format!("{head}sources: [{{file: a.ndjson}}]\n"),
                2 => format!("{head}sources: [{{file: \"?.ndjson\"}}]\nimports:\n{items}"),
                3 => String::new(),
                4 => "a: [".to_owned(),
                _ => format!("{head}imports:\n{items}"),
            };
            if *form != 5 {
                folder.write(&name, text.as_bytes());
            }
            names.push(if *form == 6 { "empty".to_owned() } else { name });
        }
        prop_assert_eq!(outcome(&folder, &names, threads), outcome(&folder, &names, 1));
    }
}

#[test]
fn what_two_manifests_share_is_told_at_the_later_one() {
    let text = |name: &str| {
        format!("{}imports:\n  - {{id: one, source_session_id: {}}}\n", head().replace("acme", name), session(1))
    };
    let folder = Folder::new(&[("a.yaml", &text("a")), ("b.yaml", &text("b")), ("c.yaml", &text("a"))]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let told = pool.install(|| folder.wrong_with(&["a.yaml", "b.yaml", "c.yaml"]));
    for line in [
        "b.yaml:6:10: error[duplicate-id]: the id `one` is taken by the entry at a.yaml:6",
        "b.yaml:6:5: error[duplicate-session]",
        "c.yaml:2:7: error[duplicate-name]: the name `a` is taken by the manifest at a.yaml:2",
        "c.yaml:6:5: error[duplicate-session]",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}
