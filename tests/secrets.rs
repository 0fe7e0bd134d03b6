//! Promise 5: no token, key or personal data in any output, file or ledger; and foreign text can't act. What the
//! process itself could give away is in `process`.

use std::collections::BTreeSet;

use didit_sync::sandbox::Config;
use didit_sync::token::{FingerprintKey, ShareToken};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake::{KEY, WORKFLOW, created};
use crate::support::{Canaries, Fake, Folder, Output, Reply, Scene, Token, sandbox};

/// The files that were given, and so may hold secrets.
const GIVEN: [&str; 2] = ["m.yaml", "people.csv"];

/// Every command, as it says the most; `E` is an entry's name and `S` its session.
const COMMANDS: &[&str] = &[
    "init new.yaml -vv",
    "validate m.yaml -vv",
    "validate m.yaml --json --log-format json",
    "plan m.yaml -vv",
    "plan m.yaml --json --out plan.json -vv --log-format json",
    "apply m.yaml --yes -vv --report json=report.json --report csv=report.csv --report junit=report.xml --report markdown=report.md --report html=report.html --report prometheus=report.prom --report remint=remint.csv --progress plain --reason r --actor a --ref x",
    "apply m.yaml --yes --json -vv --log-format json --retry-refused",
    "audit -vv --report json=audit.json --report csv=audit.csv --report junit=audit.xml --report markdown=audit.md --progress plain",
    "audit m.yaml --json -vv --log-format json",
    "status -vv",
    "status E -vv",
    "status --json",
    "status --csv",
    "report",
    "report 1 --json --report json=again.json --report html=again.html",
    "report --format markdown",
    "report --since 2020-01-01 --report csv=period.csv",
    "report --list -vv",
    "report --list --json",
    "ledger check -vv",
    "ledger check --json",
    "ledger backup backup.db -vv",
    "ledger move --to moved.db -vv",
    "ledger move --to moved.db --json -vv --log-format json",
    "ledger adopt E S --reason r -vv",
    "ledger forget E --json -vv",
    "apply m.yaml --yes -vv",
    "ledger erase E --reason r --json -vv",
    "plan m.yaml -vv",
    "schema",
    "completions bash",
    "doctor m.yaml -vv",
    "doctor m.yaml --json -vv --log-format json",
    "doctor",
    "explain",
    "explain secret-misplaced --json",
    "man",
];

/// Says everything there is to say of a scene, and what was said.
fn outputs(run: impl Fn(&[&str]) -> Output, entry: &str, session: &str) -> Vec<(String, Output)> {
    let told = |line: &&str| {
        let words: Vec<&str> = line.split(' ').map(|word| if word == "E" { entry } else { word }).collect();
        let words: Vec<&str> = words.into_iter().map(|word| if word == "S" { session } else { word }).collect();
        ((*line).to_owned(), run(&words))
    };
    COMMANDS.iter().map(told).collect()
}

#[test]
fn promise_5_every_command_is_among_those_that_are_searched() {
    let command = didit_sync::cli::command();
    let leaf = |of: &clap::Command, above: &str| {
        let names: Vec<String> = of.get_subcommands().map(|it| format!("{above}{}", it.get_name())).collect();
        names
    };
    let mut all: BTreeSet<String> = leaf(&command, "").into_iter().collect();
    let ledger = command.find_subcommand("ledger").unwrap();
    all.remove("ledger");
    all.extend(leaf(ledger, "ledger "));
    // Tests of their own, below and in `process`.
    let elsewhere = ["demo".to_owned(), "sandbox".to_owned()];
    let missing: Vec<&String> = all
        .iter()
        .filter(|name| !elsewhere.contains(name) && !COMMANDS.iter().any(|line| line.starts_with(name.as_str())))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn promise_5_no_secret_leaves_any_command_when_all_is_well_or_not() {
    for faults in ["", "import.lost-after=x1", "import.garbage=x1,decision.garbage=x1", "import.cut=x1,list.html=x1"] {
        let scene = Scene::new(Config { faults: faults.parse().unwrap(), ..sandbox(3) });
        let sources = scene.sources();
        let tokens: Vec<String> = sources.iter().map(|source| scene.mint(source.id)).collect();
        // A literal, and rows of a source; one token is delivered apart.
        let text = format!(
            "{}imports: [{{id: carmen, share_token: {}}}]\nsources: [{{file: people.csv}}]\n",
            scene.head("acme"),
            tokens[0]
        );
        scene.write("m.yaml", &text);
        scene.write("people.csv", &format!("share_token,id\n{},eva\n{},zoe\n", tokens[1], tokens[2]));
        let canaries = Canaries::new(&tokens, &[&scene.running.api_key()]);
        let personal = Canaries::of(&["full_name", "document_number", "date_of_birth", "media.sandbox.invalid"]);
        for (line, output) in outputs(|args| scene.run(args), "carmen", &Uuid::from_u128(7).to_string()) {
            canaries.assert_untold(&line, &output);
            personal.assert_untold(&line, &output);
            assert!(!matches!(output.code, Some(1 | 64 | 65)), "{line}: {output:?}");
        }
        canaries.assert_unwritten(&scene, &GIVEN);
        personal.assert_unwritten(&scene, &GIVEN);
    }
}

#[test]
fn promise_5_a_token_is_told_by_eight_digits_of_its_keyed_fingerprint() {
    let fake =
        Fake::new(|request, _| request.is_import().then(|| Reply::json(201, &created(Uuid::from_u128(0xC1), request))));
    fake.write_entries(1);
    fake.apply(&["--no-verify"]).exits(0);
    let key: [u8; 32] = fake.folder.sql().value("SELECT fingerprint_key FROM meta", &[]);
    let token = fake.imports()[0].json()["share_token"].as_str().unwrap().to_owned();
    let expected = ShareToken::parse(&token).unwrap().fingerprint(&FingerprintKey::from_bytes(key)).to_string();
    let status = fake.folder.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&status["entries"][0]["provenance"]["token"], expected.len()), (&json!(expected), 8));
}

