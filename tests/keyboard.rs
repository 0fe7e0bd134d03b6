//! The page of a run by keyboard alone, and for those who hear it: real keys in Chromium, where it is installed.

use didit_sync::report::html;
use serde_json::{Value, json};

use crate::html::{READY, browser};
use crate::support::Folder;
use crate::support::browser::Browser;
use crate::support::page::report;

/// The status line of a table's search.
const STATUS: &str = "document.querySelector('[data-table=entries] [role=status]').textContent";
const ROWS: &str = "document.querySelectorAll('[data-table=entries] tbody tr')";

fn opened(folder: &Folder) -> Option<Browser> {
    let mut browser = browser()?;
    browser.open(&folder.write("page.html", &html::render(&report(2_500)).unwrap()), "");
    browser.until(READY);
    Some(browser)
}

/// Presses Tab until the focus is on an element named so.
#[track_caller]
fn tab_to(browser: &mut Browser, name: &str) {
    for _ in 0..40 {
        browser.press("Tab");
        if browser.focus() == name {
            return;
        }
    }
    panic!("no Tab leads to {name}");
}

/// Follows the link to the entries, which stands first on the page.
#[track_caller]
fn skip_to_entries(browser: &mut Browser) {
    tab_to(browser, "a Entries");
    browser.press("Enter");
    browser.until("location.hash === '#entries'");
}

/// Whether what has the focus can be seen, behind nothing, and be seen to have it.
const FOCUS_SHOWS: &str = "(() => {
    const it = document.activeElement, box = it.getBoundingClientRect(), style = getComputedStyle(it);
    const at = document.elementFromPoint(Math.max(box.left, 0) + 5, Math.max(box.top, 0) + 5);
    return it.contains(at) && style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2;
})()";

#[test]
fn tab_reaches_everything_in_the_order_of_reading_and_the_focus_shows() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    let mut order = Vec::new();
    loop {
        browser.press("Tab");
        let focus = browser.focus();
        if focus.starts_with("body") || order.len() > 60 {
            break;
        }
        browser.until(FOCUS_SHOWS);
        order.push(focus);
    }
    let table = |title: &str, choice: &str, heads: &[&str]| {
        let first = ["input Search".to_owned(), format!("select Only {choice}"), format!("div Rows of {title}")];
        first.into_iter().chain(heads.iter().map(|head| format!("button {head}"))).collect::<Vec<_>>()
    };
    let findings = ["id", "severity", "rule", "message", "expected", "actual", "session", "first seen", "manifest"];
    let entries = [
        "id",
        "outcome",
        "status",
        "kind",
        "error and advice",
        "vendor_data",
        "session",
        "source session",
        "workflow",
        "sends",
        "manifest",
    ];
    let mut expected = vec!["a Findings".to_owned(), "a Entries".to_owned()];
    expected.extend(table("Findings", "severity", &findings));
    expected.extend(table("Entries", "outcome", &entries));
    expected.extend(["button Previous".to_owned(), "button Next".to_owned()]);
    assert_eq!(order, expected);
    browser.press("Shift+Tab");
    browser.press("Shift+Tab");
    assert_eq!(browser.focus(), "button Previous", "and back");
}

#[test]
fn a_link_skips_to_a_table_where_typing_searches_and_escape_clears() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    skip_to_entries(&mut browser);
    browser.press("Tab");
    assert_eq!(browser.focus(), "input Search");
    browser.write("declined acme");
    browser.until(&format!("{STATUS} === '1 to 100 of 500 shown'"));
    browser.press("Enter");
    assert_eq!(browser.text(STATUS), "1 to 100 of 500 shown", "Enter sends no form");
    browser.press("Escape");
    browser.until(&format!("{STATUS} === '1 to 100 of 2\u{202f}500 shown'"));
    assert_eq!(browser.focus(), "input Search");
}

