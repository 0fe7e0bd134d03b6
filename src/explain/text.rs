//! Reads the texts beside this file: a section for each code, with paragraphs, fenced examples, and a last paragraph
//! that begins with `Do:`.

/// What is written of one code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'t> {
    pub(super) code: &'t str,
    /// All prose before the examples.
    pub(super) prose: &'t str,
    pub(super) wrong: Option<&'t str>,
    pub(super) right: Option<&'t str>,
    pub(super) example: Option<&'t str>,
    pub(super) help: Option<&'t str>,
}

/// The sections of a file; what stands before the first is for whoever reads the file itself.
pub(super) fn sections(file: &str) -> impl Iterator<Item = Text<'_>> {
    file.split("\n## ").skip(1).map(section)
}

fn section(text: &str) -> Text<'_> {
    let (code, body) = text.split_once('\n').unwrap_or((text, ""));
    let fence = |kind: &str| {
        let (_, rest) = body.split_once(&format!("```{kind}\n"))?;
        rest.split_once("\n```").map(|(example, _)| example)
    };
    let help = body.split_once("\nDo: ").map(|(_, help)| help.trim());
    let ends = ["\n```", "\nDo: "].into_iter().filter_map(|end| body.find(end));
    let prose = body[..ends.min().unwrap_or(body.len())].trim();
    Text { code, prose, wrong: fence("bad"), right: fence("good"), example: fence("example"), help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_prose_examples_and_help() {
        let file = "For readers.\n\n## a\nOne.\n\nTwo.\n\n```bad\nx: 1\n```\n\n```good\nx: 2\ny: 3\n```\n\nDo: it.\n\n## b\nB.\n";
        let read: Vec<_> = sections(file).collect();
        let a = Text {
            code: "a",
            prose: "One.\n\nTwo.",
            wrong: Some("x: 1"),
            right: Some("x: 2\ny: 3"),
            example: None,
            help: Some("it."),
        };
        assert_eq!(read, [a, Text { code: "b", prose: "B.", ..Text::default() }]);
    }
}