#[test]
fn promise_5_the_demo_shows_neither_its_key_nor_its_tokens() {
    let folder = Folder::new();
    let output = folder.run(&["demo", "--folder", "d", "-vv"]).exits(0);
    let files = folder.bytes_under("d");
    let texts = || files.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let tokens: Vec<String> = texts()
        .flat_map(|text| text.split([',', '\n', ' ', '"']).map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| didit_sync::token::has_jwt_form(word))
        .collect();
    let key = texts().find(|text| text.starts_with("sk_")).unwrap();
    assert!(tokens.len() > 5, "{}", tokens.len());
    let canaries = Canaries::new(&tokens, &[key.trim()]);
    canaries.assert_untold("demo", &output);
    for (path, bytes) in files.iter().filter(|(path, _)| path.to_string_lossy().contains(".db")) {
        canaries.assert_not_in(&path.display().to_string(), bytes);
    }
}

/// A token, a key, and a key from before keys had a prefix.
fn secrets() -> [String; 3] {
    let token = Token::new(Uuid::from_u128(1)).text();
    [token, format!("sk_live_{}", "c4naryKEY0".repeat(4)), "Zx9".to_owned() + &"c4naryOLD0".repeat(4)]
}

fn canaries_of(secret: &str) -> Canaries {
    if secret.contains('.') { Canaries::new(&[secret.to_owned()], &[]) } else { Canaries::new(&[], &[secret]) }
}

#[test]
fn promise_5_a_secret_given_as_an_argument_is_not_repeated() {
    let lines = [
        "T",
        "plan T",
        "validate T",
        "validate d/T",
        "apply T --yes",
        "audit T",
        "apply m.yaml --yes --only T",
        "apply m.yaml --yes --limit T",
        "apply m.yaml --yes --max-failures T",
        "apply m.yaml --yes --grace T",
        "apply m.yaml --yes --wait-lock T",
        "apply m.yaml --yes --report T",
        "apply m.yaml --yes --report T=x",
        "apply m.yaml --yes --no-verify --report json=none/T",
        "apply m.yaml --yes --api-key T",
        "apply m.yaml --yes --T",
        "plan m.yaml --token=T",
        "plan m.yaml --out none/T",
        "plan m.yaml --root T --allow-host T --color T",
        "status T",
        "status --state T",
        "report T",
        "ledger T",
        "ledger adopt T 00000000-0000-0000-0000-000000000001",
        "ledger adopt e0 T",
        "ledger forget T",
        "ledger forget --from T",
        "ledger erase T --reason r",
        "ledger backup none/T",
        "ledger check T",
        "status --ledger none/T/l.db",
        "init m.yaml/T",
        "completions T",
        "doctor T",
        "doctor m.yaml --ledger none/T/l.db",
        "explain T",
        "man --dir m.yaml/T",
        "sandbox --faults T",
        "sandbox --listen T",
        "demo --folder m.yaml/T",
    ];
    let fake = Fake::new(|request, _| request.is_import().then(|| Reply::json(201, &created(Uuid::nil(), request))));
    fake.write_entries(1);
    fake.folder.run(&["apply", "m.yaml", "--yes", "--no-verify"]);
    for secret in secrets() {
        let canaries = canaries_of(&secret);
        for line in lines {
            for more in [&["-vv"][..], &["--json", "--log-format", "json"]] {
                let line = line.replace('T', &secret);
                let mut args: Vec<&str> = line.split(' ').collect();
                args.extend(more);
                canaries.assert_untold(&line, &fake.folder.run(&args));
            }
        }
    }
    Canaries::new(&[], &["c4naryKEY0", "c4naryOLD0"]).assert_unwritten(&fake.folder, &GIVEN);
}

