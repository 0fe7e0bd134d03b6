//! The page of a run: what it holds, how large it is, and, where Chromium is installed, that it works, on paper (where
//! pdftotext is) and without script, too.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use didit_sync::report::html;
use serde_json::json;

use crate::support::browser::{Browser, chromium};
use crate::support::page::{hostile, id, report};
use crate::support::{Folder, Scene, patience, sandbox};

/// When the page's script is done.
pub const READY: &str = "document.documentElement.dataset.ready === 'yes'";

#[test]
fn the_page_loads_nothing_and_says_so_in_its_policy() {
    let page = html::render(&report(40)).unwrap();
    assert!(page.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"), "{}", &page[..600]);
    // Links lead to the page's own parts.
    assert_eq!(page.matches(" href=").count(), page.matches("<a href=\"#").count());
    for way_out in [" src=", "url(", "@import", "http:", "https:", "//", " style=", " onload="] {
        let lines = page.lines().filter(|line| line.contains(way_out) && !line.trim_start().starts_with("//"));
        // Base64 has slashes of its own.
        let lines: Vec<&str> = lines.filter(|line| !line.contains("data-rows>")).collect();
        assert!(lines.is_empty(), "{way_out}: {lines:#?}");
    }
}

#[test]
fn foreign_text_is_only_text() {
    let page = html::render(&hostile()).unwrap();
    assert_eq!(page.matches("<script").count(), 3, "two tables' rows and the page's own");
    assert_eq!(page.matches("</script>").count(), 3);
    assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains(['\u{2028}', '\u{202e}']));
    assert!(page.contains("&lt;/script&gt;") || page.contains("&#60;/script&#62;"), "it is shown all the same");
    assert!(page.contains("\\u{202e}"), "what moves text is told");
}

#[test]
fn secrets_in_packed_rows_are_masked_as_well() {
    let mut report = report(3);
    let key = format!("sk_live_{}", "a1b2c3d4".repeat(4));
    let mut outcomes: Vec<_> = report.outcomes.iter().collect();
    outcomes[0].vendor_data = Some(key.clone());
    report.outcomes = outcomes.into();
    let page = html::render(&report).unwrap();
    let packed = page.split("data-rows>").nth(2).unwrap().split('<').next().unwrap();
    let rows = unpacked(packed);
    assert!(rows.contains("(masked)") && !rows.contains(&key), "{rows}");
    // What is not packed is masked when it is written.
    assert!(!didit_sync::mask::masked(&page).contains(&key));
}

fn unpacked(packed: &str) -> String {
    let bytes = STANDARD.decode(packed).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::DeflateDecoder::new(&bytes[..]), &mut text).unwrap();
    text
}

#[test]
fn a_page_of_50_000_entries_is_under_5_mb_and_shows_1_000_without_its_script() {
    let page = html::render(&report(50_000)).unwrap();
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    let table = page.split("id=\"entries\"").nth(1).unwrap();
    assert_eq!(table.matches("<tr><td").count(), 1_000);
    assert!(table.contains("The first 1\u{202f}000 of 50\u{202f}000"));
    let packed = table.split("data-rows>").nth(1).unwrap().split('<').next().unwrap();
    let rows: Vec<Vec<String>> = serde_json::from_str(&unpacked(packed)).unwrap();
    assert_eq!(rows.len(), 50_000);
}

#[test]
fn an_audit_and_a_run_of_nothing_have_pages() {
    let mut audit = report(0);
    audit.run.command = "audit".to_owned();
    audit.sends.clear();
    let page = html::render(&audit).unwrap();
    assert!(
        page.contains("id=\"findings\"") && !page.contains("id=\"entries\"") && !page.contains("class=\"timeline\"")
    );
    let mut nothing = report(0);
    nothing.findings.clear();
    nothing.sends.clear();
    nothing.writes_per_minute = None;
    let page = html::render(&nothing).unwrap();
    assert!(page.contains("id=\"entries\"") && !page.contains("id=\"findings\""));
    assert_eq!(html::render(&nothing).unwrap(), page);
}

