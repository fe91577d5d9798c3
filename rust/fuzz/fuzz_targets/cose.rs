//! What parses has one way to be signed.
#![no_main]

use tallystick_core::cose::{CcfHeaders, CoseSign1};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(sign1) = CoseSign1::parse(data) {
        let _ = CcfHeaders::read(&sign1.protected_headers);
        assert_ne!(sign1.signed_bytes(None).is_ok(), sign1.signed_bytes(Some(&[])).is_ok());
    }
});
