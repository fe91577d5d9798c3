//! A cursor over bytes in memory that never reads past its end.

/// Fewer bytes than a field needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes at byte {at}, got {actual}")]
pub struct Short {
    /// Where the field begins.
    pub at: usize,
    /// Bytes that the field needs.
    pub expected: u64,
    /// Bytes that are left.
    pub actual: usize,
}

/// A cursor. Every length is checked against what is left, so a hostile one cannot lead outside.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, position: 0 }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Short`] when there are fewer.
    #[inline]
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], Short> {
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((field, rest)) = taken else { return Err(self.short(length)) };
        self.rest = rest;
        self.position += field.len();
        Ok(field)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`Short`] when there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Short> {
        let Some((field, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.short(N as u64));
        };
        self.rest = rest;
        self.position += N;
        Ok(field)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Short`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[byte]| *byte)
    }

    /// A 64-bit number, little-endian.
    ///
    /// # Errors
    /// [`Short`] when there are fewer than eight bytes.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// A length as `u64`, little-endian, and that many bytes.
    ///
    /// # Errors
    /// [`Short`] when there are fewer.
    #[inline]
    pub fn blob(&mut self) -> Result<&'a [u8], Short> {
        let length = self.u64()?;
        self.take(length)
    }

    fn short(&self, expected: u64) -> Short {
        Short { at: self.position, expected, actual: self.rest.len() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_stops_at_the_end() {
        let mut reader = Reader::new(&[7, 2, 0, 0, 0, 0, 0, 0, 0, 5, 6, 9]);
        assert_eq!(reader.u8().unwrap(), 7);
        assert_eq!(reader.blob().unwrap(), [5, 6]);
        assert_eq!(reader.position(), 11);
        assert_eq!(reader.take(2), Err(Short { at: 11, expected: 2, actual: 1 }));
        assert_eq!(reader.take(u64::MAX), Err(Short { at: 11, expected: u64::MAX, actual: 1 }));
        assert_eq!(reader.take(1).unwrap(), [9]);
        assert!(reader.is_empty());
    }
}
