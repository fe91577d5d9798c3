//! The tree in two forms: [`Tree`] keeps nodes and answers for any leaf, [`Frontier`] keeps only what further
//! appends and the root need.
use super::compact::encode;
use super::{CompactTree, MerkleError, PathStep, ZERO_LEAF, hash_pair};
use crate::limits::MAX_TREE_SIZE;
use crate::types::Digest;

/// A tree in logarithmic space: the roots of its complete subtrees, largest first, one for each set bit of
/// its size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The tree of a new service: the zero leaf alone.
    #[must_use]
    pub fn new() -> Self {
        Self { size: 1, peaks: vec![ZERO_LEAF] }
    }

    /// `peaks` holds one root for each set bit of `size`, largest subtree first.
    pub(super) fn from_peaks(size: u64, peaks: Vec<Digest>) -> Self {
        debug_assert_eq!(peaks.len(), size.count_ones() as usize);
        Self { size, peaks }
    }

    /// Reads a value of `public:ccf.internal.tree`.
    ///
    /// # Errors
    /// [`MerkleError`] when the bytes are not such a value.
    pub fn from_compact(value: &[u8]) -> Result<Self, MerkleError> {
        Ok(CompactTree::parse(value)?.frontier())
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Appends a leaf.
    pub fn append(&mut self, leaf: &Digest) {
        self.carry(*leaf, 0);
    }

    /// Appends many leaves.
    pub fn append_many(&mut self, leaves: &[Digest]) {
        for leaf in leaves {
            self.append(leaf);
        }
    }

    /// Appends a complete subtree of 2^`level` leaves by its root.
    ///
    /// # Errors
    /// [`MerkleError::SubtreeUnaligned`] when the size is not a multiple of 2^`level`,
    /// [`MerkleError::SizeLimit`] when the tree would outgrow any ledger.
    pub fn append_subtree(&mut self, level: u32, root: &Digest) -> Result<(), MerkleError> {
        let span = 1_u64.checked_shl(level).unwrap_or(u64::MAX);
        let size = u128::from(self.size) + u128::from(span);
        if size > u128::from(MAX_TREE_SIZE) {
            return Err(MerkleError::SizeLimit { limit: MAX_TREE_SIZE, size });
        }
        if !self.size.is_multiple_of(span) {
            return Err(MerkleError::SubtreeUnaligned { span, size: self.size });
        }
        self.carry(*root, level);
        Ok(())
    }

    /// Binary addition: each set bit of the size from `level` up is a subtree as large as `node`, to its left.
    fn carry(&mut self, mut node: Digest, level: u32) {
        for _ in 0..(self.size >> level).trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = hash_pair(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1 << level;
    }

    /// The root. An empty frontier (only [`CompactTree::flushed_frontier`] yields one) has the zero hash.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let last = peaks.next().copied().unwrap_or(ZERO_LEAF);
        peaks.fold(last, |node, left| hash_pair(left, &node))
    }

    /// The compact value that keeps no leaf.
    #[must_use]
    pub fn to_compact(&self) -> Vec<u8> {
        encode(self.size, &[], self.peaks.iter().rev())
    }

    /// The compact value that keeps `leaves`, which this frontier (the tree before them) does not hold yet.
    #[must_use]
    pub fn to_compact_with(&self, leaves: &[Digest]) -> Vec<u8> {
        encode(self.size, leaves, self.peaks.iter().rev())
    }
}

/// Root of a complete subtree over `leaves`, whose number must be a power of two; `None` otherwise.
#[must_use]
pub fn subtree_root(leaves: &[Digest]) -> Option<Digest> {
    if !leaves.len().is_power_of_two() {
        return None;
    }
    let mut frontier = Frontier::default();
    frontier.append_many(leaves);
    Some(frontier.root())
}

