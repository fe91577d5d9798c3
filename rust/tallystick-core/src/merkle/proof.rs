//! Inclusion paths: folding them, and what shape they must have.
use std::ops::RangeInclusive;

use super::hash_pair;
use crate::types::Digest;

/// One step of a path, from the leaf up: whether the sibling stands on the left, and its hash.
pub type PathStep = (bool, Digest);

/// The root that `path` leads to from `leaf`.
#[must_use]
pub fn fold_path(leaf: &Digest, path: &[PathStep]) -> Digest {
    path.iter().fold(
        *leaf,
        |node, (left, sibling)| {
            if *left { hash_pair(sibling, &node) } else { hash_pair(&node, sibling) }
        },
    )
}

/// Which side the siblings of leaf `index` stand on in a tree of `size` leaves (true: left), from the leaf up.
///
/// `None` when there is no such leaf.
#[must_use]
pub fn directions(index: u64, size: u64) -> Option<Vec<bool>> {
    if index >= size {
        return None;
    }
    let (mut index, mut size) = (index, size);
    let mut sides = Vec::new();
    while size > 1 {
        if index % 2 == 1 {
            sides.push(true);
        } else if index + 1 < size {
            sides.push(false);
        }
        index /= 2;
        size = size.div_ceil(2);
    }
    Some(sides)
}

/// The tree sizes in which leaf `index` has a path with exactly these directions, if there are any.
///
/// At level *k* an odd node always has its sibling on the left. An even node has one on the right exactly
/// when the tree reaches beyond leaf t = ((index >> k) + 1) << k, and t grows with *k*: so right siblings
/// are present up to some level and absent above it, and each presence or absence bounds the size.
#[must_use]
pub fn tree_sizes(index: u64, directions: impl IntoIterator<Item = bool>) -> Option<RangeInclusive<u64>> {
    let mut directions = directions.into_iter().peekable();
    let mut smallest = index.checked_add(1)?;
    let mut largest = u64::MAX;
    let mut level = 0;
    loop {
        let node = index.checked_shr(level).unwrap_or(0);
        if node == 0 && directions.peek().is_none() {
            // The next level up would have needed a right sibling if the tree were larger than this.
            let end = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
            return Some(smallest..=largest.min(end));
        }
        if node % 2 == 1 {
            if directions.next() != Some(true) {
                return None;
            }
        } else {
            let threshold = (node + 1).checked_shl(level).filter(|_| level < u64::BITS)?;
            if directions.peek() == Some(&false) {
                if largest != u64::MAX {
                    return None;
                }
                directions.next();
                smallest = threshold.checked_add(1)?;
            } else if node == 0 {
                return None;
            } else {
                largest = largest.min(threshold);
            }
        }
        level += 1;
    }
}
