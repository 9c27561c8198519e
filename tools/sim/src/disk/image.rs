//! An image: the bytes of one file, kept in pages that images share until one of them changes.
//!
//! Pages that were never written are zero and take no memory, so a reserved extent costs nothing and a sync copies
//! pointers.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page: what a drive writes at once.
pub const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Image {
    size: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Image {
    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Grows the file to at least this.
    pub fn grow(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Copies bytes out; the caller keeps the range within `size`.
    pub fn read(&self, buf: &mut [u8], offset: u64) {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let (page, start, len) = span(at, rest.len());
            let (part, after) = rest.split_at_mut(len);
            match self.pages.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + len]),
                None => part.fill(0),
            }
            rest = after;
            at += len as u64;
        }
    }

    /// Copies bytes in, growing the file.
    pub fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (page, start, len) = span(at, rest.len());
            let (part, after) = rest.split_at(len);
            let target = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            Arc::make_mut(target)[start..start + len].copy_from_slice(part);
            rest = after;
            at += len as u64;
        }
        self.size = self.size.max(at);
    }

    /// Cuts or extends the file; what is cut off is zero if it comes back.
    pub fn set_size(&mut self, size: u64) {
        if size < self.size {
            let (page, start, _) = span(size, 1);
            self.pages.split_off(&(page + 1));
            if let Some(last) = self.pages.get_mut(&page) {
                Arc::make_mut(last)[start..].fill(0);
            }
        }
        self.size = size;
    }

    /// Takes over a page of another image.
    pub fn share_page(&mut self, page: u64, from: &Self) {
        match from.pages.get(&page) {
            Some(bytes) => self.pages.insert(page, bytes.clone()),
            None => self.pages.remove(&page),
        };
    }

    /// The numbers of the pages that were ever written.
    pub fn written(&self) -> Vec<u64> {
        self.pages.keys().copied().collect()
    }

    /// Changes one bit of a page.
    pub fn flip(&mut self, page: u64, bit: usize) {
        if let Some(bytes) = self.pages.get_mut(&page) {
            Arc::make_mut(bytes)[bit / 8 % PAGE_BYTES as usize] ^= 1 << (bit % 8);
        }
    }
}

/// The pages that a range touches.
pub fn pages_of(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / PAGE_BYTES..(offset + len as u64).div_ceil(PAGE_BYTES)
}

/// Page, offset within it, and how much of `len` lies in it.
fn span(offset: u64, len: usize) -> (u64, usize, usize) {
    let start = (offset % PAGE_BYTES) as usize;
    (offset / PAGE_BYTES, start, len.min(PAGE_BYTES as usize - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_anywhere_is_read_back_and_the_rest_is_zero() {
        let mut image = Image::default();
        image.write(&[7; 5000], 4000);
        assert_eq!(image.size(), 9000);
        let mut all = vec![1; 9000];
        image.read(&mut all, 0);
        assert!(all[..4000].iter().all(|b| *b == 0) && all[4000..].iter().all(|b| *b == 7));
        image.set_size(4100);
        image.set_size(9000);
        image.read(&mut all, 0);
        assert_eq!(all.iter().filter(|b| **b == 7).count(), 100);
    }

    #[test]
    fn images_share_pages_until_one_changes() {
        let mut live = Image::default();
        live.write(&[1; 4096], 0);
        let mut durable = Image::default();
        durable.share_page(0, &live);
        live.write(&[2; 10], 0);
        let mut byte = [0];
        durable.read(&mut byte, 0);
        assert_eq!(byte, [1]);
    }
}
