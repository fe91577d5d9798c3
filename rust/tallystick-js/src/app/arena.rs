//! Memory of one interpreter: a contiguous range with its allocator inside, which can be put back to an
//! earlier state by copying it.
//!
//! Every pointer that QuickJS holds points into the range or to data that outlives the interpreter, and the
//! range never moves, so a copy of its used part *is* the interpreter at that moment. Copying it back costs
//! microseconds where making a new runtime and context costs a hundred.
use std::mem::size_of;
use std::ptr::{self, NonNull};

use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};
use rquickjs::allocator::Allocator;

/// Every block starts at a multiple of this.
const ALIGN: usize = 16;
/// Bytes before a block that hold its capacity.
const PREFIX: usize = ALIGN;
/// Blocks up to this size have a class for every multiple of [`ALIGN`].
const LINEAR_BYTES: usize = 1024;
const LINEAR_CLASSES: usize = LINEAR_BYTES / ALIGN;
/// Above, there are this many classes for every doubling: at most a quarter of a block is waste.
const STEPS: usize = 4;
/// Doublings above [`LINEAR_BYTES`] up to one tebibyte, more than a heap may have.
const DOUBLINGS: usize = 30;
const CLASSES: usize = LINEAR_CLASSES + STEPS * DOUBLINGS;
/// Pages touched above the image that are kept for the next call; what lies beyond is given back.
const KEEP_BYTES: usize = 2 << 20;
const PAGE: usize = 4096;
/// Who wants a block of this size is asked whether it is late: it is about to do more than a step's work.
const ASK_BYTES: usize = 64 << 10;

/// The allocator's own state, at the start of the range, so that a copy of the range includes it.
#[repr(C)]
struct Header {
    /// Offset of the first byte never handed out.
    next: usize,
    /// Length of the range.
    end: usize,
    /// Per class, offset of the first free block; 0 means none. A free block holds the offset of the next.
    free: [usize; CLASSES],
}

/// First offset that blocks may use.
const START: usize = (size_of::<Header>() + ALIGN - 1) & !(ALIGN - 1);

/// A range of memory and the image of its earlier state.
pub(super) struct Arena {
    map: MmapMut,
    image: Vec<u8>,
}

impl Arena {
    /// Reserves a range of `bytes`; memory is only used as it is touched.
    pub(super) fn new(bytes: usize) -> std::io::Result<Self> {
        let bytes = bytes.max(START + PAGE);
        let mut map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
        let header = Header { next: START, end: bytes, free: [0; CLASSES] };
        // SAFETY: the map is page-aligned, longer than a header, and nobody else knows it.
        unsafe { map.as_mut_ptr().cast::<Header>().write(header) };
        Ok(Self { map, image: Vec::new() })
    }

    /// The allocator to give to a runtime, which must not outlive `self`. Large blocks are refused once `late` says so:
    /// a script that is past its time finds no memory for more work.
    pub(super) fn allocator(&mut self, late: Box<dyn Fn() -> bool>) -> Blocks {
        Blocks { base: self.map.as_mut_ptr(), late }
    }

    /// Keeps the present state to return to.
    pub(super) fn take_image(&mut self) {
        let used = self.used();
        self.image = self.map.get(..used).map(<[u8]>::to_vec).unwrap_or_default();
        self.image.shrink_to_fit();
    }

    /// Bytes of the image; 0 before there is one.
    pub(super) fn image_bytes(&self) -> usize {
        self.image.len()
    }

    /// Returns to the image, if there is one.
    ///
    /// # Safety
    /// No code of the runtime is running, and nobody outside the range holds a value that was made since the
    /// image was taken.
    pub(super) unsafe fn restore(&mut self) {
        if self.image.is_empty() {
            return;
        }
        let used = self.used();
        let kept = (self.image.len() + KEEP_BYTES).next_multiple_of(PAGE);
        if let Some(length) = used.checked_sub(kept).filter(|&length| length > 0) {
            // SAFETY: the range is private and anonymous, and nothing above the image is in use any more. When
            // the advice is refused the pages just stay.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, kept, length) };
        }
        // SAFETY: the image was copied from the start of the map, so it fits; they do not overlap.
        unsafe {
            ptr::copy_nonoverlapping(self.image.as_ptr(), self.map.as_mut_ptr(), self.image.len());
        }
    }

    fn used(&self) -> usize {
        // SAFETY: a header was written there by `new`, and the allocator keeps it valid.
        unsafe { (*self.map.as_ptr().cast::<Header>()).next }
    }
}

/// The allocator over an [`Arena`].
pub(super) struct Blocks {
    base: *mut u8,
    late: Box<dyn Fn() -> bool>,
}

/// Class and capacity of a block that holds `size` bytes; `None` when no block does.
fn class_of(size: usize) -> Option<(usize, usize)> {
    let size = size.max(ALIGN);
    if size <= LINEAR_BYTES {
        let class = size.div_ceil(ALIGN);
        return Some((class - 1, class * ALIGN));
    }
    let doubling = (size - 1).checked_ilog2()?.checked_sub(LINEAR_BYTES.ilog2())?;
    let base = LINEAR_BYTES.checked_shl(doubling)?;
    let step = base / STEPS;
    let steps = size.checked_sub(base)?.div_ceil(step);
    let class = LINEAR_CLASSES + usize::try_from(doubling).ok()? * STEPS + steps - 1;
    (class < CLASSES).then(|| (class, base + steps * step))
}

