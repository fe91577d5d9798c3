//! What parses folds to a root.
#![no_main]

use tallystick_core::receipt::JsonReceipt;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(receipt) = JsonReceipt::parse(data) {
        let leaf = receipt.leaf().or_else(|| receipt.leaf_with(None));
        let _ = receipt.root(&leaf.expect("every receipt has a leaf or its components"));
        let _ = receipt.txid().map(|txid| receipt.tree_sizes(txid.seqno));
    }
});
