use super::*;
use crate::error::Coded as _;
use crate::types::to_hex;

/// The definition, word for word: pair up, promote the odd last one, repeat.
fn naive_root(leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| if pair.len() == 2 { hash_pair(&pair[0], &pair[1]) } else { pair[0] })
            .collect();
    }
    level[0]
}

fn leaves(count: usize) -> Vec<Digest> {
    let mut leaves = vec![ZERO_LEAF];
    leaves.extend((1..count as u64).map(|i| Digest::from(Sha256::digest(i.to_le_bytes()))));
    leaves
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

const LARGEST: usize = 70;

#[test]
fn roots_and_paths_agree_with_the_definition_for_every_size_and_flush_point() {
    let leaves = leaves(LARGEST);
    for flushed in 0..LARGEST {
        let mut tree = Tree::new();
        tree.append_many(&leaves[1..]);
        tree.flush(flushed as u64).unwrap();
        for size in flushed.max(1)..=LARGEST {
            let root = naive_root(&leaves[..size]);
            assert_eq!(tree.root_at(size as u64).unwrap(), root, "size {size}, flushed {flushed}");
            for (index, leaf) in leaves.iter().enumerate().take(size).skip(flushed) {
                let path = tree.path(index as u64, size as u64).unwrap();
                assert_eq!(fold_path(leaf, &path), root);
                let sides: Vec<bool> = path.iter().map(|step| step.0).collect();
                assert_eq!(directions(index as u64, size as u64).unwrap(), sides);
            }
        }
        assert!(tree.root_at(LARGEST as u64 + 1).is_err());
        assert_eq!(tree.path(flushed as u64, LARGEST as u64).is_ok(), flushed < LARGEST);
        if flushed > 1 {
            assert!(tree.path(flushed as u64 - 1, LARGEST as u64).is_err());
            assert!(tree.root_at(flushed as u64 - 1).is_err());
        }
    }
}

#[test]
fn compact_form_round_trips_and_goes_on_from_every_flush_point() {
    let leaves = leaves(LARGEST);
    for size in 1..LARGEST {
        for flushed in 0..=size {
            let mut tree = Tree::new();
            tree.append_many(&leaves[1..size]);
            tree.flush(flushed as u64).unwrap();
            let value = tree.to_compact();
            assert_eq!(value.len(), 16 + 32 * (size - flushed + (flushed as u64).count_ones() as usize));
            let mut reread = Tree::from_compact(&value).unwrap();
            assert_eq!(reread.to_compact(), value);
            assert_eq!(CompactTree::parse(&value).unwrap().root(), naive_root(&leaves[..size]));
            let mut frontier = Frontier::from_compact(&value).unwrap();
            assert_eq!(frontier, tree.frontier());
            assert_eq!(Tree::from(&frontier).root(), frontier.root());
            reread.append_many(&leaves[size..]);
            frontier.append_many(&leaves[size..]);
            assert_eq!(reread.root(), naive_root(&leaves));
            assert_eq!(frontier.root(), naive_root(&leaves));
            assert_eq!(reread.frontier(), frontier);
        }
    }
}

#[test]
fn subtrees_append_like_their_leaves_and_only_where_they_fit() {
    let leaves = leaves(128);
    let mut frontier = Frontier::default();
    for (level, range) in [(4, 0..16), (3, 16..24), (3, 24..32), (5, 32..64), (0, 64..65)] {
        frontier.append_subtree(level, &subtree_root(&leaves[range.clone()]).unwrap()).unwrap();
        assert_eq!(frontier.root(), naive_root(&leaves[..range.end]));
    }
    assert_eq!(
        frontier.append_subtree(1, &ZERO_LEAF),
        Err(MerkleError::SubtreeUnaligned { span: 2, size: 65 })
    );
    assert_eq!(subtree_root(&leaves[..3]), None);
}

#[test]
fn tree_sizes_are_exactly_those_whose_directions_agree() {
    for index in 0..40 {
        for size in index + 1..200 {
            let sides = directions(index, size).unwrap();
            let sizes = tree_sizes(index, sides.iter().copied()).unwrap();
            for other in index + 1..260 {
                let same = directions(index, other).unwrap() == sides;
                assert_eq!(sizes.contains(&other), same, "leaf {index}, sizes {size} and {other}");
            }
        }
    }
}

#[test]
fn every_direction_word_is_judged_as_an_exhaustive_search_would() {
    for index in 0..16 {
        for length in 0..=6 {
            for word in 0..1_u32 << length {
                let sides: Vec<bool> = (0..length).map(|bit| (word >> bit) & 1 == 1).collect();
                let exists = (index + 1..=130).any(|size| directions(index, size).unwrap() == sides);
                assert_eq!(
                    tree_sizes(index, sides.iter().copied()).is_some(),
                    exists,
                    "leaf {index}, {sides:?}"
                );
            }
        }
    }
    assert!(tree_sizes(u64::MAX, []).is_none());
    assert!(tree_sizes(0, std::iter::repeat_n(false, 65)).is_none());
    assert!(tree_sizes(u64::MAX - 1, std::iter::repeat_n(true, 200)).is_none());
}

#[test]
fn directions_of_real_receipts() {
    for (index, size, expected) in [
        (62, 63, "LLLLL"),
        (100, 101, "LLL"),
        (139, 140, "LLLL"),
        (494, 497, "RLLLRLLLL"),
        (494, 503, "RLLLRLLLL"),
        (12440, 12441, "LLLLL"),
        (3, 7, "LLR"),
        (1007, 1009, "LLLLRLLLLL"),
        (26, 28, "RLLL"),
        (938, 941, "RLRLLLLL"),
        (1027, 1029, "LLRL"),
        (1364, 1367, "RRLLLLL"),
    ] {
        let text: String =
            directions(index, size).unwrap().iter().map(|l| if *l { 'L' } else { 'R' }).collect();
        assert_eq!(text, expected);
    }
    assert_eq!(directions(5, 5), None);
}

#[test]
fn tree_value_of_a_real_ledger() {
    let value = hex(
        "00000000000000020000000000000006d1f21fefae1c1f8daa5fd15cb131a8a8c5a6875ef6185f924f47cf831236e33d\
         797010b443a8733bd7fbb552296fc963d90af8ac51f42a80439d451e9f6acb87085ef53df0dd12cde21e37053f633635\
         9f023439e9703ed4150a471aad36a608e09825de7dca55ce1585c31610e20973f024163ee297c965deb2198eb6a3bedc",
    );
    let tree = Tree::from_compact(&value).unwrap();
    assert_eq!((tree.size(), tree.first_kept()), (8, 6));
    assert_eq!(to_hex(&tree.root()), "5db0ec23915fcb0201cccad120cf436dd5c1ba51bdae744b2ae113e2c19de60d");
    assert_eq!(tree.to_compact(), value);
}

#[test]
fn malformed_compact_trees_are_refused() {
    let code = |value: &[u8]| Tree::from_compact(value).unwrap_err().code();
    assert_eq!(code(&[]), "merkle-compact-size");
    assert_eq!(code(&[0; 15]), "merkle-compact-size");
    assert_eq!(code(&[0; 16]), "merkle-compact-empty");
    assert_eq!(code(&[255; 48]), "merkle-tree-size-limit");
    let mut one = vec![0; 48];
    one[7] = 1;
    assert!(Tree::from_compact(&one).is_ok());
    assert_eq!(code(&one[..47]), "merkle-compact-size");
    one.push(0);
    assert_eq!(code(&one), "merkle-compact-size");
}
