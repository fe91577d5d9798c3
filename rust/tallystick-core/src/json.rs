//! A strict reader for JSON (RFC 8259) that comes from elsewhere.
//!
//! It pulls values one by one, so that nothing is built that nobody asked for. Stricter than most readers:
//! a key may occur once in an object, however deep; nesting is limited; nothing may follow the value;
//! escapes must name Unicode scalar values.
use std::borrow::Cow;
use std::collections::HashSet;

use crate::error::coded;
use crate::limits::MAX_NESTING;

/// Where and why text is not the JSON that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("JSON: expected UTF-8, got another byte at offset {offset}")]
    NotUtf8 {
        /// Offset of the first byte that does not fit.
        offset: usize,
    },
    /// Not JSON.
    #[error("JSON: expected {expected} at offset {offset}, got {found}")]
    Syntax {
        /// Where.
        offset: usize,
        /// What the grammar allows there.
        expected: &'static str,
        /// What is there.
        found: Found,
    },
    /// A key twice in one object.
    #[error("JSON: expected each key once, got {key:?} again at offset {offset}")]
    DuplicateKey {
        /// After the second occurrence.
        offset: usize,
        /// The key.
        key: String,
    },
    /// JSON, but of another type.
    #[error("JSON: expected {expected} at offset {offset}, got {found}")]
    Type {
        /// Where.
        offset: usize,
        /// The type that was asked for.
        expected: &'static str,
        /// What is there.
        found: Found,
    },
    /// More after the value.
    #[error("JSON: expected the end at offset {offset}, got {found}")]
    TrailingBytes {
        /// Where.
        offset: usize,
        /// What is there.
        found: Found,
    },
    /// Nested deeper than the limit.
    #[error("JSON: expected at most {limit} levels of nesting, got more at offset {offset}")]
    TooDeep {
        /// The limit.
        limit: usize,
        /// Where.
        offset: usize,
    },
}

/// A character met, or the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found(Option<char>);

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(character) => write!(f, "{character:?}"),
            None => f.write_str("the end of the text"),
        }
    }
}

impl JsonError {
    /// Offset into the text.
    #[must_use]
    pub fn offset(&self) -> usize {
        match self {
            Self::NotUtf8 { offset }
            | Self::Syntax { offset, .. }
            | Self::DuplicateKey { offset, .. }
            | Self::Type { offset, .. }
            | Self::TrailingBytes { offset, .. }
            | Self::TooDeep { offset, .. } => *offset,
        }
    }
}

coded!(JsonError {
    NotUtf8 => "json-not-utf8",
    Syntax => "json-syntax",
    DuplicateKey => "json-duplicate-key",
    Type => "json-type",
    TrailingBytes => "json-trailing-bytes",
    TooDeep => "json-too-deep",
} limits { TooDeep });

/// Keys of one object so far. Objects of CCF have a dozen keys, where a list is fastest; a hash set takes over
/// where a hostile object has many.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    const FEW: usize = 16;

    fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.len() < Self::FEW {
            if self.few.contains(&key) {
                return false;
            }
            self.few.push(key);
            return true;
        }
        !self.few.contains(&key) && self.many.insert(key)
    }
}

