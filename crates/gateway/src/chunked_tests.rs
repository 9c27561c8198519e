//! aws-chunked framings, whole and in single bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Framing;
use crate::inlet::BodyFault;
use crate::options::SIGNED_CHUNK_BYTES_MAX;
use crate::screen::Chunking;

fn run(chunking: Chunking, wire: &[u8], step: usize) -> Result<Vec<u8>, BodyFault> {
    let mut framing = Framing::new(chunking);
    let mut out = VecDeque::new();
    for piece in wire.chunks(step) {
        framing.push(Bytes::copy_from_slice(piece), &mut out, &mut |_| true)?;
    }
    framing.finish()?;
    Ok(out.into_iter().flatten().collect())
}

fn unsigned(decoded: u64) -> Chunking {
    Chunking { signed: false, trailer: true, decoded }
}

fn signed(decoded: u64) -> Chunking {
    Chunking { signed: true, trailer: false, decoded }
}

/// The data in a well-formed unsigned framing.
fn unframe(wire: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut rest) = (Vec::new(), wire);
    loop {
        let end = rest.iter().position(|b| *b == b'\n').expect("a size line");
        let size = std::str::from_utf8(&rest[..end - 1]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("hex");
        rest = &rest[end + 1..];
        if size == 0 {
            return (data, rest.to_vec());
        }
        data.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

#[test]
fn unsigned_chunks_come_out_as_they_arrive() {
    let wire = b"5\r\nhello\r\n0006\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    for step in [1, 2, 3, 7, wire.len()] {
        let out = run(unsigned(11), wire, step).expect("well formed");
        let (data, trailer) = unframe(&out);
        assert_eq!(data, b"hello world", "{step}");
        assert_eq!(trailer, b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "{step}");
    }
    let empty = run(unsigned(0), b"0\r\n\r\n", 1).expect("an empty body");
    assert_eq!(empty, b"0\r\n\r\n");
}

#[test]
fn signed_chunks_pass_unchanged() {
    let signature = "ab".repeat(32);
    let wire = format!("5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\n\r\n");
    for step in [1, 3, wire.len()] {
        assert_eq!(run(signed(5), wire.as_bytes(), step), Ok(wire.clone().into_bytes()));
    }
}

#[test]
fn bad_framings() {
    use BodyFault::{Framing, Trailer, Truncated};
    let length = |expected, received| BodyFault::Length { expected, received };
    let cases: [(&[u8], BodyFault); 20] = [
        (b"", Truncated),
        (b"5\r\nhello\r\n", Truncated),
        (b"5\r\nhel", Truncated),
        (b"5\r\nhello", Truncated),
        (b"5\r\nhello\r", Truncated),
        (b"5\r\nhello\r\n0", Truncated),
        (b"-1\r\n", Framing),
        (b"+5\r\n", Framing),
        (b"0x5\r\n", Framing),
        (b"\r\n", Framing),
        (b"5\nhello\r\n", Framing),
        (b" 5\r\n", Framing),
        (b"00000000000000005\r\n", Framing),
        (b"5;chunk-signature=ab\r\n", Framing),
        (b"5\r\nhelloX\r\n", Framing),
        (b"5\r\nhello\rX", Framing),
        (b"8000000000000000\r\n", length(5, 1 << 63)),
        (b"6\r\nhello!\r\n", length(5, 6)),
        (b"3\r\nhel\r\n0\r\n\r\n", length(5, 3)),
        (b"3\r\nhel\r\n3\r\nlo!\r\n", length(5, 6)),
    ];
    for (wire, expected) in cases {
        for step in [1, wire.len().max(1)] {
            let got = run(unsigned(5), wire, step);
            assert_eq!(got, Err(expected), "{}", String::from_utf8_lossy(wire));
        }
    }
    let mut endless = b"0\r\n".to_vec();
    endless.resize(20 << 10, b'x');
    assert_eq!(run(unsigned(0), &endless, 1000), Err(Trailer));
    let mut line = vec![b'0'; 200];
    assert_eq!(run(unsigned(0), &line, 1), Err(Framing));
    line.truncate(10);
    assert_eq!(run(unsigned(0), &line, 1), Err(Truncated));
}

#[test]
fn a_signed_chunk_is_bounded_and_needs_its_signature() {
    let signature = "ab".repeat(32);
    let max = SIGNED_CHUNK_BYTES_MAX;
    let line = |size: u64| format!("{size:x};chunk-signature={signature}\r\n").into_bytes();
    let too_large = BodyFault::ChunkTooLarge { bytes_max: max };
    assert_eq!(run(signed(max + 1), &line(max + 1), 9), Err(too_large));
    assert_eq!(run(signed(max), &line(max), 9), Err(BodyFault::Truncated));
    assert_eq!(run(signed(5), b"5\r\nhello\r\n", 9), Err(BodyFault::Framing));
    let mut framing = Framing::new(signed(5));
    let refused = framing.push(Bytes::from(line(5)), &mut VecDeque::new(), &mut |_| false);
    assert_eq!(refused, Err(BodyFault::Busy));
    let after = format!("0;chunk-signature={signature}\r\nx-amz-evil: 1\r\n\r\n");
    assert_eq!(run(signed(0), after.as_bytes(), 50), Err(BodyFault::Trailer), "no trailer was announced");
}
