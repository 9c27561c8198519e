//! The codes that data may lie under: the cluster's, those of the buckets, and older ones until a census sees them no more.
//!
//! What may be lost is computed for the weakest of them: a new code protects nothing that was written before.

use std::collections::BTreeSet;

use pangea_core::chunk::Code;
use pangea_core::layout::Layout;
use pangea_meta::{Meta, MetaError};

use crate::client::Client;
use crate::door::ClientError;

/// Codes that were given up while data may still lie under them: k and m, u8 each.
pub const OLDER_CODES_SETTING: &str = "codes/older";

/// Every code that data may lie under; the cluster's own first.
pub async fn codes_used(meta: &dyn Meta, layout: &Layout) -> Result<Vec<Code>, MetaError> {
    let buckets = meta.buckets().await?;
    let older = older_codes(meta).await?;
    let others =
        buckets.iter().filter_map(|bucket| bucket.code).map(|code| (code.k(), code.m())).chain(older);
    let own = (layout.code.k(), layout.code.m());
    let others: BTreeSet<(u8, u8)> = others.filter(|code| *code != own).collect();
    Ok([own].into_iter().chain(others).filter_map(|(k, m)| Code::new(k, m)).collect())
}

async fn older_codes(meta: &dyn Meta) -> Result<Vec<(u8, u8)>, MetaError> {
    let setting = meta.setting(OLDER_CODES_SETTING).await?;
    let bytes = setting.map(|(_, bytes)| bytes).unwrap_or_default();
    Ok(bytes.chunks_exact(2).map(|two| (two[0], two[1])).collect())
}

impl Client {
    /// Every code that data may lie under; the cluster's own first.
    pub async fn codes_used(&self) -> Result<Vec<Code>, ClientError> {
        codes_used(self.meta().as_ref(), &self.layout()).await.map_err(ClientError::Meta)
    }

    /// A code is about to be given up: data lies under it until a census says otherwise.
    pub async fn keep_older_code(&self, code: Code) -> Result<(), ClientError> {
        let mut older = older_codes(self.meta().as_ref()).await.map_err(ClientError::Meta)?;
        if !older.contains(&(code.k(), code.m())) {
            older.push((code.k(), code.m()));
            self.set_older_codes(&older).await?;
        }
        Ok(())
    }

    /// The codes that were given up, as far as is known.
    pub(crate) async fn older_codes(&self) -> Result<Vec<(u8, u8)>, ClientError> {
        older_codes(self.meta().as_ref()).await.map_err(ClientError::Meta)
    }

    /// A census that began when `known` were given up saw these codes and no others. One that was given up since stays.
    pub(crate) async fn forget_older_codes(
        &self,
        known: &[(u8, u8)],
        seen: &BTreeSet<(u8, u8)>,
    ) -> Result<(), ClientError> {
        let mut older = self.older_codes().await?;
        older.retain(|code| seen.contains(code) || !known.contains(code));
        self.set_older_codes(&older).await
    }

    async fn set_older_codes(&self, codes: &[(u8, u8)]) -> Result<(), ClientError> {
        let bytes = codes.iter().flat_map(|(k, m)| [*k, *m]).collect();
        self.set_setting(OLDER_CODES_SETTING.to_owned(), bytes).await
    }
}
