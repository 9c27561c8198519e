//! The field GF(2^8) with polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator 2.

/// The polynomial without its x^8: what doubling folds back.
pub(super) const FOLD: u8 = 0x1d;

/// `EXP[i]` is 2^i, over two periods so that a sum of two logarithms needs no reduction.
static EXP: [u8; 510] = tables().0;
/// `LOG[x]` is the power of 2 that x is; `LOG[0]` is not used.
static LOG: [u8; 256] = tables().1;

const fn tables() -> ([u8; 510], [u8; 256]) {
    let (mut exp, mut log) = ([0; 510], [0; 256]);
    let (mut power, mut value) = (0, 1u8);
    while power < 255 {
        exp[power] = value;
        exp[power + 255] = value;
        log[value as usize] = power as u8;
        value = if value & 0x80 == 0 { value << 1 } else { (value << 1) ^ FOLD };
        power += 1;
    }
    (exp, log)
}

/// The product.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    EXP[usize::from(LOG[usize::from(a)]) + usize::from(LOG[usize::from(b)])]
}

/// The multiplicative inverse.
///
/// # Panics
/// For zero, which has none.
pub(super) fn inverse(a: u8) -> u8 {
    assert_ne!(a, 0, "zero has no inverse");
    EXP[255 - usize::from(LOG[usize::from(a)])]
}

#[cfg(test)]
mod tests {
    use super::{FOLD, inverse, multiply};

    /// Multiplication as it is defined: shift, add, fold.
    fn by_definition(mut a: u8, mut b: u8) -> u8 {
        let mut sum = 0;
        while b != 0 {
            sum ^= if b & 1 == 1 { a } else { 0 };
            a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { FOLD };
            b >>= 1;
        }
        sum
    }

    #[test]
    fn every_product_and_inverse_is_right() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), by_definition(a, b), "{a} * {b}");
            }
            assert!(a == 0 || multiply(a, inverse(a)) == 1, "inverse of {a}");
        }
    }
}
