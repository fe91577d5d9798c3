//! JSON, an object a line.
use std::ops::Range;

use super::columns::{TransactionColumns, WriteColumns};
use super::text::{hex, number, readable};

/// Some rows of `columns`; `file` is the path of their file.
#[must_use]
pub fn transactions(columns: &TransactionColumns, rows: Range<usize>, file: &str) -> Vec<u8> {
    let mut name = Vec::new();
    string(&mut name, file);
    let mut out = Vec::with_capacity(rows.len() * (640 + name.len()));
    for at in rows.start..rows.end.min(columns.len()) {
        let long = |column: &[i64]| column.get(at).copied().unwrap_or(0);
        let byte = |column: &[u8]| i64::from(column.get(at).copied().unwrap_or(0));
        txid(&mut out, columns.txid(at));
        for (label, value) in [("entry_type", byte(&columns.entry_type)), ("flags", byte(&columns.flags))] {
            field(&mut out, label);
            number(&mut out, value);
        }
        field(&mut out, "is_signature");
        out.extend_from_slice(truth(columns.is_signature.get(at)));
        field(&mut out, "file");
        out.extend_from_slice(&name);
        for (label, value) in [
            ("offset", long(&columns.offset)),
            ("size", long(&columns.size)),
            ("private_size", long(&columns.private_size)),
        ] {
            field(&mut out, label);
            number(&mut out, value);
        }
        for (label, digest) in [
            ("write_set_digest", columns.write_set_digest.get(at)),
            ("commit_evidence_digest", columns.commit_evidence_digest.get(at)),
            ("claims_digest", columns.claims_digest.get(at)),
            ("leaf", columns.leaf.get(at)),
        ] {
            digest_field(&mut out, label, digest);
        }
        let root = columns.root.get(at);
        field(&mut out, "signed_by");
        if root.is_some() {
            number(&mut out, long(&columns.signed_by));
        } else {
            out.extend_from_slice(b"null");
        }
        digest_field(&mut out, "root", root);
        out.extend_from_slice(b"}\n");
    }
    out
}

/// Some rows of `columns`.
#[must_use]
pub fn writes(columns: &WriteColumns, rows: Range<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 128);
    for at in rows.start..rows.end.min(columns.len()) {
        let long = |column: &[i64]| column.get(at).copied().unwrap_or(0);
        txid(&mut out, (long(&columns.view), long(&columns.seqno)));
        field(&mut out, "table_name");
        string(&mut out, columns.table_name(at));
        bytes_fields(&mut out, ["key", "key_text"], Some(columns.key(at)));
        bytes_fields(&mut out, ["value", "value_text"], columns.value(at));
        field(&mut out, "removed");
        out.extend_from_slice(truth(columns.removed.get(at)));
        out.extend_from_slice(b"}\n");
    }
    out
}

fn truth(value: bool) -> &'static [u8] {
    if value { b"true" } else { b"false" }
}

fn txid(out: &mut Vec<u8>, (view, seqno): (i64, i64)) {
    out.extend_from_slice(b"{\"txid\":\"");
    number(out, view);
    out.push(b'.');
    number(out, seqno);
    out.push(b'"');
    for (label, value) in [("view", view), ("seqno", seqno)] {
        field(out, label);
        number(out, value);
    }
}

fn field(out: &mut Vec<u8>, label: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"\":");
}

fn digest_field(out: &mut Vec<u8>, label: &str, digest: Option<&[u8; 32]>) {
    field(out, label);
    match digest {
        Some(digest) => {
            out.push(b'"');
            hex(out, digest);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn bytes_fields(out: &mut Vec<u8>, [exact, text]: [&str; 2], bytes: Option<&[u8]>) {
    field(out, exact);
    match bytes {
        Some(bytes) => {
            out.extend_from_slice(b"\"0x");
            hex(out, bytes);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    field(out, text);
    match bytes.and_then(readable) {
        Some(readable) => string(out, readable),
        None => out.extend_from_slice(b"null"),
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                hex(out, &[byte]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::string;

    #[test]
    fn strings_are_json() {
        for text in ["", "a\"b\\c", "\0\n\u{1f}\u{7f}", "ü日🙂", "\u{2028}"] {
            let mut out = Vec::new();
            string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