impl Blocks {
    /// Takes a block.
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        if size >= ASK_BYTES && (self.late)() {
            return None;
        }
        let (class, capacity) = class_of(size)?;
        let header = self.base.cast::<Header>();
        // SAFETY: `base` is the start of the arena's map, where its header lies; offsets in it were put there
        // by this allocator and lie within the map; the runtime uses its allocator from one thread at a time.
        unsafe {
            let free = (*header).free.get_mut(class)?;
            if *free != 0 {
                let block = self.base.add(*free);
                *free = block.cast::<usize>().read();
                return NonNull::new(block);
            }
            let start = (*header).next + PREFIX;
            let next = start.checked_add(capacity)?;
            if next > (*header).end {
                return None;
            }
            (*header).next = next;
            let block = self.base.add(start);
            block.sub(PREFIX).cast::<usize>().write(capacity);
            NonNull::new(block)
        }
    }
}

// SAFETY: blocks are aligned, disjoint, at least as long as asked for, and know their capacity.
unsafe impl Allocator for Blocks {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        self.take(size).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        let Some(size) = count.checked_mul(size) else { return ptr::null_mut() };
        let Some(block) = self.take(size) else { return ptr::null_mut() };
        // SAFETY: the block has at least `size` bytes. Memory is used again after a restore, so it may be dirty.
        unsafe { block.as_ptr().write_bytes(0, size) };
        block.as_ptr()
    }

    unsafe fn dealloc(&mut self, block: *mut u8) {
        // SAFETY: the caller gives a block of this allocator, whose capacity stands before it and names its class.
        unsafe {
            let capacity = block.sub(PREFIX).cast::<usize>().read();
            let header = self.base.cast::<Header>();
            let Some((class, _)) = class_of(capacity) else { return };
            let Some(free) = (*header).free.get_mut(class) else { return };
            block.cast::<usize>().write(*free);
            *free = block.offset_from(self.base).unsigned_abs();
        }
    }

    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        if block.is_null() {
            return self.alloc(new_size);
        }
        // SAFETY: as above; a block grows in place when it has room, or when it is the last one of the range.
        unsafe {
            let prefix = block.sub(PREFIX).cast::<usize>();
            let capacity = prefix.read();
            if new_size <= capacity && new_size >= capacity / 2 {
                return block;
            }
            let header = self.base.cast::<Header>();
            let start = block.offset_from(self.base).unsigned_abs();
            if new_size >= ASK_BYTES && (self.late)() {
                return ptr::null_mut();
            }
            if new_size > capacity && start + capacity == (*header).next {
                let Some((_, wanted)) = class_of(new_size) else { return ptr::null_mut() };
                let Some(next) = start.checked_add(wanted).filter(|&next| next <= (*header).end) else {
                    return ptr::null_mut();
                };
                (*header).next = next;
                prefix.write(wanted);
                return block;
            }
            let Some(moved) = self.take(new_size) else { return ptr::null_mut() };
            ptr::copy_nonoverlapping(block, moved.as_ptr(), capacity.min(new_size));
            self.dealloc(block);
            moved.as_ptr()
        }
    }

    unsafe fn usable_size(block: *mut u8) -> usize {
        // SAFETY: the caller gives a block of this allocator.
        unsafe { block.sub(PREFIX).cast::<usize>().read() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_its_class() {
        let mut last = 0;
        for size in (1..5000).chain((12..39).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let (class, capacity) = class_of(size).unwrap();
            assert!(capacity >= size && capacity % ALIGN == 0 && class < CLASSES, "{size}");
            assert!(size <= LINEAR_BYTES || capacity <= size + size / 4 + ALIGN, "{size} {capacity}");
            assert_eq!(class_of(capacity), Some((class, capacity)), "{size}");
            assert!(capacity >= last || size < 4097);
            last = capacity;
        }
        assert_eq!(class_of(usize::MAX), None);
    }

    #[test]
    fn restores_what_blocks_held_and_who_was_free() {
        let mut arena = Arena::new(8 << 20).unwrap();
        let mut blocks = arena.allocator(Box::new(|| false));
        let first = blocks.alloc(100);
        // SAFETY: blocks of this allocator, within their sizes.
        unsafe {
            first.write_bytes(1, 100);
            let freed = blocks.alloc(50);
            blocks.dealloc(freed);
            arena.take_image();
            first.write_bytes(2, 100);
            assert_eq!(blocks.alloc(50), freed);
            let large = blocks.alloc(6 << 20);
            assert!(!large.is_null());
            large.write_bytes(3, 6 << 20);
            assert!(blocks.alloc(6 << 20).is_null(), "the range is full");
            arena.restore();
            assert_eq!(first.read(), 1);
            assert_eq!(blocks.alloc(50), freed);
            let zeroed = blocks.calloc(6 << 10, 1 << 10);
            assert!((0..6 << 20).step_by(4099).all(|offset| zeroed.add(offset).read() == 0));
        }
    }

    #[test]
    fn grows_blocks_and_keeps_their_bytes() {
        let mut arena = Arena::new(1 << 20).unwrap();
        let mut blocks = arena.allocator(Box::new(|| false));
        // SAFETY: blocks of this allocator, within their sizes.
        unsafe {
            let mut block = blocks.alloc(10);
            block.write_bytes(7, 10);
            for size in [20, 600, 5000, 40_000, 100] {
                let other = blocks.alloc(8);
                block = blocks.realloc(block, size);
                assert!(Blocks::usable_size(block) >= size);
                assert!((0..10).all(|offset| block.add(offset).read() == 7));
                blocks.dealloc(other);
            }
        }
    }
}
