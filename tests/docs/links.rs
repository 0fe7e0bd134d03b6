//! Every link within the project leads to a file, and to a heading that is there.

use super::page::{Page, pages, root};

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in &page.links {
            if !link.contains("://") && !leads_somewhere(&page, link) {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn leads_somewhere(page: &Page, link: &str) -> bool {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
    if !root().join(&path).exists() {
        return false;
    }
    anchor.is_none_or(|anchor| Page::read(&path).anchors.iter().any(|it| it == anchor))
}

/// Nobody finds a page that none leads to.
#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = vec![root().join("README.md").canonicalize().unwrap()];
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let page = Page::read(path.strip_prefix(root().canonicalize().unwrap()).unwrap());
        for link in page.links.iter().filter(|link| !link.contains("://")) {
            let file = link.split('#').next().unwrap();
            let Ok(path) = path.parent().unwrap().join(file).canonicalize() else { continue };
            if path.extension().is_some_and(|it| it == "md") && !reached.contains(&path) {
                reached.push(path);
            }
        }
    }
    for page in pages() {
        assert!(reached.contains(&root().join(&page.path).canonicalize().unwrap()), "{}", page.path.display());
    }
}