/// Reads one JSON text from its start to its end.
pub struct Reader<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Starts reading `bytes`.
    ///
    /// # Errors
    /// [`JsonError::NotUtf8`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| JsonError::NotUtf8 { offset: error.valid_up_to() })?;
        Ok(Self { text, position: 0, depth: 0 })
    }

    /// Offset of the next byte.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or("")
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn found(&self) -> Found {
        Found(self.rest().chars().next())
    }

    fn syntax(&self, expected: &'static str) -> JsonError {
        JsonError::Syntax { offset: self.position, expected, found: self.found() }
    }

    fn wrong_type(&self, expected: &'static str) -> JsonError {
        JsonError::Type { offset: self.position, expected, found: self.found() }
    }

    /// Skips white space and returns the byte that a value starts with.
    fn start(&mut self) -> Result<u8, JsonError> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.position += 1;
        }
        match self.byte() {
            Some(
                byte @ (b'{'
                | b'['
                | b'"'
                | b't'
                | b'f'
                | b'n'
                | b'-'
                | b'0'..=b'9'
                | b'}'
                | b']'
                | b','
                | b':'),
            ) => Ok(byte),
            _ => Err(self.syntax("a value")),
        }
    }

    fn start_of(&mut self, first: u8, expected: &'static str) -> Result<(), JsonError> {
        match self.start()? {
            byte if byte == first => {
                self.position += 1;
                Ok(())
            }
            b'}' | b']' | b',' | b':' => Err(self.syntax("a value")),
            _ => Err(self.wrong_type(expected)),
        }
    }

    fn punctuation(&mut self, expected: &'static str, allowed: &[u8]) -> Result<u8, JsonError> {
        match self.start() {
            Ok(byte) if allowed.contains(&byte) => {
                self.position += 1;
                Ok(byte)
            }
            _ => Err(self.syntax(expected)),
        }
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(JsonError::TooDeep { limit: MAX_NESTING, offset: self.position });
        }
        Ok(())
    }

    /// Checks that only white space follows.
    ///
    /// # Errors
    /// [`JsonError::TrailingBytes`].
    pub fn end(&mut self) -> Result<(), JsonError> {
        let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
        match rest.chars().next() {
            None => Ok(()),
            found => {
                Err(JsonError::TrailingBytes { offset: self.text.len() - rest.len(), found: Found(found) })
            }
        }
    }

    /// Reads an object; `member` must consume the value of each key.
    ///
    /// # Errors
    /// [`JsonError`], and whatever `member` returns.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.start_of(b'{', "an object")?;
        self.deeper()?;
        let mut keys = Keys::default();
        if self.start()? == b'}' {
            self.position += 1;
        } else {
            loop {
                let key = self.key()?;
                self.punctuation("':'", b":")?;
                member(self, &key)?;
                if !keys.insert(key.clone()) {
                    return Err(
                        JsonError::DuplicateKey { offset: self.position, key: key.into_owned() }.into()
                    );
                }
                if self.punctuation("',' or '}'", b",}")? == b'}' {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn key(&mut self) -> Result<Cow<'a, str>, JsonError> {
        if self.start()? != b'"' {
            return Err(self.syntax("a key"));
        }
        self.string()
    }

    /// Reads an array; `item` must consume each value.
    ///
    /// # Errors
    /// [`JsonError`], and whatever `item` returns.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.start_of(b'[', "an array")?;
        self.deeper()?;
        if self.start()? == b']' {
            self.position += 1;
        } else {
            loop {
                item(self)?;
                if self.punctuation("',' or ']'", b",]")? == b']' {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string; borrowed when it holds no escape.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.start_of(b'"', "a string")?;
        let mut owned: Option<String> = None;
        loop {
            let rest = self.rest();
            let plain = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < 0x20).unwrap_or(rest.len());
            let piece = rest.get(..plain).unwrap_or("");
            self.position += plain;
            match self.byte() {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(match owned {
                        Some(mut text) => {
                            text.push_str(piece);
                            Cow::Owned(text)
                        }
                        None => Cow::Borrowed(piece),
                    });
                }
                Some(b'\\') => {
                    self.position += 1;
                    let character = self.escape()?;
                    let text = owned.get_or_insert_default();
                    text.push_str(piece);
                    text.push(character);
                }
                _ => return Err(self.syntax("'\"' or a character that is no control character")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        const EXPECTED: &str = "an escape";
        let character = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.position += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.syntax(EXPECTED)),
        };
        self.position += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.rest().starts_with("\\u") {
                    return Err(self.syntax("the second half of a surrogate pair"));
                }
                self.position += 2;
                match self.hex4()? {
                    second @ 0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => return Err(self.syntax("the second half of a surrogate pair")),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.syntax("an escape of a Unicode scalar value"))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let code = self
            .rest()
            .get(..4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.syntax("four hexadecimal digits"))?;
        self.position += 4;
        Ok(code)
    }

    /// Reads an unsigned integer without fraction or exponent.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn unsigned(&mut self) -> Result<u64, JsonError> {
        self.start()?;
        let before = self.position;
        let expected = "an unsigned 64-bit integer";
        if !matches!(self.byte(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong_type(expected));
        }
        let digits = self.number()?;
        digits.parse().map_err(|_| JsonError::Type {
            offset: before,
            expected,
            found: Found(digits.chars().next()),
        })
    }

    /// Reads a number and returns its text.
    fn number(&mut self) -> Result<&'a str, JsonError> {
        let before = self.position;
        if self.byte() == Some(b'-') {
            self.position += 1;
        }
        if self.byte() == Some(b'0') {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(self.text.get(before..self.position).unwrap_or(""))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(self.syntax("a digit"));
        }
        self.position += digits;
        Ok(())
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.start()? {
            b't' => self.literal("true").map(|()| true),
            b'f' => self.literal("false").map(|()| false),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// Reads `null` if it is next, and says whether it was.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn null(&mut self) -> Result<bool, JsonError> {
        if self.start()? != b'n' {
            return Ok(false);
        }
        self.literal("null").map(|()| true)
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.syntax(word));
        }
        self.position += word.len();
        Ok(())
    }

    /// Reads over one value of any type, as strictly as any other.
    ///
    /// # Errors
    /// [`JsonError`].
    pub fn skip(&mut self) -> Result<(), JsonError> {
        match self.start()? {
            b'{' => self.object(|reader, _| reader.skip()),
            b'[' => self.array(Self::skip),
            b'"' => self.string().map(drop),
            b't' | b'f' => self.boolean().map(drop),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            _ => Err(self.syntax("a value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Coded as _;

    fn skip(text: &str) -> Result<(), JsonError> {
        let mut reader = Reader::new(text.as_bytes())?;
        reader.skip()?;
        reader.end()
    }

    #[test]
    fn valid_texts_are_read_to_their_end() {
        for text in [
            "0",
            "-0",
            "-1.5e+10",
            "1E3",
            " \t\r\n[ ] ",
            "{}",
            "true",
            "false",
            "null",
            r#"{"a":[1,{"b":null}],"c":"\u00e9\ud83d\ude00\n\/","d":{"a":1}}"#,
        ] {
            skip(text).unwrap();
        }
    }

    #[test]
    fn invalid_texts_are_refused_with_the_reason() {
        for (text, code) in [
            ("", "json-syntax"),
            ("01", "json-trailing-bytes"),
            ("1.", "json-syntax"),
            ("-", "json-syntax"),
            ("1e", "json-syntax"),
            ("[1,]", "json-syntax"),
            ("[1 2]", "json-syntax"),
            ("{\"a\":1,}", "json-syntax"),
            ("{a:1}", "json-syntax"),
            ("{\"a\" 1}", "json-syntax"),
            ("tru", "json-syntax"),
            ("nul", "json-syntax"),
            ("\"\n\"", "json-syntax"),
            ("\"a", "json-syntax"),
            (r#""\x""#, "json-syntax"),
            (r#""\ud800""#, "json-syntax"),
            (r#""\udc00""#, "json-syntax"),
            (r#""\ud800\u0041""#, "json-syntax"),
            (r#""\u12g4""#, "json-syntax"),
            (r#""\u+123""#, "json-syntax"),
            ("1 1", "json-trailing-bytes"),
            ("{}\u{feff}", "json-trailing-bytes"),
            ("\u{feff}{}", "json-syntax"),
            ("]", "json-syntax"),
            (",", "json-syntax"),
            (r#"{"a":1,"a":1}"#, "json-duplicate-key"),
            (r#"{"a":1,"\u0061":1}"#, "json-duplicate-key"),
            (r#"[{"x":{"b":1,"c":2,"b":3}}]"#, "json-duplicate-key"),
            ("NaN", "json-syntax"),
        ] {
            assert_eq!(skip(text).unwrap_err().code(), code, "{text}");
        }
        assert_eq!(Reader::new(b"\"\xff\"").err().unwrap().code(), "json-not-utf8");
    }

    #[test]
    fn duplicate_keys_are_found_among_many() {
        let mut members: Vec<String> = (0..100).map(|i| format!("\"{i}\":{i}")).collect();
        skip(&format!("{{{}}}", members.join(","))).unwrap();
        for again in [0, 15, 16, 99] {
            members.push(format!("\"{again}\":0"));
            assert_eq!(skip(&format!("{{{}}}", members.join(","))).unwrap_err().code(), "json-duplicate-key");
            members.pop();
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        skip(&nested(MAX_NESTING)).unwrap();
        let error = skip(&nested(MAX_NESTING + 1)).unwrap_err();
        assert_eq!(error.code(), "json-too-deep");
        assert!(error.is_limit());
        assert!(skip(&"[".repeat(1_000_000)).is_err());
        assert!(skip(&"{\"a\":".repeat(1_000_000)).is_err());
    }

    #[test]
    fn types_are_checked() {
        assert_eq!(Reader::new(b"18446744073709551615").unwrap().unsigned(), Ok(u64::MAX));
        for text in ["18446744073709551616", "-1", "1.0", "1e3", "\"1\"", "null", "{}"] {
            assert_eq!(
                Reader::new(text.as_bytes()).unwrap().unsigned().unwrap_err().code(),
                "json-type",
                "{text}"
            );
        }
        assert_eq!(Reader::new(b"1").unwrap().string().unwrap_err().code(), "json-type");
        assert_eq!(Reader::new(b"1").unwrap().boolean().unwrap_err().code(), "json-type");
        assert_eq!(Reader::new(b" null").unwrap().null(), Ok(true));
        assert_eq!(Reader::new(b"1").unwrap().null(), Ok(false));
    }
}
