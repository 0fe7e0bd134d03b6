//! A page, read as Markdown.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What a test looks at in a page.
#[derive(Debug, Default)]
pub struct Page {
    /// From the project's folder.
    pub path: PathBuf,
    pub text: String,
    /// Destinations of links and pictures.
    pub links: Vec<String>,
    /// The headings as GitHub makes anchors of them.
    pub anchors: Vec<String>,
    pub blocks: Vec<Block>,
    /// Code within lines.
    pub spans: Vec<String>,
}

/// A fenced block.
#[derive(Debug)]
pub struct Block {
    pub language: String,
    pub text: String,
    /// The file that the comment before it names.
    pub file: Option<String>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages in the project's folder, `docs` and what is below it.
pub fn pages() -> Vec<Page> {
    let markdown = |folder: PathBuf| {
        let listed = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        listed.filter(|path| path.extension().is_some_and(|it| it == "md")).collect::<Vec<_>>()
    };
    let mut paths = markdown(root().to_owned());
    paths.extend(markdown(root().join("docs")));
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    paths.iter().map(|path| Page::read(path.strip_prefix(root()).unwrap())).collect()
}

impl Page {
    pub fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut page = Self { path, ..Self::default() };
        let mut heading: Option<String> = None;
        let mut file = None;
        let mut inside = false;
        for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => page.anchors.extend(heading.take().map(|text| slug(&text))),
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    inside = true;
                    let block = Block { language: language.into_string(), text: String::new(), file: file.take() };
                    page.blocks.push(block);
                }
                Event::End(TagEnd::CodeBlock) => inside = false,
                Event::Text(text) if inside => page.blocks.last_mut().unwrap().text.push_str(&text),
                Event::Text(text) => heading.iter_mut().for_each(|heading| heading.push_str(&text)),
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                    page.spans.push(code.into_string());
                }
                Event::Html(comment) => {
                    let name = comment.trim().strip_prefix("<!-- file: ").and_then(|it| it.strip_suffix(" -->"));
                    file = name.map(str::to_owned).or(file);
                }
                _ => {}
            }
        }
        number(&mut page.anchors);
        page.text = text;
        page
    }

    pub fn blocks_of<'p>(&'p self, language: &'p str) -> impl Iterator<Item = &'p Block> {
        self.blocks.iter().filter(move |block| block.language == language)
    }
}

fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The second of two equal headings gets `-1`.
fn number(anchors: &mut [String]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for anchor in anchors {
        let times = seen.entry(anchor.clone()).or_default();
        *times += 1;
        if *times > 1 {
            *anchor = format!("{anchor}-{}", *times - 1);
        }
    }
}
