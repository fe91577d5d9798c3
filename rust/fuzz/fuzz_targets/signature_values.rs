//! The values of signature transactions.
#![no_main]

use tallystick_core::sigtx::{parse_cose, parse_cose_sign1, parse_raw};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = parse_raw(data);
    let _ = parse_cose(data);
    if let Ok(signature) = parse_cose_sign1(data.to_vec()) {
        assert_eq!(signature.cose, data);
    }
});
