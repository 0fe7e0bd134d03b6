//! `vendor_data` with its placeholders: `{source_session_id}` and `{id}`; `{{` and `}}` are braces.

use uuid::Uuid;

/// A parsed `vendor_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Session,
    Id,
}

/// Why a text is no template, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadTemplate {
    pub(super) message: String,
    pub(super) help: String,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, BadTemplate> {
        if !text.contains(['{', '}']) {
            return Ok(Self(vec![Part::Text(text.to_owned())]));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let (part, after) = placeholder(brace, rest)?;
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(part);
            rest = after;
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        Ok(Self(parts))
    }

    /// The text for an entry; `None` where it asks for a source session that is not known.
    pub(super) fn fill(&self, session: Option<Uuid>, id: &str) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Session => out.push_str(&session?.to_string()),
                Part::Id => out.push_str(id),
            }
        }
        Some(out)
    }
}

fn placeholder<'t>(brace: &str, rest: &'t str) -> Result<(Part, &'t str), BadTemplate> {
    let help = "`{source_session_id}` and `{id}` are filled in; write `{{` and `}}` for braces".to_owned();
    let bad = |message: String| BadTemplate { message, help: help.clone() };
    if brace == "}" {
        return Err(bad("a `}` without a `{`".to_owned()));
    }
    let Some(end) = rest.find('}') else { return Err(bad("a `{` without a `}`".to_owned())) };
    let part = match &rest[..end] {
        "source_session_id" => Part::Session,
        "id" => Part::Id,
        name => {
            let shown: String = name.chars().take(40).collect();
            return Err(bad(format!("unknown placeholder `{{{shown}}}`")));
        }
    };
    Ok((part, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_braces() {
        let session: Uuid = "20bb3c3b-6146-439f-84a4-bd30d00ac6a2".parse().unwrap();
        let fill = |text: &str| Template::parse(text).unwrap().fill(Some(session), "carmen").unwrap();
        assert_eq!(fill("acme-{source_session_id}-{id}"), format!("acme-{session}-carmen"));
        assert_eq!(fill("{{id}} {{{id}}}"), "{id} {carmen}");
        assert_eq!(Template::parse("{source_session_id}").unwrap().fill(None, "x"), None);
        for bad in ["{", "}", "{user}", "a{id", "{{id}", "{}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}