/// Complete nodes of one level, in order; the first one is node `base`.
///
/// Invariant: with `f` = first kept leaf and level *k*, `base` = (f >> k) rounded down to even. So the level
/// holds the root of the flushed subtree that bit *k* of `f` stands for, if it is set, and every complete
/// node to the right of the flushed leaves or across their end.
#[derive(Debug, Clone, Default)]
struct Level {
    base: u64,
    nodes: Vec<Digest>,
}

impl Level {
    fn node(&self, index: u64) -> Option<&Digest> {
        self.nodes.get(usize::try_from(index.checked_sub(self.base)?).ok()?)
    }
}

/// A tree that keeps every node from its first kept leaf on.
#[derive(Debug, Clone)]
pub struct Tree {
    first_kept: u64,
    size: u64,
    levels: Vec<Level>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&Frontier> for Tree {
    fn from(frontier: &Frontier) -> Self {
        Self::with_flushed(frontier.size, frontier.peaks.iter().rev())
    }
}

impl Tree {
    /// The tree of a new service: the zero leaf alone.
    #[must_use]
    pub fn new() -> Self {
        let mut tree = Self { first_kept: 0, size: 0, levels: Vec::new() };
        tree.append(ZERO_LEAF);
        tree
    }

    /// Reads a value of `public:ccf.internal.tree`.
    ///
    /// # Errors
    /// [`MerkleError`] when the bytes are not such a value.
    pub fn from_compact(value: &[u8]) -> Result<Self, MerkleError> {
        let compact = CompactTree::parse(value)?;
        let mut tree = Self::with_flushed(compact.first_kept(), compact.flushed().iter());
        tree.append_many(compact.leaves());
        Ok(tree)
    }

    fn with_flushed<'r>(first_kept: u64, roots_smallest_first: impl Iterator<Item = &'r Digest>) -> Self {
        let mut roots = roots_smallest_first;
        let depth = u64::BITS - first_kept.leading_zeros();
        let levels = (0..depth)
            .map(|level| {
                let base = (first_kept >> level) & !1;
                let nodes = if (first_kept >> level) & 1 == 1 {
                    roots.next().copied().into_iter().collect()
                } else {
                    Vec::new()
                };
                Level { base, nodes }
            })
            .collect();
        Self { first_kept, size: first_kept, levels }
    }

    /// Number of leaves, flushed ones included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Index of the first leaf that is kept.
    #[must_use]
    pub fn first_kept(&self) -> u64 {
        self.first_kept
    }