#[test]
fn promise_5_a_secret_in_the_environment_of_options_is_not_repeated() {
    let twins =
        ["LEDGER", "LIMIT", "REPORT", "COLOR", "LOG_FORMAT", "STATE", "GRACE", "FROM", "MAX_TRUSTED", "VERBOSE"];
    for secret in secrets() {
        let canaries = canaries_of(&secret);
        for twin in twins {
            let mut folder = Folder::new();
            folder.set(&format!("DIDIT_SYNC_{twin}"), &secret);
            for line in ["apply none.yaml --yes", "status", "ledger forget x", "apply --help", "ledger forget --help"] {
                let args: Vec<&str> = line.split(' ').collect();
                canaries.assert_untold(&format!("{twin} {line}"), &folder.run(&args));
            }
        }
    }
}

#[test]
fn promise_5_what_is_kept_of_a_run_holds_no_secret_that_was_put_into_it() {
    for secret in &secrets()[..2] {
        let canaries = canaries_of(secret);
        let fake = Fake::new(|request, _| {
            request.is_import().then(|| Reply::json(201, &created(Uuid::from_u128(0xC1), request)))
        });
        fake.write_entries(1);
        let text = format!("with {secret}");
        let origin = ["--actor", &text, "--reason", &text, "--ref", &text];
        let mut args = vec!["apply", "m.yaml", "--yes", "--no-verify", "--json", "--report", "json=r.json"];
        args.extend(origin);
        canaries.assert_untold("apply", &fake.folder.run(&args).exits(0));
        let mut args = vec!["ledger", "forget", "e0"];
        args.extend(origin);
        fake.folder.run(&args).exits(0);
        let listed = fake.folder.run(&["report", "--list"]).exits(0);
        assert!(listed.stdout.contains("with (masked)"), "{}", listed.stdout);
        canaries.assert_unwritten(&fake.folder, &GIVEN);
    }
}

