//! Sources that change while a run reads their tokens: a token is sent as it was planned, or not at all.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::json;
use uuid::Uuid;

use crate::support::fake::created;
use crate::support::{Fake, Reply, Token};

const ENTRIES: u128 = 20;

/// Rows of twenty sessions, whose tokens have this signature.
fn rows(signature: &str) -> String {
    let token = |n| {
        let token = Token::new(Uuid::from_u128(n)).text();
        let (signed, _) = token.rsplit_once('.').unwrap();
        format!("{signed}.{signature}")
    };
    let row = |n| json!({"id": format!("e{n:02}"), "share_token": token(n)}).to_string() + "\n";
    (1..=ENTRIES).map(row).collect()
}

/// A server that has `change` done to the source by the time that the first import arrives.
fn server(change: impl Fn(&Path) + Send + Sync + 'static) -> Fake {
    let source: Arc<OnceLock<PathBuf>> = Arc::default();
    let of_server = Arc::clone(&source);
    let fake = Fake::new(move |request, before| {
        request.is_import().then(|| {
            if before == 0 {
                change(of_server.get().unwrap());
            }
            Reply::json(201, &created(Uuid::from_u128(0x5E55_0000 + before as u128), request))
        })
    });
    source.set(fake.folder.path("rows.ndjson")).unwrap();
    fake.folder.write("rows.ndjson", &rows("c2ln"));
    // One by one, so that the change comes before all others.
    fake.folder.write("m.yaml", &(fake.head() + "limits: {concurrency: 1}\nsources:\n  - file: rows.ndjson\n"));
    fake
}

#[test]
fn a_source_rewritten_in_place_gives_no_other_token_than_was_planned() {
    let fake = server(|source| std::fs::write(source, rows("bmV3")).unwrap());
    let told = fake.apply(&["--no-verify"]).exits(5).json();
    assert_eq!((&told["summary"]["imported"], &told["summary"]["needs_token"]), (&json!(1), &json!(ENTRIES - 1)));
    assert_eq!(fake.imports().len(), 1);
    assert!(fake.imports()[0].body.contains(".c2ln"));

    // What the file says now is planned anew.
    let told = fake.apply(&["--no-verify"]).exits(0).json();
    assert_eq!((&told["summary"]["imported"], &told["summary"]["unchanged"]), (&json!(ENTRIES - 1), &json!(1)));
    assert!(fake.imports()[1..].iter().all(|import| import.body.contains(".bmV3")));
}

#[test]
fn a_source_replaced_under_its_name_is_still_the_one_that_was_planned() {
    let fake = server(|source| {
        let fresh = source.with_extension("fresh");
        std::fs::write(&fresh, rows("bmV3")).unwrap();
        std::fs::rename(&fresh, source).unwrap();
    });
    let told = fake.apply(&["--no-verify"]).exits(0).json();
    assert_eq!(told["summary"]["imported"], json!(ENTRIES));
    assert!(fake.imports().iter().all(|import| import.body.contains(".c2ln")));
}
