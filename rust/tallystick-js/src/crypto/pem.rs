//! PEM text (RFC 7468): labels and their bytes.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest PEM text that is looked at, bytes: keys and chains of certificates are far shorter.
const MAX_PEM_BYTES: usize = 1 << 20;

/// The first block of `text`: its label and bytes.
pub(super) fn first(text: &str) -> Option<(&str, Vec<u8>)> {
    if text.len() > MAX_PEM_BYTES {
        return None;
    }
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let end = format!("-----END {label}-----");
    let (body, _) = rest.split_once(end.as_str())?;
    let body: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// PEM text with lines of 64 characters.
pub(super) fn write(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