/// Manifests with a secret where none belongs; `T` is the secret, `T1` and `T2` its halves.
const MISPLACED: &[&str] = &[
    "T: x\n",
    "imports: [{T: x}]\n",
    "imports: [T]\n",
    "imports: T\n",
    "name: T\n",
    "version: T\n",
    "limits: {writes_per_minute: T}\n",
    "limits: {timeout: T, max_failures: T}\n",
    "limits: T\n",
    "application: T\n",
    "application: {id: T}\n",
    "application: {api_key: T}\n",
    "application: {api_key: {T: x}}\n",
    "application: {api_key: {T}}\n",
    "application: {api_key: {env: T}}\n",
    "application: {api_key: {file: T}}\n",
    "application: {api_key: {file: ../T}}\n",
    "application: {api_key: {exec: [T]}}\n",
    "application: {api_key: {exec: [vault, T]}}\n",
    "application: {api_key: {exec: T}}\n",
    "application: {base_url: T}\n",
    "application: {base_url: \"https://verification.didit.me/T\"}\n",
    "application: {base_url: \"https://T@verification.didit.me\"}\n",
    "application: {base_url: \"https://verification.didit.me/v3?key=T\"}\n",
    "defaults: {workflow_id: T}\n",
    "defaults: {vendor_data: T}\n",
    "defaults: {vendor_data: \"{T}\"}\n",
    "imports: [{share_token: x T, id: a}]\n",
    "imports: [{share_token: {env: T}}]\n",
    "imports: [{share_token: {file: T}}]\n",
    "imports: [{share_token: {exec: [T]}}]\n",
    "imports: [{share_token: {exec: [a, T]}, source_session_id: 00000000-0000-0000-0000-000000000001}]\n",
    "imports: [{share_token: [T]}]\n",
    "imports: [{source_session_id: T}]\n",
    "imports: [{id: T, source_session_id: 00000000-0000-0000-0000-000000000001}]\n",
    "imports: [{vendor_data: T, source_session_id: 00000000-0000-0000-0000-000000000001}]\n",
    "imports: [{id: {T: T}}]\n",
    "imports:\n  - id: |\n      T1\n      T2\n    nmae: x\n",
    "imports:\n  - share_token: >-\n      T1\n      T2\n",
    "imports:\n  - share_token: \"T1\n      T2\"\n    nmae: x\n",
    "imports:\n  - share_token: T1\n T2\n",
    "imports:\n  - nmae: T1\n      T2\n",
    "imports:\n  - nmae: \"T1\\\n      T2\"\n",
    "# T\nimports: [{nmae: x}] # T\n",
    "nmae: x # api_key is T\n",
    "imports: [{share_token: \"T\n",
    "imports: [{share_token: T\n",
    "share_token: T\n\tx: T\n",
    "sources: [{file: T}]\n",
    "sources: [{file: T.csv}]\n",
    "sources: [{file: \"../T.csv\"}]\n",
    "sources: [{file: \"[T.csv\"}]\n",
    "sources: [{file: bad.csv}]\n",
    "sources: [{file: bad.ndjson}]\n",
    "sources: [{file: bad.yaml}]\n",
    "sources: [{file: bad.csv, on_invalid: skip}, {file: bad.ndjson, on_invalid: skip}]\n",
    "sources: [{file: bad.csv, columns: {id: T, vendor_data: T}}]\n",
    "tokens: [{file: bad.txt}]\n",
    "tokens: [{file: headless.csv}]\n",
    "sources: [{file: headless.csv}]\n",
    "sources: [{file: headless.csv, on_invalid: skip, columns: {share_token: T}}]\n",
    "sources: [{file: headless.tsv, columns: {vendor_data: x}}]\n",
    "partners: {T: {api_key: T}}\n",
    "expect: [T]\n",
    "imports: [{expect: T, mint: T, trust_review: T}]\n",
    "imports: [{share_token: T, source_session_id: 00000000-0000-0000-0000-000000000002}]\n",
    "imports: [{share_token: T, id: a}, {share_token: T, id: a}]\n",
    "imports: [{share_token: sk_T}]\n",
    "limits: {max_trusted: T}\n",
    "? T\n: x\n",
    "x: &T y\n",
    "x: *T\n",
    "x: !T y\n",
    "%T\n---\nx: y\n",
    "x: y\n---\nT: x\n",
    "T\n",
    "\"T\n",
    "{T\n",
    "x: [T\n",
    "x: y: T\n",
    "\tT: x\n",
    "x: \"\\q T\"\n",
    "tokens: [{file: bad.csv, on_duplicate: T}]\n",
];

#[test]
fn promise_5_a_secret_in_the_wrong_place_of_a_manifest_is_not_repeated() {
    for secret in &secrets()[..2] {
        let canaries = canaries_of(secret);
        let (one, two) = secret.split_at(secret.rfind('.').map_or(secret.len() - 4, |dot| dot + 12));
        let mut folder = Folder::new();
        folder.set("DIDIT_API_KEY", KEY);
        folder.set("DIDIT_SYNC_ALLOW_EXEC", "1");
        let row = format!("{secret},{secret},{secret}");
        folder.write("bad.csv", &format!("id,vendor_data,source_session_id\n{row}\n{secret},{secret}\n\"{secret}\n"));
        folder.write(
            "bad.ndjson",
            &format!("{{\"id\": \"{secret}\", \"x\": \"{secret}\"}}\n{{\"{secret}\": oops}}\n{secret}\n"),
        );
        folder.write("headless.csv", &format!("{secret}\n{secret}\n"));
        folder.write("headless.tsv", &format!("{secret}\t{secret}\n{secret}\t{secret}\n"));
        folder.write("bad.yaml", &format!("- {{id: {secret}, {secret}: x}}\n- {secret}\n"));
        folder.write("bad.txt", &format!("x {secret}\n{one}\n{two}\n"));
        for text in MISPLACED {
            let text = text.replace("T1", one).replace("T2", two).replace('T', secret);
            let head = ["version: 1\n", "name: acme\n"].into_iter().filter(|line| !text.starts_with(&line[..5]));
            let defaults = format!("defaults: {{workflow_id: {WORKFLOW}, trust_review: true}}\n");
            let defaults = if text.starts_with("defaults") { "" } else { &defaults };
            folder.write("m.yaml", &(head.collect::<String>() + defaults + &text));
            for args in [
                &["validate", "m.yaml", "-vv"][..],
                &["plan", "m.yaml", "--json", "--out", "plan.json"],
                &["apply", "m.yaml", "--yes", "--json", "-vv", "--log-format", "json", "--limit", "0"],
            ] {
                let output = folder.run(args);
                let what = format!("{args:?} of {text}");
                canaries.assert_untold(&what, &output);
                if let Some(two) = Some(two).filter(|two| two.len() > 8) {
                    Canaries::of(&[two]).assert_untold(&what, &output);
                }
            }
            canaries.assert_unwritten(
                &folder,
                &["m.yaml", "bad.csv", "bad.ndjson", "bad.yaml", "bad.txt", "headless.csv", "headless.tsv"],
            );
        }
    }
}

