//! Rust text as the rules see it: what is code, what is comment, where functions and test modules lie, which paths are
//! named. A reader of tokens, not of grammar: it relies on the text compiling and being formatted by rustfmt.

use std::ops::Range;

/// A Rust file, split into its code and its comments; both keep the line structure of the original.
pub struct Rust {
    /// The text as it stands.
    raw: String,
    /// The text with comments and the insides of strings and characters blanked out.
    code: String,
    /// The text with everything but comments blanked out.
    comments: String,
}

/// A function with a body.
pub struct Function {
    /// Its plain name.
    pub name: String,
    /// Lines from its `fn` to its closing brace.
    pub lines: usize,
}

/// Code with blanked strings, as far as the splitter has read.
struct Splitter<'a> {
    text: &'a [u8],
    at: usize,
    code: Vec<u8>,
    comments: Vec<u8>,
}

impl Rust {
    /// Splits a text.
    pub fn read(text: &str) -> Self {
        let mut splitter = Splitter {
            text: text.as_bytes(),
            at: 0,
            code: blank(text.as_bytes()),
            comments: blank(text.as_bytes()),
        };
        splitter.split();
        let utf8 = |bytes| String::from_utf8(bytes).expect("whole characters are copied or become spaces");
        Self { raw: text.to_string(), code: utf8(splitter.code), comments: utf8(splitter.comments) }
    }

    /// The text as it stands.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The code, line by line.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The comments, line by line.
    pub fn comment_lines(&self) -> Vec<&str> {
        self.comments.lines().collect()
    }

    /// Number of lines.
    pub fn lines(&self) -> usize {
        self.raw.lines().count()
    }

    /// The code's words (identifiers and keywords) with their byte offsets.
    fn words(&self) -> Vec<(usize, &str)> {
        let mut words = Vec::new();
        let mut start = None;
        for (at, c) in self.code.char_indices().chain([(self.code.len(), ' ')]) {
            match (start, c.is_alphanumeric() || c == '_') {
                (None, true) => start = Some(at),
                (Some(from), false) => {
                    words.push((from, &self.code[from..at]));
                    start = None;
                }
                _ => {}
            }
        }
        words
    }

    /// The line of a byte offset, from 1.
    fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Lines on which this word stands in the code.
    pub fn lines_with_word(&self, word: &str) -> Vec<usize> {
        let mut lines: Vec<usize> =
            self.words().iter().filter(|found| found.1 == word).map(|found| self.line_of(found.0)).collect();
        lines.dedup();
        lines
    }

