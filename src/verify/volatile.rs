//! What evidence leaves out, as listed in `volatile.txt`.

use std::sync::LazyLock;

const LIST: &str = include_str!("volatile.txt");

/// The list, read.
pub(super) static VOLATILE: LazyLock<Volatile> = LazyLock::new(|| Volatile::read(LIST));

/// Names by what they are left out for.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    fields: Vec<&'static str>,
    keys: Vec<&'static str>,
    media: Vec<&'static str>,
    media_endings: Vec<&'static str>,
    signed: Vec<&'static str>,
    /// Fields of a check that get digests of their own.
    pub(super) apart: Vec<&'static str>,
}

impl Volatile {
    /// Lines of other kinds are passed over; a test sees to it that there are none.
    fn read(list: &'static str) -> Self {
        let mut read = Self::default();
        for (kind, name) in lines(list) {
            match (kind, name.strip_prefix('*')) {
                ("field" | "ruled", _) => read.fields.push(name),
                ("key", _) => read.keys.push(name),
                ("media", Some(ending)) => read.media_endings.push(ending),
                ("media", None) => read.media.push(name),
                ("signed", _) => read.signed.push(name),
                ("apart", _) => read.apart.push(name),
                _ => {}
            }
        }
        read
    }

    /// Whether a field of the decision itself is left out.
    pub(super) fn is_left_out(&self, field: &str) -> bool {
        self.fields.contains(&field) || self.keys.contains(&field)
    }

    /// Whether a field at any depth is left out.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    /// Whether a text is a link that another read signs anew, or that another key is not shown.
    pub(super) fn is_link(&self, key: &str, text: &str) -> bool {
        if !(text.starts_with("https://") || text.starts_with("http://")) {
            return false;
        }
        self.media.contains(&key)
            || self.media_endings.iter().any(|ending| key.ends_with(ending))
            || self.is_signed(text)
    }

    fn is_signed(&self, url: &str) -> bool {
        let Some((_, query)) = url.split_once('?') else { return false };
        let query = query.to_ascii_lowercase();
        self.signed.iter().any(|mark| query.contains(mark))
    }
}

fn lines(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap_or((line, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_understood() {
        let known = ["field", "ruled", "key", "media", "signed", "apart"];
        for (kind, name) in lines(LIST) {
            assert!(known.contains(&kind) && !name.is_empty() && !name.contains(' '), "{kind} {name}");
        }
        let counted = [&VOLATILE.fields, &VOLATILE.keys, &VOLATILE.media, &VOLATILE.media_endings, &VOLATILE.signed];
        let count: usize = counted.iter().map(|names| names.len()).sum();
        assert_eq!(count + VOLATILE.apart.len(), lines(LIST).count());
    }

    #[test]
    fn links_are_told_from_texts_and_from_addresses_that_stay() {
        let is_link = |key, text| VOLATILE.is_link(key, text);
        assert!(is_link("front_image", "https://example.com/front.jpg"));
        assert!(is_link("extra_files", "https://example.com/x.pdf"));
        assert!(is_link("odd", "https://example.com/x?a=1&X-Amz-Signature=2"));
        assert!(!is_link("source", "https://example.com/article?id=5"));
        assert!(!is_link("front_image", "none"));
    }
}