#[test]
fn promise_5_a_file_whose_name_is_a_secret_is_not_named() {
    let secret = format!("sk_live_{}", "c4naryKEY0".repeat(4));
    let canaries = canaries_of(&secret);
    let fake =
        Fake::new(|request, _| request.is_import().then(|| Reply::json(201, &created(Uuid::from_u128(0xC1), request))));
    let rows = format!("share_token,nmae\n{},x\n", Token::new(Uuid::from_u128(1)).text());
    fake.folder.write(&format!("{secret}.csv"), &rows);
    fake.folder.write(&format!("{secret}.yaml"), &(fake.head() + "sources: [{file: \"*.csv\"}]\n"));
    fake.folder.write(&format!("{secret}.txt"), "nobody\n");
    let manifest = format!("{secret}.yaml");
    let manifest = manifest.as_str();
    for args in [
        &["validate", manifest, "-vv"][..],
        &["plan", manifest, "--json"],
        &["apply", manifest, "--yes", "--no-verify", "--json", "-vv"],
        &["status", "-vv", "--json"],
        &["ledger", "forget", "--from", &format!("{secret}.txt")],
        &["ledger", "adopt", "--from", &format!("{secret}.txt")],
    ] {
        canaries.assert_untold(&format!("{args:?}"), &fake.folder.run(args));
    }
    assert_eq!(fake.imports().len(), 1);
    let kept = fake.folder.bytes_under("state");
    assert!(!kept.is_empty());
    for (path, bytes) in kept {
        canaries.assert_not_in(&path.display().to_string(), &bytes);
    }
}

#[test]
fn promise_5_texts_of_the_server_are_not_repeated() {
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
            let canaries = Canaries::of(&["Carmen", "99999999R", KEY, "eyJhbGci"]);
            canaries.assert_untold("apply", &done);
            canaries.assert_unwritten(&fake.folder, &GIVEN);
            if status >= 500 {
                break;
            }
        }
    }
}

#[test]
fn promise_5_a_token_that_the_server_repeats_is_not_kept_or_shown() {
    for status in [201, 400, 403, 500] {
        let session = Uuid::from_u128(0xC1);
        let fake = Fake::new(move |request, _| {
            let told = match request.json()["share_token"].as_str() {
                Some(token) => token.to_owned(),
                None => Token::new(Uuid::from_u128(1)).text(),
            };
            let mut body = created(session, request);
            for key in ["vendor_data", "session_url", "status", "detail", "error", "share_token"] {
                body[key] =
                    json!(if key == "session_url" { format!("https://verify.didit.me/{told}") } else { told.clone() });
            }
            body["features"] = json!([{"feature": told, "status": told}]);
            match request.target.as_str() {
                _ if request.is_import() => Some(Reply::json(status, &body).with("retry-after", &told)),
                target if target.ends_with("/decision/") => Some(Reply::json(200, &body)),
                _ => None,
            }
        });
        fake.write_entries(1);
        let canaries = Canaries::new(&[Token::new(Uuid::from_u128(1)).text()], &[KEY]);
        for args in [
            &["apply", "m.yaml", "--yes", "-vv", "--report", "json=r.json", "--max-failures", "0"][..],
            &["audit", "-vv", "--json"],
            &["status", "--json", "-vv"],
            &["report", "1"],
        ] {
            canaries.assert_untold(&format!("{status} {args:?}"), &fake.folder.run(args));
        }
        canaries.assert_unwritten(&fake.folder, &GIVEN);
    }
}