    /// From an offset on: the range of the next `{ … }`, or nothing when a `;` comes first.
    fn body(&self, from: usize) -> Option<Range<usize>> {
        let mut depth = 0;
        let mut nested = 0;
        let mut start = None;
        for (at, c) in self.code[from..].char_indices() {
            match c {
                '(' | '[' if start.is_none() => nested += 1,
                ')' | ']' if start.is_none() => nested -= 1,
                ';' if start.is_none() && nested == 0 => return None,
                '{' => {
                    start.get_or_insert(from + at);
                    depth += 1;
                }
                '}' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        return start.map(|start| start..from + at + 1);
                    }
                }
                '}' => return None,
                _ => {}
            }
        }
        None
    }

    /// All functions that have a body, nested ones too.
    pub fn functions(&self) -> Vec<Function> {
        let words = self.words();
        let mut functions = Vec::new();
        for pair in words.windows(2) {
            let [(at, "fn"), (name_at, name)] = *pair else { continue };
            // `fn(u8) -> u8` is a type: no space-separated name follows.
            if !self.code[at + 2..name_at].chars().all(char::is_whitespace) {
                continue;
            }
            if let Some(body) = self.body(name_at) {
                let (line, end) = (self.line_of(at), self.line_of(body.end - 1));
                functions.push(Function { name: name.to_string(), lines: end - line + 1 });
            }
        }
        functions
    }

    /// Line ranges of modules under `#[cfg(test)]`.
    pub fn test_modules(&self) -> Vec<Range<usize>> {
        let marks = self.code.match_indices("#[cfg(test)]").map(|(at, mark)| at + mark.len());
        marks
            .filter_map(|at| {
                let head = self.code[at..].split(['{', ';', '=']).next().unwrap_or("");
                head.split_whitespace().any(|word| word == "mod").then(|| self.body(at)).flatten()
            })
            .map(|body| self.line_of(body.start)..self.line_of(body.end - 1) + 1)
            .collect()
    }

    /// Lines that are only for tests; the whole file, when it is a `tests.rs` or lies below a `tests` directory.
    pub fn test_lines(&self, path: &str) -> Vec<Range<usize>> {
        if path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests") {
            return vec![Range { start: 1, end: usize::MAX }];
        }
        self.test_modules()
    }

    /// Every `use` with its line, as the flat paths it brings in; a glob ends in `*`.
    pub fn uses(&self) -> Vec<(usize, Vec<String>)> {
        let mut uses = Vec::new();
        for (at, word) in self.words() {
            let before = self.code[..at].trim_end();
            let starts_item =
                before.is_empty() || before.ends_with(['{', '}', ';', ']', ')']) || before.ends_with("pub");
            if word != "use" || !starts_item {
                continue;
            }
            if let Some(end) = self.code[at..].find(';') {
                let tree: String = self.code[at + "use".len()..at + end].to_string();
                uses.push((self.line_of(at), flatten(&tree)));
            }
        }
        uses
    }

    /// Every path of two or more words in the code (`std::fs::read`), and those that a `use` brings in, with its line.
    pub fn paths(&self) -> Vec<(usize, String)> {
        let mut paths: Vec<(usize, String)> = Vec::new();
        let mut end = usize::MAX;
        for (at, word) in self.words() {
            let joins = end < at && self.code[end..at].trim() == "::";
            end = at + word.len();
            match paths.last_mut() {
                Some((_, path)) if joins => {
                    path.push_str("::");
                    path.push_str(word);
                }
                _ => paths.push((self.line_of(at), word.to_string())),
            }
        }
        paths.retain(|(_, path)| path.contains("::"));
        for (line, tree) in self.uses() {
            paths.extend(tree.into_iter().map(|path| (line, path)));
        }
        paths
    }
}

/// Spaces for everything but line ends.
fn blank(text: &[u8]) -> Vec<u8> {
    text.iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }).collect()
}

/// `std::{fs, time::{Instant, Duration as D}}` as `std::fs`, `std::time::Instant`, `std::time::Duration`.
fn flatten(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.split_whitespace().collect::<String>().trim_start_matches("::").to_string()];
    };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let prefix: String = prefix.split_whitespace().collect();
    let mut paths = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let branch = inside[start..at].trim();
                if !branch.is_empty() {
                    paths.extend(flatten(branch).iter().map(|path| format!("{prefix}{path}")));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    paths
}

impl Splitter<'_> {
    fn split(&mut self) {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            if rest.starts_with(b"//") {
                let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                self.comment(length);
            } else if rest.starts_with(b"/*") {
                self.comment(block_comment(rest));
            } else if let Some((opening, length)) =
                string(rest).filter(|_| !self.inside_word() || rest[0] == b'"')
            {
                // The quotes stay, so that the code keeps its shape.
                self.keep(opening);
                self.at += length - opening;
            } else if let Some(length) = character(rest) {
                self.at += length;
            } else {
                self.keep(1);
            }
        }
    }

    /// Whether the byte before belongs to a word: the `r` in `for"…"` opens no raw string.
    fn inside_word(&self) -> bool {
        self.at > 0 && (self.text[self.at - 1].is_ascii_alphanumeric() || self.text[self.at - 1] == b'_')
    }

    fn keep(&mut self, length: usize) {
        let range = self.at..self.at + length;
        self.code[range.clone()].copy_from_slice(&self.text[range]);
        self.at += length;
    }

    fn comment(&mut self, length: usize) {
        let range = self.at..self.at + length;
        self.comments[range.clone()].copy_from_slice(&self.text[range]);
        self.at += length;
    }
}

