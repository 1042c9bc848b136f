//! Asks the processor to bring memory near before it is read. The only unsafe code of the workspace.
//!
//! What an event costs among a million filters is the misses of the few blocks that its values lead to. A block's place
//! is known well before its words are needed; a load would hold up everything behind it, a prefetch holds up nothing.

/// Bytes that processors bring at a time.
const LINE: usize = 64;

/// Asks for so many lines from this value on. Nothing is read, so there need not be as many.
#[inline]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "other processors have no stable intrinsic, and go without")
)]
pub(super) fn prefetch<T>(start: &T, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(start).cast::<i8>();
        for line in 0..lines {
            // SAFETY: a prefetch is a hint. It reads no value and raises no fault at any address, mapped or not
            // (Intel SDM, PREFETCHh; AMD APM volume 3), and the pointer is made without claiming that it stays inside
            // an object (`wrapping_add`). It needs SSE, which every x86-64 processor has.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_place_may_be_asked_for() {
        let value = 7_u32;
        for lines in [0, 1, 100, 1 << 20] {
            prefetch(&value, lines);
        }
        prefetch(&value, 1);
        assert_eq!(value, 7);
    }
}