#[test]
fn promise_5_secrets_among_the_names_of_a_repair_are_not_repeated() {
    let fake = Fake::new(|request, _| request.is_import().then(|| Reply::json(201, &created(Uuid::nil(), request))));
    fake.write_entries(1);
    fake.apply(&["--no-verify"]).exits(0);
    for secret in secrets() {
        fake.folder.write("names.txt", &format!("{secret}\ne0 {secret}\n"));
        fake.folder.write("names.csv", &format!("id,session_id\n{secret},{secret}\ne0,{secret}\n"));
        fake.folder.write("bad.csv", &format!("{secret},{secret}\n\"{secret}\n"));
        for line in [
            "forget --from names.txt",
            "erase --reason r --from names.txt",
            "adopt --from names.csv",
            "adopt --from bad.csv",
            "forget --from bad.csv",
        ] {
            for more in ["", " --json --log-format json"] {
                let line = format!("ledger {line}{more} -vv");
                let args: Vec<&str> = line.split(' ').collect();
                canaries_of(&secret).assert_untold(&line, &fake.folder.run(&args));
            }
        }
    }
}

/// A decision with a person in every place that may have one, and findings to be made of it.
fn decision_of(session: Uuid, body: &Value) -> Value {
    let media = "https://media.didit.invalid/c4nary-portrait.jpg";
    let mut body = body.clone();
    body["session_id"] = json!(session);
    body["status"] = json!("Approved");
    body["workflow_id"] = json!(Uuid::from_u128(0xBAD));
    body["features"] = json!([{"feature": "ID_VERIFICATION", "status": "Declined"}, {"feature": "Carmen Canaria", "status": "Declined"}]);
    body["id_verifications"] = json!([{
        "status": "Declined", "full_name": "Carmen Canaria", "first_name": "Carmen", "last_name": "Canaria",
        "document_number": "C4NARY999R", "date_of_birth": "1977-07-07", "expiration_date": "2001-02-03",
        "portrait_image": media, "front_image": media, "warnings": [{"short_description": "Carmen Canaria"}],
    }]);
    body["contact_details"] = json!({"email": "carmen@canaria.invalid", "phone": "+34600999999"});
    body["reviews"] = json!([{"user": "Carmen Canaria", "new_status": "Approved", "comment": "C4NARY999R"}]);
    body["metadata"] = json!({"name": "Carmen Canaria"});
    body
}

#[test]
fn promise_5_personal_data_of_decisions_is_neither_shown_nor_kept() {
    let session = Uuid::from_u128(0xC1);
    let fake = Fake::new(move |request, _| {
        if request.is_import() {
            return Some(Reply::json(201, &decision_of(session, &created(session, request))));
        }
        let body = json!({"session_kind": "user", "vendor_data": "another", "session_url": null});
        let decision = decision_of(session, &body);
        if request.target.ends_with("/decision/") {
            return Some(Reply::json(200, &decision).with("x-person", "Carmen Canaria"));
        }
        let rows = json!({"count": 1, "next": null, "previous": null, "results": [decision]});
        request.target.contains("/v3/sessions/").then(|| Reply::json(200, &rows))
    });
    fake.write_entries(1);
    let canaries = Canaries::of(&[
        "Carmen",
        "Canaria",
        "CANARIA",
        "canaria.invalid",
        "C4NARY999R",
        "1977-07-07",
        "2001-02-03",
        "media.didit",
        "600999999",
    ]);
    let mut findings = 0;
    for (line, output) in outputs(|args| fake.folder.run(args), "e0", &session.to_string()) {
        canaries.assert_untold(&line, &output);
        findings += usize::from(output.stdout.contains("document-expired"));
    }
    assert!(findings > 0, "a finding is made of what is not told");
    canaries.assert_unwritten(&fake.folder, &GIVEN);
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
    let token = Token::new(Uuid::from_u128(1)).text();
    let quoted = serde_json::to_string(evil).unwrap();
    let text = fake.head() + &format!("imports: [{{share_token: {token}, id: {quoted}, vendor_data: {quoted}}}]\n");
    fake.folder.write("m.yaml", &text);
    let outputs = outputs(|args| fake.folder.run(args), "nobody", "none");
    let mut shown = false;
    for (_, output) in &outputs {
        for text in [&output.stdout, &output.stderr] {
            for c in ['\u{1b}', '\u{202e}', '\u{7}', '\u{200b}'] {
                assert!(!text.contains(c), "{:x} in\n{text:?}", u32::from(c));
            }
            shown |= text.contains("\\u{202e}");
        }
    }
    assert!(shown, "what was escaped is shown");
    assert!(outputs.iter().all(|(_, output)| !matches!(output.code, Some(1 | 65))), "{outputs:#?}");
}
