//! What parses is written back to the same bytes, and both forms agree on the root.
#![no_main]

use tallystick_core::merkle::{Frontier, Tree};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(tree) = Tree::from_compact(data) {
        assert_eq!(tree.to_compact(), data);
        assert_eq!(tree.root(), Frontier::from_compact(data).expect("the same bytes").root());
    }
});
