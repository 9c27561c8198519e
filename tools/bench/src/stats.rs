//! Statistics: percentiles and medians; nothing else is claimed from samples.

/// The value below which `share` (0 to 1) of the samples lie, by nearest rank; none when there are no samples.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().checked_sub(1)?)).copied()
}

/// The middle value, or the mean of the two middle ones; none when there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(match sorted.len() % 2 {
        0 => (sorted[sorted.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    })
}

/// Four significant digits: more would be noise.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_and_medians_are_in_the_middle() {
        let samples: Vec<u64> = (1..=100).collect();
        for (share, value) in [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)] {
            assert_eq!(percentile(&samples, share), Some(value), "{share}");
        }
        assert_eq!((percentile(&[], 0.5), percentile(&[9], 0.99)), (None, Some(9)));
        for (values, middle) in
            [(&[][..], None), (&[3.0, 1.0, 2.0][..], Some(2.0)), (&[4.0, 1.0][..], Some(2.5))]
        {
            assert_eq!(median(values), middle);
        }
    }

    #[test]
    fn four_digits_are_kept() {
        for (value, kept) in
            [(0.0, 0.0), (123_456.0, 123_500.0), (0.123_456, 0.1235), (-9.99999, -10.0), (1.0, 1.0)]
        {
            assert!((rounded(value) - kept).abs() < 1e-9, "{value}");
        }
    }
}
