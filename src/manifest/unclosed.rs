//! Finds what a broken YAML text leaves open. Runs only after the parser gave up, and only to point at the right
//! place: the parser tells where it noticed, the reader wants to know where it began.

/// A sign and its place: line and column from 1.
pub(super) type Opening = (char, usize, usize);

/// The innermost `[` or `{` that is open at byte `end` of the text.
pub(super) fn bracket(text: &str, end: usize) -> Option<Opening> {
    let mut lexer = Lexer::new(text);
    lexer.run(end);
    lexer.open.last().copied()
}

/// The quote of the scalar that closes just before byte `end`, if it runs over more than one line: then it was
/// closed by the opening of another.
pub(super) fn quote_over_lines(text: &str, end: usize) -> Option<Opening> {
    let mut lexer = Lexer::new(text);
    lexer.run(end);
    let (opening, closed_in) = lexer.quoted?;
    (opening.1 < closed_in).then_some(opening)
}

/// The first tab that indents a line, from this line on: the parser may stop just before it.
pub(super) fn tab(text: &str, line: usize) -> Option<(usize, usize)> {
    let mut lines = text.lines().enumerate().skip(line.saturating_sub(1)).take(2);
    lines.find_map(|(number, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        indent.find('\t').map(|at| (number + 1, at + 1))
    })
}

/// What is said of an opening without a closing.
pub(super) fn words(sign: char) -> (&'static str, &'static str) {
    match sign {
        '[' => ("this `[` is never closed", "close the list with `]`"),
        '{' => ("this `{` is never closed", "close the map with `}`"),
        '\'' => ("this `'` is never closed", "close the text with `'`"),
        _ => ("this `\"` is never closed", "close the text with `\"`"),
    }
}

/// A rough reading of YAML: knows quotes, comments, brackets, plain and block scalars.
struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    line_start: usize,
    open: Vec<Opening>,
    quoted: Option<(Opening, usize)>,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, at: 0, line: 1, line_start: 0, open: Vec::new(), quoted: None }
    }

    fn run(&mut self, end: usize) {
        while self.at < end {
            let Some(c) = self.peek() else { return };
            match c {
                '#' => self.finish_line(),
                '"' | '\'' => self.quoted(c),
                '[' | '{' => {
                    self.open.push((c, self.line, self.column()));
                    self.bump();
                }
                ']' | '}' => {
                    self.open.pop();
                    self.bump();
                }
                '|' | '>' if self.open.is_empty() => self.block(),
                c if c.is_whitespace() || matches!(c, ',' | ':' | '-' | '?') => self.bump(),
                _ => self.plain(),
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn column(&self) -> usize {
        self.text.get(self.line_start..self.at).map_or(0, |line| line.chars().count()) + 1
    }

    fn bump(&mut self) {
        if let Some(c) = self.peek() {
            self.at += c.len_utf8();
            if c == '\n' {
                self.line += 1;
                self.line_start = self.at;
            }
        }
    }

    fn finish_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.bump();
        }
    }

    fn quoted(&mut self, quote: char) {
        let opening = (quote, self.line, self.column());
        self.bump();
        while let Some(c) = self.peek() {
            self.bump();
            if c == '\\' && quote == '"' {
                self.bump();
            } else if c == quote {
                if quote == '\'' && self.peek() == Some('\'') {
                    self.bump();
                } else {
                    break;
                }
            }
        }
        self.quoted = Some((opening, self.line));
    }

    /// A plain scalar of one line; its further lines are read as scalars of their own, which does no harm.
    fn plain(&mut self) {
        let flow = !self.open.is_empty();
        let mut before = ' ';
        while let Some(c) = self.peek() {
            let ends = c == '\n'
                || (c == '#' && before.is_whitespace())
                || (flow && matches!(c, ',' | '[' | ']' | '{' | '}'))
                || (before == ':' && c.is_whitespace());
            if ends {
                return;
            }
            before = c;
            self.bump();
        }
    }

    /// A block scalar: its header, then every line that is blank or indented deeper than its key.
    fn block(&mut self) {
        let line = self.text.get(self.line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
        let key = line.len() - line.trim_start_matches([' ', '-']).len();
        self.finish_line();
        self.bump();
        while let Some(line) = self.text.get(self.at..).and_then(|rest| rest.lines().next()) {
            let indent = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && indent <= key {
                return;
            }
            self.finish_line();
            self.bump();
        }
    }
}
