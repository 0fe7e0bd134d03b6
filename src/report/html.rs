//! `html`: what the terminal shows, on a page.

use super::kind::RenderError;
use super::{Report, text};
use crate::console::{LogFormat, Style};

/// A page that loads nothing and runs nothing.
pub fn render(report: &Report) -> Result<String, RenderError> {
    let style =
        Style { color: false, color_err: false, quiet: false, verbose: 1, log_format: LogFormat::Text, width: None };
    let text = report.with_view(|view| text::run(&report.run.command, &view, style));
    let title = format!("didit-sync {} {}", escaped(&report.run.command), report.run.id.0);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<pre>\n{}</pre>\n</html>\n",
        escaped(&text)
    ))
}

/// Inert in text and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
