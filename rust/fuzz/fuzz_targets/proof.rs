//! What parses has a path of a legal shape.
#![no_main]

use tallystick_core::receipt::CoseProof;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(proof) = CoseProof::parse(data) {
        assert!(proof.path.len() <= tallystick_core::limits::MAX_PATH_LENGTH);
    }
});
