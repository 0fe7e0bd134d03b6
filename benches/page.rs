//! How soon the page of a run is there, by the browser's own clock, beside an empty page and one of the same bytes that
//! has nothing to do: `cargo bench --bench page [ENTRIES]`. Chromium has to be installed.
//!
//! *painted* is the browser's first contentful paint, *load* its load event, *ready* when all rows are unpacked and the
//! first hundred on the screen; all since the navigation began. *first key* and *next key* are from a key in the search
//! to its rows on the screen. Each is the median of some runs, in milliseconds.

#![expect(clippy::unwrap_used, reason = "a measurement that can't be made ends")]
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

#[path = "../tests/support/browser.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod browser;
#[path = "../tests/support/page.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod page;

use browser::{Browser, chromium};
use didit_sync::report::html;

const RUNS: usize = 7;

/// Waits for the frame that shows what is there now, and tells the time.
const SHOWN: &str = "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))";
const PAINTED: &str = "new Promise((done) => new PerformanceObserver((list) =>
    list.getEntriesByName('first-contentful-paint').forEach((it) => done(it.startTime)))
    .observe({ type: 'paint', buffered: true }))";
/// The key's own time, and the time when its rows were shown.
const AFTER_KEY: &str = "new Promise((done) => addEventListener('input', (event) =>
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - event.timeStamp))), { once: true }))";

fn main() {
    let Some(chromium) = chromium() else { return println!("there is no Chromium") };
    let entries = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(50_000);
    let folder = tempfile::tempdir().unwrap();
    let run = html::render(&page::report(entries)).unwrap();
    let plain = format!("<!doctype html><p>x<script type=text/plain>{}</script>", "QUJD".repeat(run.len() / 4));
    println!("{entries} entries, {} bytes; milliseconds", run.len());
    println!("page            painted    load   ready  first key  next key");
    let mut browser = Browser::start(chromium);
    for (name, text) in [("empty", "<!doctype html><p>x"), ("same bytes", &plain), ("run", &run)] {
        let file = folder.path().join("page.html");
        std::fs::write(&file, text).unwrap();
        let runs: Vec<[f64; 5]> = (0..RUNS).map(|_| measured(&mut browser, &file, name == "run")).collect();
        let median = |n: usize| {
            let mut times: Vec<f64> = runs.iter().map(|run| run[n]).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let shown = |n: usize| if median(n).is_nan() { "-".to_owned() } else { format!("{:.0}", median(n)) };
        let [painted, load, ready, first, next] = [0, 1, 2, 3, 4].map(shown);
        println!("{name:<14} {painted:>8} {load:>7} {ready:>7} {first:>10} {next:>9}");
    }
}

fn measured(browser: &mut Browser, file: &std::path::Path, has_script: bool) -> [f64; 5] {
    let observed =
        "if (top === self) new MutationObserver(() => { if (document.documentElement?.dataset.ready && !self.readyAt)
        { self.readyAt = 1; requestAnimationFrame(() => setTimeout(() => { self.readyAt = performance.now(); })); } })
        .observe(document, { attributes: true, subtree: true, attributeFilter: ['data-ready'] });";
    let added = browser.call("Page.addScriptToEvaluateOnNewDocument", &serde_json::json!({"source": observed}));
    browser.open(file, "");
    browser.call("Page.removeScriptToEvaluateOnNewDocument", &added);
    let mut ready = number(browser, SHOWN);
    let (mut first, mut next) = (f64::NAN, f64::NAN);
    if has_script {
        browser.until("self.readyAt > 1");
        ready = number(browser, "self.readyAt");
        browser.evaluate("document.querySelector('[data-table=entries] input').focus()");
        first = after_key(browser, "a");
        next = after_key(browser, "c");
    }
    let painted = number(browser, PAINTED);
    let load = number(browser, "performance.getEntriesByType('navigation')[0].loadEventEnd");
    [painted, load, ready, first, next]
}

fn after_key(browser: &mut Browser, key: &str) -> f64 {
    browser.evaluate(&format!("self.afterKey = {AFTER_KEY}; 0"));
    browser.press(key);
    number(browser, "self.afterKey")
}

fn number(browser: &mut Browser, script: &str) -> f64 {
    browser.evaluate(script).as_f64().unwrap_or(f64::NAN)
}
