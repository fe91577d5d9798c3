//! A snapshot that parses is what its maps encode to, but for the max conflict version.
#![no_main]

use tallystick_core::snapshot::{SnapshotFile, encode_public};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(snapshot) = SnapshotFile::parse(data.to_vec()) else { return };
    let maps = snapshot.maps().iter().map(|map| {
        let rows = snapshot.rows(map).expect("it has been parsed before");
        let rows = rows.iter().map(|row| (row.key.to_vec(), row.version, row.value.to_vec())).collect();
        (map.name().to_owned(), map.version(), rows)
    });
    let again =
        encode_public(snapshot.seqno(), snapshot.hash_at_snapshot(), snapshot.view_history(), maps.collect());
    assert_eq!(again.get(17..), snapshot.public_domain().get(17..));
});