#[test]
fn the_program_writes_the_page_of_an_apply_an_audit_and_an_earlier_run() {
    let scene = Scene::new(sandbox(4));
    scene.write_all();
    scene.run(&["apply", "m.yaml", "--yes", "--report", "html=apply.html"]).exits(0);
    let page = scene.read("apply.html");
    assert!(page.contains("<title>didit-sync apply, run 1</title>") && page.contains("exit 0: ok"));
    assert!(
        page.contains("4 imports sent; at most 4 in any 60 seconds, where the limit is 300."),
        "the ledger's times"
    );
    scene.run(&["report", "--report", "html=again.html"]).exits(0);
    assert_eq!(scene.read("again.html"), page, "a page made later has the same bytes");
    scene.run(&["audit", "--report", "html=audit.html"]).exits(0);
    let audit = scene.read("audit.html");
    assert!(audit.contains("<title>didit-sync audit, run 2</title>") && !audit.contains("id=\"entries\""));
    scene.run(&["report", "1", "--report", "html=first.html"]).exits(0);
    assert_eq!(scene.read("first.html"), page);
}

#[test]
fn the_timeline_is_of_the_manifests_limit() {
    let scene = Scene::new(sandbox(2));
    let text = scene.manifest("acme").replace("imports:\n", "limits: {writes_per_minute: 120}\nimports:\n");
    scene.write("m.yaml", &text);
    scene.run(&["apply", "m.yaml", "--yes", "--report", "html=apply.html"]).exits(0);
    let page = scene.read("apply.html");
    assert!(page.contains("2 imports sent; at most 2 in any 60 seconds, where the limit is 120."));
    // Another limit later changes nothing about this run.
    scene.write("m.yaml", &text.replace("120", "60"));
    scene.run(&["apply", "m.yaml", "--yes"]).exits(0);
    scene.run(&["report", "1", "--report", "html=again.html"]).exits(0);
    assert_eq!(scene.read("again.html"), page);
}

/// A browser, if one is installed.
#[expect(clippy::print_stderr, reason = "what a test leaves out is said")]
pub fn browser() -> Option<Browser> {
    let found = chromium();
    if found.is_none() {
        assert!(std::env::var_os("DIDIT_SYNC_CHROMIUM").is_none(), "there is no Chromium");
        eprintln!("left out: the page in a browser, for there is no Chromium");
    }
    found.map(Browser::start)
}

/// The page after its script ran.
fn browse(folder: &Folder, browser: &mut Browser, page: &str, hash: &str) -> String {
    browser.open(&folder.write("page.html", page), hash);
    browser.until(READY);
    browser.text("document.documentElement.outerHTML")
}

/// The rows of a table as the browser shows them.
fn rows_of<'p>(page: &'p str, table: &str) -> Vec<&'p str> {
    let section = page.split(&format!("data-table=\"{table}\"")).nth(1).unwrap();
    let body = section.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    body.split("<tr>").skip(1).collect()
}

#[test]
fn in_a_browser_rows_are_unpacked_searched_and_counted_without_a_complaint_or_a_request() {
    let Some(mut browser) = browser() else { return };
    let folder = Folder::new();
    let page = html::render(&report(2_500)).unwrap();
    let all = browse(&folder, &mut browser, &page, "");
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    let requests: Vec<&str> = browser.requests().into_iter().filter(|it| *it != "about:blank").collect();
    assert!(requests.len() == 1 && requests[0].ends_with("page.html"), "{requests:?}");
    assert_eq!(rows_of(&all, "entries").len(), 100);
    assert!(all.contains("1 to 100 of 2\u{202f}500 shown") && all.contains("page 1 of 25"));

    // The last entry, which does not stand in the page as HTML.
    let last = id(2 * 2_499 + 1).to_string();
    assert!(!page.contains(&last));
    let found = browse(&folder, &mut browser, &page, &format!("#q={last}"));
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    assert!(rows_of(&found, "entries").len() == 1 && rows_of(&found, "entries")[0].contains(&last));
    assert!(rows_of(&found, "findings").is_empty());
    assert!(found.contains("nothing found"));
}

