//! A line as JSON, as serde would write it: with a serialiser that writes byte by byte, this would
//! be the most of what a line costs.

use memchr::memchr2;
use serde::Serialize;

use super::{Line, Stream};
use crate::ident::Generation;

/// What stands before the text.
#[derive(Serialize)]
struct Head {
    at: i64,
    generation: Generation,
    stream: Stream,
}

/// Appends `line` and an end of line to `batch`.
pub(super) fn write(batch: &mut Vec<u8>, line: &Line) {
    let Line { at, generation, stream, text } = line;
    let head = Head { at: *at, generation: *generation, stream: *stream };
    // Numbers, and text in memory, cannot fail to serialise.
    let _ = serde_json::to_writer(&mut *batch, &head);
    batch.pop();
    batch.extend_from_slice(b",\"text\":");
    if has_control(text.as_bytes()) {
        let _ = serde_json::to_writer(&mut *batch, text);
    } else {
        quote(batch, text.as_bytes());
    }
    batch.extend_from_slice(b"}\n");
}

/// Text without control characters: nothing else but these two is escaped (RFC 8259).
fn quote(batch: &mut Vec<u8>, mut text: &[u8]) {
    batch.push(b'"');
    while let Some((plain, [special, rest @ ..])) =
        memchr2(b'"', b'\\', text).and_then(|at| text.split_at_checked(at))
    {
        batch.extend_from_slice(plain);
        batch.extend_from_slice(&[b'\\', *special]);
        text = rest;
    }
    batch.extend_from_slice(text);
    batch.push(b'"');
}

/// Whether a byte is below 32. Eight at a time: in a word, a byte less than 32 borrows from its
/// highest bit, and so does none that is at least 32 unless one below it has borrowed.
fn has_control(text: &[u8]) -> bool {
    const LEAST: u64 = u64::from_ne_bytes([32; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = text.as_chunks::<8>();
    let borrows = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        word.wrapping_sub(LEAST) & !word & HIGH != 0
    };
    words.iter().any(borrows) || rest.iter().any(|byte| *byte < 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same_as_serde(text: String) {
        let line = Line { at: 17, generation: Generation(3), stream: Stream::Stderr, text };
        let mut written = Vec::new();
        write(&mut written, &line);
        let expected = serde_json::to_string(&line).unwrap() + "\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn every_character_of_one_byte_is_written_as_serde_does() {
        for byte in 0..128 {
            let one = char::from(byte).to_string();
            for text in [one.clone(), one.repeat(20), format!("abcdefg{one}hijklmnopq")] {
                same_as_serde(text);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_does(text in r#"[ -~"\\\u{1}-\u{1f}äéß漢😀]{0,60}"#) {
            same_as_serde(text);
        }
    }
}