/// Length of a block comment, which may hold others.
fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// A string literal at the start of `text`: the length of its opening, up to the first quote, and its whole length.
fn string(text: &[u8]) -> Option<(usize, usize)> {
    let prefix = text.iter().take_while(|byte| b"bcr".contains(byte)).count();
    let raw = prefix <= 2 && text[..prefix].contains(&b'r');
    let hashes = if raw { text[prefix..].iter().take_while(|&&byte| byte == b'#').count() } else { 0 };
    let opening = prefix + hashes + 1;
    if prefix > 2 || text.get(opening - 1) != Some(&b'"') {
        return None;
    }
    let mut at = opening;
    while at < text.len() {
        match text[at] {
            b'\\' if !raw => at += 2,
            b'"' if text[at + 1..].iter().take_while(|&&byte| byte == b'#').count() >= hashes => {
                return Some((opening, at + 1 + hashes));
            }
            _ => at += 1,
        }
    }
    Some((opening, text.len()))
}

/// Length of a character literal at the start of `text`; a lifetime is none.
fn character(text: &[u8]) -> Option<usize> {
    if text[0] != b'\'' || text.len() < 3 {
        return None;
    }
    if text[1] == b'\\' {
        let end = text[3..].iter().position(|&byte| byte == b'\'')?;
        return Some(3 + end + 1);
    }
    // One character of one to four bytes, then the closing quote.
    let width = std::str::from_utf8(&text[1..text.len().min(5)])
        .map_or_else(|error| error.valid_up_to(), str::len)
        .min(4);
    let first = std::str::from_utf8(&text[1..1 + width]).ok()?.chars().next()?;
    (text.get(1 + first.len_utf8()) == Some(&b'\'')).then_some(2 + first.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let text = r###"let a = "fs"; // net
let b = r#"a "quoted" thread"#; /* rand /* deep */ still */ let c = 'x'; let d: &'static str = b"\"serde";
let e = '\''; let f = '"'; let g = '\u{1F600}'; let h = 'ü'; fn done() {}"###;
        let rust = Rust::read(text);
        for word in ["fs", "net", "quoted", "thread", "rand", "deep", "still", "x", "serde", "ü"] {
            assert!(rust.lines_with_word(word).is_empty(), "{word} is not code");
        }
        for (word, line) in [("a", 1), ("c", 2), ("static", 2), ("e", 3), ("done", 3)] {
            assert_eq!(rust.lines_with_word(word), [line], "{word} is code");
        }
        assert!(rust.comment_lines()[0].ends_with("// net"));
        assert!(rust.comment_lines()[1].contains("/* rand /* deep */ still */"));
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_brace() {
        let text = "trait T { fn open(&self); }\nfn one() {}\nfn two(\n    a: [u8; 4],\n) -> fn(u8) -> u8 {\n    {\n    }\n}\n";
        let found: Vec<_> = Rust::read(text).functions().into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("one".to_string(), 1), ("two".to_string(), 6)]);
    }

    #[test]
    fn a_use_tree_is_flattened() {
        let text = "pub use std::{fs, time::{Instant,\n Duration as D}};\nfn f() {\n    use super::*;\n}\n";
        let uses = Rust::read(text).uses();
        assert_eq!(
            uses[0],
            (1, vec!["std::fs".into(), "std::time::Instant".into(), "std::time::Duration".into()])
        );
        assert_eq!(uses[1], (4, vec!["super::*".to_string()]));
        assert!(Rust::read("fn f() -> impl Iterator + use<'_> { g(); }").uses().is_empty());
    }

    #[test]
    fn paths_are_joined_over_spaces() {
        let paths = Rust::read("a();\nlet x = std :: fs\n    ::read(y::z);").paths();
        assert_eq!(paths, [(2, "std::fs::read".to_string()), (3, "y::z".to_string())]);
    }

    #[test]
    fn test_modules_are_found() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[cfg(test)]\nmod far;\nfn c() {}\n";
        assert_eq!(Rust::read(text).test_modules(), vec![3..6]);
        let text = "#[cfg(test)]\npub(crate) mod tests {\n}\n#[cfg(test)]\nfn mod_like() {\n}\n";
        assert_eq!(Rust::read(text).test_modules(), vec![2..4]);
    }
}
