//! XML: answers as small trees, requests as text. Depth and size are bounded; there are no entities but the five and numbers.

use quick_xml::Reader;
use quick_xml::events::BytesRef;
use quick_xml::events::Event;

use crate::error::S3Error;

/// Levels of elements in an answer.
const DEPTH_MAX: usize = 32;

/// One element: its name without the namespace, its text, its children.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, S3Error> {
        let wrong = || S3Error::garbled("an XML document");
        let mut reader = Reader::from_reader(bytes);
        let mut open: Vec<Self> = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|_| wrong())? {
                Event::Start(start) => {
                    if open.len() > DEPTH_MAX {
                        return Err(wrong());
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                }
                Event::Empty(start) => {
                    let element = Self::named(start.local_name().as_ref());
                    open.last_mut().ok_or_else(wrong)?.children.push(element);
                }
                Event::End(_) => {
                    let element = open.pop().ok_or_else(wrong)?;
                    open.last_mut().ok_or_else(wrong)?.children.push(element);
                }
                Event::Text(text) => {
                    open.last_mut().ok_or_else(wrong)?.text += &String::from_utf8_lossy(&text);
                }
                Event::CData(text) => {
                    open.last_mut().ok_or_else(wrong)?.text += &String::from_utf8_lossy(&text);
                }
                Event::GeneralRef(reference) => {
                    open.last_mut().ok_or_else(wrong)?.text.push(character(&reference).ok_or_else(wrong)?);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let mut roots = open.pop().filter(|_| open.is_empty()).ok_or_else(wrong)?.children;
        if roots.len() == 1 { roots.pop().ok_or_else(wrong) } else { Err(wrong()) }
    }

    fn named(name: &[u8]) -> Self {
        Self { name: String::from_utf8_lossy(name).into_owned(), ..Self::default() }
    }

    /// The first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of this name; empty without one.
    pub(crate) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| &child.text)
    }

    /// The same, with nothing where there is no text.
    pub(crate) fn some_text_of(&self, name: &str) -> Option<String> {
        Some(self.text_of(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }
}

fn character(reference: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character);
    }
    match reference.as_ref() {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => None,
    }
}

/// Text as it may stand in an element. Control characters become references, which endpoints read though XML 1.0 does not.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            control if control.is_control() => out += &format!("&#{};", u32::from(control)),
            other => out.push(other),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_tree() {
        let text = br#"<?xml version="1.0"?><R xmlns="x"><K>a &amp; b&#10;&lt;c&gt;</K><E/><K>2</K><N><D>in</D></N></R>"#;
        let root = Element::parse(text).expect("valid");
        assert_eq!((root.name.as_str(), root.text_of("K")), ("R", "a & b\n<c>"));
        assert_eq!(root.all("K").count(), 2);
        assert_eq!(root.some_text_of("E"), None);
        assert_eq!(root.child("N").map(|n| n.text_of("D")), Some("in"));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        for bad in ["", "text", "<a>", "<a></b>", "<a/><b/>", "<a>&unknown;</a>", &deep] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad:.20}");
        }
    }

    #[test]
    fn what_is_escaped_reads_back() {
        let text = "a<b>&\"c\" ü\u{1}\n";
        let document = format!("<R>{}</R>", escape(text));
        assert_eq!(Element::parse(document.as_bytes()).expect("valid").text, text);
    }
}
