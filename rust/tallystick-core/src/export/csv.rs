//! CSV (RFC 4180, lines end in LF). Nothing in a cell can pass for a formula.
use std::ops::Range;

use super::columns::{TransactionColumns, WriteColumns};
use super::text::{hex, number, readable};

/// First line of the table of transactions.
pub const TRANSACTIONS_HEADER: &str = "view,seqno,entry_type,flags,is_signature,file,offset,size,private_size,\
write_set_digest,commit_evidence_digest,claims_digest,leaf,signed_by,root\n";

/// First line of the table of writes.
pub const WRITES_HEADER: &str = "view,seqno,table_name,key,key_text,value,value_text,removed\n";

/// Some rows of `columns`; `file` is the path of their file.
#[must_use]
pub fn transactions(columns: &TransactionColumns, rows: Range<usize>, file: &str) -> Vec<u8> {
    let mut cell_of_file = Vec::new();
    name_cell(&mut cell_of_file, file);
    let mut out = Vec::with_capacity(rows.len() * (400 + cell_of_file.len()));
    for at in rows.start..rows.end.min(columns.len()) {
        let long = |column: &[i64]| column.get(at).copied().unwrap_or(0);
        let byte = |column: &[u8]| i64::from(column.get(at).copied().unwrap_or(0));
        let (view, seqno) = columns.txid(at);
        for value in [view, seqno, byte(&columns.entry_type), byte(&columns.flags)] {
            number(&mut out, value);
            out.push(b',');
        }
        out.extend_from_slice(truth(columns.is_signature.get(at)));
        out.push(b',');
        out.extend_from_slice(&cell_of_file);
        for value in [long(&columns.offset), long(&columns.size), long(&columns.private_size)] {
            out.push(b',');
            number(&mut out, value);
        }
        let digests = [
            columns.write_set_digest.get(at),
            columns.commit_evidence_digest.get(at),
            columns.claims_digest.get(at),
            columns.leaf.get(at),
        ];
        for digest in digests {
            out.push(b',');
            hex(&mut out, digest.map_or(&[], <[u8; 32]>::as_slice));
        }
        out.push(b',');
        if let Some(root) = columns.root.get(at) {
            number(&mut out, long(&columns.signed_by));
            out.push(b',');
            hex(&mut out, root);
        } else {
            out.push(b',');
        }
        out.push(b'\n');
    }
    out
}

/// Some rows of `columns`. Keys and values are `0x` and hexadecimal, which no program takes for a number or a formula.
/// Their text stands beside them where they are text.
#[must_use]
pub fn writes(columns: &WriteColumns, rows: Range<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 64);
    for at in rows.start..rows.end.min(columns.len()) {
        for column in [&columns.view, &columns.seqno] {
            number(&mut out, column.get(at).copied().unwrap_or(0));
            out.push(b',');
        }
        name_cell(&mut out, columns.table_name(at));
        out.push(b',');
        bytes_cells(&mut out, columns.key(at));
        out.push(b',');
        match columns.value(at) {
            Some(value) => bytes_cells(&mut out, value),
            None => out.push(b','),
        }
        out.push(b',');
        out.extend_from_slice(truth(columns.removed.get(at)));
        out.push(b'\n');
    }
    out
}

fn truth(value: bool) -> &'static [u8] {
    if value { b"true" } else { b"false" }
}

fn bytes_cells(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"0x");
    hex(out, bytes);
    out.push(b',');
    if let Some(text) = readable(bytes) {
        text_cell(out, text);
    }
}

/// A name: as text if it is readable, else as `0x` and hexadecimal, which no name of a public table is.
fn name_cell(out: &mut Vec<u8>, name: &str) {
    if readable(name.as_bytes()).is_some() {
        text_cell(out, name);
    } else {
        out.extend_from_slice(b"0x");
        hex(out, name.as_bytes());
    }
}

/// A text cell. A spreadsheet takes text that begins with one of some characters for a formula, unless an apostrophe
/// stands before it. Empty text is quoted, to tell it from nothing.
fn text_cell(out: &mut Vec<u8>, text: &str) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let quoted = text.is_empty() || text.starts_with(' ') || text.contains([',', '"', '\n', '\r']) || formula;
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    if formula {
        out.push(b'\'');
    }
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::text_cell;

    #[test]
    fn cells_are_quoted_and_no_formula() {
        let cell = |text: &str| {
            let mut out = Vec::new();
            text_cell(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(cell("public:records"), "public:records");
        assert_eq!(cell(""), "\"\"");
        assert_eq!(cell("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("@SUM(A1)"), "\"'@SUM(A1)\"");
        assert_eq!(cell("\t=1"), "\"'\t=1\"");
    }
}
