//! An entry that parses is the concatenation of its parts.
#![no_main]

use tallystick_core::ledger::Entry;
use tallystick_core::ledger::crypto::assemble;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(entry) = Entry::new(data, 0) {
        let again = assemble(
            entry.flags(),
            &entry.gcm_tag(),
            &entry.gcm_iv(),
            entry.public_domain(),
            entry.private_domain(),
        );
        assert_eq!(again.as_deref(), Ok(data));
        let _ = entry.leaf();
    }
});