#[test]
fn in_a_browser_a_request_would_be_complained_of() {
    let Some(mut browser) = browser() else { return };
    let folder = Folder::new();
    let page = html::render(&report(3)).unwrap().replace("</h1>", "</h1><img src=\"https://didit.me/x.png\">");
    browse(&folder, &mut browser, &page, "");
    let complaints = browser.complaints();
    assert!(complaints.iter().any(|it| it.contains("Content Security Policy")), "{complaints:#?}");
}

#[test]
fn in_a_browser_foreign_text_stays_text() {
    let Some(mut browser) = browser() else { return };
    let folder = Folder::new();
    let page = browse(&folder, &mut browser, &html::render(&hostile()).unwrap(), "");
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("<script").count(), 3);
    assert_eq!(rows_of(&page, "entries").len(), 40);
}

#[test]
fn in_a_browser_without_script_the_totals_and_the_first_1_000_rows_show() {
    let Some(mut browser) = browser() else { return };
    let folder = Folder::new();
    browser.call("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    browser.open(&folder.write("page.html", &html::render(&report(2_500)).unwrap()), "");
    let shown =
        "[...document.querySelectorAll('[data-table=entries] tbody tr')].filter((row) => row.offsetHeight > 0).length";
    assert_eq!(browser.evaluate(shown), 1_000);
    let text = browser.text("document.body.innerText");
    assert!(text.contains("The first 1\u{202f}000 of 2\u{202f}500"), "{}", &text[..600]);
    assert!(text.contains("entries\n2\u{202f}500\nimported\n2\u{202f}100\n"), "{}", &text[..600]);
    // Nothing that only the script could serve.
    assert_eq!(
        browser.evaluate("[...document.querySelectorAll('input, select, button')].some((it) => it.offsetHeight > 0)"),
        false
    );
}

/// How soon is measured by `cargo bench --bench page`.
#[test]
fn in_a_browser_50_000_entries_are_unpacked() {
    let Some(mut browser) = browser() else { return };
    let folder = Folder::new();
    let all = browse(&folder, &mut browser, &html::render(&report(50_000)).unwrap(), "");
    assert!(all.contains("1 to 100 of 50\u{202f}000 shown"));
}

#[test]
#[expect(clippy::print_stderr, reason = "what a test leaves out is said")]
fn in_a_browser_each_printed_sheet_has_the_tables_head_and_whole_rows() {
    let Some(mut browser) = browser() else { return };
    if patience::run(Command::new("pdftotext").arg("-v")).is_err() {
        assert!(std::env::var_os("DIDIT_SYNC_CHROMIUM").is_none(), "there is no pdftotext");
        return eprintln!("left out: the page on paper, for there is no pdftotext");
    }
    let folder = Folder::new();
    browse(&folder, &mut browser, &html::render(&report(300)).unwrap(), "#q=acme");
    let printed = browser.call("Page.printToPDF", &json!({"preferCSSPageSize": true}));
    let pdf = STANDARD.decode(printed["data"].as_str().unwrap()).unwrap();
    std::fs::write(folder.path("page.pdf"), pdf).unwrap();
    let text = patience::run(Command::new("pdftotext").arg("-layout").arg(folder.path("page.pdf")).arg("-")).unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("Search acme") && text.contains("300 shown") && !text.contains("Next"), "{text}");
    let sheets: Vec<&str> = text.split('\u{c}').filter(|sheet| sheet.contains("acme-customer")).collect();
    assert!(sheets.len() > 3);
    let mut rows = 0;
    for sheet in sheets {
        let mut lines = sheet.lines().skip_while(|line| !line.contains("error and advice"));
        assert!(lines.next().is_some_and(|head| head.trim_start().starts_with("id")), "no head: {sheet}");
        // An id takes two lines of its cell: none begins on one sheet and ends on the next.
        let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
        let begun = lines.iter().filter(|line| line.contains(" acme-customer-")).count();
        let ended = lines.iter().filter(|line| line.contains(" 0302e76e41a8")).count();
        assert_eq!(begun, ended, "{sheet}");
        assert!(lines[0].contains(" acme-customer-"), "{sheet}");
        rows += begun;
    }
    assert_eq!(rows, 300, "{text}");
}