#[test]
fn arrows_choose_and_enter_and_space_sort() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    skip_to_entries(&mut browser);
    tab_to(&mut browser, "select Only outcome");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    browser.until(&format!("{STATUS} === '100 shown'"));
    browser.press("Home");
    browser.until(&format!("{STATUS} === '1 to 100 of 2\u{202f}500 shown'"));

    tab_to(&mut browser, "button vendor_data");
    let sorted = "document.activeElement.parentElement.ariaSort";
    let first = format!("{ROWS}[0].cells[5].textContent");
    browser.press("Enter");
    browser.until(&format!("{STATUS} === '1 to 100 of 2\u{202f}500 shown, by vendor_data, rising'"));
    assert_eq!((browser.text(sorted).as_str(), browser.text(&first).as_str()), ("ascending", "acme-customer-0000000"));
    browser.press("Space");
    browser.until(&format!("{STATUS}.endsWith('falling')"));
    assert_eq!((browser.text(sorted).as_str(), browser.text(&first).as_str()), ("descending", "acme-customer-9993778"));
    assert_eq!(browser.focus(), "button vendor_data", "and the focus stays");
    assert_eq!(browser.evaluate("document.querySelectorAll('[aria-sort]').length"), 1);
}

#[test]
fn pages_turn_and_the_button_keeps_the_focus_in_sight_to_the_last_page() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    skip_to_entries(&mut browser);
    tab_to(&mut browser, "button Next");
    let top = "document.querySelector('[data-table=entries]').getBoundingClientRect().top";
    for page in 2..=25 {
        browser.press(if page % 2 == 0 { "Enter" } else { "Space" });
        browser.until(&format!("document.body.innerText.includes('page {page} of 25')"));
        browser.until(FOCUS_SHOWS);
        browser.until(&format!("Math.abs({top}) < innerHeight / 2"));
    }
    browser.press("Enter");
    assert_eq!(browser.focus(), "button Next", "it has no page to go to, and keeps the focus");
    assert_eq!(browser.text("document.activeElement.ariaDisabled"), "true");
    browser.press("Shift+Tab");
    browser.press("Enter");
    browser.until(&format!("{STATUS}.startsWith('2\u{202f}301 to')"));
}

#[test]
fn a_table_wider_than_the_screen_scrolls_by_arrows() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    let narrow = json!({"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": false});
    browser.call("Emulation.setDeviceMetricsOverride", &narrow);
    skip_to_entries(&mut browser);
    tab_to(&mut browser, "div Rows of Entries");
    browser.press("ArrowRight");
    browser.until("document.activeElement.scrollLeft > 0");
    assert_eq!(
        browser.evaluate("document.documentElement.scrollWidth <= innerWidth"),
        true,
        "the page itself does not"
    );
}

#[test]
fn everything_has_a_role_and_a_name_and_nothing_moves() {
    let folder = Folder::new();
    let Some(mut browser) = opened(&folder) else { return };
    browser.call("Accessibility.enable", &json!({}));
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}))["nodes"].take();
    let nodes: Vec<(&str, &str)> =
        tree.as_array().unwrap().iter().filter(|node| node["ignored"] != true).map(named).collect();
    let spoken = ["button", "searchbox", "combobox", "link", "region", "search", "navigation", "table", "image"];
    for role in spoken {
        let names: Vec<&str> = nodes.iter().filter(|node| node.0 == role).map(|node| node.1).collect();
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "{role}: {names:?}");
    }
    let is = |role: &str, name: &str| nodes.contains(&(role, name));
    assert!(
        is("search", "Search in Entries") && is("region", "Rows of Entries") && is("navigation", "Pages of Entries")
    );
    assert!(nodes.iter().any(|node| node.0 == "main") && nodes.iter().any(|node| node.0 == "banner"));
    assert_eq!(nodes.iter().filter(|node| node.0 == "status").count(), 2);
    assert_eq!(browser.evaluate("document.getAnimations().length"), 0);
    let styles = browser.text("document.querySelector('style').textContent");
    assert!(["transition", "animation", "smooth"].into_iter().all(|it| !styles.contains(it)));
}

fn named(node: &Value) -> (&str, &str) {
    (node["role"]["value"].as_str().unwrap_or_default(), node["name"]["value"].as_str().unwrap_or_default())
}
