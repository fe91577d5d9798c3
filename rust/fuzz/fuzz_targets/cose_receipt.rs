//! What parses has proofs whose paths have a legal shape.
#![no_main]

use tallystick_core::merkle::tree_sizes;
use tallystick_core::receipt::CoseReceipt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(receipt) = CoseReceipt::parse(data) {
        for proof in receipt.proofs {
            let sides = proof.path.iter().map(|step| step.0);
            assert!(tree_sizes(proof.commit_evidence.txid().seqno, sides).is_some());
        }
    }
});
