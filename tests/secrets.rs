//! Canaries: no token, key or personal data in any output or in the ledger; foreign text can't act.

use didit_sync::sandbox::Config;
use serde_json::json;
use uuid::Uuid;

use crate::support::fake::{KEY, created};
use crate::support::{Fake, Output, Reply, Scene, sandbox};

/// Says everything there is to say of a scene, and what was said.
fn outputs(run: impl Fn(&[&str]) -> Output) -> Vec<Output> {
    vec![
        run(&["validate", "m.yaml", "-vv"]),
        run(&["plan", "m.yaml", "-vv"]),
        run(&["plan", "m.yaml", "--json", "--out", "plan.json"]),
        run(&["apply", "m.yaml", "--yes", "-vv", "--report", "json=report.json", "--progress", "plain"]),
        run(&["apply", "m.yaml", "--yes", "--json", "-vv", "--log-format", "json"]),
        run(&["audit", "-vv"]),
        run(&["status", "-vv"]),
        run(&["status", "--json"]),
        run(&["status", "--csv"]),
        run(&["report"]),
        run(&["report", "1", "--json"]),
        run(&["report", "--list"]),
    ]
}

fn assert_free(outputs: &[Output], files: &[String], secrets: &[&str]) {
    for text in outputs.iter().flat_map(|output| [&output.stdout, &output.stderr]).chain(files) {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in\n{text}");
        }
    }
}

#[test]
fn no_secret_leaves_the_program_when_all_is_well_or_not() {
    for faults in ["", "import.lost-after=x1", "import.garbage=x1,decision.garbage=x1", "import.cut=x1,list.html=x1"] {
        let scene = Scene::new(Config { faults: faults.parse().unwrap(), ..sandbox(3) });
        scene.write_all();
        let outputs = outputs(|args| scene.run(args));
        let files = ["plan.json", "report.json"].map(|name| scene.read(name));
        let key = scene.running.api_key();
        let secrets = ["eyJ", key.as_str(), &key[8..], "full_name", "document_number", "media.sandbox.invalid"];
        assert_free(&outputs, &files, &secrets);
        scene.assert_ledger_free_of(&secrets);
    }
}

#[test]
fn texts_of_the_server_are_not_repeated() {
    let canary = "Carmen Canaria 99999999R";
    let bodies = [
        json!({"detail": format!("Something about {canary}")}),
        json!({"share_token": [format!("Invalid share token of {canary}")]}),
        json!({"vendor_data": {canary: canary}}),
        json!([canary]),
        json!({"error": canary, "code": canary}),
    ];
    for body in bodies {
        for status in [400, 401, 403, 404, 409, 418, 500, 503] {
            let fake = Fake::answering(Reply::json(status, &body));
            fake.write_entries(1);
            let text = fake.folder.read("m.yaml");
            fake.folder.write("m.yaml", &text.replace("limits:", ""));
            let done = fake.folder.run(&["apply", "m.yaml", "--yes", "-vv", "--limit", "1", "--max-failures", "0"]);
            assert_ne!(done.code, Some(0), "{status} {body}");
            assert_free(&[done], &[], &["Carmen", "99999999R", KEY, "eyJ"]);
            fake.folder.assert_ledger_free_of(&["Carmen", "99999999R", KEY, "eyJ"]);
            if status >= 500 {
                break;
            }
        }
    }
}

#[test]
fn foreign_text_is_inert() {
    // Terminal escapes, a direction override, a bell, a zero-width space; markup.
    let evil = "x\u{1b}[31mred\u{202e}gnp\u{7}\u{200b}|<b>";
    let session = Uuid::from_u128(0xE1);
    let fake = Fake::new(move |request, _| {
        let mut body = created(session, request);
        body["status"] = json!("In\u{1b}[2J Review");
        body["session_url"] = json!("https://verify.didit.me/\u{202e}x");
        if request.is_import() {
            Some(Reply::json(201, &body))
        } else if request.target.ends_with("/decision/") {
            body["vendor_data"] = json!("other\u{1b}]0;title\u{7}");
            Some(Reply::json(200, &body))
        } else {
            None
        }
    });
    let token = crate::support::Token::new(Uuid::from_u128(1)).text();
    let quoted = serde_json::to_string(evil).unwrap();
    let text = fake.head() + &format!("imports: [{{share_token: {token}, id: {quoted}, vendor_data: {quoted}}}]\n");
    fake.folder.write("m.yaml", &text);
    let outputs = outputs(|args| fake.folder.run(args));
    let mut shown = false;
    for output in &outputs {
        for text in [&output.stdout, &output.stderr] {
            for c in ['\u{1b}', '\u{202e}', '\u{7}', '\u{200b}'] {
                assert!(!text.contains(c), "{:x} in\n{text:?}", u32::from(c));
            }
            shown |= text.contains("\\u{202e}");
        }
    }
    assert!(shown, "what was escaped is shown");
    assert!(outputs.iter().all(|output| output.code != Some(65) && output.code != Some(1)), "{outputs:#?}");
}
