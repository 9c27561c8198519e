//! A bounded reader of DER: as much of it as a certificate needs.
//!
//! Reads definite lengths in their shortest form only, and never past the end of what it was given. Copies nothing.

/// A sequence, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// An octet string.
pub(crate) const OCTETS: u8 = 0x04;
/// A bit string.
pub(crate) const BITS: u8 = 0x03;
/// An object identifier.
pub(crate) const OID: u8 = 0x06;
/// A boolean.
pub(crate) const BOOLEAN: u8 = 0x01;
/// An integer.
pub(crate) const INTEGER: u8 = 0x02;
/// A time with a year of two digits.
pub(crate) const UTC_TIME: u8 = 0x17;
/// A time with a year of four digits.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// The tag `[number]`, constructed.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Bytes that are not DER, or not what was expected there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotDer;

/// One value: its tag, what is in it, and all of it.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads values one after another.
#[derive(Clone, Copy)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next value, whatever it is.
    pub(crate) fn any(&mut self) -> Result<Value<'a>, NotDer> {
        let (&tag, rest) = self.0.split_first().ok_or(NotDer)?;
        // Tags of several bytes do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (&first, rest) = rest.split_first().ok_or(NotDer)?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let (digits, rest) = rest.split_at_checked(count).ok_or(NotDer)?;
                let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
                // The shortest form is the only one.
                let shortest = if count == 1 { 0x80 } else { 1 << (8 * (count - 1)) };
                if length < shortest {
                    return Err(NotDer);
                }
                (length, rest)
            }
            _ => return Err(NotDer),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok(Value { tag, content, whole })
    }

    /// The next value, which has this tag.
    pub(crate) fn next(&mut self, tag: u8) -> Result<Value<'a>, NotDer> {
        let value = self.any()?;
        if value.tag == tag { Ok(value) } else { Err(NotDer) }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, NotDer> {
        if self.0.first() == Some(&tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// What is in the next value, which is a sequence.
    pub(crate) fn sequence(&mut self) -> Result<Self, NotDer> {
        Ok(Self(self.next(SEQUENCE)?.content))
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<(), NotDer> {
        if self.is_empty() { Ok(()) } else { Err(NotDer) }
    }
}

/// The bytes of a bit string that is a whole number of bytes.
pub(crate) fn bits(value: Value<'_>) -> Result<&[u8], NotDer> {
    match value.content.split_first() {
        Some((0, bytes)) => Ok(bytes),
        _ => Err(NotDer),
    }
}

/// One value with this tag.
pub(crate) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length @ 0x80..=0xff => out.extend([0x81, length as u8]),
        length => {
            assert!(length <= 0xffff, "nothing of that size is written here");
            out.extend([0x82, (length >> 8) as u8, length as u8]);
        }
    }
    out.extend(content);
    out
}

/// Seconds since 1970 of a time in a certificate.
pub(crate) fn seconds(value: Value<'_>) -> Result<i64, NotDer> {
    let (text, century) = match (value.tag, value.content.len()) {
        (UTC_TIME, 13) => (value.content, None),
        (GENERALIZED_TIME, 15) => (&value.content[2..], Some(two(&value.content[..2])?)),
        _ => return Err(NotDer),
    };
    if text[12] != b'Z' {
        return Err(NotDer);
    }
    let mut parts = [0_i64; 6];
    for (part, digits) in parts.iter_mut().zip(text.chunks(2)) {
        *part = two(digits)?;
    }
    let [short, month, day, hour, minute, second] = parts;
    // Years of two digits are those from 1950 to 2049 (RFC 5280).
    let year = century.unwrap_or(if short >= 50 { 19 } else { 20 }) * 100 + short;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return Err(NotDer);
    }
    Ok(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn two(digits: &[u8]) -> Result<i64, NotDer> {
    match digits {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => Err(NotDer),
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; the year begins in March, so that a leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_calendar_has_them() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "40960101000000Z", Some(67_090_118_400)),
            (GENERALIZED_TIME, "20241301000000Z", None),
            (GENERALIZED_TIME, "2024010100000Z", None),
            (UTC_TIME, "70010100000aZ", None),
            (UTC_TIME, "7001010000000", None),
        ] {
            let bytes = write(tag, text.as_bytes());
            let value = Der::new(&bytes).any().expect("well formed");
            assert_eq!(seconds(value).ok(), expected, "{text}");
        }
    }

    #[test]
    fn lengths_are_read_in_their_shortest_form_and_never_past_the_end() {
        for size in [0, 1, 127, 128, 255, 256, 4096] {
            let bytes = write(OCTETS, &vec![7; size]);
            let mut der = Der::new(&bytes);
            assert_eq!(der.next(OCTETS).expect("written so").content.len(), size);
            assert_eq!(der.finish(), Ok(()));
            assert!(Der::new(&bytes[..bytes.len() - 1]).any().is_err(), "cut off");
        }
        for wrong in [
            &[4, 0x81, 1, 0][..],
            &[4, 0x82, 0, 1, 0],
            &[4, 0x80, 0, 0],
            &[4, 0x84, 0, 0, 0, 0],
            &[0x1f, 1, 0],
        ] {
            assert!(Der::new(wrong).any().is_err(), "{wrong:?}");
        }
    }
}
