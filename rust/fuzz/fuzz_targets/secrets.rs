//! What parses as a share is written as itself, whatever form it came in; files of secrets and keys end, either way.
#![no_main]

use tallystick_core::secrets::{DecryptionKey, Share, combine, read_keys};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(share) = Share::parse_any(data) {
        if let Ok(bytes) = share.serialise() {
            assert_eq!(Share::parse(&bytes).as_ref(), Ok(&share));
        }
        let _ = combine(&[&share], 1);
    }
    if let Ok(keys) = read_keys(data, 1) {
        assert!(!keys.is_empty());
    }
    let _ = DecryptionKey::from_pem(data);
});
