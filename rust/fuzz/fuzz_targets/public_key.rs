//! A key that parses is its own canonical encoding.
#![no_main]

use tallystick_core::signature::PublicKey;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(key) = PublicKey::from_spki(data) {
        assert_eq!(key.spki(), data);
        assert!(!key.verifies_prehashed(&[0; 32], data));
    }
});
