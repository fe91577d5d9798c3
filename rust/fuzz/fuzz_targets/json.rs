//! What the strict reader takes, serde_json takes too.
#![no_main]

use tallystick_core::json::Reader;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(mut reader) = Reader::new(data) else { return };
    if reader.skip().and_then(|()| reader.end()).is_ok() {
        serde_json::from_slice::<serde::de::IgnoredAny>(data).expect("strict JSON is JSON");
    }
});
