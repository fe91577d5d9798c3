//! What CSV and JSON have in common: digits, hex, and what counts as text.

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        let digits = [usize::from(byte >> 4), usize::from(byte & 15)];
        out.extend(digits.iter().filter_map(|digit| HEX.get(*digit)));
    }
}

pub(super) fn number(out: &mut Vec<u8>, number: i64) {
    // A 64-bit number has at most 20 characters, so there is room for all that are made.
    let mut digits = [b'0'; 20];
    let (mut rest, mut at) = (number.unsigned_abs(), digits.len());
    loop {
        at = at.saturating_sub(1);
        if let (Some(digit), Ok(value)) = (digits.get_mut(at), u8::try_from(rest % 10)) {
            *digit = b'0' + value;
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits.get(at..).unwrap_or(&[]));
}

/// Transaction IDs `view.seqno` back to back, and where each begins; one more than rows.
#[must_use]
pub fn txids(view: &[i64], seqno: &[i64]) -> (Vec<i32>, Vec<u8>) {
    let (mut offsets, mut all) = (Vec::with_capacity(seqno.len() + 1), Vec::with_capacity(seqno.len() * 12));
    let (mut latest, mut prefix) = (None, Vec::new());
    offsets.push(0);
    for (view, seqno) in view.iter().zip(seqno) {
        if latest != Some(view) {
            latest = Some(view);
            prefix.clear();
            number(&mut prefix, *view);
            prefix.push(b'.');
        }
        all.extend_from_slice(&prefix);
        number(&mut all, *seqno);
        // As for keys, a segment is too small for more.
        offsets.push(i32::try_from(all.len()).unwrap_or(i32::MAX));
    }
    (offsets, all)
}

/// `bytes` as text, if they are UTF-8 and every character shows as itself: no controls but line feeds and tabs, nothing
/// that hides or changes the direction of writing, no private characters.
pub(super) fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (plain || text.chars().all(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_hidden(c))))
        .then_some(text)
}

/// Format, separator and private characters (categories Cf, Zl, Zp, Co) and those that no text has.
fn is_hidden(c: char) -> bool {
    matches!(c as u32,
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2 | 0x180e | 0x200b..=0x200f
        | 0x2028..=0x202e | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfdd0..=0xfdef | 0xfeff | 0xfff0..=0xfffb
        | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x0010_ffff)
        || c as u32 & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::{number, readable, txids};

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 7, 10, -1, 1_234_567_890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    #[test]
    fn transaction_ids() {
        let (offsets, all) = txids(&[2, 2, 10], &[9, 10, 11]);
        assert_eq!(offsets, [0, 3, 7, 12]);
        assert_eq!(all, b"2.92.1010.11");
        assert_eq!(txids(&[], &[]), (vec![0], vec![]));
    }

    #[test]
    fn text_is_what_shows_as_itself() {
        for text in ["", "key 1", "naïve\tline\n", "नमस्ते", "日本", "e\u{301}", "🙂"] {
            assert_eq!(readable(text.as_bytes()), Some(text));
        }
        for text in
            ["\0", "a\rb", "\u{1b}[31m", "\u{202e}", "\u{200b}", "\u{feff}", "\u{e000}", "\u{ffff}", "\u{85}"]
        {
            assert_eq!(readable(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(readable(b"\xff"), None);
        assert_eq!(readable(b"\xed\xa0\x80"), None);
    }
}
