//! What a domain writes and removes encodes to a domain that says the same, and is no longer.
#![no_main]

use tallystick_core::ledger::domain::{PublicFields, PublicHead, Tables, Visitor, encode_public, walk};
use tallystick_core::ledger::{Domain, EntryType};

#[derive(Default)]
struct Collect(Tables);

impl<'a> Visitor<'a> for Collect {
    fn map(&mut self, name: &'a str) {
        self.0.push((name.into(), Vec::new()));
    }
    fn write(&mut self, key: &'a [u8], value: &'a [u8]) {
        if let Some((_, changes)) = self.0.last_mut() {
            changes.push((key.into(), Some(value.into())));
        }
    }
    fn remove(&mut self, key: &'a [u8]) {
        if let Some((_, changes)) = self.0.last_mut() {
            changes.push((key.into(), None));
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(head) = PublicHead::parse(data) else { return };
    let mut tables = Collect::default();
    if walk(head.maps, Domain::Public, &mut tables).is_err() || head.entry_type == EntryType::Snapshot {
        return;
    }
    let fields = PublicFields {
        entry_type: head.entry_type,
        version: head.version,
        claims_digest: head.claims_digest.copied().unwrap_or_default(),
        commit_evidence_digest: head.commit_evidence_digest.copied().unwrap_or_default(),
        max_conflict_version: head.max_conflict_version,
    };
    let encoded = encode_public(&fields, tables.0.clone()).expect("what was walked can be encoded");
    // Reads are stepped over, so they are not encoded again.
    assert!(encoded.len() <= data.len());
    let mut again = Collect::default();
    let head = PublicHead::parse(&encoded).expect("what was encoded parses");
    walk(head.maps, Domain::Public, &mut again).expect("what was encoded is in order");
    assert_eq!(tables.0, again.0);
});