    /// Appends a leaf.
    pub fn append(&mut self, leaf: Digest) {
        let mut node = leaf;
        let mut index = self.size;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Level::default());
            }
            let Some(row) = self.levels.get_mut(level) else { break };
            row.nodes.push(node);
            // An odd node completes its parent; the left sibling is there by the invariant of `Level`.
            match (index % 2 == 1).then(|| row.node(index - 1)).flatten() {
                Some(left) => node = hash_pair(left, &node),
                None => break,
            }
            index /= 2;
        }
        self.size += 1;
    }

    /// Appends many leaves.
    pub fn append_many(&mut self, leaves: &[Digest]) {
        for leaf in leaves {
            self.append(*leaf);
        }
    }

    /// Leaf `index`.
    ///
    /// # Errors
    /// [`MerkleError::IndexOutOfRange`] when it is not kept or not there.
    pub fn leaf(&self, index: u64) -> Result<Digest, MerkleError> {
        self.kept(index, self.size)?;
        self.node(0, index)
    }

    fn kept(&self, index: u64, end: u64) -> Result<(), MerkleError> {
        if index < self.first_kept || index >= end {
            return Err(MerkleError::IndexOutOfRange { first: self.first_kept, end, index });
        }
        Ok(())
    }

    fn node(&self, level: u32, index: u64) -> Result<Digest, MerkleError> {
        self.levels
            .get(level as usize)
            .and_then(|row| row.node(index))
            .copied()
            .ok_or(MerkleError::IndexOutOfRange { first: self.first_kept, end: self.size, index })
    }

    fn answers_for(&self, size: u64) -> Result<(), MerkleError> {
        let first = self.first_kept.max(1);
        if size < first || size > self.size {
            return Err(MerkleError::SizeOutOfRange { first, last: self.size, size });
        }
        Ok(())
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier().root()
    }

    /// The root over leaves 0 … `size`-1.
    ///
    /// # Errors
    /// [`MerkleError::SizeOutOfRange`] when `size` is beyond the tree, or below its first kept leaf.
    pub fn root_at(&self, size: u64) -> Result<Digest, MerkleError> {
        self.answers_for(size)?;
        self.fold_tail(size, u64::BITS)
    }

    /// Folds the complete subtrees that the set bits of `size` below `level` stand for.
    fn fold_tail(&self, size: u64, level: u32) -> Result<Digest, MerkleError> {
        let mut folded: Option<Digest> = None;
        for bit in (0..level).filter(|bit| (size >> bit) & 1 == 1) {
            let left = self.node(bit, (size >> bit) - 1)?;
            folded = Some(folded.map_or(left, |right| hash_pair(&left, &right)));
        }
        folded.ok_or(MerkleError::SizeOutOfRange { first: 1, last: self.size, size })
    }

    /// The inclusion path of leaf `index` in the tree of `size` leaves, from the leaf up.
    ///
    /// # Errors
    /// [`MerkleError`] when the leaf is not kept, or the tree cannot answer for `size`.
    pub fn path(&self, index: u64, size: u64) -> Result<Vec<PathStep>, MerkleError> {
        self.answers_for(size)?;
        self.kept(index, size)?;
        let mut path = Vec::new();
        let mut level = 0;
        let (mut node, mut width) = (index, size);
        while width > 1 {
            if node % 2 == 1 {
                path.push((true, self.node(level, node - 1)?));
            } else if node + 1 < width {
                let complete = node + 1 < size >> level;
                let sibling =
                    if complete { self.node(level, node + 1)? } else { self.fold_tail(size, level)? };
                path.push((false, sibling));
            }
            node /= 2;
            width = width.div_ceil(2);
            level += 1;
        }
        Ok(path)
    }

    /// Forgets leaves before `first_kept`, keeping the roots of the complete subtrees that cover them.
    ///
    /// # Errors
    /// [`MerkleError::IndexOutOfRange`] when they are forgotten already, or beyond the tree.
    pub fn flush(&mut self, first_kept: u64) -> Result<(), MerkleError> {
        if first_kept < self.first_kept || first_kept > self.size {
            return Err(MerkleError::IndexOutOfRange {
                first: self.first_kept,
                end: self.size,
                index: first_kept,
            });
        }
        for (level, row) in self.levels.iter_mut().enumerate() {
            let base = (first_kept >> level) & !1;
            let forgotten = usize::try_from(base - row.base).unwrap_or(usize::MAX).min(row.nodes.len());
            row.nodes.drain(..forgotten);
            row.base = base;
        }
        self.first_kept = first_kept;
        Ok(())
    }

    /// Roots of the complete subtrees over leaves 0 … `size`-1, smallest first.
    fn subtrees(&self, size: u64) -> impl Iterator<Item = &Digest> {
        self.levels.iter().zip(0_u32..).filter_map(move |(row, level)| {
            let index = size >> level;
            if index % 2 == 1 { row.node(index - 1) } else { None }
        })
    }

    /// The value that CCF writes to `public:ccf.internal.tree`.
    #[must_use]
    pub fn to_compact(&self) -> Vec<u8> {
        let skip = usize::from(self.first_kept % 2 == 1);
        let leaves = self.levels.first().and_then(|row| row.nodes.get(skip..)).unwrap_or(&[]);
        encode(self.first_kept, leaves, self.subtrees(self.first_kept))
    }

    /// The same tree in logarithmic space.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        let mut peaks: Vec<Digest> = self.subtrees(self.size).copied().collect();
        peaks.reverse();
        Frontier::from_peaks(self.size, peaks)
    }
}
