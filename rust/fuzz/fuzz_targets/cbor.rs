//! What decodes encodes to the same bytes.
#![no_main]

use tallystick_core::cbor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(value) = cbor::decode(data) {
        let mut again = Vec::new();
        value.encode(&mut again);
        assert_eq!(again, data);
    }
});
